//! Reads the listener's certificate and key again when they have changed.
//!
//! The two are replaced one after the other, so for a moment they may not belong together: a pair
//! that cannot be used changes nothing, and the next change is looked at anew.

use log::{error, info};

use crate::config::{Stamp, TlsListener};
use crate::io::task::aside;
use crate::io::tls::listener::Acceptor;
use crate::io::watch::Watch;

/// The files of the listener and how they were when they were last read.
#[derive(Debug)]
pub(crate) struct CertificateWatch {
    files: TlsListener,
    watch: Watch,
}

impl CertificateWatch {
    /// Watches from now on; has to be called within the event loop.
    pub(crate) fn new(files: TlsListener) -> Self {
        let all = [
            Some(&files.certificate),
            Some(&files.key),
            files.client_ca.as_ref(),
        ];
        let all = all.into_iter().flatten();
        let stamped = all.map(|file| (file.clone(), Stamp::of(file)));
        Self {
            watch: Watch::new(stamped.collect()),
            files,
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// Names the one that is wrong and says what to do.
    pub(crate) fn load(&self) -> Result<Acceptor, String> {
        Acceptor::load(&self.files).inspect(tell)
    }

    /// Returns what reads the files, which takes its time.
    pub(crate) fn loading(&self) -> impl FnOnce() -> Result<Acceptor, String> + Send + 'static {
        let files = self.files.clone();
        move || Acceptor::load(&files)
    }

    /// Returns whether these are the files that are watched.
    pub(crate) fn watches(&self, files: &TlsListener) -> bool {
        let own = &self.files;
        own.certificate == files.certificate
            && own.key == files.key
            && own.client_ca == files.client_ca
    }

    /// Waits until the files have changed; returns what they hold now if it can be used.
    pub(crate) async fn changed(&mut self) -> Option<Acceptor> {
        self.watch.changed().await;
        let files = self.files.clone();
        match aside(move || Acceptor::load(&files)).await {
            Ok(Ok(acceptor)) => {
                tell(&acceptor);
                Some(acceptor)
            }
            Ok(Err(error)) => {
                error!("the certificate of the listener stays as it was: {error}");
                None
            }
            Err(fault) => {
                error!("a fault of this program ended the reading of a certificate: {fault}");
                None
            }
        }
    }
}

fn tell(acceptor: &Acceptor) {
    info!("certificate of the listener: {}", acceptor.shown);
}
