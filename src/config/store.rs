//! `[store]`: where things survive a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::section::Section;

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory, resolved against that of bridge.toml.
    pub directory: PathBuf,
    /// Least time between two writes.
    pub commit_window: Duration,
    /// Bytes of all files together.
    pub max_bytes: usize,
    /// Whether sessions and retained messages are stored.
    pub sessions: bool,
    /// How often what of these need not be stored at once is stored.
    pub interval: Duration,
}

/// Reads `[store]`, `None` if there is none; the path starts at `directory`.
pub(super) fn read_store(top: &Section<'_>, directory: &Path) -> Option<StoreSettings> {
    let section = top.table("store", "store", "[store]")?;
    let path = section.text("directory");
    let remedy = "write `directory = \"/var/lib/mqtt-https-bridge\"`";
    let path = section.require("directory", path, remedy);
    let path = path.filter(|path| {
        let is_empty = path.value.is_empty();
        if is_empty {
            let text = format!("directory is empty; {remedy}");
            section.report.error(path.origin, text);
        }
        !is_empty
    });
    let window = section.duration("commit_window", Duration::ZERO..=Duration::from_secs(10));
    let bytes = section.size("max_bytes", 256 << 10..=1 << 30);
    let sessions = section.flag("sessions");
    let interval = section.duration(
        "interval",
        Duration::from_secs(1)..=Duration::from_secs(86_400),
    );
    Some(StoreSettings {
        directory: directory.join(path?.value),
        commit_window: window.map_or(Duration::from_millis(5), |at| at.value),
        max_bytes: bytes.map_or(4 << 20, |at| at.value),
        sessions: sessions.unwrap_or(true),
        interval: interval.map_or(Duration::from_secs(300), |at| at.value),
    })
}
