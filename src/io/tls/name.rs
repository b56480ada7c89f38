//! Names of subjects and issuers (RFC 5280 §4.1.2.4), and how they are written for people.

pub(super) mod attribute;

use crate::io::tls::der::reader::all;
use crate::io::tls::der::tag;
use crate::io::tls::name::attribute::{Attribute, attributes};

/// A name: its parts, each of attributes, of one as a rule.
pub(super) struct Name<'a>(Vec<Vec<Attribute<'a>>>);

impl<'a> Name<'a> {
    /// Reads a name, DER without its outer tag; `None` if it is none.
    pub(super) fn read(contents: &'a [u8]) -> Option<Self> {
        let mut parts = Vec::new();
        for part in all(contents)? {
            parts.push(attributes(
                (part.tag == tag::SET).then_some(part.contents)?,
            )?);
        }
        Some(Self(parts))
    }

    /// Returns the common name, if it has one and that is text.
    pub(super) fn common_name(&self) -> Option<String> {
        let mut attributes = self.0.iter().flatten();
        attributes.find(|one| one.is_common_name())?.text()
    }

    /// Returns `CN=…`, or the whole name as of RFC 4514 if it has no common name.
    pub(super) fn in_words(&self) -> String {
        match self.common_name() {
            Some(common) => format!("CN={common}"),
            None if self.0.is_empty() => "(no name)".to_owned(),
            None => self.whole(),
        }
    }

    fn whole(&self) -> String {
        let part = |part: &Vec<Attribute<'_>>| {
            let attributes: Vec<_> = part.iter().map(Attribute::in_words).collect();
            attributes.join("+")
        };
        let parts: Vec<_> = self.0.iter().rev().map(part).collect();
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::tls::der::sequence;

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let element = |tag: u8, contents: &[u8]| {
            let mut whole = sequence(contents);
            whole[0] = tag;
            whole
        };
        sequence(&[element(tag::OID, kind), element(tag, value)].concat())
    }

    fn set(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut whole = sequence(&attributes.concat());
        whole[0] = tag::SET;
        whole
    }

    #[test]
    fn names_are_written_as_rfc_4514_has_it() {
        let (country, unit) = ([0x55, 4, 6], [0x55, 4, 11]);
        let utf8 = |kind: &[u8], value: &str| attribute(kind, tag::UTF8_STRING, value.as_bytes());
        for (parts, text) in [
            (vec![], "(no name)"),
            (
                vec![
                    set(&[attribute(&country, tag::PRINTABLE_STRING, b"NL")]),
                    set(&[utf8(&[0x55, 4, 10], "a, \"b\" \\ + <c>; #d=é\n")]),
                ],
                r##"O=a\, \"b\" \\ \+ \<c\>\; #d=é\0a,C=NL"##,
            ),
            (vec![set(&[utf8(&unit, " # ")])], r"OU=\ #\ "),
            (vec![set(&[utf8(&unit, "#")])], r"OU=\#"),
            (
                vec![set(&[utf8(&unit, "two"), utf8(&unit, "one")])],
                "OU=one+OU=two",
            ),
            (vec![set(&[utf8(&[0x2A, 3], "x")])], "1.2.3=#0c0178"),
            (
                vec![set(&[attribute(&unit, tag::INTEGER, &[5])])],
                "2.5.4.11=#020105",
            ),
            (
                vec![set(&[utf8(&[0x55, 4, 3], "x")]), set(&[utf8(&unit, "y")])],
                "CN=x",
            ),
            (
                vec![set(&[attribute(
                    &[0x55, 4, 3],
                    tag::BMP_STRING,
                    &[0, 0x78, 0x26, 0x03],
                )])],
                "CN=x☃",
            ),
            (
                vec![set(&[attribute(&[0x55, 4, 3], tag::IA5_STRING, b"x")])],
                "CN=x",
            ),
        ] {
            let parts = parts.concat();
            assert_eq!(Name::read(&parts).unwrap().in_words(), text);
        }
    }
}
