//! The users file, read again while the bridge runs.
//!
//! Decides what a change of the file means for the users as a whole. When to look and what
//! becomes of those who are connected is left to the caller.

use std::path::{Path, PathBuf};

use super::User;
use super::conflicts::{self, ReplyFilter};
use super::error::{ConfigError, Report};
use super::stamp::Stamp;
use super::users::Users;

/// Reads the users file by the rules that the rest of bridge.toml sets.
#[derive(Clone, Debug)]
pub struct UsersReader {
    file: PathBuf,
    /// Users of bridge.toml itself, which the file cannot change.
    fixed: Users,
    replies: Vec<ReplyFilter>,
    seen: Stamp,
}

impl UsersReader {
    /// Prepares to read `file` beside the users of bridge.toml.
    pub(super) fn new(file: PathBuf, mut fixed: Users) -> Self {
        // Checked already, and not by the users file's doing.
        fixed.publish_rules.clear();
        Self {
            seen: Stamp::of(&file),
            replies: Vec::new(),
            file,
            fixed,
        }
    }

    /// Sets where replies go: no user may publish there.
    pub(super) fn reserve(&mut self, replies: Vec<ReplyFilter>) {
        self.replies = replies;
    }

    /// Returns the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the stamp of the file as it was when bridge.toml was read.
    pub fn seen(&self) -> Stamp {
        self.seen
    }

    /// Returns all users: those of bridge.toml and those that the file has now.
    ///
    /// # Errors
    /// Returns every mistake in the file, in file order.
    pub fn read(&self) -> Result<Vec<User>, Vec<ConfigError>> {
        let shown = self.file.display().to_string();
        let report = Report::default();
        let mut users = self.fixed.clone();
        users.read_file(&self.file, &shown, &report);
        conflicts::refuse_forgery(&self.replies, &users.publish_rules, &report);
        report.finish(&shown)?;
        Ok(users.users)
    }
}
