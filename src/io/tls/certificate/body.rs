//! Takes certificates apart (RFC 5280 §4.1), and says which are none.

use crate::io::tls::algorithm::{self, Algorithm};
use crate::io::tls::der::reader::{Reader, all, bits, integer, oid_text, only};
use crate::io::tls::der::{Element, tag};
use crate::io::tls::name::Name;
use crate::io::tls::time;

/// What a certificate consists of.
pub(super) struct Body<'a> {
    /// 1 to 3.
    pub(super) version: u8,
    pub(super) issuer: Distinguished<'a>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) subject: Distinguished<'a>,
    pub(super) key: Key<'a>,
    pub(super) extensions: Vec<Extension<'a>>,
    /// What it is signed with, as the signature says.
    pub(super) signed_with: Identifier<'a>,
}

/// A name, and how it stands there: DER without its outer tag.
pub(super) struct Distinguished<'a> {
    pub(super) name: Name<'a>,
    pub(super) der: &'a [u8],
}

/// SubjectPublicKeyInfo.
pub(super) struct Key<'a> {
    /// All of it, with the outer tag.
    pub(super) whole: &'a [u8],
    /// Without.
    pub(super) contents: &'a [u8],
    algorithm: Identifier<'a>,
    /// The key itself; empty if it is not of whole octets.
    octets: &'a [u8],
}

/// AlgorithmIdentifier.
pub(super) struct Identifier<'a> {
    oid: String,
    /// DER, empty without any.
    parameters: &'a [u8],
}

/// An extension, of which nothing is known but that it is one.
pub(super) struct Extension<'a> {
    /// Its object identifier, DER without the tag.
    pub(super) id: &'a [u8],
    pub(super) critical: bool,
    pub(super) value: &'a [u8],
}

impl<'a> Body<'a> {
    /// Reads a certificate; `None` if it is not one.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        const VERSION: u8 = 0xA0;
        const UNIQUE_IDENTIFIERS: [u8; 2] = [0x81, 0x82];
        const EXTENSIONS: u8 = 0xA3;
        let mut certificate = Reader::new(only(der, tag::SEQUENCE)?);
        let mut body = Reader::new(certificate.take(tag::SEQUENCE)?);
        let signed_with = Identifier::read(&mut certificate)?;
        bits(certificate.take(tag::BIT_STRING)?)?;
        certificate.done()?;

        let version = version(body.optional(VERSION)?)?;
        integer(body.take(tag::INTEGER)?)?;
        Identifier::read(&mut body)?;
        let issuer = Distinguished::read(&mut body)?;
        let (not_before, not_after) = validity(body.take(tag::SEQUENCE)?)?;
        let subject = Distinguished::read(&mut body)?;
        let key = Key::read(&body.any()?)?;
        for identifier in UNIQUE_IDENTIFIERS {
            if let Some(identifier) = body.optional(identifier)? {
                bits(identifier)?;
            }
        }
        let extensions = match body.optional(EXTENSIONS)? {
            Some(extensions) => all(only(extensions, tag::SEQUENCE)?)?,
            None => Vec::new(),
        };
        body.done()?;
        let extensions = extensions
            .iter()
            .map(Extension::read)
            .collect::<Option<_>>()?;
        Some(Self {
            version,
            issuer,
            not_before,
            not_after,
            subject,
            key,
            extensions,
            signed_with,
        })
    }
}

fn version(explicit: Option<&[u8]>) -> Option<u8> {
    let Some(explicit) = explicit else {
        return Some(1);
    };
    match only(explicit, tag::INTEGER)? {
        [number @ 0..=2] => Some(number + 1),
        _ => None,
    }
}

fn validity(contents: &[u8]) -> Option<(u64, u64)> {
    let mut times = Reader::new(contents);
    let (begin, end) = (times.any()?, times.any()?);
    times.done()?;
    Some((time::seconds(&begin)?, time::seconds(&end)?))
}

impl<'a> Distinguished<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let der = reader.take(tag::SEQUENCE)?;
        let name = Name::read(der)?;
        Some(Self { name, der })
    }
}

impl<'a> Key<'a> {
    fn read(info: &Element<'a>) -> Option<Self> {
        let is_one = info.tag == tag::SEQUENCE;
        let mut fields = Reader::new(is_one.then_some(info.contents)?);
        let algorithm = Identifier::read(&mut fields)?;
        let (unused, octets) = bits(fields.take(tag::BIT_STRING)?)?;
        fields.done()?;
        Some(Self {
            whole: info.whole,
            contents: info.contents,
            algorithm,
            octets: if unused == 0 { octets } else { &[] },
        })
    }

    /// Says what kind of key it is.
    pub(super) fn algorithm(&self) -> Algorithm {
        let Identifier { oid, parameters } = &self.algorithm;
        algorithm::of_key(oid, parameters, self.octets)
    }
}

impl<'a> Identifier<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut fields = Reader::new(reader.take(tag::SEQUENCE)?);
        let oid = oid_text(fields.take(tag::OID)?)?;
        let parameters = match fields.is_done() {
            true => &[],
            false => fields.any()?.whole,
        };
        fields.done()?;
        Some(Self { oid, parameters })
    }

    /// Says what algorithm of signatures it is.
    pub(super) fn of_signature(&self) -> Algorithm {
        algorithm::of_signature(&self.oid, self.parameters)
    }
}

impl<'a> Extension<'a> {
    fn read(element: &Element<'a>) -> Option<Self> {
        let is_one = element.tag == tag::SEQUENCE;
        let mut fields = Reader::new(is_one.then_some(element.contents)?);
        let id = fields.oid()?;
        let critical = fields.flag(tag::BOOLEAN)?;
        let value = fields.take(tag::OCTET_STRING)?;
        fields.done()?;
        Some(Self {
            id,
            critical,
            value,
        })
    }
}
