//! The users file: edited as text, so that what a person wrote in it stays; replaced atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::config::{ConfigError, PasswordHash, names_in};

/// What a new users file begins with.
const HEADER: &str = "\
# Users of mqtt-https-bridge, written by `mqtt-https-bridge user add`.
# Passwords are hashes; other keys of a [[user]] and comments may be added by hand and are kept.
";

const BLOCK: &str = "[[user]]";

/// A users file's text, known to be valid.
#[derive(Debug)]
pub(super) struct UsersFile {
    text: String,
    shown: String,
    names: Vec<String>,
}

impl UsersFile {
    /// Takes the text of a file; `shown` is its name in messages.
    pub(super) fn parse(text: String, shown: &str) -> Result<Self, Vec<ConfigError>> {
        Ok(Self {
            names: names_in(&text, shown)?,
            shown: shown.into(),
            text,
        })
    }

    /// Returns the names of its users.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the text with one more user at its end.
    pub(super) fn with(&self, name: &str, hash: &PasswordHash) -> String {
        let mut text = self.text.clone();
        if text.trim().is_empty() {
            text = HEADER.into();
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let name = name.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!(
            "\n{BLOCK}\nname = \"{name}\"\npassword = \"{hash}\"\n"
        ));
        text
    }

    /// Returns the text with another password for a user, `None` if it is not written as
    /// expected and has to be edited by hand.
    pub(super) fn with_password(&self, name: &str, hash: &PasswordHash) -> Option<String> {
        let mut replaced = 0;
        let text = self.edit(name, |line| {
            let (key, _) = line.split_once('=')?;
            if key.trim() != "password" {
                return None;
            }
            replaced += 1;
            let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
            Some(format!("{indent}password = \"{hash}\"\n"))
        })?;
        self.verified(text, &self.names).filter(|_| replaced == 1)
    }

    /// Returns the text without a user, `None` if it is not written as expected and has to be
    /// edited by hand.
    pub(super) fn without(&self, name: &str) -> Option<String> {
        let text = self.edit(name, |_| Some(String::new()))?;
        let left = self.names.iter().filter(|other| *other != name);
        self.verified(text, &left.cloned().collect::<Vec<_>>())
    }

    /// Passes each line of a user's block, its header included, through `change`; `None` keeps it.
    fn edit(&self, name: &str, mut change: impl FnMut(&str) -> Option<String>) -> Option<String> {
        let mut edited = String::with_capacity(self.text.len());
        let mut found = false;
        for (i, block) in split_blocks(&self.text).into_iter().enumerate() {
            let (own, trailing) = split_trailing(block);
            let names = if i == 0 {
                Vec::new()
            } else {
                names_in(own, &self.shown).ok()?
            };
            if names != [name] {
                edited.push_str(block);
                continue;
            }
            found = true;
            for line in own.split_inclusive('\n') {
                match change(line) {
                    Some(changed) => edited.push_str(&changed),
                    None => edited.push_str(line),
                }
            }
            edited.push_str(trailing);
        }
        found.then_some(edited)
    }

    fn verified(&self, text: String, expected: &[String]) -> Option<String> {
        (names_in(&text, &self.shown).ok()? == expected).then_some(text)
    }
}

/// Splits before each `[[user]]` line; the first part is what stands before all users.
fn split_blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let (mut start, mut offset) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(BLOCK) {
            blocks.extend(text.get(start..offset));
            start = offset;
        }
        offset += line.len();
    }
    blocks.extend(text.get(start..));
    blocks
}

/// Splits blank lines and comments off a block's end: they may be about what follows.
fn split_trailing(block: &str) -> (&str, &str) {
    let mut end = 0;
    let mut offset = 0;
    for line in block.split_inclusive('\n') {
        offset += line.len();
        let bare = line.trim();
        if !bare.is_empty() && !bare.starts_with('#') {
            end = offset;
        }
    }
    block.split_at_checked(end).unwrap_or((block, ""))
}

/// Waits until no other command changes files of this file's directory, and keeps others waiting
/// until the result is dropped. Where there can be no lock, there is none.
pub(super) fn lock(file: &Path) -> Option<File> {
    let directory = File::open(directory_of(file)).ok()?;
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).ok()?;
    Some(directory)
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Replaces a file such that, whenever power fails, either the old or the new one is there whole.
///
/// The new file keeps owner and permissions of the old one. A file that is new itself belongs to
/// the owner of its directory and is readable to that one alone. A link stays one: what it leads to
/// is replaced.
pub(super) fn replace(file: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let file = target.as_path();
    let directory = directory_of(file);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary: PathBuf = directory.join(format!(".{name}.{}", std::process::id()));
    let result =
        write_whole(&temporary, file, directory, text).and_then(|()| fs::rename(&temporary, file));
    if let Err(error) = result {
        // What is left of the attempt is of no use to anyone.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The rename itself must survive a power cut too.
    File::open(directory)?.sync_all()
}

#[cfg(unix)]
fn write_whole(temporary: &Path, file: &Path, directory: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
    let _ = fs::remove_file(temporary);
    let mut options = OpenOptions::new();
    let mut handle = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    let (model, permissions) = match fs::metadata(file) {
        Ok(metadata) => {
            let permissions = metadata.permissions();
            (metadata, Some(permissions))
        }
        Err(_) => (fs::metadata(directory)?, None),
    };
    let made = handle.metadata()?;
    if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
        // Only root may; anyone else owns what it writes anyway.
        let _ = chown(temporary, Some(model.uid()), Some(model.gid()));
    }
    if let Some(permissions) = permissions {
        handle.set_permissions(permissions)?;
    }
    handle.write_all(text.as_bytes())?;
    handle.sync_all()
}

#[cfg(not(unix))]
fn write_whole(temporary: &Path, _: &Path, _: &Path, text: &str) -> io::Result<()> {
    let mut handle = File::create(temporary)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(filler: u8) -> PasswordHash {
        PasswordHash::Sha256 {
            salt: vec![filler; 8],
            digest: [filler; 32],
        }
    }

    fn parse(text: &str) -> UsersFile {
        UsersFile::parse(text.into(), "users.toml").unwrap()
    }

    fn two_users() -> String {
        let hash = hash(1);
        format!(
            "# mine\n[[user]]\nname = \"a\"\npassword = \"{hash}\" # old\nreply_packet = 512\n\n\
             # the garden\n[[user]]\nname = \"b\"\npassword = \"{hash}\"\n"
        )
    }

    #[test]
    fn the_first_user_gets_a_header_and_further_ones_follow() {
        let first = parse("").with("a", &hash(1));
        assert!(first.starts_with("# Users of mqtt-https-bridge"));
        let second = parse(&first).with("q\"\\", &hash(2));
        assert!(second.starts_with(&first));
        assert_eq!(parse(&second).names(), ["a", "q\"\\"]);
    }

    #[test]
    fn a_new_password_changes_one_line() {
        let text = parse(&two_users()).with_password("a", &hash(2)).unwrap();
        let expected = two_users().replacen(
            &format!("\"{}\" # old", hash(1)),
            &format!("\"{}\"", hash(2)),
            1,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn removing_a_user_leaves_the_comments_of_others() {
        let text = parse(&two_users()).without("a").unwrap();
        let expected = format!(
            "# mine\n\n# the garden\n[[user]]\nname = \"b\"\npassword = \"{}\"\n",
            hash(1)
        );
        assert_eq!(text, expected);
        assert_eq!(
            parse(&text).without("b").unwrap(),
            "# mine\n\n# the garden\n"
        );
    }

    #[test]
    fn what_is_written_in_other_ways_is_left_to_a_person() {
        let inline = format!("user = [{{ name = \"a\", password = \"{}\" }}]\n", hash(1));
        let file = parse(&inline);
        assert_eq!(file.names(), ["a"]);
        assert_eq!(file.without("a"), None);
        assert_eq!(file.with_password("a", &hash(2)), None);
    }
}
