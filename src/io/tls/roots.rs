//! Trusted roots: compiled in, from the operating system, or from PEM files.
//!
//! Reads and parses; whom an endpoint trusts is decided by its configuration.

use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::VerifiedPath;

use crate::core::endpoint::Roots;
use crate::io::tls::anchor::{Facts, Forbidden, OutOfDate};
use crate::io::tls::certificate::{self, Certificate};
use crate::io::tls::der::contents;
use crate::io::tls::shelf::SHELF;

/// Trusted roots.
#[derive(Debug)]
pub(crate) struct Trusted {
    store: Arc<RootCertStore>,
    /// What each root of the store says of itself; nothing of the compiled ones, which come
    /// without.
    facts: Vec<Facts>,
}

impl Deref for Trusted {
    type Target = RootCertStore;

    fn deref(&self) -> &RootCertStore {
        &self.store
    }
}

impl Trusted {
    /// Takes those of the certificates that can be used as roots.
    fn of(certificates: impl Iterator<Item = CertificateDer<'static>>) -> Self {
        let (mut store, mut facts) = (RootCertStore::empty(), Vec::new());
        for certificate in certificates {
            let read = Certificate::read(&certificate);
            if store.add(certificate).is_ok() {
                facts.push(Facts::of(read.as_ref()));
            }
        }
        Self {
            store: Arc::new(store),
            facts,
        }
    }

    /// Returns the roots as WebPKI takes them.
    pub(crate) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    fn with_facts(&self) -> impl Iterator<Item = (&TrustAnchor<'static>, &Facts)> {
        self.store.roots.iter().zip(&self.facts)
    }

    /// Returns the roots that are valid at this time, in seconds since 1970; `None` if all are.
    pub(crate) fn valid_at(&self, now: u64) -> Option<RootCertStore> {
        if self.facts.iter().all(|facts| facts.is_valid(now)) {
            return None;
        }
        let valid = self.with_facts().filter(|(_, facts)| facts.is_valid(now));
        let roots = valid.map(|(root, _)| root.clone()).collect();
        Some(RootCertStore { roots })
    }

    /// Returns when the next of the roots ends, in seconds since 1970; `None` if none does.
    pub(crate) fn next_end(&self, now: u64) -> Option<u64> {
        let ends = self.facts.iter().map(Facts::end);
        ends.filter(|end| *end >= now).min()
    }

    /// Returns why a chain is refused that needs a root which is not valid now.
    pub(crate) fn outdated_issuer(&self, chain: &[Certificate], now: u64) -> Option<OutOfDate> {
        let issued = |subject: &[u8]| chain.iter().any(|one| one.names_anchor(subject));
        let mut issuers = self.with_facts().filter(|(root, _)| issued(&root.subject));
        issuers
            .find_map(|(root, facts)| facts.out_of_date(&certificate::name_of(&root.subject), now))
    }

    /// Returns why the root that signed a certificate is not valid now; `None` if one is that did,
    /// or none did.
    pub(crate) fn outdated_signer(&self, top: &Certificate, now: u64) -> Option<OutOfDate> {
        let key = |root: &TrustAnchor<'_>| root.subject_public_key_info.to_vec();
        let mut signers = self
            .with_facts()
            .filter(|(root, _)| top.names_anchor(&root.subject))
            .filter(|(root, _)| top.is_signed_with(&key(root)) == Some(true))
            .peekable();
        let name = certificate::name_of(&signers.peek()?.0.subject);
        let all: Option<Vec<OutOfDate>> = signers
            .map(|(_, facts)| facts.out_of_date(&name, now))
            .collect();
        all?.into_iter().next()
    }

    /// Whether a root limits what may be below it that has issued one of these certificates.
    pub(crate) fn limit<'c>(&self, chain: impl Iterator<Item = &'c [u8]>) -> bool {
        let limiting = || self.with_facts().filter(|(_, facts)| facts.limits());
        if limiting().next().is_none() {
            return false;
        }
        let issuers = chain.filter_map(certificate::issuer_of);
        let mut issuers = issuers.map(contents);
        issuers.any(|issuer| limiting().any(|(root, _)| *root.subject == *issuer))
    }

    /// Returns why a path may not end at its root. Of several certificates of a root one that
    /// allows it is enough.
    pub(crate) fn forbid(&self, path: &VerifiedPath<'_>) -> Option<Forbidden> {
        let anchor = path.anchor();
        let is_anchor = |root: &TrustAnchor<'_>| {
            root.subject == anchor.subject
                && root.subject_public_key_info == anchor.subject_public_key_info
        };
        let leaf = path.end_entity();
        if *leaf.subject() == *anchor.subject
            && contents(&leaf.subject_public_key_info()) == &*anchor.subject_public_key_info
        {
            return None;
        }
        let below = path.intermediate_certificates().count();
        let same = self.with_facts().filter(|(root, _)| is_anchor(root));
        let all: Option<Vec<String>> = same.map(|(_, facts)| facts.forbids(below)).collect();
        let why = all?.into_iter().next()?;
        let name = certificate::name_of(&anchor.subject);
        Some(Forbidden { name, why })
    }
}

/// Loads the roots of an endpoint. All that name the same share one copy.
///
/// # Errors
/// Names the file that cannot be read, holds no certificate, or holds a malformed one.
pub(crate) fn load(roots: &Roots) -> Result<Arc<Trusted>, String> {
    match roots {
        Roots::Bundled => Ok(bundled()),
        Roots::None => Ok(Arc::new(Trusted::of(std::iter::empty()))),
        Roots::System => SHELF.take(&[files(roots), directories()].concat(), &system),
        Roots::Files(paths) => SHELF.take(paths, &|| {
            let mut certificates = Vec::new();
            for file in paths {
                add_file(&mut certificates, file)?;
            }
            Ok(Trusted::of(certificates.into_iter()))
        }),
    }
}

/// Returns the files that roots are read from, as far as they are known.
pub(crate) fn files(roots: &Roots) -> Vec<PathBuf> {
    match roots {
        Roots::Bundled | Roots::None => Vec::new(),
        Roots::Files(files) => files.clone(),
        Roots::System => match std::env::var_os("SSL_CERT_FILE") {
            Some(file) => vec![file.into()],
            None => SYSTEM.iter().map(PathBuf::from).collect(),
        },
    }
}

/// Returns where systems keep their roots in a file for each.
fn directories() -> Vec<PathBuf> {
    match std::env::var_os("SSL_CERT_DIR") {
        Some(directories) => std::env::split_paths(&directories).collect(),
        None => ["/etc/ssl/certs", "/etc/pki/tls/certs"]
            .map(PathBuf::from)
            .to_vec(),
    }
}

/// Where systems keep all their roots in one file.
const SYSTEM: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Returns a store of one root, for tests.
#[cfg(test)]
pub(crate) fn only(root: &CertificateDer<'static>) -> Arc<Trusted> {
    Arc::new(Trusted::of(std::iter::once(root.clone())))
}

/// When the compiled-in roots were published (webpki-roots 1.0.10), seconds since 1970:
/// 2026-10-19.
pub(crate) const BUNDLED_SINCE: u64 = 1_792_440_692;

/// Mozilla's roots: one copy for all endpoints, made when the first needs it.
fn bundled() -> Arc<Trusted> {
    static BUNDLED: OnceLock<Arc<Trusted>> = OnceLock::new();
    let roots = || Trusted {
        store: Arc::new(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        }),
        facts: Vec::new(),
    };
    Arc::clone(BUNDLED.get_or_init(|| Arc::new(roots())))
}

fn system() -> Result<Trusted, String> {
    let found = rustls_native_certs::load_native_certs();
    // Systems carry a few roots that no longer parse; they are worth nothing to us either.
    let roots = Trusted::of(found.certs.into_iter());
    if !roots.is_empty() {
        return Ok(roots);
    }
    let cause = match found.errors.first() {
        Some(error) => format!(": {error}"),
        None => String::new(),
    };
    Err(format!(
        "no trusted roots on this system{cause}; install ca-certificates or use roots = \"bundled\""
    ))
}

/// Longest file with certificates, keys or lists, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// Reads a file whole; `what` is the key that names it.
///
/// # Errors
/// Names the file and says why it cannot be read, or that it is longer than 8 MiB.
pub(super) fn read(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let opened = fs::File::open(file);
    let read = opened.and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    let read = read.map_err(|error| {
        let cause = error.to_string();
        let cause = cause.split(" (os error").next().unwrap_or_default();
        let cause = cause.to_lowercase();
        format!("{what} file `{shown}` cannot be read: {cause}")
    })?;
    match u64::try_from(read) {
        Ok(length) if length <= MAX_FILE => Ok(bytes),
        _ => Err(format!(
            "{what} file `{shown}` is longer than 8 MiB; name a smaller one"
        )),
    }
}

fn add_file(certificates: &mut Vec<CertificateDer<'static>>, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let text = read("roots", file)?;
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        count += 1;
        let malformed = || format!("roots file `{shown}`: certificate {count} is malformed");
        let certificate = certificate.map_err(|_| malformed())?;
        // Tried here, where it is known which one it is.
        let added = RootCertStore::empty().add(certificate.clone());
        added.map_err(|_| malformed())?;
        certificates.push(certificate);
    }
    if count == 0 {
        return Err(format!(
            "roots file `{shown}` holds no certificate; expected PEM with BEGIN CERTIFICATE"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::date;
    use crate::io::http::support::certificates::{Authority, TemporaryFile};

    fn load_file(path: &Path) -> Result<usize, String> {
        load(&Roots::Files(vec![path.to_owned()])).map(|store| store.len())
    }

    #[test]
    fn pem_files_are_read_with_whatever_stands_between_the_certificates() {
        let (one, two) = (Authority::new("one"), Authority::new("two"));
        let text = format!("# first\n{}\n# second\n{}", one.root_pem(), two.root_pem());
        let file = TemporaryFile::new("roots.pem", text.as_bytes());
        assert_eq!(load_file(file.path()), Ok(2));
    }

    #[test]
    fn a_file_that_gives_no_roots_is_named_with_the_reason() {
        let root = Authority::new("test").root_pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, reason) in [
            (
                String::new(),
                "holds no certificate; expected PEM with BEGIN CERTIFICATE",
            ),
            (
                "hello".to_owned(),
                "holds no certificate; expected PEM with BEGIN CERTIFICATE",
            ),
            (broken.to_owned(), "certificate 1 is malformed"),
            (format!("{root}{broken}"), "certificate 2 is malformed"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n".to_owned(),
                "certificate 1 is malformed",
            ),
        ] {
            let file = TemporaryFile::new("roots.pem", text.as_bytes());
            let error = load_file(file.path()).unwrap_err();
            let name = file.path().display().to_string();
            assert!(error.contains(&name), "{error}");
            assert!(error.ends_with(reason), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_file(&PathBuf::from("/nonexistent/roots.pem")).unwrap_err();
        assert_eq!(
            error,
            "roots file `/nonexistent/roots.pem` cannot be read: no such file or directory"
        );
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let error = load_file(&PathBuf::from("/dev/zero")).unwrap_err();
        assert_eq!(
            error,
            "roots file `/dev/zero` is longer than 8 MiB; name a smaller one"
        );
    }

    #[test]
    fn the_age_of_the_bundled_roots_is_that_of_the_locked_version() {
        let lock = include_str!("../../../Cargo.lock");
        // Another version: correct BUNDLED_SINCE by `pubtime` in the registry's index.
        let locked = "name = \"webpki-roots\"\nversion = \"1.0.10\"\n";
        assert!(lock.contains(locked));
        assert_eq!(date(BUNDLED_SINCE), "2026-10-19");
    }

    #[test]
    fn bundled_roots_are_one_copy() {
        let one = load(&Roots::Bundled).unwrap();
        assert!(one.len() > 50);
        assert!(Arc::ptr_eq(&one, &load(&Roots::Bundled).unwrap()));
    }

    #[test]
    fn roots_of_the_same_files_are_one_copy_until_they_change() {
        let file = TemporaryFile::new("roots.pem", Authority::new("one").root_pem().as_bytes());
        let roots = Roots::Files(vec![file.path().to_owned()]);
        let before = load(&roots).unwrap();
        assert!(Arc::ptr_eq(&before, &load(&roots).unwrap()));
        file.replace(Authority::new("two").root_pem().as_bytes());
        let after = load(&roots).unwrap();
        assert_ne!(after.roots[0].subject, before.roots[0].subject);
        assert!(Arc::ptr_eq(&after, &load(&roots).unwrap()));
    }
}
