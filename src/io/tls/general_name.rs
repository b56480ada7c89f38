//! Names that certificates are for or may be issued for, and places (RFC 5280 §4.2.1.6).

use crate::io::tls::der::reader::{Reader, all, ia5, oid_text, only};
use crate::io::tls::der::{Element, tag};
use crate::io::tls::name::Name;
use crate::io::tls::name::attribute::directory_string;

/// A GeneralName, as far as it is of use here.
pub(super) enum GeneralName<'a> {
    /// A host's name.
    Dns(&'a str),
    /// A place.
    Uri(&'a str),
    /// An IP address, or a network's with its mask.
    Ip(&'a [u8]),
    /// Of another kind.
    Other,
}

/// Reads GeneralNames without their outer tag; `None` if one of them is none.
pub(super) fn general_names(contents: &[u8]) -> Option<Vec<GeneralName<'_>>> {
    all(contents)?.iter().map(GeneralName::read).collect()
}

impl<'a> GeneralName<'a> {
    /// Reads one; `None` if it is none, or an X.400 address, which nobody has.
    pub(super) fn read(element: &Element<'a>) -> Option<Self> {
        let contents = element.contents;
        Some(match element.tag {
            0x82 => Self::Dns(ia5(contents)?),
            0x86 => Self::Uri(ia5(contents)?),
            0x87 => Self::Ip(contents),
            _ => {
                other(element.tag, contents)?;
                Self::Other
            }
        })
    }
}

/// Checks a name of a kind that is of no use.
fn other(kind: u8, contents: &[u8]) -> Option<()> {
    match kind {
        0xA0 => other_name(contents),
        0x81 => ia5(contents).map(drop),
        0xA4 => Name::read(only(contents, tag::SEQUENCE)?).map(drop),
        0xA5 => edi_party_name(contents),
        0x88 => oid_text(contents).map(drop),
        _ => None,
    }
}

fn other_name(contents: &[u8]) -> Option<()> {
    let mut fields = Reader::new(contents);
    fields.oid()?;
    let mut value = Reader::new(fields.take(0xA0)?);
    value.any()?;
    value.done()?;
    fields.done()
}

fn edi_party_name(contents: &[u8]) -> Option<()> {
    let explicit = |contents| match all(contents)?.as_slice() {
        [name] => directory_string(name).map(drop),
        _ => None,
    };
    let mut fields = Reader::new(contents);
    if let Some(assigner) = fields.optional(0xA0)? {
        explicit(assigner)?;
    }
    explicit(fields.take(0xA1)?)?;
    fields.done()
}
