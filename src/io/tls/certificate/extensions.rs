//! What the extensions of a certificate say (RFC 5280 §4.2), in words where they are for people.
//!
//! One that can't be read, or stands there twice, says nothing.

use std::net::IpAddr;

use crate::io::tls::certificate::body::{Body, Extension};
use crate::io::tls::der::reader::{Reader, all, integer, oid_text, only, unsigned};
use crate::io::tls::der::tag;
use crate::io::tls::general_name::{GeneralName, general_names};

/// Last octets of extensions' identifiers below id-ce, `2.5.29` (RFC 5280 §4.2).
pub(super) const KEY_USAGE: u8 = 15;
const SUBJECT_KEY_IDENTIFIER: u8 = 14;
const SUBJECT_ALTERNATIVE_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;
/// Where the issuer's revocation list is.
pub(super) const DISTRIBUTION_POINTS: u8 = 31;
const AUTHORITY_KEY_IDENTIFIER: u8 = 35;
const EXTENDED_KEY_USAGE: u8 = 37;
/// Those that WebPKI works on.
const KNOWN_TO_WEBPKI: &[u8] = &[
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    BASIC_CONSTRAINTS,
    NAME_CONSTRAINTS,
    DISTRIBUTION_POINTS,
    EXTENDED_KEY_USAGE,
];
const ID_CE: [u8; 2] = [0x55, 0x1D];
/// Longest serial number with its sign (RFC 5280 §4.1.2.2).
const LONGEST_SERIAL: usize = 21;

impl Extension<'_> {
    fn is(&self, last: u8) -> bool {
        self.id == [ID_CE[0], ID_CE[1], last]
    }
}

impl<'a> Body<'a> {
    /// Returns the value of the first extension of a kind.
    pub(super) fn extension(&self, last: u8) -> Option<&'a [u8]> {
        let found = self.extensions.iter().find(|one| one.is(last))?;
        Some(found.value)
    }

    /// Returns the value of an extension that stands there once.
    pub(super) fn sole_extension(&self, last: u8) -> Option<&'a [u8]> {
        let mut found = self.extensions.iter().filter(|one| one.is(last));
        let first = found.next()?;
        found.next().is_none().then_some(first.value)
    }
}

pub(super) fn names(body: &Body<'_>) -> Vec<String> {
    let names = body.sole_extension(SUBJECT_ALTERNATIVE_NAME);
    let names = names.and_then(|value| general_names(only(value, tag::SEQUENCE)?));
    names.unwrap_or_default().iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::Dns(name) => Some((*name).to_owned()),
        GeneralName::Ip(octets) => ip(octets).map(|ip| ip.to_string()),
        GeneralName::Uri(_) | GeneralName::Other => None,
    }
}

fn ip(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
    v4.or(v6).ok()
}

pub(super) fn unknown_critical(body: &Body<'_>) -> Vec<String> {
    let known = |one: &Extension<'_>| KNOWN_TO_WEBPKI.iter().any(|last| one.is(*last));
    let unknown = body
        .extensions
        .iter()
        .filter(|one| one.critical && !known(one));
    unknown.filter_map(|one| oid_text(one.id)).collect()
}

/// In words: use as a TLS server (RFC 5280 §4.2.1.12).
pub(super) const SERVERS: &str = "servers";
const USES: &[(&str, &str)] = &[
    ("1.3.6.1.5.5.7.3.1", SERVERS),
    ("1.3.6.1.5.5.7.3.2", "clients"),
    ("1.3.6.1.5.5.7.3.3", "code signing"),
    ("1.3.6.1.5.5.7.3.4", "e-mail"),
    ("1.3.6.1.5.5.7.3.8", "time stamps"),
    ("1.3.6.1.5.5.7.3.9", "OCSP"),
    ("2.5.29.37.0", "any use"),
];

/// Returns the extended key usage in words; `None` without one, nothing if it can't be read.
pub(super) fn uses(body: &Body<'_>) -> Option<Vec<String>> {
    body.extension(EXTENDED_KEY_USAGE)?;
    let uses = body.sole_extension(EXTENDED_KEY_USAGE).and_then(read_uses);
    Some(uses.unwrap_or_default())
}

fn read_uses(value: &[u8]) -> Option<Vec<String>> {
    let mut uses = Reader::new(only(value, tag::SEQUENCE)?);
    let mut names = Vec::new();
    while !uses.is_done() {
        let oid = oid_text(uses.take(tag::OID)?)?;
        names.push(match USES.iter().find(|(known, _)| *known == oid) {
            Some((_, name)) => (*name).to_owned(),
            None => oid,
        });
    }
    Some(names)
}

/// Basic constraints (RFC 5280 §4.2.1.9).
pub(super) struct BasicConstraints {
    pub(super) is_ca: bool,
    pub(super) path_length: Option<u8>,
}

pub(super) fn basic_constraints(body: &Body<'_>) -> Option<BasicConstraints> {
    let value = body.sole_extension(BASIC_CONSTRAINTS)?;
    let mut fields = Reader::new(only(value, tag::SEQUENCE)?);
    let is_ca = fields.flag(tag::BOOLEAN)?;
    let path_length = match fields.optional(tag::INTEGER)? {
        Some(length) => Some(u8::try_from(unsigned(length)?).ok()?),
        None => None,
    };
    fields.done()?;
    Some(BasicConstraints { is_ca, path_length })
}

/// Returns the identifier of the first extension that stood in a certificate before.
pub(super) fn repeated(body: &Body<'_>) -> Option<String> {
    // Sorted: a certificate has room for thousands.
    let ids = body.extensions.iter().map(|one| one.id);
    let mut ids: Vec<_> = ids.zip(0_usize..).collect();
    ids.sort_unstable();
    let repeats = ids.windows(2).filter_map(|pair| match pair {
        [(before, _), (id, at)] if before == id => Some((*at, *id)),
        _ => None,
    });
    oid_text(repeats.min()?.1)
}

pub(super) fn constraint(body: &Body<'_>) -> Option<String> {
    let value = body.sole_extension(NAME_CONSTRAINTS)?;
    let mut fields = Reader::new(only(value, tag::SEQUENCE)?);
    let permitted = subtrees(fields.optional(0xA0)?)?;
    let excluded = subtrees(fields.optional(0xA1)?)?;
    fields.done()?;
    Some(match (permitted.is_empty(), excluded.is_empty()) {
        (false, true) => format!("{permitted} only"),
        (true, false) => format!("all but {excluded}"),
        (false, false) => format!("{permitted} only, but not {excluded}"),
        (true, true) => "other kinds of names only".to_owned(),
    })
}

/// Returns subtrees in words, those of other kinds left out; `None` if they can't be read.
fn subtrees(contents: Option<&[u8]>) -> Option<String> {
    let mut names = Vec::new();
    for subtree in all(contents.unwrap_or_default())? {
        let is_one = subtree.tag == tag::SEQUENCE;
        let mut fields = Reader::new(is_one.then_some(subtree.contents)?);
        let base = GeneralName::read(&fields.any()?)?;
        for distance in [0x80, 0x81] {
            if let Some(distance) = fields.optional(distance)? {
                unsigned(distance)?;
            }
        }
        fields.done()?;
        names.extend(match base {
            GeneralName::Ip(octets) => network(octets),
            other => name(&other),
        });
    }
    Some(names.join(", "))
}

/// Writes address and mask (RFC 5280 §4.2.1.10) as `192.0.2.0/24`.
fn network(octets: &[u8]) -> Option<String> {
    let (address, mask) = octets.split_at_checked(octets.len() / 2)?;
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    ip(address).map(|address| format!("{address}/{bits}"))
}

/// Returns the identifiers of its own key and of its issuer's.
pub(super) fn key_ids(body: &Body<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let own = body.sole_extension(SUBJECT_KEY_IDENTIFIER);
    let own = own.and_then(|value| only(value, tag::OCTET_STRING));
    let issuer = body.sole_extension(AUTHORITY_KEY_IDENTIFIER);
    let issuer = issuer.and_then(issuer_key_id);
    (own.map(<[u8]>::to_vec), issuer.map(<[u8]>::to_vec))
}

/// Reads an authority key identifier (RFC 5280 §4.2.1.1).
fn issuer_key_id(value: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(only(value, tag::SEQUENCE)?);
    let id = fields.optional(0x80)?;
    if let Some(issuer) = fields.optional(0xA1)? {
        general_names(issuer)?;
    }
    if let Some(serial) = fields.optional(0x82)? {
        integer(serial).filter(|()| serial.len() <= LONGEST_SERIAL)?;
    }
    fields.done()?;
    id
}
