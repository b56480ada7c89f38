//! A broker in this process and a raw MQTT client: packets are bytes, so that a test can send
//! what no library would and see exactly what comes back.

#![allow(dead_code, reason = "each test binary uses a part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of tests: what is not as expected has to fail"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{self, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Mutex, Once, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use mqtt_https_bridge::config::Config;
use mqtt_https_bridge::{RunError, Shutdown, Stopper, run};

/// Limit of every wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Name of the thread that a [`Broker`] runs on.
const THREAD: &str = "bridge";

/// Panics of broker threads in this process.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A running bridge; stopped and checked for panics when dropped.
pub(crate) struct Broker {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Broker {
    /// Starts with default settings on a free port.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// Starts with lines for `[broker]` and whatever sections follow them.
    pub(crate) fn with(settings: &str) -> Self {
        let text = format!("[broker]\nlisten = [\"127.0.0.1:0\"]\n{settings}");
        Self::try_start(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts with a whole bridge.toml.
    pub(crate) fn try_start(text: &str) -> Result<Self, RunError> {
        watch_for_panics();
        let parsed = Config::parse(Path::new("bridge.toml"), text, &|_| None);
        let (config, _) = parsed.unwrap_or_else(|errors| panic!("{errors:?}"));
        let (shutdown, stopper) = Shutdown::by_hand();
        let (ready, address) = mpsc::channel();
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        let thread = thread
            .spawn(move || {
                run(config, shutdown, |addresses| {
                    ready.send(addresses[0]).unwrap();
                })
            })
            .unwrap();
        match address.recv_timeout(LIMIT) {
            Ok(address) => Ok(Self {
                address,
                stopper,
                thread: Some(thread),
            }),
            Err(_) => Err(thread.join().unwrap().unwrap_err()),
        }
    }

    /// Asks for the stop without waiting for it.
    pub(crate) fn ask_to_stop(&self) {
        self.stopper.stop();
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(mut self) -> Result<(), RunError> {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Fails unless the broker serves a new client.
    pub(crate) fn assert_alive(&self) {
        let mut client = Client::connect(self.address, "liveness");
        client.subscribe("liveness", 0);
        client.send(&publish("liveness", "x", 0, 0));
        client.expect(&publish("liveness", "x", 0, 0));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stopper.stop();
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(result, None | Some(Ok(Ok(())))), "{result:?}");
            // Not under the lock: the hook, which the next panic calls, needs it.
            let panics = PANICS.lock().unwrap().clone();
            assert_eq!(panics, Vec::<String>::new());
        }
    }
}

/// Keeps what threads of the bridge panic with: also a panic that was contained is a fault.
fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(is_ours) {
                PANICS.lock().unwrap().push(info.to_string());
            }
            before(info);
        }));
    });
}

/// Returns whether a thread of this name is the loop's, a worker's, a look-up's or of the pool
/// for password checks, and not one of the test.
fn is_ours(name: &str) -> bool {
    name == THREAD || name.starts_with("https ") || name == "lookup" || name.starts_with("tokio-")
}

/// What packets travel over.
pub(crate) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A connection that speaks packets.
pub(crate) struct Client {
    stream: Box<dyn Wire>,
    /// The same TCP connection, if there is nothing between.
    socket: Option<TcpStream>,
    received: Vec<u8>,
}

impl Client {
    /// Opens the TCP connection alone.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let socket = Self::socket(address);
        Self {
            socket: Some(socket.try_clone().unwrap()),
            ..Self::over(socket)
        }
    }

    /// Opens a TCP connection with limits on every wait.
    pub(crate) fn socket(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Speaks packets over something that is open.
    pub(crate) fn over(stream: impl Wire + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            socket: None,
            received: Vec::new(),
        }
    }

    /// Connects with 3.1.1, a clean session and keep alive 0, and expects to be let in.
    pub(crate) fn connect(address: SocketAddr, id: &str) -> Self {
        let mut client = Self::open(address);
        client.send(&connect_4(id, CLEAN));
        client.expect(&[0x20, 2, 0, 0]);
        client
    }

    /// Connects with 3.1.1 and a persistent session; returns whether there was one.
    pub(crate) fn resume(address: SocketAddr, id: &str) -> (Self, bool) {
        let mut client = Self::open(address);
        client.send(&connect_4(id, 0));
        let answer = client.packet();
        assert!(matches!(answer[..], [0x20, 2, _, 0]), "{answer:02x?}");
        (client, answer[2] == 1)
    }

    /// Connects with MQTT 5, a clean start, and `properties`, and expects to be let in.
    pub(crate) fn connect_5(address: SocketAddr, id: &str, properties: &[u8]) -> Self {
        let mut client = Self::open(address);
        client.send(&connect_5(id, CLEAN, properties));
        let answer = client.packet();
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
        client
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes of which the broker may have closed the connection already.
    pub(crate) fn send_if_open(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Subscribes at a QoS and expects it to be granted.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(1, &[(filter, qos)]));
        self.expect(&[0x90, 3, 0, 1, qos]);
    }

    /// Returns the next packet whole.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.next_packet()
            .expect("a packet, and not the end of the connection")
    }

    /// Expects exactly this packet next.
    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let packet = self.packet();
        assert_eq!(packet, bytes, "{packet:02x?} is not {bytes:02x?}");
    }

    /// Expects these packets next, in any order.
    #[track_caller]
    pub(crate) fn expect_all(&mut self, packets: &[Vec<u8>]) {
        let mut left = packets.to_vec();
        while !left.is_empty() {
            let packet = self.packet();
            let place = left.iter().position(|own| *own == packet);
            let place = place.unwrap_or_else(|| panic!("{packet:02x?} is none of {left:02x?}"));
            left.swap_remove(place);
        }
    }

    /// Expects that the broker has nothing more to say.
    ///
    /// A PINGRESP goes before messages, so the first may overtake one; the second can't.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self) {
        for _ in 0..2 {
            self.send(&PINGREQ);
            self.expect(&PINGRESP);
        }
    }

    /// Expects the end of the connection without another packet.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        if let Some(packet) = self.next_packet() {
            panic!("{packet:02x?} is not the end of the connection");
        }
    }

    /// The same of an end that takes its time.
    #[track_caller]
    pub(crate) fn expect_late_end(&mut self) {
        // Each read waits for a while.
        for _ in 0..4 {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return,
                Ok(count) => panic!("{count} bytes before the end of the connection"),
                Err(error) if is_end(&error) => return,
                Err(_) => {}
            }
        }
        panic!("no end of the connection");
    }

    /// Ends the connection without DISCONNECT, and waits until the broker has closed its end of a
    /// TCP connection: what comes then finds the client gone.
    pub(crate) fn vanish(mut self) {
        if let Some(socket) = self.socket.take() {
            socket.shutdown(net::Shutdown::Write).unwrap();
            while self.next_packet().is_some() {}
        }
    }

    /// Ends the connection with DISCONNECT, and waits until the broker has closed its end.
    pub(crate) fn leave(mut self) {
        self.send(&[0xE0, 0]);
        self.expect_end();
    }

    /// Returns the next packet whole, `None` at the end of the connection.
    pub(crate) fn next_packet(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(total) = packet_length(&self.received)
                && self.received.len() >= total
            {
                return Some(self.received.drain(..total).collect());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if is_end(&error) => return None,
                Err(error) => panic!("nothing within {LIMIT:?}: {error}"),
            }
        }
    }
}

/// TCP may end by a reset, and TLS without a word.
fn is_end(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
    )
}

/// Clean session, or clean start.
pub(crate) const CLEAN: u8 = 0x02;
/// PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
/// PINGRESP.
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];

fn packet_length(bytes: &[u8]) -> Option<usize> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(2 + index + length);
        }
    }
    None
}

/// Puts the fixed header before a body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest & 0x7F).unwrap();
        rest >>= 7;
        bytes.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// Text or bytes behind their two-byte length.
pub(crate) fn block(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut block = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    block.extend_from_slice(bytes);
    block
}

/// CONNECT of 3.1.1 with keep alive 0; `flags` without will and credentials.
pub(crate) fn connect_4(id: &str, flags: u8) -> Vec<u8> {
    connect_with(4, flags, 0, &block(id))
}

/// CONNECT of 3.1.1 or 3.1 with a payload that is complete.
pub(crate) fn connect_with(level: u8, flags: u8, keep_alive: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = block(if level == 3 { "MQIsdp" } else { "MQTT" });
    body.extend([level, flags]);
    body.extend(keep_alive.to_be_bytes());
    body.extend_from_slice(payload);
    packet(0x10, &body)
}

/// CONNECT of MQTT 5 with keep alive 0.
pub(crate) fn connect_5(id: &str, flags: u8, properties: &[u8]) -> Vec<u8> {
    let mut payload = vec![u8::try_from(properties.len()).unwrap()];
    payload.extend_from_slice(properties);
    payload.extend(block(id));
    connect_with(5, flags, 0, &payload)
}

/// PUBLISH of 3.x; the identifier is left out at QoS 0.
pub(crate) fn publish(
    topic: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
    qos: u8,
    id: u16,
) -> Vec<u8> {
    flagged(topic, payload, qos << 1, id)
}

/// PUBLISH of 3.x with DUP (8), QoS (2, 4) and RETAIN (1) as they stand in the first byte.
pub(crate) fn flagged(
    topic: impl AsRef<[u8]>,
    payload: impl AsRef<[u8]>,
    flags: u8,
    id: u16,
) -> Vec<u8> {
    let mut body = block(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.extend_from_slice(payload.as_ref());
    packet(0x30 | flags, &body)
}

/// PUBLISH of MQTT 5 with properties.
pub(crate) fn publish_5(
    topic: &str,
    payload: &str,
    flags: u8,
    id: u16,
    properties: &[u8],
) -> Vec<u8> {
    let mut body = block(topic);
    if flags & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    body.extend_from_slice(payload.as_bytes());
    packet(0x30 | flags, &body)
}

/// SUBSCRIBE of 3.x.
pub(crate) fn subscribe(id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(block(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// SUBSCRIBE of MQTT 5 with properties.
pub(crate) fn subscribe_5(id: u16, filters: &[(&str, u8)], properties: &[u8]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend_from_slice(properties);
    for (filter, options) in filters {
        body.extend(block(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE of 3.x.
pub(crate) fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(block(filter));
    packet(0xA2, &body)
}

/// PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70) in the short form.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}
