//! Whether a certificate of a verified path is revoked, as far as revocation lists tell.
//!
//! A list counts for a certificate if its issuer on the path signed it, each list and each
//! certificate for itself: neither what else a server sends nor a list that somebody else made can
//! take away from what the others say.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustls::pki_types::UnixTime;
use rustls::{CertRevocationListError, CertificateError, Error, OtherError};
use webpki::{Cert, VerifiedPath};

use crate::core::endpoint::{Lists, Revocation, Trust};
use crate::io::clock;
use crate::io::tls::certificate;
use crate::io::tls::der::contents;
use crate::io::tls::list::{self, Issuer, List};

/// What paths are judged by, for one endpoint.
#[derive(Debug)]
pub(super) struct Judge {
    required: bool,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Files(Vec<Arc<list::File>>),
    Fetch(Fetching),
}

/// A place where a revocation list may be had, and whose it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// `http://…`, of printable characters alone.
    pub(crate) url: String,
    /// Who has to have signed what is there.
    pub(crate) issuer: Issuer,
    /// Whether private, loopback and link-local addresses may be connected to for it.
    pub(crate) private_addresses: bool,
}

/// Where lists are fetched and kept.
pub(crate) trait Library: Send + Sync + fmt::Debug {
    /// Returns the lists of these places that can be had until `deadline`, each signed by its
    /// issuer; some may be out of date. `endpoint` tells apart for whom they are fetched.
    fn lists(&self, endpoint: usize, places: &[Place], deadline: Instant) -> Vec<Arc<List>>;
}

/// Lists that certificates name.
#[derive(Debug)]
struct Fetching {
    library: Option<Arc<dyn Library>>,
    private_addresses: bool,
    /// Differs for each endpoint.
    endpoint: usize,
}

/// How long a verdict holds that had to do without a list.
const WITHOUT_LIST: u64 = 300;

impl Judge {
    /// Reads what `trust` names; `None` if nobody is to look for revoked certificates.
    ///
    /// # Errors
    /// Names a list that cannot be used.
    pub(super) fn new(
        trust: &Trust,
        library: Option<&Arc<dyn Library>>,
    ) -> Result<Option<Self>, String> {
        static ENDPOINTS: AtomicUsize = AtomicUsize::new(0);
        let source = match (trust.revocation, &trust.lists) {
            (Revocation::Off, _) | (_, Lists::None) => return Ok(None),
            (_, Lists::Files(files)) => Source::Files(list::read_files(files)?),
            (_, Lists::Fetch { private_addresses }) => Source::Fetch(Fetching {
                library: library.cloned(),
                private_addresses: *private_addresses,
                endpoint: ENDPOINTS.fetch_add(1, Ordering::Relaxed),
            }),
        };
        Ok(Some(Self {
            required: trust.revocation == Revocation::Require,
            source,
        }))
    }

    /// Whether judging may lead to somebody else's server.
    pub(super) const fn fetches(&self) -> bool {
        matches!(self.source, Source::Fetch(_))
    }

    /// Judges a path; returns until when the verdict holds, if a list limits it, in seconds since
    /// 1970. Outside of a handshake, without `deadline`, nothing is fetched.
    pub(super) fn judge(
        &self,
        path: &VerifiedPath<'_>,
        now: UnixTime,
        deadline: Option<Instant>,
    ) -> Result<Option<u64>, Error> {
        let links = links(path);
        let lists = match &self.source {
            Source::Files(files) => {
                let mut lists = Vec::new();
                for file in files {
                    lists.extend_from_slice(file);
                }
                lists
            }
            Source::Fetch(fetching) => fetching.lists(&links, deadline),
        };
        let look_up = |link| (link, Link::look_up(link, &lists, now));
        let found: Vec<_> = links.iter().map(look_up).collect();
        let revoked = |(_, status): &&(&Link<'_>, Status)| matches!(status, Status::Revoked);
        if let Some((link, _)) = found.iter().find(revoked) {
            return Err(link.refusal(CertificateError::Revoked.into()));
        }
        let (mut until, mut all) = (u64::MAX, true);
        for (link, status) in found {
            match status {
                Status::Good(end) => until = until.min(end),
                Status::Unknown(why) if self.required => {
                    return Err(link.refusal(self.named(link, why)));
                }
                Status::Unknown(_) | Status::Revoked => all = false,
            }
        }
        Ok(match (&self.source, all) {
            (Source::Files(_), _) if !self.required => None,
            (_, true) => Some(until),
            (_, false) => Some(until.min(now.as_secs().saturating_add(WITHOUT_LIST))),
        })
    }
}

impl Judge {
    /// Names the place that gave no list, if there is none.
    fn named(&self, link: &Link<'_>, why: Error) -> Error {
        let none: Error = CertificateError::UnknownRevocationStatus.into();
        match &self.source {
            Source::Fetch(_) if why == none => {
                let missing = NotFetched(list::url_in(&link.certificate.der()));
                CertificateError::Other(OtherError(Arc::new(missing))).into()
            }
            _ => why,
        }
    }
}

/// There is no list of a certificate's issuer where the certificate says, or it doesn't say.
#[derive(Debug)]
pub(crate) struct NotFetched(Option<String>);

impl fmt::Display for NotFetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(url) => write!(f, "no revocation list of its issuer from {url}"),
            None => f.write_str("it names no http:// place of a revocation list"),
        }
    }
}

impl std::error::Error for NotFetched {}

impl Fetching {
    fn lists(&self, links: &[Link<'_>], deadline: Option<Instant>) -> Vec<Arc<List>> {
        let (Some(library), Some(deadline)) = (&self.library, deadline) else {
            return Vec::new();
        };
        let places: Vec<_> = links.iter().filter_map(|link| self.place(link)).collect();
        // Half of the time is left for the rest of the exchange.
        let now = clock::now();
        let half = deadline.saturating_duration_since(now) / 2;
        library.lists(self.endpoint, &places, now + half)
    }

    fn place(&self, link: &Link<'_>) -> Option<Place> {
        Some(Place {
            url: list::url_in(&link.certificate.der())?,
            issuer: link.issuer.clone(),
            private_addresses: self.private_addresses,
        })
    }
}

/// A certificate of a path with its issuer.
struct Link<'p> {
    certificate: &'p Cert<'p>,
    /// Whether it issued another one of the path.
    is_issuer: bool,
    issuer: Issuer,
    /// Whether the issuer's key may sign lists.
    may_sign_lists: bool,
}

fn links<'p>(path: &'p VerifiedPath<'p>) -> Vec<Link<'p>> {
    let leaf: &Cert<'p> = path.end_entity();
    let certificates = || std::iter::once(leaf).chain(path.intermediate_certificates());
    let issuers = path.intermediate_certificates().map(|one| {
        let key = contents(&one.subject_public_key_info()).to_vec();
        (key, certificate::may_sign_lists(&one.der()))
    });
    // Of a root nothing is known but name and key.
    let root = (path.anchor().subject_public_key_info.to_vec(), true);
    let issuers = issuers.chain(std::iter::once(root));
    let links = certificates().zip(issuers).enumerate();
    links
        .map(|(at, (certificate, (key, may_sign_lists)))| Link {
            certificate,
            is_issuer: at > 0,
            issuer: Issuer {
                name: certificate.issuer().to_vec(),
                key,
            },
            may_sign_lists,
        })
        .collect()
}

/// What lists say of a certificate.
enum Status {
    /// Not on its issuer's list, of which the next is due then, in seconds since 1970.
    Good(u64),
    Revoked,
    Unknown(Error),
}

/// An issuer of the chain is refused, not the server's own certificate.
#[derive(Debug)]
pub(crate) struct OfIssuer {
    /// Its name, in words.
    pub(crate) name: String,
    pub(crate) error: CertificateError,
}

impl fmt::Display for OfIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its issuer {}: {}", self.name, self.error)
    }
}

impl std::error::Error for OfIssuer {}

impl Link<'_> {
    /// Returns an error about this certificate as one that says so.
    fn refusal(&self, error: Error) -> Error {
        match error {
            Error::InvalidCertificate(error) if self.is_issuer => {
                let name = certificate::name_of(self.certificate.subject());
                CertificateError::Other(OtherError(Arc::new(OfIssuer { name, error }))).into()
            }
            other => other,
        }
    }

    /// Asks the newest of the lists that the issuer signed. One that is out of date still says
    /// what was revoked.
    fn look_up(&self, lists: &[Arc<List>], now: UnixTime) -> Status {
        let named = lists.iter().filter(|list| {
            list.is_named(&self.issuer) && list.is_about(self.certificate, self.is_issuer)
        });
        let (good, forged): (Vec<&Arc<List>>, Vec<_>) =
            named.partition(|list| list.is_by(&self.issuer));
        let newest = good
            .into_iter()
            .max_by_key(|list| (list.made, list.next_update));
        let Some(newest) = newest else {
            return Status::Unknown(match forged.is_empty() {
                true => CertificateError::UnknownRevocationStatus.into(),
                false => CertRevocationListError::BadSignature.into(),
            });
        };
        if newest.names(self.certificate) {
            return Status::Revoked;
        }
        if now.as_secs() >= newest.next_update {
            let next_update = std::time::Duration::from_secs(newest.next_update);
            let error = CertificateError::ExpiredRevocationListContext {
                time: now,
                next_update: UnixTime::since_unix_epoch(next_update),
            };
            return Status::Unknown(error.into());
        }
        match self.may_sign_lists {
            true => Status::Good(newest.next_update),
            false => Status::Unknown(CertRevocationListError::IssuerInvalidForCrl.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use rustls::crypto::ring::default_provider;
    use webpki::{EndEntityCert, KeyUsage};

    use super::*;
    use crate::io::http::support::certificates::{Authority, DAY, Identity};

    /// Has these, wherever they are asked for.
    #[derive(Debug)]
    struct Shelf(Vec<Arc<List>>);

    impl Library for Shelf {
        fn lists(&self, _: usize, _: &[Place], _: Instant) -> Vec<Arc<List>> {
            self.0.clone()
        }
    }

    const NOW: u64 = 1_800_000_000;

    fn judge(
        us: &Authority,
        identity: &Identity,
        lists: &[Vec<u8>],
        required: bool,
    ) -> Result<Option<u64>, Error> {
        let lists = lists.iter().map(|der| Arc::new(List::read(der).unwrap()));
        let judge = Judge {
            required,
            source: Source::Fetch(Fetching {
                library: Some(Arc::new(Shelf(lists.collect()))),
                private_addresses: false,
                endpoint: 0,
            }),
        };
        let anchor = webpki::anchor_from_trusted_cert(us.root()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let verdict = Cell::new(None);
        let visit = |path: &VerifiedPath<'_>| {
            verdict.set(Some(judge.judge(path, now, Some(clock::now() + DAY))));
            Ok(())
        };
        EndEntityCert::try_from(&identity.chain[0])
            .unwrap()
            .verify_for_usage(
                default_provider().signature_verification_algorithms.all,
                &[anchor],
                &identity.chain[1..],
                now,
                KeyUsage::server_auth(),
                None,
                Some(&visit),
            )
            .unwrap();
        verdict.take().unwrap()
    }

    #[test]
    fn a_verdict_without_a_current_list_for_each_certificate_holds_for_five_minutes() {
        let us = Authority::new("test");
        let good = us.good(&["a.example"]);
        let root = us.list_until(true, NOW + 86_400);
        let leaves = us.list_until(false, NOW + 3600);
        let soon = us.list_until(true, NOW + 60);
        for (lists, until) in [
            (vec![], 300),
            (vec![root.clone()], 300),
            (vec![leaves.clone()], 300),
            (vec![us.old_list(&[]), root.clone()], 300),
            (vec![us.forged_list(), root.clone()], 300),
            (vec![soon], 60),
            (vec![leaves, root], 3600),
        ] {
            let verdict = judge(&us, &good, &lists, false);
            assert_eq!(verdict, Ok(Some(NOW + until)), "{} lists", lists.len());
        }
    }

    #[test]
    fn a_list_counts_if_the_issuer_signed_it_whatever_stands_beside_it() {
        let us = Authority::new("test");
        let (good, bad) = (us.good(&["a.example"]), us.good(&["a.example"]));
        let leaves = us.list(&[&bad], DAY);
        let revoked = || Err(CertificateError::Revoked.into());
        for lists in [
            vec![leaves.clone()],
            vec![us.old_list(&[&bad])],
            vec![us.forged_list(), leaves.clone()],
            vec![us.forged_root_list(), leaves],
        ] {
            for required in [false, true] {
                assert_eq!(judge(&us, &bad, &lists, required), revoked());
            }
            assert!(judge(&us, &good, &lists, false).is_ok());
            assert!(judge(&us, &good, &lists, true).is_err());
        }
        // A newer one may take it back.
        let lists = [us.list_made_in(2023, &[&bad]), us.list_made_in(2024, &[])];
        assert!(judge(&us, &bad, &lists, false).is_ok());
        let refusal = judge(&us, &good, &[us.root_list(true)], false).unwrap_err();
        let named = "OfIssuer { name: \"CN=test intermediate\", error: Revoked }";
        assert!(refusal.to_string().contains(named), "{refusal}");
    }
}
