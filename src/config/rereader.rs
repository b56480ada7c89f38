//! bridge.toml, read again while the bridge runs.
//!
//! Decides what is read anew: the file as it is now, or the text that is in force with the files
//! that it names. So a secret can be replaced, or an address, while bridge.toml is being edited.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Line, Report};
use super::{Config, ConfigError, Loaded, Stamp, listen_address, listen_collision, users};

/// Where the addresses are that stand in place of `[broker] listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Here.
    At(Vec<SocketAddr>),
    /// In a file, one a line; lines that are empty or begin with `#` say nothing.
    File(PathBuf),
}

/// What it takes to read a configuration again.
#[derive(Clone, Debug, Default)]
pub struct Rereader {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
    pub(super) listen: Option<Listen>,
    pub(super) named_files: Vec<(PathBuf, Stamp)>,
}

impl Rereader {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Returns the files that hold secrets or addresses to listen on, with their stamps from
    /// before they were read.
    pub fn named_files(&self) -> &[(PathBuf, Stamp)] {
        &self.named_files
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
            config.listen_instead(listen.clone())?;
        }
        Ok((config, warnings))
    }
}

impl Config {
    /// Listens at these addresses in place of those of the file, also when that is read again.
    ///
    /// # Errors
    /// Returns every mistake in the file of addresses, by line.
    pub fn listen_instead(&mut self, listen: Listen) -> Result<(), Vec<ConfigError>> {
        self.broker.listen = match &listen {
            Listen::At(addresses) => addresses.clone(),
            Listen::File(file) => {
                let stamp = Stamp::of(file);
                self.rereader.named_files.push((file.clone(), stamp));
                read_addresses(file)?
            }
        };
        self.broker.follows_networks = matches!(listen, Listen::File(_));
        self.rereader.listen = Some(listen);
        Ok(())
    }
}

fn read_addresses(file: &Path) -> Result<Vec<SocketAddr>, Vec<ConfigError>> {
    let shown = file.display().to_string();
    let report = Report::default();
    let origin = report.open(&shown);
    let cause = match users::read_text(file) {
        Ok(Some(text)) => {
            let addresses = parse_addresses(&text, origin, &report);
            return report.finish(&shown).map(|_| addresses);
        }
        Ok(None) => "there is no such file".to_owned(),
        Err(cause) => format!("can not be read: {cause}"),
    };
    let text = format!("{cause}; write an address and port a line, such as `127.0.0.1:1883`");
    report.error(origin, text);
    report.finish(&shown).map(|_| Vec::new())
}

/// Reads one address a line, and reports what is none or is in the way of another.
fn parse_addresses(text: &str, file: Line, report: &Report) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let address = listen_address(line).and_then(|address| {
            let collision = listen_collision(address, &addresses);
            collision.map_or(Ok(address), Err)
        });
        match address {
            Ok(address) => addresses.push(address),
            Err(error) => {
                report.error(Line { number, ..file }, error);
                report.set_incomplete();
            }
        }
    }
    if addresses.is_empty() {
        report.missing(
            file,
            "holds no address to listen on; write one and its port a line, such as `127.0.0.1:1883`",
        );
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_one_a_line() {
        let cases: [(&str, &[&str]); 5] = [
            ("127.0.0.1:1883\n", &["127.0.0.1:1883"]),
            (
                "# written at 12:00\r\n\r\n  [fd00::1]:1883\r\n192.168.1.1:1883",
                &["[fd00::1]:1883", "192.168.1.1:1883"],
            ),
            (
                "\n",
                &[
                    "file: holds no address to listen on; write one and its port a line, such as `127.0.0.1:1883`",
                ],
            ),
            (
                "127.0.0.1:1883\n\n192.168.1.1\n127.0.0.1:1883\n",
                &[
                    "file:3: listens on `192.168.1.1`, which has no port; write `192.168.1.1:1883`",
                    "file:4: listens on `127.0.0.1:1883` twice; remove one",
                ],
            ),
            (
                "[::]:1883 # all",
                &[
                    "file:1: listens on `[::]:1883 # all`, expected an IP address and port; write them as in `127.0.0.1:1883`",
                ],
            ),
        ];
        for (text, expected) in cases {
            let report = Report::default();
            let addresses = parse_addresses(text, report.open("file"), &report);
            let told: Vec<_> = match report.finish("file") {
                Ok(_) => addresses.iter().map(ToString::to_string).collect(),
                Err(errors) => errors.iter().map(ToString::to_string).collect(),
            };
            assert_eq!(told, expected, "{text:?}");
        }
    }
}
