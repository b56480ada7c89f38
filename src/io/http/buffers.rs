//! The buffers of one connection: small while little comes, bounded whatever comes.
//!
//! ureq's own are allocated at full size for each pooled connection.

use ureq::unversioned::transport::Buffers as UreqBuffers;

/// Largest request line or header field, and largest piece of a body: a TLS record.
pub(crate) const OUTPUT_SIZE: usize = 16 * 1024;
/// What ureq must be able to look at in one piece: a response's header, or a line of a chunked
/// body. A little more than the header limit, so that it can see that the limit is passed.
const INPUT_MAX: usize = super::client::MAX_RESPONSE_HEADER + 1024;
const INPUT_START: usize = 4 * 1024;

/// Input and output of one connection.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    output: Vec<u8>,
    input: Vec<u8>,
    /// What has come and is not consumed lies between these.
    consumed: usize,
    filled: usize,
    progress: bool,
}

impl Buffers {
    /// Returns the first `amount` bytes of the output.
    pub(crate) fn written(&self, amount: usize) -> &[u8] {
        self.output.get(..amount).unwrap_or(&self.output)
    }

    fn make_room(&mut self) {
        if self.consumed == self.filled {
            self.consumed = 0;
            self.filled = 0;
        } else if self.filled == self.input.len() && self.consumed > 0 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        if self.filled == self.input.len() {
            let larger = (self.input.len() * 2).clamp(INPUT_START, INPUT_MAX);
            self.input.resize(larger, 0);
        }
    }
}

impl UreqBuffers for Buffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(OUTPUT_SIZE, 0);
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input
            .get(self.consumed..self.filled)
            .unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = (self.filled + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed = (self.consumed + amount).min(self.filled);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        self.output.resize(OUTPUT_SIZE, 0);
        let scratch = self.input.get_mut(self.filled..).unwrap_or_default();
        (scratch, &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(buffers: &mut Buffers, bytes: &[u8]) {
        let room = buffers.input_append_buf();
        room[..bytes.len()].copy_from_slice(bytes);
        buffers.input_appended(bytes.len());
    }

    #[test]
    fn input_grows_to_its_limit_and_no_further() {
        let mut buffers = Buffers::default();
        let mut total = 0;
        loop {
            let room = buffers.input_append_buf().len();
            if room == 0 {
                break;
            }
            buffers.input_appended(room);
            total += room;
        }
        assert_eq!(total, INPUT_MAX);
        assert_eq!(buffers.input().len(), INPUT_MAX);
    }

    #[test]
    fn consumed_input_makes_room_and_the_rest_stays() {
        let mut buffers = Buffers::default();
        append(&mut buffers, b"header");
        buffers.input_consume(4);
        assert_eq!(buffers.input(), b"er");
        let room = buffers.input_append_buf().len();
        append(&mut buffers, &vec![b'x'; room]);
        append(&mut buffers, b"!");
        assert_eq!(buffers.input.len(), INPUT_START, "moved, not grown");
        assert!(buffers.input().starts_with(b"erxx"));
        assert!(buffers.input().ends_with(b"x!"));
    }

    #[test]
    fn input_that_could_not_be_used_asks_for_more() {
        let mut buffers = Buffers::default();
        append(&mut buffers, b"HTTP/1.1 200");
        buffers.input_consume(0);
        assert!(!buffers.can_use_input());
        buffers.input_consume(5);
        assert!(buffers.can_use_input());
        buffers.input_consume(100);
        assert!(!buffers.can_use_input());
        assert_eq!(buffers.input(), b"");
    }
}
