//! Secrets: read from files and the environment, handed out by name, never printed.
//!
//! Decides where a secret comes from and that it can be read. Where a secret may stand is decided
//! by `core::template`.

use std::cell::Cell;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::core::secret::Secret;

use super::error::Line;
use super::section::{At, Section};
use super::show::quote;
use super::stamp::Stamp;

/// Longest secret: a header value holds no more.
const LONGEST: u64 = 4096;

/// Looks an environment variable up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All `[secret.<name>]` sections.
pub(super) struct Secrets {
    /// In file order; they are few.
    entries: Vec<(String, Entry)>,
    /// Those that are read from files, with their stamps from before.
    pub(super) files: Vec<(PathBuf, Stamp)>,
}

struct Entry {
    origin: Line,
    /// `None` after a mistake that was reported already.
    value: Option<Secret>,
    used: Cell<bool>,
}

impl Secrets {
    /// Reads the sections and the secrets themselves; relative paths start at `directory`.
    pub(super) fn read(top: &Section<'_>, directory: &Path, environment: Environment<'_>) -> Self {
        let mut files = Vec::new();
        let entries = top
            .named("secret")
            .into_iter()
            .map(|(name, section)| {
                if let Some(file) = section.text("file") {
                    let file = directory.join(file.value);
                    let stamp = Stamp::of(&file);
                    files.push((file, stamp));
                }
                let entry = Entry {
                    value: read_one(&section, directory, environment),
                    used: Cell::new(false),
                    origin: section.origin,
                };
                (name, entry)
            })
            .collect();
        Self { entries, files }
    }

    /// Returns a secret by name, `None` if it is not defined.
    pub(super) fn find(&self, name: &str) -> Option<Secret> {
        let (_, entry) = self.entries.iter().find(|(own, _)| own == name)?;
        entry.used.set(true);
        // One that could not be read was reported where it is defined.
        Some(entry.value.clone().unwrap_or_else(|| Secret::new("unread")))
    }

    /// Warns of secrets that nothing asked for.
    pub(super) fn warn_of_unused(&self, top: &Section<'_>) {
        for (name, entry) in &self.entries {
            if !entry.used.get() {
                let name = quote(name);
                top.report.warning(
                    entry.origin,
                    format!(
                        "secret {name} is used nowhere; use it as {{secret.<name>}} or remove it"
                    ),
                );
            }
        }
    }
}

fn read_one(
    section: &Section<'_>,
    directory: &Path,
    environment: Environment<'_>,
) -> Option<Secret> {
    let (file, variable) = (section.text("file"), section.text("env"));
    if section.has("file") && section.has("env") {
        let text = format!("{} has both file and env; keep one of them", section.label);
        section.report.error(section.origin, text);
        return None;
    }
    if !section.has("file") && !section.has("env") {
        let text = format!(
            "{} has neither file nor env; add one of them",
            section.label
        );
        section.report.missing(section.origin, text);
        return None;
    }
    let (value, origin) = match (file, variable) {
        (Some(file), _) => (read_file(section, directory, file)?, file.origin),
        (_, Some(variable)) => (
            read_variable(section, variable, environment)?,
            variable.origin,
        ),
        (None, None) => return None,
    };
    if value.is_empty() || value.contains(|c: char| c.is_control()) {
        let fault = if value.is_empty() {
            "is empty"
        } else {
            "holds a line break or control character"
        };
        let text = format!(
            "{}: the value {fault}; store the bare secret on one line",
            section.label
        );
        section.report.error(origin, text);
        return None;
    }
    Some(Secret::new(value))
}

fn read_file(section: &Section<'_>, directory: &Path, file: At<&str>) -> Option<String> {
    let path = directory.join(file.value);
    let (label, shown) = (&section.label, quote(file.value));
    let refuse = |what: String| {
        section
            .report
            .error(file.origin, format!("{label}: {what}"));
        None
    };
    let opened = std::fs::File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file_handle) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let cause = io_cause(&error);
            return refuse(format!(
                "file {shown} can not be read: {cause}; create it with the secret in it"
            ));
        }
    };
    let mut value = String::new();
    match file_handle.take(LONGEST + 1).read_to_string(&mut value) {
        Err(error) => {
            let cause = io_cause(&error);
            return refuse(format!(
                "file {shown} can not be read: {cause}; store the secret as text"
            ));
        }
        Ok(_) if value.len() as u64 > LONGEST => {
            return refuse(format!(
                "file {shown} is longer than {LONGEST} bytes; store the bare secret"
            ));
        }
        Ok(_) => {}
    }
    warn_if_exposed(section, file, &metadata);
    let bare = value.strip_suffix('\n').unwrap_or(&value);
    Some(bare.strip_suffix('\r').unwrap_or(bare).to_owned())
}

/// Warns if every user of this machine can read a file that holds a secret.
#[cfg(unix)]
pub(super) fn warn_if_exposed(section: &Section<'_>, file: At<&str>, metadata: &std::fs::Metadata) {
    use std::os::unix::fs::PermissionsExt;
    if metadata.permissions().mode() & 0o004 != 0 {
        let (label, shown) = (&section.label, quote(file.value));
        let text =
            format!("{label}: everyone on this machine can read {shown}; run `chmod o= <file>`");
        section.report.warning(file.origin, text);
    }
}

/// Warns of nothing: other systems have no such modes.
#[cfg(not(unix))]
pub(super) fn warn_if_exposed(_: &Section<'_>, _: At<&str>, _: &std::fs::Metadata) {}

fn read_variable(
    section: &Section<'_>,
    variable: At<&str>,
    environment: Environment<'_>,
) -> Option<String> {
    let value = environment(variable.value);
    if value.is_none() {
        let (label, shown) = (&section.label, quote(variable.value));
        section.report.error(
            variable.origin,
            format!("{label}: environment variable {shown} is not set; set it for the bridge or use file"),
        );
    }
    value
}

/// Says what an I/O error means without its number.
pub(crate) fn io_cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((cause, _)) => cause.to_lowercase(),
        None => text.to_lowercase(),
    }
}
