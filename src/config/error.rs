//! What is wrong with a configuration, and where; collected, so that all of it is reported at once.
//!
//! Decides order and form of the list; what counts as wrong is decided where it is read.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use super::show::escape;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file as the person named it.
    pub file: Arc<str>,
    /// The line, from 1; 0 stands for the file as a whole.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A mistake that keeps the configuration from being used: `<file>:<line>: <what>; <remedy>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What and what to do about it.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

impl std::error::Error for ConfigError {}

/// Something the person editing should know, though the configuration can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub origin: Origin,
    /// What and what to do about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Collects errors and warnings while files are read. Whatever they quote of a file, each stays
/// on one line.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Warning>>,
    incomplete: Cell<bool>,
}

impl Report {
    /// Adds an error; the same text at the same place is kept once.
    pub(super) fn error(&self, origin: &Origin, text: impl AsRef<str>) {
        self.add_error(origin, text.as_ref());
    }

    fn add_error(&self, origin: &Origin, text: &str) {
        let error = ConfigError {
            origin: origin.clone(),
            text: escape(text),
        };
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// Adds an error about something that is not there. Left out when a file could not be read
    /// to its end: what is missing may be in the part that was not understood.
    pub(super) fn missing(&self, origin: &Origin, text: impl AsRef<str>) {
        if !self.incomplete.get() {
            self.error(origin, text);
        }
    }

    /// Adds a warning.
    pub(super) fn warning(&self, origin: &Origin, text: impl AsRef<str>) {
        self.add_warning(origin, text.as_ref());
    }

    fn add_warning(&self, origin: &Origin, text: &str) {
        self.warnings.borrow_mut().push(Warning {
            origin: origin.clone(),
            text: escape(text),
        });
    }

    /// Takes note that part of a file was not understood.
    pub(super) fn set_incomplete(&self) {
        self.incomplete.set(true);
    }

    /// Returns the warnings, or every error, both sorted by line with the file `first` before
    /// other files.
    pub(super) fn finish(self, first: &str) -> Result<Vec<Warning>, Vec<ConfigError>> {
        let mut errors = self.errors.into_inner();
        if !errors.is_empty() {
            errors.sort_by_key(|error| rank(&error.origin, first));
            return Err(errors);
        }
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| rank(&warning.origin, first));
        Ok(warnings)
    }
}

fn rank(origin: &Origin, first: &str) -> (bool, usize) {
    (&*origin.file != first, origin.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: usize) -> Origin {
        Origin {
            file: file.into(),
            line,
        }
    }

    #[test]
    fn errors_come_in_file_order_and_once() {
        let report = Report::default();
        report.error(&at("users.toml", 1), "u");
        report.error(&at("bridge.toml", 9), "b");
        report.error(&at("bridge.toml", 2), "a");
        report.error(&at("bridge.toml", 9), "b");
        let errors = report.finish("bridge.toml").unwrap_err();
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["bridge.toml:2: a", "bridge.toml:9: b", "users.toml:1: u"]
        );
    }

    #[test]
    fn what_is_missing_is_not_claimed_of_a_file_half_understood() {
        let report = Report::default();
        report.set_incomplete();
        report.missing(&at("bridge.toml", 1), "url is missing");
        assert_eq!(report.finish("bridge.toml"), Ok(Vec::new()));
    }

    #[test]
    fn a_file_as_a_whole_has_no_line() {
        assert_eq!(at("bridge.toml", 0).to_string(), "bridge.toml");
    }
}
