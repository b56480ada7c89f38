//! Keeps what runs as its files say: takes over the configuration when it is read again, and
//! users, certificates, roots, secrets and addresses as soon as their files change.
//!
//! All or nothing: what can fail is read and prepared first, beside the loop, and then everything
//! is replaced between two packets. With one mistake all stays as it was. One task does it, so no
//! two changes get into each other's way.

use std::future::pending;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use log::{error, info, warn};
use tokio::time::sleep;

use super::gateway::Gateway;
use super::shared::Shared;
use super::{RETRY, announce, guard};
use crate::config::{
    Config, Loaded, Rereader, Stamp, StoreSettings, UsersReader, Warning, default_socket,
};
use crate::core::endpoint::{Endpoint, Roots};
use crate::io::bell::Bell;
use crate::io::broker::listener::certificates::CertificateWatch;
use crate::io::broker::listener::doors::Doors;
use crate::io::http::workers::Prepared;
use crate::io::task::aside;
use crate::io::tls::listener::Acceptor;
use crate::io::trust_watch::{Stamps, TrustWatch};
use crate::io::users_watch::UsersWatch;
use crate::io::watch::Watch;

/// Everything that follows files.
pub(super) struct Keeper {
    shared: Rc<Shared>,
    /// Rings when the configuration is to be read again.
    reload: Rc<Bell>,
    doors: Doors,
    users: UsersWatch,
    trust: TrustWatch,
    certificates: Option<CertificateWatch>,
    /// Files that hold secrets or addresses, if there are any.
    named_files: Option<Watch>,
    rereader: Rereader,
    settled: Settled,
}

/// What stays until the next start.
pub(super) struct Settled {
    gateway: Arc<str>,
    status_socket: Option<PathBuf>,
    store: Option<StoreSettings>,
}

impl Settled {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            gateway: Arc::clone(&config.gateway),
            status_socket: config.status_socket.clone(),
            store: config.store.clone(),
        }
    }
}

/// What the files are watched for.
pub(super) struct Watched {
    pub(super) trust: TrustWatch,
    pub(super) certificates: Option<CertificateWatch>,
    pub(super) users: UsersReader,
    pub(super) rereader: Rereader,
}

/// What has to be done.
enum Task {
    Users,
    Trust,
    Certificates(Option<Acceptor>),
    Named,
    Reload,
    Listen,
}

/// A configuration of which everything has been read.
struct Ready {
    config: Config,
    endpoints: Prepared,
    stamps: Stamps,
    /// With the watch of its files, if there is a listener with TLS whose files are others.
    acceptor: Option<(CertificateWatch, Acceptor)>,
}

impl Keeper {
    /// Begins to follow; has to be called within the event loop.
    pub(super) fn new(
        shared: &Rc<Shared>,
        doors: Doors,
        watched: Watched,
        settled: Settled,
    ) -> Self {
        shared.set_rereader(watched.rereader.clone());
        Self {
            shared: Rc::clone(shared),
            reload: Rc::default(),
            doors,
            users: UsersWatch::new(watched.users),
            trust: watched.trust,
            certificates: watched.certificates,
            named_files: named_files(&watched.rereader),
            rereader: watched.rereader,
            settled,
        }
    }

    /// Returns what has the configuration read again when it rings.
    pub(super) fn reload(&self) -> Rc<Bell> {
        Rc::clone(&self.reload)
    }

    /// Follows for as long as the event loop runs.
    pub(super) async fn keep(mut self) {
        loop {
            match self.next().await {
                Task::Users => {
                    if let Some(users) = self.users.read().await {
                        guard(&self.shared, "the replacement of users", || {
                            self.shared.replace_users(users);
                            info!("who may connect: {}", self.shared.logins().describe());
                        });
                    }
                    self.adjust();
                }
                Task::Trust => {
                    self.trust.take_over().await;
                    self.shared.with(Gateway::probe);
                }
                Task::Certificates(acceptor) => {
                    acceptor
                        .into_iter()
                        .for_each(|it| self.shared.replace_acceptor(it));
                }
                Task::Named => {
                    info!("a file with a secret or with addresses has changed");
                    let rereader = self.rereader.clone();
                    self.read(move || rereader.read_named_files()).await;
                }
                Task::Reload => {
                    let rereader = self.rereader.clone();
                    self.read(move || rereader.read()).await;
                }
                Task::Listen => self.adjust(),
            }
        }
    }

    async fn next(&mut self) -> Task {
        let named_files = async {
            match &mut self.named_files {
                Some(files) => files.changed().await,
                None => pending().await,
            }
        };
        let certificates = async {
            match &mut self.certificates {
                Some(certificates) => certificates.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.reload.rung() => Task::Reload,
            () = self.users.changed() => Task::Users,
            () = self.trust.changed() => Task::Trust,
            acceptor = certificates => Task::Certificates(acceptor),
            () = named_files => Task::Named,
            () = sleep(RETRY), if self.doors.wait_for_addresses() => Task::Listen,
        }
    }

    /// Reads a configuration and puts it in force, or tells why not.
    async fn read(&mut self, read: impl FnOnce() -> Loaded + Send + 'static) {
        let errors = match self.prepare(read).await {
            Ok((ready, warnings)) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                self.put_in_force(ready).await;
                return;
            }
            Err(errors) => errors,
        };
        for line in &errors {
            error!("{line}");
        }
        error!("not reloaded: what ran before goes on");
        self.shared
            .with(|gateway, now| gateway.books.refuse(errors, now));
    }

    async fn prepare(
        &self,
        read: impl FnOnce() -> Loaded + Send + 'static,
    ) -> Result<(Ready, Vec<Warning>), Vec<String>> {
        let fault = |fault| {
            vec![format!(
                "a fault of this program ended the reading: {fault}"
            )]
        };
        let (config, warnings) = match aside(read).await.map_err(fault)? {
            Ok(read) => read,
            Err(errors) => return Err(errors.iter().map(ToString::to_string).collect()),
        };
        let prepare = self.shared.prepare(&config.endpoints);
        let endpoints = config.endpoints.clone();
        let load = move || (TrustWatch::stamps(&endpoints), prepare());
        let (stamps, endpoints) = aside(load).await.map_err(fault)?;
        let mut errors = Vec::new();
        let endpoints = endpoints.map_err(|error| errors.push(error)).ok();
        let known = self.certificates.as_ref();
        let other = config.broker.tls.as_ref();
        let other = other.filter(|files| known.is_none_or(|known| !known.watches(files)));
        let watch = other.map(|files| CertificateWatch::new(files.clone()));
        let mut acceptor = None;
        if let Some(watch) = watch {
            match aside(watch.loading()).await.map_err(fault)? {
                Ok(loaded) => acceptor = Some((watch, loaded)),
                Err(error) => errors.push(format!("[broker] tls: {error}")),
            }
        }
        match endpoints {
            Some(endpoints) if errors.is_empty() => {
                let ready = Ready {
                    config,
                    endpoints,
                    stamps,
                    acceptor,
                };
                Ok((ready, warnings))
            }
            _ => Err(errors),
        }
    }

    async fn put_in_force(&mut self, ready: Ready) {
        let Ready {
            config,
            endpoints,
            stamps,
            acceptor,
        } = ready;
        self.tell_what_waits(&config);
        let shared = Rc::clone(&self.shared);
        guard(&shared, "the replacement of the configuration", || {
            self.shared.reconfigure(&config, endpoints);
        });
        if let Some((watch, acceptor)) = acceptor {
            info!("certificate of the listener: {}", acceptor.shown);
            self.shared.replace_acceptor(acceptor);
            self.certificates = Some(watch);
        }
        if config.broker.tls.is_none() {
            self.certificates = None;
        }
        self.users = UsersWatch::new(config.users_reader);
        self.named_files = named_files(&config.rereader);
        self.shared.set_rereader(config.rereader.clone());
        self.rereader = config.rereader;
        self.trust.replace(self.shared.trusting(), stamps);
        self.doors.change(&config.broker, &self.shared).await;
        self.adjust();
        announce(&config.endpoints, &config.routes, &self.shared);
        info!("the configuration {} is in force", config.id);
    }

    /// Opens and closes listeners as needed, and notes how they are.
    fn adjust(&mut self) {
        let (doors, shared) = (&mut self.doors, &self.shared);
        guard(shared, "the opening of listeners", || {
            doors.adjust(shared);
            shared.with(|gateway, _| {
                gateway.books.listeners = doors.listeners();
                gateway.books.change();
            });
        });
    }

    fn tell_what_waits(&self, config: &Config) {
        let Settled {
            gateway,
            status_socket,
            store,
        } = &self.settled;
        let socket = config.status_socket.clone();
        // Without one, the file says nothing, and the default is in force.
        let socket = socket.unwrap_or_else(|| default_socket(&config.path));
        let stays = status_socket.as_ref().is_none_or(|known| *known == socket);
        let fixed = [
            ("[gateway] name", config.gateway == *gateway),
            ("[gateway] status_socket", stays),
            ("[store]", config.store == *store),
        ];
        for (what, _) in fixed.iter().filter(|(_, same)| !same) {
            warn!("{what} takes effect at the next start");
        }
    }
}

fn named_files(rereader: &Rereader) -> Option<Watch> {
    let files: Vec<(_, Stamp)> = rereader.named_files().to_vec();
    (!files.is_empty()).then(|| Watch::new(files))
}

/// Returns whether an endpoint trusts the bundled roots.
pub(super) fn trusts_bundled(endpoint: &Arc<Endpoint>) -> bool {
    endpoint.trust.roots == Roots::Bundled
}
