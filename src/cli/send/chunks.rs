//! A reply that came in chunks, put together.

use bytes::Bytes;

/// Most chunks that are put together.
const MOST_CHUNKS: usize = 65_536;

/// Parts of a long reply, which come on `<topic>/<i>/<n>` with `i` from 1.
#[derive(Default)]
pub(super) struct Chunks {
    /// By number, as far as they are known to be.
    parts: Vec<Option<Bytes>>,
    /// How many of them are there.
    count: usize,
}

impl Chunks {
    /// Adds a part; returns the whole once nothing is missing.
    pub(super) fn add(&mut self, below: &str, payload: Bytes) -> Option<Vec<u8>> {
        let (number, count) = below.strip_prefix('/')?.split_once('/')?;
        let (number, count): (usize, usize) = (number.parse().ok()?, count.parse().ok()?);
        if number == 0 || number > count || count > MOST_CHUNKS {
            return None;
        }
        if self.parts.len() < count {
            self.parts.resize(count, None);
        }
        let part = self.parts.get_mut(number - 1)?;
        self.count += usize::from(part.replace(payload).is_none());
        (self.count == count).then(|| self.parts.iter().flatten().flatten().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_in_order_and_once_complete() {
        let mut chunks = Chunks::default();
        let steps = [
            ("/2/3", "b", None, "two are missing"),
            ("/0/3", "x", None, "numbers start at 1"),
            ("/4/3", "x", None, "there are three"),
            ("/x", "x", None, "not a chunk's topic"),
            ("/1/3", "a", None, "one is missing"),
            ("/1/3", "a", None, "sent again"),
            ("/3/3", "c", Some("abc"), "all are there"),
        ];
        for (below, payload, expected, reason) in steps {
            let whole = chunks.add(below, Bytes::from(payload));
            assert_eq!(
                whole,
                expected.map(|text| text.as_bytes().to_vec()),
                "{reason}"
            );
        }
    }
}
