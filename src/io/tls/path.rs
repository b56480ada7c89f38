//! The way from a server's certificate towards a root, as the server sent it.
//!
//! For reports and strict checks only: what is accepted is decided by WebPKI.

use crate::io::tls::certificate::Certificate;

/// Most certificates of a path: WebPKI follows no more than six intermediates.
const LONGEST: usize = 9;
/// Most candidates for one issuer that are tried by their key.
const CANDIDATES: usize = 4;

/// Certificates of which each names the next as its issuer; the first is the server's own.
#[derive(Debug)]
pub(crate) struct Path<'c> {
    leaf: &'c Certificate,
    issuers: Vec<&'c Certificate>,
}

impl<'c> Path<'c> {
    /// Follows the issuers from the first certificate of a chain, which must not be empty: of
    /// several with the right name the one whose key fits and that is valid at this time, in
    /// seconds since 1970; else the one whose key fits.
    pub(crate) fn of(chain: &'c [Certificate], now: u64) -> Option<Self> {
        let (leaf, others) = chain.split_first()?;
        let mut path = Self {
            leaf,
            issuers: Vec::new(),
        };
        while path.issuers.len() + 1 < LONGEST {
            let top = path.top();
            if top.is_self_signed() {
                break;
            }
            let named: Vec<&Certificate> = others
                .iter()
                .filter(|one| top.names_issuer(one) && !path.holds(one))
                .take(CANDIDATES)
                .collect();
            let next = match named.as_slice() {
                [only] => Some(*only),
                several => {
                    let fits = |one: &&&Certificate| top.is_signed_by(one) == Some(true);
                    let fitting: Vec<_> =
                        several.iter().copied().filter(|one| fits(&one)).collect();
                    let valid = fitting.iter().find(|one| one.is_valid(now));
                    valid.or(fitting.first()).or(several.first()).copied()
                }
            };
            match next {
                Some(issuer) => path.issuers.push(issuer),
                None => break,
            }
        }
        Some(path)
    }

    fn holds(&self, one: &Certificate) -> bool {
        self.certificates().any(|other| std::ptr::eq(one, other))
    }

    /// The server's own certificate.
    pub(crate) fn leaf(&self) -> &'c Certificate {
        self.leaf
    }

    /// The last certificate, whose issuer was not sent.
    pub(crate) fn top(&self) -> &'c Certificate {
        self.issuers.last().copied().unwrap_or(self.leaf)
    }

    /// All certificates, the server's own first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &'c Certificate> {
        std::iter::once(self.leaf).chain(self.issuers.iter().copied())
    }

    /// Each certificate with its issuer.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&'c Certificate, &'c Certificate)> {
        self.certificates().zip(self.issuers.iter().copied())
    }
}
