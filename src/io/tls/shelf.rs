//! What is read from files, once for all endpoints that name them.
//!
//! Kept as long as anybody uses it and the files are as they were.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::Stamp;

/// Values that were read, by what names them.
pub(super) struct Shelf<K, V> {
    entries: Mutex<Vec<Entry<K, V>>>,
}

struct Entry<K, V> {
    key: K,
    /// How the files were before they were read.
    stamps: Vec<Stamp>,
    value: Weak<V>,
}

impl<K: PartialEq + Clone, V> Shelf<K, V> {
    /// Makes an empty one.
    pub(super) const fn new() -> Self {
        Self {
            entries: Mutex::new(Vec::new()),
        }
    }

    /// Returns what was read under this key, if somebody still uses it and these files have not
    /// changed since; reads it otherwise. Where none of the files is there, what is read comes
    /// from elsewhere, and nothing tells whether that has changed: it is not shared.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn take<E>(
        &self,
        key: &K,
        files: &[PathBuf],
        read: impl FnOnce() -> Result<V, E>,
    ) -> Result<Arc<V>, E> {
        // Held while reading: whoever asks for the same meanwhile is not to read it too.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.value.strong_count() > 0);
        let stamps: Vec<Stamp> = files.iter().map(|file| Stamp::of(file)).collect();
        let known = entries
            .iter()
            .find(|entry| entry.key == *key && entry.stamps == stamps);
        if let Some(value) = known.and_then(|entry| entry.value.upgrade()) {
            return Ok(value);
        }
        let value = Arc::new(read()?);
        if stamps.iter().any(|stamp| *stamp != Stamp::default()) {
            entries.retain(|entry| entry.key != *key);
            entries.push(Entry {
                key: key.clone(),
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

    fn shelf() -> Shelf<u8, String> {
        Shelf::new()
    }

    fn read(text: &str) -> impl FnOnce() -> Result<String, String> {
        let text = text.to_owned();
        || Ok(text)
    }

    fn fail() -> Result<String, String> {
        Err("no".to_owned())
    }

    #[test]
    fn what_is_in_use_is_read_once() {
        let file = TemporaryFile::new("a", b"a");
        let files = [file.path().to_owned()];
        let shelf = shelf();
        let first = shelf.take(&1, &files, read("first")).unwrap();
        let again = shelf.take(&1, &files, fail).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = shelf.take(&2, &files, read("other")).unwrap();
        assert_eq!(*other, "other");
    }

    #[test]
    fn what_has_changed_is_read_again() {
        let file = TemporaryFile::new("a", b"a");
        let files = [file.path().to_owned()];
        let shelf = shelf();
        let first = shelf.take(&1, &files, read("first")).unwrap();
        file.replace(b"changed");
        assert_eq!(shelf.take(&1, &files, fail), Err("no".to_owned()));
        let second = shelf.take(&1, &files, read("second")).unwrap();
        let again = shelf.take(&1, &files, fail).unwrap();
        assert!(Arc::ptr_eq(&second, &again));
        assert_eq!(*first, "first", "who has it keeps it");
    }

    #[test]
    fn what_nobody_uses_any_more_is_gone() {
        let file = TemporaryFile::new("a", b"a");
        let files = [file.path().to_owned()];
        let shelf = shelf();
        drop(shelf.take(&1, &files, read("first")).unwrap());
        let second = shelf.take(&1, &files, read("second")).unwrap();
        assert_eq!(*second, "second");
        assert_eq!(shelf.entries.lock().unwrap().len(), 1);
    }

    #[test]
    fn what_comes_from_no_file_is_not_shared() {
        let shelf = shelf();
        let files = [PathBuf::from("/nonexistent/file")];
        let first = shelf.take(&1, &files, read("first")).unwrap();
        let second = shelf.take(&1, &files, read("second")).unwrap();
        assert_ne!(first, second);
    }
}
