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
        Roots::Files(files) => {
            let mut store = RootCertStore::empty();
            for file in files {
                add_file(&mut store, file)?;
            }
            Ok(Arc::new(store))
        }
    }
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

fn add_file(store: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let shown = file.display();
    let text = fs::read(file).map_err(|error| {
        let cause = error.to_string();
        let cause = cause.split(" (os error").next().unwrap_or_default();
        format!(
            "roots file `{shown}` cannot be read: {}",
            cause.to_lowercase()
        )
    })?;
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
