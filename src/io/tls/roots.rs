//! Trusted roots: compiled in, from the operating system, or from PEM files.
//!
//! Reads and parses; whom an endpoint trusts is decided by its configuration.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::core::endpoint::Roots;

/// Loads the roots of an endpoint.
///
/// # Errors
/// Names the file that cannot be read, holds no certificate, or holds a malformed one.
pub(crate) fn load(roots: &Roots) -> Result<Arc<RootCertStore>, String> {
    match roots {
        Roots::Bundled => Ok(bundled()),
        Roots::System => system(),
        Roots::None => Ok(Arc::new(RootCertStore::empty())),
        Roots::Files(files) => {
            let mut store = RootCertStore::empty();
            for file in files {
                add_file(&mut store, file)?;
            }
            Ok(Arc::new(store))
        }
    }
}

/// Returns a store of one root, for tests.
#[cfg(test)]
pub(crate) fn only(root: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(root.clone()).unwrap();
    Arc::new(store)
}

/// Mozilla's roots: one copy for all endpoints, made when the first needs it.
fn bundled() -> Arc<RootCertStore> {
    static BUNDLED: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = || RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    Arc::clone(BUNDLED.get_or_init(|| Arc::new(roots())))
}

fn system() -> Result<Arc<RootCertStore>, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Systems carry a few roots that no longer parse; they are worth nothing to us either.
    store.add_parsable_certificates(found.certs);
    if !store.is_empty() {
        return Ok(Arc::new(store));
    }
    let cause = match found.errors.first() {
        Some(error) => format!(": {error}"),
        None => String::new(),
    };
    Err(format!(
        "no trusted roots on this system{cause}; install ca-certificates or use roots = \"bundled\""
    ))
}

/// Reads a file whole; `what` is the key that names it.
///
/// # Errors
/// Names the file and says why it cannot be read.
pub(super) fn read(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        let (shown, cause) = (file.display(), error.to_string());
        let cause = cause.split(" (os error").next().unwrap_or_default();
        let cause = cause.to_lowercase();
        format!("{what} file `{shown}` cannot be read: {cause}")
    })
}

fn add_file(store: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let text = read("roots", file)?;
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        count += 1;
        let malformed = || format!("roots file `{shown}`: certificate {count} is malformed");
        let certificate = certificate.map_err(|_| malformed())?;
        store.add(certificate).map_err(|_| malformed())?;
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
    use std::path::PathBuf;

    use super::*;
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
    fn bundled_roots_are_one_copy() {
        let one = load(&Roots::Bundled).unwrap();
        assert!(one.len() > 50);
        assert!(Arc::ptr_eq(&one, &load(&Roots::Bundled).unwrap()));
    }
}
