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

/// A line of a file that is read: an [`Origin`] before there is something to say of it.
///
/// Each value comes with one, so that it is numbers alone: copying costs nothing, nor does
/// forgetting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Which of the files that the report knows.
    pub(super) file: usize,
    /// Counted from 1; 0 stands for the file as a whole.
    pub(super) number: usize,
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
    files: RefCell<Vec<Arc<str>>>,
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Warning>>,
    incomplete: Cell<bool>,
}

impl Report {
    /// Takes note of a file that is read, and returns it as a whole.
    pub(super) fn open(&self, file: &str) -> Line {
        let mut files = self.files.borrow_mut();
        files.push(file.into());
        Line {
            file: files.len() - 1,
            number: 0,
        }
    }

    /// Returns what a person calls a line of a file that was opened here.
    pub(super) fn origin(&self, line: Line) -> Origin {
        let file = self.files.borrow().get(line.file).cloned();
        Origin {
            file: file.unwrap_or_default(),
            line: line.number,
        }
    }

    /// Adds an error; the same text at the same place is kept once.
    pub(super) fn error(&self, origin: Line, text: impl AsRef<str>) {
        self.add_error(origin, text.as_ref());
    }

    fn add_error(&self, origin: Line, text: &str) {
        let error = ConfigError {
            origin: self.origin(origin),
            text: escape(text).to_string(),
        };
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    /// Adds an error about something that is not there. Left out when a file could not be read
    /// to its end: what is missing may be in the part that was not understood.
    pub(super) fn missing(&self, origin: Line, text: impl AsRef<str>) {
        if !self.incomplete.get() {
            self.error(origin, text);
        }
    }

    /// Adds a warning.
    pub(super) fn warning(&self, origin: Line, text: impl AsRef<str>) {
        self.add_warning(origin, text.as_ref());
    }

    fn add_warning(&self, origin: Line, text: &str) {
        self.warnings.borrow_mut().push(Warning {
            origin: self.origin(origin),
            text: escape(text).to_string(),
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

    #[test]
    fn errors_come_in_file_order_and_once() {
        let report = Report::default();
        let (users, bridge) = (report.open("users.toml"), report.open("bridge.toml"));
        let at = |file: Line, number| Line { number, ..file };
        report.error(at(users, 1), "u");
        report.error(at(bridge, 9), "b");
        report.error(at(bridge, 2), "a");
        report.error(at(bridge, 9), "b");
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
        report.missing(report.open("bridge.toml"), "url is missing");
        assert_eq!(report.finish("bridge.toml"), Ok(Vec::new()));
    }

    #[test]
    fn a_file_as_a_whole_has_no_line() {
        let report = Report::default();
        let file = report.open("bridge.toml");
        assert_eq!(report.origin(file).to_string(), "bridge.toml");
    }
}
