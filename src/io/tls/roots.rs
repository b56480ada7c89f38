//! Trusted roots: compiled in, from the operating system, or from PEM files.
//!
//! Reads and parses; whom an endpoint trusts is decided by its configuration.

use std::fmt;
use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::core::endpoint::Roots;
use crate::io::tls::certificate::{self, Certificate, date};

/// Trusted roots. WebPKI takes of a root no more than name and key, so its dates are kept here.
#[derive(Debug)]
pub(crate) struct Trusted {
    store: Arc<RootCertStore>,
    /// Begin and end of each root of the store, seconds since 1970; none for the compiled ones,
    /// which come without.
    lives: Vec<(u64, u64)>,
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
        let (mut store, mut lives) = (RootCertStore::empty(), Vec::new());
        for certificate in certificates {
            let read = Certificate::read(&certificate);
            if store.add(certificate).is_ok() {
                lives.push(read.map_or((0, u64::MAX), |one| (one.not_before, one.not_after)));
            }
        }
        Self {
            store: Arc::new(store),
            lives,
        }
    }

    /// Returns the roots as WebPKI takes them.
    pub(crate) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }

    /// Returns the roots that are valid at this time, in seconds since 1970; `None` if all are.
    pub(crate) fn valid_at(&self, now: u64) -> Option<RootCertStore> {
        let mut all = self.lives.iter();
        if all.all(|life| is_within(*life, now)) {
            return None;
        }
        let lives = self.lives.iter();
        let valid = self.store.roots.iter().zip(lives);
        let valid = valid.filter(|(_, life)| is_within(**life, now));
        let roots = valid.map(|(root, _)| root.clone()).collect();
        Some(RootCertStore { roots })
    }

    /// Returns when the next of the roots ends, in seconds since 1970; `None` if none does.
    pub(crate) fn next_end(&self, now: u64) -> Option<u64> {
        let ends = self.lives.iter().map(|(_, end)| *end);
        ends.filter(|end| *end >= now).min()
    }

    /// Returns why a chain is refused that needs a root which is not valid now.
    pub(crate) fn outdated_issuer(&self, chain: &[Certificate], now: u64) -> Option<OutOfDate> {
        let roots = self.store.roots.iter().zip(&self.lives);
        let issued = |subject: &[u8]| chain.iter().any(|one| one.names_anchor(subject));
        let mut outdated = roots.filter(|(_, life)| !is_within(**life, now));
        let (root, (begin, end)) = outdated.find(|(root, _)| issued(&root.subject))?;
        let ended = now > *end;
        Some(OutOfDate {
            name: certificate::name_of(&root.subject),
            ended,
            at: if ended { *end } else { *begin },
        })
    }
}

fn is_within((begin, end): (u64, u64), now: u64) -> bool {
    (begin..=end).contains(&now)
}

/// The root that signed a chain is not valid at this time.
#[derive(Debug)]
pub(crate) struct OutOfDate {
    name: String,
    /// Whether it is over; else it is still to come.
    pub(crate) ended: bool,
    /// When it ended or begins, seconds since 1970.
    at: u64,
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, date) = (&self.name, date(self.at));
        match self.ended {
            true => write!(f, "root {name} expired {date}"),
            false => write!(f, "root {name} not valid before {date}"),
        }
    }
}

impl std::error::Error for OutOfDate {}

/// Loads the roots of an endpoint.
///
/// # Errors
/// Names the file that cannot be read, holds no certificate, or holds a malformed one.
pub(crate) fn load(roots: &Roots) -> Result<Arc<Trusted>, String> {
    match roots {
        Roots::Bundled => Ok(bundled()),
        Roots::System => system(),
        Roots::None => Ok(Arc::new(Trusted::of(std::iter::empty()))),
        Roots::Files(files) => {
            let mut certificates = Vec::new();
            for file in files {
                add_file(&mut certificates, file)?;
            }
            Ok(Arc::new(Trusted::of(certificates.into_iter())))
        }
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
        lives: Vec::new(),
    };
    Arc::clone(BUNDLED.get_or_init(|| Arc::new(roots())))
}

fn system() -> Result<Arc<Trusted>, String> {
    let found = rustls_native_certs::load_native_certs();
    // Systems carry a few roots that no longer parse; they are worth nothing to us either.
    let roots = Trusted::of(found.certs.into_iter());
    if !roots.is_empty() {
        return Ok(Arc::new(roots));
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
    use crate::io::http::support::certificates::{Authority, TemporaryFile};
    use crate::io::tls::certificate::date;

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
}
