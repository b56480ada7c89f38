//! Whether certificates of a chain are revoked, as far as revocation lists tell.
//!
//! WebPKI looks certificates up and verifies the lists; here is decided which lists it gets, and
//! what becomes of a chain that they say nothing about.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, RootCertStore};

use crate::core::endpoint::{Lists, Revocation, Trust};
use crate::io::clock;
use crate::io::tls::certificate::Certificate;
use crate::io::tls::list::{self, List};

/// What a chain is judged by, for one endpoint.
#[derive(Debug)]
pub(super) struct Judge {
    /// Without any list.
    plain: Arc<WebPkiServerVerifier>,
    /// With lists, if revocation is looked at.
    informed: Option<Informed>,
}

/// What a server shows: its name, its chain, and when.
pub(super) struct Presented<'p> {
    pub(super) leaf: &'p CertificateDer<'p>,
    pub(super) intermediates: &'p [CertificateDer<'p>],
    pub(super) server: &'p ServerName<'p>,
    pub(super) ocsp: &'p [u8],
    pub(super) now: UnixTime,
    /// When the handshake has to be over; `None` outside of one.
    pub(super) deadline: Option<Instant>,
}

impl Judge {
    /// Reads what `trust` names.
    ///
    /// # Errors
    /// Says so if there are no roots, or names a list that cannot be used.
    pub(super) fn new(
        trust: &Trust,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        library: Option<&Arc<dyn Library>>,
    ) -> Result<Self, String> {
        let policy = trust.revocation;
        let source = match (policy, &trust.lists) {
            (Revocation::Off, _) | (_, Lists::None) => None,
            (_, Lists::Files(files)) => {
                let lists: Vec<_> = list::read_files(files)?.into_iter().map(Arc::new).collect();
                let of = lists.iter().map(AsRef::as_ref);
                Some(Source::Files(build(policy, of, roots, provider)?, lists))
            }
            (_, Lists::Fetch { private_addresses }) => Some(Source::Fetch(Fetching {
                library: library.cloned(),
                private_addresses: *private_addresses,
                policy,
                roots: Arc::clone(roots),
                provider: Arc::clone(provider),
                made: Mutex::default(),
            })),
        };
        Ok(Self {
            plain: build(Revocation::Off, std::iter::empty(), roots, provider)?,
            informed: source.map(|source| Informed {
                required: policy == Revocation::Require,
                source,
            }),
        })
    }

    /// Judges a chain; returns until when the verdict holds, if a list limits it, in seconds since
    /// 1970.
    pub(super) fn judge(&self, presented: &Presented<'_>) -> Result<Option<u64>, Error> {
        match &self.informed {
            None => presented.to(&self.plain).map(|()| None),
            Some(informed) => informed.judge(&self.plain, presented),
        }
    }
}

#[derive(Debug)]
struct Informed {
    required: bool,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Files(Arc<WebPkiServerVerifier>, Vec<Arc<List>>),
    Fetch(Fetching),
}

/// A place where a revocation list may be had.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// `http://…`
    pub(crate) url: String,
    /// Whether private, loopback and link-local addresses may be connected to for it.
    pub(crate) private_addresses: bool,
}

/// Where lists are fetched and kept.
pub(crate) trait Library: Send + Sync + fmt::Debug {
    /// Returns the lists of these places that can be had until `deadline`; some may be out of
    /// date.
    fn lists(&self, places: &[Place], deadline: Instant) -> Vec<Arc<List>>;

    /// Forgets the lists of these places: one of them is not what it says.
    fn reject(&self, places: &[Place]);
}

/// Lists that certificates name.
#[derive(Debug)]
struct Fetching {
    library: Option<Arc<dyn Library>>,
    private_addresses: bool,
    policy: Revocation,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    /// What was made of the last lists: reading them takes more than the rest of a handshake.
    made: Mutex<Option<Made>>,
}

/// Lists, and what judges by them.
type Made = (Vec<Arc<List>>, Arc<WebPkiServerVerifier>);

/// How long a verdict holds that had to do without a list.
const WITHOUT_LIST: u64 = 300;

impl Informed {
    fn judge(
        &self,
        plain: &WebPkiServerVerifier,
        presented: &Presented<'_>,
    ) -> Result<Option<u64>, Error> {
        match &self.source {
            Source::Files(webpki, lists) => {
                let verdict = self.ask(webpki, plain, presented)?;
                Ok(match (verdict, self.required) {
                    (Told::ByLists, true) => presented.until(lists),
                    (Told::ByLists | Told::Without, _) => None,
                })
            }
            Source::Fetch(fetching) => self.judge_fetched(fetching, plain, presented),
        }
    }

    /// Places are asked for only if the chain is good otherwise: nobody else is to send us there.
    fn judge_fetched(
        &self,
        fetching: &Fetching,
        plain: &WebPkiServerVerifier,
        presented: &Presented<'_>,
    ) -> Result<Option<u64>, Error> {
        let first = presented.to(plain);
        if !matches!(
            first,
            Ok(())
                | Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. }
                ))
        ) {
            return first.map(|()| None);
        }
        let places = presented.places(fetching.private_addresses);
        let lists = fetching.lists(&places, presented.deadline);
        let until = Some(presented.now.as_secs().saturating_add(WITHOUT_LIST));
        let Some(webpki) = fetching.webpki(&lists) else {
            return match self.required {
                true => Err(CertificateError::UnknownRevocationStatus.into()),
                false => first.map(|()| until),
            };
        };
        match self.ask(&webpki, plain, presented) {
            Ok(Told::ByLists) => Ok(presented.until(&lists).or(until)),
            Ok(Told::Without) => {
                fetching.reject(&places);
                Ok(until)
            }
            Err(error) => {
                if matches!(error, Error::InvalidCertRevocationList(_)) {
                    fetching.reject(&places);
                }
                Err(error)
            }
        }
    }

    fn ask(
        &self,
        webpki: &WebPkiServerVerifier,
        plain: &WebPkiServerVerifier,
        presented: &Presented<'_>,
    ) -> Result<Told, Error> {
        match presented.to(webpki) {
            // A list that its issuer did not sign says nothing.
            Err(Error::InvalidCertRevocationList(_)) if !self.required => {
                presented.to(plain).map(|()| Told::Without)
            }
            verdict => verdict.map(|()| Told::ByLists),
        }
    }
}

/// What an accepted chain was judged by.
enum Told {
    ByLists,
    Without,
}

impl Fetching {
    fn lists(&self, places: &[Place], deadline: Option<Instant>) -> Vec<Arc<List>> {
        let (Some(library), Some(deadline)) = (&self.library, deadline) else {
            return Vec::new();
        };
        // Half of the time is left for the rest of the exchange.
        let now = clock::now();
        let half = deadline.saturating_duration_since(now) / 2;
        library.lists(places, now + half)
    }

    fn reject(&self, places: &[Place]) {
        if let Some(library) = &self.library {
            library.reject(places);
        }
    }

    /// Returns what judges by these lists; `None` without any that can be read.
    fn webpki(&self, lists: &[Arc<List>]) -> Option<Arc<WebPkiServerVerifier>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, webpki)) = &*made
            && of.len() == lists.len()
            && of
                .iter()
                .zip(lists)
                .all(|(one, other)| Arc::ptr_eq(one, other))
        {
            return Some(Arc::clone(webpki));
        }
        let build = |lists: &[&List]| {
            let built = build(
                self.policy,
                lists.iter().copied(),
                &self.roots,
                &self.provider,
            );
            built.ok().filter(|_| !lists.is_empty())
        };
        let all: Vec<&List> = lists.iter().map(AsRef::as_ref).collect();
        let webpki = build(&all).or_else(|| {
            // One that can not be read must not hide what the others say.
            let good = all.iter().filter(|list| build(&[list]).is_some());
            build(&good.copied().collect::<Vec<_>>())
        })?;
        *made = Some((lists.to_vec(), Arc::clone(&webpki)));
        Some(webpki)
    }
}

fn build<'l>(
    policy: Revocation,
    lists: impl Iterator<Item = &'l List>,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .with_crls(list::in_order(lists));
    let builder = match policy {
        Revocation::Require => builder.enforce_revocation_expiration(),
        Revocation::Off | Revocation::Check => builder.allow_unknown_revocation_status(),
    };
    builder.build().map_err(|error| error.to_string())
}

impl Presented<'_> {
    fn to(&self, webpki: &WebPkiServerVerifier) -> Result<(), Error> {
        webpki
            .verify_server_cert(
                self.leaf,
                self.intermediates,
                self.server,
                self.ocsp,
                self.now,
            )
            .map(drop)
    }

    /// Returns when the first of the lists about the chain is due, in seconds since 1970.
    fn until(&self, lists: &[Arc<List>]) -> Option<u64> {
        let chain: Vec<_> = self
            .ders()
            .filter_map(|one| Certificate::read(one))
            .collect();
        let lists = lists.iter().filter(|list| list.is_about(&chain));
        lists
            .map(|list| list.next_update)
            .filter(|end| *end >= self.now.as_secs())
            .min()
    }

    /// Returns where the certificates of the chain say that lists are, each once.
    fn places(&self, private_addresses: bool) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        for url in self.ders().filter_map(|one| list::url_in(one)) {
            let place = Place {
                url,
                private_addresses,
            };
            if places.len() < MAX_PLACES && !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    fn ders(&self) -> impl Iterator<Item = &CertificateDer<'_>> {
        std::iter::once(self.leaf).chain(self.intermediates)
    }
}

/// Places that one chain may send us to.
const MAX_PLACES: usize = 4;
