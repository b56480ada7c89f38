//! What is read from files, once for all endpoints that name them.
//!
//! Kept as long as anybody uses it and the files are as they were.

use std::any::{Any, TypeId};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Stamp;

/// What all endpoints of this process trust and refuse by.
pub(super) static SHELF: Shelf = Shelf::new();

/// Values that were read from files.
pub(super) struct Shelf {
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    kind: TypeId,
    files: Vec<PathBuf>,
    /// How the files were before they were read.
    stamps: Vec<Stamp>,
    value: Weak<dyn Any + Send + Sync>,
}

impl Shelf {
    /// Makes an empty one.
    pub(super) const fn new() -> Self {
        Self {
            entries: Mutex::new(Vec::new()),
        }
    }

    /// Returns what was read from these files, if somebody still uses it and they have not changed
    /// since; reads it otherwise. Where none of the files is there, what is read comes from
    /// elsewhere, and nothing tells whether that has changed: it is not shared.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn take<V: Any + Send + Sync>(
        &self,
        files: &[PathBuf],
        read: &dyn Fn() -> Result<V, String>,
    ) -> Result<Arc<V>, String> {
        let read = || read().map(|value| Arc::new(value) as Arc<dyn Any + Send + Sync>);
        let value = self.find_or_read(TypeId::of::<V>(), files, &read)?;
        // Its kind was asked for.
        value.downcast().map_err(|_| String::new())
    }

    /// Not compiled again for each kind.
    fn find_or_read(
        &self,
        kind: TypeId,
        files: &[PathBuf],
        read: &dyn Fn() -> Result<Arc<dyn Any + Send + Sync>, String>,
    ) -> Result<Arc<dyn Any + Send + Sync>, String> {
        // Held while reading: whoever asks for the same meanwhile is not to read it too.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<Stamp> = files.iter().map(PathBuf::as_path).map(Stamp::of).collect();
        let is_same = |entry: &Entry| entry.kind == kind && entry.files == files;
        let known = entries.iter().find(|entry| is_same(entry));
        if let Some(known) = known.filter(|entry| entry.stamps == stamps)
            && let Some(value) = known.value.upgrade()
        {
            return Ok(value);
        }
        let value = read()?;
        entries.retain(|entry| !is_same(entry) && entry.value.strong_count() > 0);
        if stamps.iter().any(|stamp| *stamp != Stamp::default()) {
            entries.push(Entry {
                kind,
                files: files.to_vec(),
                stamps,
                value: Arc::downgrade(&value),
            });
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::support::certificates::TemporaryFile;

    fn taken(shelf: &Shelf, files: &[PathBuf], text: &'static str) -> Result<Arc<String>, String> {
        shelf.take(files, &|| match text {
            "" => Err("no".to_owned()),
            text => Ok(text.to_owned()),
        })
    }

    #[test]
    fn what_is_in_use_is_read_once() {
        let file = TemporaryFile::new("a", b"a");
        let files = [file.path().to_owned()];
        let shelf = Shelf::new();
        let first = taken(&shelf, &files, "first").unwrap();
        let again = taken(&shelf, &files, "").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let number = shelf.take(&files, &|| Ok(7)).unwrap();
        assert_eq!(*number, 7, "of another kind");
        let both = [&files[..], &files[..]].concat();
        assert_eq!(*taken(&shelf, &both, "both").unwrap(), "both");
    }

    #[test]
    fn what_has_changed_is_read_again() {
        let file = TemporaryFile::new("a", b"a");
        let files = [file.path().to_owned()];
        let shelf = Shelf::new();
        let first = taken(&shelf, &files, "first").unwrap();
        file.replace(b"changed");
        assert_eq!(taken(&shelf, &files, ""), Err("no".to_owned()));
        let second = taken(&shelf, &files, "second").unwrap();
        let again = taken(&shelf, &files, "").unwrap();
        assert!(Arc::ptr_eq(&second, &again));
        assert_eq!(*first, "first", "who has it keeps it");
    }

    #[test]
    fn what_nobody_uses_any_more_is_gone() {
        let files = ["a", "b"].map(|name| TemporaryFile::new(name, b"a"));
        let shelf = Shelf::new();
        for file in &files {
            let files = [file.path().to_owned()];
            drop(taken(&shelf, &files, "first").unwrap());
            assert_eq!(*taken(&shelf, &files, "second").unwrap(), "second");
        }
        assert_eq!(shelf.entries.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_comes_from_no_file_is_not_shared() {
        let shelf = Shelf::new();
        let files = [PathBuf::from("/nonexistent/file")];
        let first = taken(&shelf, &files, "first").unwrap();
        let second = taken(&shelf, &files, "second").unwrap();
        assert_ne!(first, second);
    }
}
