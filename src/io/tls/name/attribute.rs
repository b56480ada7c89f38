//! What names are made of: which kinds of attributes have a short name, and what text is.

use std::fmt::Write;

use crate::io::tls::der::reader::{Reader, all, ia5, oid_text};
use crate::io::tls::der::{Element, tag};

/// Kind and value.
pub(crate) struct Attribute<'a> {
    /// An object identifier, DER without the tag.
    kind: &'a [u8],
    value: Element<'a>,
}

/// Reads the attributes of a part of a name, a SET of them without its tag.
pub(crate) fn attributes(contents: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut elements = all(contents)?;
    // DER has them in this order, but not each maker of certificates.
    elements.sort_unstable_by_key(|one| one.whole);
    elements.iter().map(Attribute::read).collect()
}

impl<'a> Attribute<'a> {
    fn read(element: &Element<'a>) -> Option<Self> {
        let is_one = element.tag == tag::SEQUENCE;
        let mut fields = Reader::new(is_one.then_some(element.contents)?);
        let (kind, value) = (fields.oid()?, fields.any()?);
        fields.done().map(|()| Self { kind, value })
    }

    /// Returns whether it is a common name.
    pub(super) fn is_common_name(&self) -> bool {
        self.kind == [ID_AT[0], ID_AT[1], 3]
    }

    /// Returns its value, if that is a DirectoryString.
    pub(super) fn text(&self) -> Option<String> {
        directory_string(&self.value)
    }

    /// Writes it as of RFC 4514: `kind=value`.
    pub(super) fn in_words(&self) -> String {
        match (short_name(self.kind), string(&self.value)) {
            (Some(kind), Some(value)) => format!("{kind}={}", escaped(value)),
            _ => {
                let mut text = oid_text(self.kind).unwrap_or_default();
                text.push_str("=#");
                for byte in self.value.whole {
                    // Writing to a String can't fail.
                    let _ = write!(text, "{byte:02x}");
                }
                text
            }
        }
    }
}

/// Reads a DirectoryString (RFC 5280 §4.1.2.4); of TeletexString only what is ASCII, and no
/// UniversalString.
pub(crate) fn directory_string(value: &Element<'_>) -> Option<String> {
    match value.tag {
        tag::IA5_STRING => None,
        tag::BMP_STRING => bmp(value.contents),
        _ => string(value).map(ToOwned::to_owned),
    }
}

fn string<'a>(value: &Element<'a>) -> Option<&'a str> {
    let printable = |text: &&str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte))
    };
    match value.tag {
        tag::UTF8_STRING => std::str::from_utf8(value.contents).ok(),
        tag::PRINTABLE_STRING => ia5(value.contents).filter(printable),
        tag::IA5_STRING | tag::TELETEX_STRING => ia5(value.contents),
        _ => None,
    }
}

/// Reads a BMPString: UCS-2, which has no character beyond 16 bits.
fn bmp(contents: &[u8]) -> Option<String> {
    let pairs = contents.chunks_exact(2);
    let whole = pairs.remainder().is_empty();
    let characters = pairs.map(|pair| match pair {
        [high, low] => char::from_u32(u32::from_be_bytes([0, 0, *high, *low])),
        _ => None,
    });
    let characters = characters.map(|found| found.filter(|found| *found != '\u{FFFF}'));
    whole.then(|| characters.collect())?
}

fn escaped(value: &str) -> String {
    let mut text = String::new();
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '\0'..='\x1F' | '\x7F' => {
                // Writing to a String can't fail.
                let _ = write!(text, "\\{:02x}", u32::from(character));
                continue;
            }
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.push('\\'),
            '#' if at == 0 => text.push('\\'),
            ' ' if at == 0 || at == last => text.push('\\'),
            _ => {}
        }
        text.push(character);
    }
    text
}

/// id-at, `2.5.4`.
const ID_AT: [u8; 2] = [0x55, 0x04];
/// Kinds below id-at by the last number, from 0 on (RFC 4519, RFC 4512, RFC 4523, RFC 2256).
const BELOW_ID_AT: &[&str] = &[
    "OBJECTCLASS",
    "ALIASEDOBJECTNAME",
    "KNOWLEDGEINFORMATION",
    "CN",
    "SN",
    "SERIALNUMBER",
    "C",
    "L",
    "ST",
    "STREET",
    "O",
    "OU",
    "TITLE",
    "DESCRIPTION",
    "SEARCHGUIDE",
    "BUSINESSCATEGORY",
    "POSTALADDRESS",
    "POSTALCODE",
    "POSTOFFICEBOX",
    "PHYSICALDELIVERYOFFICENAME",
    "TELEPHONENUMBER",
    "TELEXNUMBER",
    "TELETEXTERMINALIDENTIFIER",
    "FACSIMILETELEPHONENUMBER",
    "X121ADDRESS",
    "INTERNATIONALISDNNUMBER",
    "REGISTEREDADDRESS",
    "DESTINATIONINDICATOR",
    "PREFERREDDELIVERYMETHOD",
    "PRESENTATIONADDRESS",
    "SUPPORTEDAPPLICATIONCONTEXT",
    "MEMBER",
    "OWNER",
    "ROLEOCCUPANT",
    "SEEALSO",
    "USERPASSWORD",
    "USERCERTIFICATE",
    "CACERTIFICATE",
    "AUTHORITYREVOCATIONLIST",
    "CERTIFICATEREVOCATIONLIST",
    "CROSSCERTIFICATEPAIR",
    "NAME",
    "GN",
    "INITIALS",
    "GENERATIONQUALIFIER",
    "X500UNIQUEIDENTIFIER",
    "DNQUALIFIER",
    "ENHANCEDSEARCHGUIDE",
    "PROTOCOLINFORMATION",
    "DISTINGUISHEDNAME",
    "UNIQUEMEMBER",
    "HOUSEIDENTIFIER",
    "SUPPORTEDALGORITHMS",
    "DELTAREVOCATIONLIST",
    "DMDNAME",
];
/// Kinds elsewhere (RFC 4519, RFC 4524, RFC 2985, RFC 3280).
const OTHERS: &[(&str, &str)] = &[
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "MAIL"),
    ("0.9.2342.19200300.100.1.9", "HOST"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.43", "CO"),
    ("0.9.2342.19200300.100.1.44", "UNIQUEIDENTIFIER"),
    ("1.2.840.113549.1.9.1", "EMAIL"),
    ("1.2.840.113549.1.9.2", "PKCS-9-AT-UNSTRUCTUREDNAME"),
    ("1.2.840.113549.1.9.8", "PKCS-9-AT-UNSTRUCTUREDADDRESS"),
    ("2.5.4.65", "PSEUDONYM"),
];

/// Returns the short name of a kind of attribute, of those that certificates have.
pub(crate) fn short_name(kind: &[u8]) -> Option<&'static str> {
    if let [first, second, last] = kind
        && ID_AT == [*first, *second]
        && let Some(name) = BELOW_ID_AT.get(usize::from(*last))
    {
        return Some(name);
    }
    let kind = oid_text(kind)?;
    let (_, name) = OTHERS.iter().find(|(known, _)| *known == kind)?;
    Some(name)
}
