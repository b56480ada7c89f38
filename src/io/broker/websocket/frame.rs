//! WebSocket frames (RFC 6455 §5): what those of a client mean, and the headers of ours.
//!
//! Payload is unmasked where it was read to and passed on as it comes, so that no frame, however
//! long, takes memory: of a frame no more than its header and a control frame's 125 bytes are kept.

use bytes::{BufMut, BytesMut};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The last frame of a message.
const FINAL: u8 = 0x80;
/// Bits of the first byte that only extensions use, and none is agreed on.
const RESERVED: u8 = 0x70;
/// Payload of a control frame at most.
const CONTROL: usize = 125;

/// Close codes (§7.4.1).
pub(crate) mod code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const UNSUPPORTED: u16 = 1003;
    pub(crate) const TOO_LARGE: u16 = 1009;
}

/// Why nothing more is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client closes, with this code if it gave one.
    Close(Option<u16>),
    /// The client did what it may not: the code to close with, and what it was.
    Fault(u16, &'static str),
}

/// What is known of the frame that is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    /// How many of its bytes are there.
    bytes: u8,
    first: u8,
    /// How many bytes of length follow the second byte.
    extended: u8,
    mask: [u8; 4],
}

/// Takes frames apart.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    header: Header,
    /// Payload still to come, once the header is complete.
    left: u64,
    /// Whether a binary message has begun and not ended.
    is_fragmented: bool,
    /// Payload of a control frame.
    control: Vec<u8>,
    /// What the latest ping is to be answered with.
    pub(super) pong: Option<Vec<u8>>,
    /// Why nothing more is decoded.
    pub(super) end: Option<End>,
}

impl Decoder {
    /// Takes in what was read; returns how many bytes of payload it left at the start of `bytes`.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut written) = (0, 0);
        while self.end.is_none() && read < bytes.len() {
            if !self.header.is_complete() {
                if let Some(byte) = bytes.get(read) {
                    self.take_header(*byte);
                }
                read += 1;
                continue;
            }
            let rest = bytes.len() - read;
            let count = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
            bytes.copy_within(read..read + count, written);
            let payload = bytes.get_mut(written..written + count).unwrap_or_default();
            self.unmask(payload);
            if self.header.is_control() {
                self.control.extend_from_slice(payload);
            } else {
                written += count;
            }
            read += count;
            self.left -= u64::try_from(count).unwrap_or(self.left);
            if self.left == 0 {
                self.finish();
            }
        }
        written
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        let mask = self.header.mask;
        for chunk in payload.chunks_mut(mask.len()) {
            for (byte, mask) in chunk.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        self.header.mask.rotate_left(payload.len() % mask.len());
    }

    fn take_header(&mut self, byte: u8) {
        let header = &mut self.header;
        header.bytes += 1;
        match header.bytes {
            1 => header.first = byte,
            2 => {
                header.extended = match byte & 0x7F {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                };
                self.left = match header.extended {
                    0 => u64::from(byte & 0x7F),
                    _ => 0,
                };
                self.end = self.judge(byte);
            }
            at if at <= 2 + header.extended => self.left = self.left << 8 | u64::from(byte),
            _ => {
                header.mask.rotate_left(1);
                header.mask[3] = byte;
            }
        }
        if self.left > u64::MAX >> 1 {
            let what = "a WebSocket frame of a length that none has";
            self.end = Some(End::Fault(code::PROTOCOL, what));
        } else if self.header.is_complete() && self.left == 0 {
            self.finish();
        }
    }

    /// Judges a frame by its first two bytes.
    fn judge(&self, second: u8) -> Option<End> {
        let header = self.header;
        let is_final = header.first & FINAL != 0;
        let what = match header.opcode() {
            _ if header.first & RESERVED != 0 => "a WebSocket extension that was not agreed on",
            _ if second & 0x80 == 0 => "a WebSocket frame that is not masked",
            TEXT => {
                let what = "text in WebSocket frames, where MQTT is binary";
                return Some(End::Fault(code::UNSUPPORTED, what));
            }
            CONTINUATION if !self.is_fragmented => "a WebSocket fragment of nothing",
            BINARY if self.is_fragmented => "a WebSocket message within another",
            CLOSE | PING | PONG if !is_final || header.extended > 0 => {
                "a WebSocket control frame in parts or over 125 bytes"
            }
            CONTINUATION | BINARY | CLOSE | PING | PONG => return None,
            _ => "a WebSocket frame of a kind that there is not",
        };
        Some(End::Fault(code::PROTOCOL, what))
    }

    /// Does what a complete frame asks for.
    fn finish(&mut self) {
        let header = std::mem::take(&mut self.header);
        match header.opcode() {
            CLOSE => self.end = Some(closing(&self.control)),
            PING => self.pong = Some(std::mem::take(&mut self.control)),
            PONG => {}
            _ => self.is_fragmented = header.first & FINAL == 0,
        }
        self.control.clear();
    }
}

impl Header {
    fn opcode(self) -> u8 {
        self.first & 0x0F
    }

    fn is_control(self) -> bool {
        self.opcode() >= CLOSE
    }

    /// Returns whether all of it is there; every frame of a client has a mask.
    fn is_complete(self) -> bool {
        self.bytes == 2 + self.extended + 4
    }
}

/// Reads a close frame (§5.5.1, §7.4).
fn closing(payload: &[u8]) -> End {
    let given = match payload {
        [] => return End::Close(None),
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [_] => 0,
    };
    match given {
        1000..=1003 | 1007..=1014 | 3000..=4999 => End::Close(Some(given)),
        _ => End::Fault(
            code::PROTOCOL,
            "a WebSocket close code that is not to be sent",
        ),
    }
}

/// Begins a binary message of one frame, whose payload has this length.
pub(super) fn begin(length: usize, output: &mut BytesMut) {
    put_header(BINARY, length, output);
}

/// Answers a ping.
pub(super) fn pong(payload: &[u8], output: &mut BytesMut) {
    put_header(PONG, payload.len().min(CONTROL), output);
    output.put_slice(payload.get(..CONTROL).unwrap_or(payload));
}

/// Closes, with a code if there is one to say.
pub(super) fn close(code: Option<u16>, output: &mut BytesMut) {
    put_header(CLOSE, if code.is_some() { 2 } else { 0 }, output);
    if let Some(code) = code {
        output.put_u16(code);
    }
}

fn put_header(opcode: u8, length: usize, output: &mut BytesMut) {
    output.put_u8(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => output.put_u8(short),
        (_, Ok(long)) => {
            output.put_u8(126);
            output.put_u16(long);
        }
        _ => {
            output.put_u8(127);
            output.put_u64(u64::try_from(length).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0xA1, 0x02, 0xFF, 0x40];

    /// A frame as a client sends it; `first` holds FIN and the kind.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = BytesMut::new();
        put_header(first & 0x0F, payload.len(), &mut header);
        let mut bytes = header.to_vec();
        bytes[0] = first;
        bytes[1] |= 0x80;
        bytes.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Feeds bytes in pieces of this size, and returns the payload.
    fn feed(decoder: &mut Decoder, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        for piece in bytes.chunks(size.max(1)) {
            let mut piece = piece.to_vec();
            let count = decoder.decode(&mut piece);
            payload.extend_from_slice(&piece[..count]);
        }
        payload
    }

    fn ended(bytes: &[u8]) -> Option<End> {
        let mut decoder = Decoder::default();
        feed(&mut decoder, bytes, bytes.len());
        decoder.end
    }

    fn code_of(bytes: &[u8]) -> Option<u16> {
        match ended(bytes) {
            Some(End::Fault(code, _)) => Some(code),
            Some(End::Close(_)) | None => None,
        }
    }

    proptest! {
        #[test]
        fn payload_comes_out_however_it_is_framed_and_cut(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..8),
            long in 0..70_000_usize,
            size in 1..1000_usize,
        ) {
            let mut bytes = frame(FINAL | BINARY, &vec![7; long]);
            let mut expected = vec![7; long];
            let mut begun = false;
            for (payload, is_final) in &parts {
                let kind = if begun { CONTINUATION } else { BINARY };
                bytes.extend(frame(kind | if *is_final { FINAL } else { 0 }, payload));
                // Control frames may stand between the parts of a message.
                bytes.extend(frame(FINAL | PING, b"here?"));
                expected.extend_from_slice(payload);
                begun = !is_final;
            }
            let mut decoder = Decoder::default();
            prop_assert_eq!(feed(&mut decoder, &bytes, size), expected);
            prop_assert_eq!(decoder.end, None);
            prop_assert_eq!(decoder.pong.as_deref(), Some(&b"here?"[..]));
        }

        #[test]
        fn no_bytes_make_it_panic_or_keep_much(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            size in 1..2000_usize,
        ) {
            let mut decoder = Decoder::default();
            prop_assert!(feed(&mut decoder, &bytes, size).len() <= bytes.len());
            prop_assert!(decoder.control.capacity() <= 2 * CONTROL);
        }

        #[test]
        fn headers_of_ours_are_read_as_they_were_meant(length in 0..200_000_usize) {
            let mut header = BytesMut::new();
            begin(length, &mut header);
            let expected = match length {
                0..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            prop_assert_eq!(header.len(), expected);
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        let cases = [
            (frame(FINAL | TEXT, b"x"), code::UNSUPPORTED, "text"),
            (vec![0x82, 1, b'x'], code::PROTOCOL, "no mask"),
            (
                frame(FINAL | CONTINUATION, b"x"),
                code::PROTOCOL,
                "a part of nothing",
            ),
            (
                [frame(BINARY, b"x"), frame(FINAL | BINARY, b"y")].concat(),
                code::PROTOCOL,
                "a message in a message",
            ),
            (frame(0xC0 | BINARY, b"x"), code::PROTOCOL, "an extension"),
            (frame(FINAL | 3, b"x"), code::PROTOCOL, "unknown data"),
            (frame(FINAL | 11, b"x"), code::PROTOCOL, "unknown control"),
            (frame(PING, b"x"), code::PROTOCOL, "a ping in parts"),
            (
                frame(FINAL | PING, &[0; 126]),
                code::PROTOCOL,
                "a long ping",
            ),
            (frame(FINAL | CLOSE, b"x"), code::PROTOCOL, "half a code"),
            (
                frame(FINAL | CLOSE, &1005_u16.to_be_bytes()),
                code::PROTOCOL,
                "a code for nobody to send",
            ),
            (
                [&[0x82, 0xFF][..], &[0xFF; 8], &MASK].concat(),
                code::PROTOCOL,
                "63 bits are the most",
            ),
        ];
        for (bytes, code, why) in cases {
            assert_eq!(code_of(&bytes), Some(code), "{why}");
        }
    }

    #[test]
    fn closing_tells_its_code_and_nothing_is_read_after_it() {
        let close = frame(FINAL | CLOSE, b"\x03\xE9bye");
        assert_eq!(ended(&close), Some(End::Close(Some(1001))));
        let plain = frame(FINAL | CLOSE, b"");
        assert_eq!(ended(&plain), Some(End::Close(None)));
        let mut decoder = Decoder::default();
        let bytes = [
            frame(FINAL | BINARY, b"a"),
            plain,
            frame(FINAL | BINARY, b"b"),
        ]
        .concat();
        assert_eq!(feed(&mut decoder, &bytes, bytes.len()), b"a");
    }
}
