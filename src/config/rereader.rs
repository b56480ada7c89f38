//! bridge.toml, read again while the bridge runs.
//!
//! Decides what is read anew: the file as it is now, or the text that is in force with the files
//! that it names. So a secret can be replaced while bridge.toml is being edited.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Config, Loaded, Stamp};

/// What it takes to read a configuration again.
#[derive(Clone, Debug, Default)]
pub struct Rereader {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
    /// Addresses that stand in place of those of the file.
    pub(super) listen: Option<Vec<SocketAddr>>,
    pub(super) secret_files: Vec<(PathBuf, Stamp)>,
}

impl Rereader {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Returns the files that hold secrets, with their stamps from before they were read.
    pub fn secret_files(&self) -> &[(PathBuf, Stamp)] {
        &self.secret_files
    }

    /// Reads the file as it is now, and the files that it names.
    ///
    /// # Errors
    /// Returns every mistake, in file order.
    pub fn read(&self) -> Loaded {
        self.with_listeners(Config::load(&self.path))
    }

    /// Reads the files that the text names which is in force.
    ///
    /// # Errors
    /// Returns every mistake, in file order.
    pub fn read_named_files(&self) -> Loaded {
        let environment = |name: &str| std::env::var(name).ok();
        let loaded = Config::parse(&self.path, &self.text, &environment);
        self.with_listeners(loaded)
    }

    fn with_listeners(&self, loaded: Loaded) -> Loaded {
        let (mut config, warnings) = loaded?;
        if let Some(listen) = &self.listen {
            config.listen_instead(listen.clone());
        }
        Ok((config, warnings))
    }
}

impl Config {
    /// Listens at these addresses in place of those of the file, also when that is read again.
    pub fn listen_instead(&mut self, addresses: Vec<SocketAddr>) {
        self.rereader.listen = Some(addresses.clone());
        self.broker.listen = addresses;
    }
}
