//! Servers whose ServerHello is well-formed and wrong.

use crate::handshakes::{CUT, HANDSHAKE, doctored, hello, record};
use crate::https::{Script, Step};
use crate::{Fault, send};

const KEY_SHARE: u16 = 51;
const SUPPORTED_VERSIONS: u16 = 43;
const ALPN: u16 = 16;
const POINT_FORMATS: u16 = 11;
const HEARTBEAT: u16 = 15;
const MASTER_SECRET: u16 = 23;
const PRE_SHARED_KEY: u16 = 41;

const UNASKED: &str = "tls.handshake - the server breaks TLS: unsolicited server hello extension";
const UNFIT: &str = "tls.protocol - the server selected unusable cipher suite for version";
const OTHER_GROUP: &str = "tls.handshake - the server breaks TLS: wrong group for key share";
const NO_VERSION: &str =
    "tls.protocol - nothing in common: the server speaks neither TLS 1.2 nor 1.3";

/// A ServerHello (RFC 8446 §4.1.3) taken apart.
struct Hello {
    random: Vec<u8>,
    session: Vec<u8>,
    suite: Vec<u8>,
    compression: u8,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// Takes apart the one that a flight begins with.
    fn read(flight: &[u8]) -> Self {
        let Step::Send(bytes) = hello(flight) else {
            panic!("it is sent");
        };
        // Behind the record's header, the message's and the version.
        let (random, rest) = bytes[11..].split_at(32);
        let (session, rest) = rest[1..].split_at(usize::from(rest[0]));
        let (suite, rest) = rest.split_at(2);
        // More messages may follow in the record.
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let mut left = &rest[3..3 + length];
        let mut extensions = Vec::new();
        while let [a, b, c, d, after @ ..] = left {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let (content, after) = after.split_at(length);
            extensions.push((u16::from_be_bytes([*a, *b]), content.to_vec()));
            left = after;
        }
        Self {
            random: random.to_vec(),
            session: session.to_vec(),
            suite: suite.to_vec(),
            compression: rest[0],
            extensions,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let block = |(kind, content): &(u16, Vec<u8>)| {
            let length = u16::try_from(content.len()).unwrap();
            [&kind.to_be_bytes()[..], &length.to_be_bytes(), content].concat()
        };
        let extensions = self
            .extensions
            .iter()
            .map(block)
            .collect::<Vec<_>>()
            .concat();
        let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        let session = u8::try_from(self.session.len()).unwrap();
        let body = [
            &[3, 3][..],
            &self.random,
            &[session],
            &self.session,
            &self.suite,
            &[self.compression],
            &length,
            &extensions,
        ]
        .concat();
        let size = u32::try_from(body.len()).unwrap().to_be_bytes();
        record(HANDSHAKE, &[&[2], &size[1..], &body].concat())
    }

    /// Replaces an extension, or adds it.
    fn set(&mut self, kind: u16, content: &[u8]) {
        self.extensions.retain(|(known, _)| *known != kind);
        self.extensions.push((kind, content.to_vec()));
    }
}

macro_rules! hello_with {
    ($why:literal, $change:expr, $told:expr) => {
        doctored(
            $why,
            |flight| {
                let mut hello = Hello::read(&flight);
                let change: fn(&mut Hello) = $change;
                change(&mut hello);
                vec![send(hello.bytes()), Step::Cut]
            },
            $told,
        )
    };
}

pub(crate) fn faults() -> Vec<Fault> {
    let mut all: Vec<Fault> = old().into_iter().map(|it| it.of(Script::tls12)).collect();
    all.extend(new().into_iter().map(|it| it.of(Script::tls13)));
    for fault in &mut all {
        fault.route = "timeout = \"4s\"\n";
    }
    all
}

fn old() -> Vec<Fault> {
    vec![
        // What a man in the middle makes of a server that could do better (RFC 8446 §4.1.3).
        hello_with!(
            "a downgrade from TLS 1.3",
            |it| it.random[24..].copy_from_slice(b"DOWNGRD\x01"),
            "tls.handshake - the server breaks TLS: attempted downgrade to tls12 when tls13 is supported"
        ),
        hello_with!(
            "compression",
            |it| it.compression = 1,
            "tls.protocol - the server selected unoffered compression"
        ),
        hello_with!(
            "an extension that was not asked for",
            |it| it.set(HEARTBEAT, &[1]),
            UNASKED
        ),
        hello_with!(
            "an extension twice",
            |it| it.extensions.push((MASTER_SECRET, vec![])),
            "tls.handshake - garbled message: duplicate extension(23)"
        ),
        hello_with!(
            "no uncompressed points",
            |it| it.set(POINT_FORMATS, &[1, 1]),
            "tls.handshake - the server breaks TLS: server hello must offer uncompressed ec points"
        ),
        hello_with!(
            "a protocol nobody offered",
            |it| it.set(ALPN, &[0, 3, 2, b'h', b'2']),
            UNASKED
        ),
        hello_with!("a suite of TLS 1.3", |it| it.suite = vec![0x13, 1], UNFIT),
        hello_with!(
            "no extended master secret, which is allowed",
            |it| it.extensions.retain(|(kind, _)| *kind != MASTER_SECRET),
            CUT
        ),
        hello_with!(
            "a session of 33 bytes",
            |it| it.session = vec![7; 33],
            "tls.handshake - garbled message: trailing data: session id"
        ),
    ]
}

fn new() -> Vec<Fault> {
    vec![
        hello_with!("another session", |it| it.session[0] ^= 1, CUT),
        hello_with!(
            "compression",
            |it| it.compression = 1,
            "tls.protocol - the server selected unoffered compression"
        ),
        hello_with!(
            "no key",
            |it| it.extensions.retain(|(kind, _)| *kind != KEY_SHARE),
            "tls.handshake - the server breaks TLS: missing key share"
        ),
        hello_with!(
            "an empty key",
            |it| it.set(KEY_SHARE, &[0, 29, 0, 0]),
            "tls.handshake - garbled message: illegal empty value"
        ),
        hello_with!(
            "a key of zeros",
            |it| it.set(KEY_SHARE, &[&[0, 29, 0, 32][..], &[0; 32]].concat()),
            "tls.handshake - the server breaks TLS: invalid key share"
        ),
        hello_with!(
            "a key of a group that got none of ours",
            |it| it.set(KEY_SHARE, &[&[0, 23, 0, 65, 4][..], &[9; 64]].concat()),
            OTHER_GROUP
        ),
        hello_with!(
            "a key of a group nobody offered",
            |it| it.set(KEY_SHARE, &[&[0, 25, 0, 133, 4][..], &[9; 132]].concat()),
            OTHER_GROUP
        ),
        hello_with!(
            "a version that does not exist",
            |it| it.set(SUPPORTED_VERSIONS, &[3, 9]),
            NO_VERSION
        ),
        hello_with!(
            "TLS 1.1 as its version",
            |it| it.set(SUPPORTED_VERSIONS, &[3, 2]),
            NO_VERSION
        ),
        hello_with!(
            "TLS 1.2 in the place for later ones",
            |it| it.set(SUPPORTED_VERSIONS, &[3, 3]),
            "tls.protocol - the server selected tls12 using tls13 version extension"
        ),
        hello_with!(
            "no version, a suite of TLS 1.3",
            |it| it
                .extensions
                .retain(|(kind, _)| *kind != SUPPORTED_VERSIONS),
            UNFIT
        ),
        hello_with!(
            "a suite of TLS 1.2",
            |it| it.suite = vec![0xC0, 0x2B],
            UNFIT
        ),
        hello_with!(
            "a key from before that nobody has",
            |it| it.set(PRE_SHARED_KEY, &[0, 0]),
            UNASKED
        ),
        hello_with!(
            "an extension that was not asked for",
            |it| it.set(HEARTBEAT, &[1]),
            UNASKED
        ),
        hello_with!(
            "an extension twice",
            |it| it.extensions.push((SUPPORTED_VERSIONS, vec![3, 4])),
            "tls.handshake - garbled message: duplicate extension(43)"
        ),
    ]
}
