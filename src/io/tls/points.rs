//! Where revocation lists are and what they are about, as certificates (RFC 5280 §4.2.1.13) and
//! lists (§5.2.5) say it.

use crate::io::tls::der::reader::{Reader, all, bits, only};
use crate::io::tls::der::tag;
use crate::io::tls::general_name::{GeneralName, general_names};
use crate::io::tls::name::attribute::attributes;

/// What an issuing distribution point says, as far as WebPKI lets it pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Where the list is.
    pub(super) urls: Vec<String>,
    /// Whether it is about no issuers.
    pub(super) users_only: bool,
    /// Whether it is about issuers only.
    pub(super) issuers_only: bool,
}

impl Scope {
    /// Reads an issuing distribution point; `None` if it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(only(der, tag::SEQUENCE)?);
        let urls = urls(fields.optional(0xA0)?)?;
        let (users_only, issuers_only) = (fields.flag(0x81)?, fields.flag(0x82)?);
        check_reasons(fields.optional(0x83)?)?;
        // Whether it is indirect, and whether about attribute certificates only.
        fields.flag(0x84)?;
        fields.flag(0x85)?;
        fields.done()?;
        Some(Self {
            urls,
            users_only,
            issuers_only,
        })
    }
}

/// Reads the distribution points of a certificate: where its issuer's list is. Lists of other
/// issuers or of some reasons are left out.
pub(super) fn urls_in(extension: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for point in all(only(extension, tag::SEQUENCE)?)? {
        let is_one = point.tag == tag::SEQUENCE;
        let mut fields = Reader::new(is_one.then_some(point.contents)?);
        let urls = urls(fields.optional(0xA0)?)?;
        let (reasons, issuer) = (fields.optional(0x81)?, fields.optional(0xA2)?);
        check_reasons(reasons)?;
        general_names(issuer.unwrap_or_default())?;
        fields.done()?;
        if reasons.is_none() && issuer.is_none() {
            found.extend(urls);
        }
    }
    Some(found)
}

/// Reads a DistributionPointName in its outer tag.
fn urls(point: Option<&[u8]>) -> Option<Vec<String>> {
    let Some(point) = point else {
        return Some(Vec::new());
    };
    let mut reader = Reader::new(point);
    let name = reader.any()?;
    reader.done()?;
    let names = match name.tag {
        0xA0 => general_names(name.contents)?,
        // Relative to the issuer's name: a place in a directory.
        0xA1 => attributes(name.contents).map(|_| Vec::new())?,
        _ => return None,
    };
    let url = |name: &GeneralName<'_>| match name {
        GeneralName::Uri(url) => Some((*url).to_owned()),
        _ => None,
    };
    Some(names.iter().filter_map(url).collect())
}

/// Checks flags of reasons for a revocation: 16 at most.
fn check_reasons(reasons: Option<&[u8]>) -> Option<()> {
    let Some(reasons) = reasons else {
        return Some(());
    };
    bits(reasons)
        .filter(|(_, octets)| octets.len() <= 2)
        .map(drop)
}
