//! Reads roots, revocation lists and client certificates anew when their files change.
//!
//! Each endpoint keeps what it trusts if its files have become unusable: half of a renewed pair
//! of certificate and key would be, for a moment, and a server that nobody reaches helps nobody.

use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;

use log::{error, info};

use super::watch::Watch;
use crate::config::Stamp;
use crate::core::endpoint::Endpoint;
use crate::core::few::Few;
use crate::io::http::workers::Trusting;
use crate::io::task::aside;
use crate::io::tls::roots;

/// How files were before they were read.
pub(crate) type Stamps = Few<PathBuf, Stamp>;

/// The endpoints whose trust is made of files, each with how those were.
pub(crate) struct TrustWatch {
    watch: Option<Watch>,
    endpoints: Vec<(Trusting, Vec<Stamp>)>,
}

impl TrustWatch {
    /// Notes how the files of all endpoints are; to be called before they are read.
    pub(crate) fn stamps(endpoints: &[Arc<Endpoint>]) -> Stamps {
        let mut stamps = Stamps::default();
        for endpoint in endpoints {
            let trust = &endpoint.trust;
            let others = trust.files().into_iter().map(ToOwned::to_owned);
            for file in roots::files(&trust.roots).into_iter().chain(others) {
                if !stamps.contains(&file) {
                    let stamp = Stamp::of(&file);
                    stamps.insert(file, stamp);
                }
            }
        }
        stamps
    }

    /// Watches the files since they had these stamps. Has to be called within the event loop.
    pub(crate) fn new(endpoints: Vec<Trusting>, stamps: &Stamps) -> Self {
        let seen = |file: &PathBuf| stamps.get(file).copied().unwrap_or_default();
        let with_stamps = |it: Trusting| {
            let seen = it.files.iter().map(seen).collect();
            (it, seen)
        };
        let endpoints: Vec<_> = endpoints.into_iter().map(with_stamps).collect();
        let files = stamps.iter().map(|(file, stamp)| (file.clone(), *stamp));
        Self {
            watch: (!endpoints.is_empty()).then(|| Watch::new(files.collect())),
            endpoints,
        }
    }

    /// Watches for other endpoints from now on. What changed of a file that was watched already
    /// and was not taken over yet will be.
    pub(crate) fn replace(&mut self, endpoints: Vec<Trusting>, mut stamps: Stamps) {
        for (endpoint, seen) in &self.endpoints {
            for (file, stamp) in endpoint.files.iter().zip(seen) {
                if let Some(known) = stamps.get_mut(file) {
                    *known = *stamp;
                }
            }
        }
        *self = Self::new(endpoints, &stamps);
    }

    /// Waits until a file has changed; dropping the future forgets nothing.
    pub(crate) async fn changed(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.changed().await,
            None => pending().await,
        }
    }

    /// Takes over what has changed.
    pub(crate) async fn take_over(&mut self) {
        for (endpoint, seen) in &mut self.endpoints {
            let found: Vec<Stamp> = endpoint.files.iter().map(|it| Stamp::of(it)).collect();
            if found != *seen {
                *seen = found;
                reload(endpoint).await;
            }
        }
    }
}

async fn reload(endpoint: &Trusting) {
    let name = endpoint.name();
    match aside(endpoint.reload()).await {
        Ok(Ok(())) => info!(
            "endpoint `{name}`: what it trusts or shows was read anew; its connections begin anew"
        ),
        Ok(Err(what)) => {
            error!("endpoint `{name}`: {what}; until then it trusts and shows what it did before");
        }
        Err(fault) => error!("a fault of this program ended the reading of certificates: {fault}"),
    }
}
