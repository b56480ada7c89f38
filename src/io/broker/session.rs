//! One task per client: bytes ↔ packets ↔ hub.
//!
//! It decides how much is read and written at once, and gives up clients that [`Patience`] finds
//! too slow. Everything else is the hub's decision.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use log::debug;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, sleep_until, timeout};

use super::codec::{self, DecodeError};
use super::login::Origin;
use super::pace::{Pace, Tally};
use super::patience::Patience;
use super::transport::Transport;
use crate::config::ConnectionLimits;
use crate::core::access::Identity;
use crate::core::hub::{ConnectionId, Ended};
use crate::core::packet::{ConnAck, Connect, Credentials, Incoming, Outgoing, Version, reason};
use crate::io::clock;
use crate::io::event_loop::shared::{Line, Shared};
use crate::io::log::escape;

/// Time to write what is left to a client that is being closed.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time in which a client that was told to go closes its end.
const LINGER: Duration = Duration::from_secs(1);
/// Room for one read.
const READ: usize = 8 * 1024;
/// Packets of one client that are handled before the others get a turn: their own queues must
/// not overflow meanwhile.
const BURST: usize = 32;
/// A shorter start of a packet waits in memory of its own size, a longer one in the buffer that
/// it was read into.
const SMALL: usize = 2 * 1024;

/// Who has come, before CONNECT.
pub(super) struct Guest {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    /// The common name of its certificate, empty if that has none.
    pub(super) certificate: Option<String>,
    /// Whether it has to say who it is, whatever anonymous clients may.
    pub(super) must_log_in: bool,
}

/// Serves one connection until it ends; `seat` tells its ID once it has one.
pub(super) async fn serve(guest: Guest, shared: &Rc<Shared>, seat: &Cell<Option<ConnectionId>>) {
    let Guest {
        transport: mut stream,
        address: peer,
        certificate,
        must_log_in,
    } = guest;
    let mut input = BytesMut::new();
    let limits = shared.connection_limits();
    let connect = read_connect(&mut stream, &mut input, shared);
    let connect = match timeout(limits.connect_timeout, connect).await {
        Ok(Ok(Some(connect))) => connect,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return Box::pin(refuse_undecoded(stream, peer, shared, error)).await,
        Err(_) => {
            let what = "no CONNECT in time";
            return shared.note(|journal, now| journal.violation(peer, what, now));
        }
    };
    let version = connect.version;
    let from = Origin {
        address: peer.ip(),
        certificate: certificate.as_deref(),
        must_log_in,
    };
    // What comes once is in a box of its own: a task keeps room for the largest of all its steps,
    // and a thousand clients that do nothing would hold some megabytes of it.
    let entered = Box::pin(enter(connect, &mut stream, (peer, from), shared));
    let Some(line) = entered.await else {
        return;
    };
    seat.set(Some(line.id));
    let now = clock::now();
    let mut session = Session {
        stream,
        shared,
        peer,
        patience: Patience::new(shared.silence(line.id), limits.packet_timeout, now),
        pace: pace(&limits, peer.ip()),
        published: None,
        line,
        version,
        // CONNECT and what follows it may have come in one piece.
        unread: !input.is_empty(),
        input,
        alarm: Box::pin(sleep_until(now.into())),
        alarm_at: None,
    };
    let ended = session.run().await;
    Box::pin(session.finish(ended)).await;
}

/// How fast clients from the network may publish, unless the configuration says otherwise.
const PUBLISH_RATE: usize = 100;
/// Seconds' worth of messages that may come at once.
const PUBLISH_BURST: usize = 5;

/// Returns how fast a client may publish: one on this machine as fast as it can, if nothing is
/// configured.
fn pace(limits: &ConnectionLimits, peer: IpAddr) -> Option<Pace> {
    let default = match peer.to_canonical().is_loopback() {
        true => 0,
        false => PUBLISH_RATE,
    };
    let rate = limits.publish_rate.unwrap_or(default);
    Pace::new(rate, rate.saturating_mul(PUBLISH_BURST))
}

/// Reads until CONNECT is complete; `None` if the peer closed before.
async fn read_connect(
    stream: &mut Transport,
    input: &mut BytesMut,
    shared: &Rc<Shared>,
) -> Result<Option<Connect>, DecodeError> {
    loop {
        if let Some(connect) = codec::decode_connect(input, shared.max_packet())? {
            return Ok(Some(connect));
        }
        input.reserve(256);
        if !matches!(stream.read_buf(input).await, Ok(1..)) {
            return stream
                .fault()
                .map(DecodeError::Protocol)
                .map_or(Ok(None), Err);
        }
    }
}

/// Checks credentials and enters the client into the hub; answers a refusal itself.
async fn enter(
    mut connect: Connect,
    stream: &mut Transport,
    (peer, from): (SocketAddr, Origin<'_>),
    shared: &Rc<Shared>,
) -> Option<Rc<Line>> {
    let credentials = connect.credentials.take();
    match identify(credentials, &connect.client_id, from, shared).await {
        Ok(_) if shared.is_stopping() => {
            refuse(stream, connect.version, reason::SHUTTING_DOWN).await;
            None
        }
        Ok(mut who) => {
            who.peer = Some(peer);
            if shared.is_connected(&connect.client_id) {
                // Its former connection may be closed already, and its task not know yet: no
                // take-over then.
                tokio::task::yield_now().await;
            }
            debug!("{peer}: client `{}` connects", escape(&connect.client_id));
            Some(shared.with(|gateway, now| gateway.connect(connect, who, now)))
        }
        Err(code) => {
            let why = match code {
                reason::BAD_CREDENTIALS => "wrong user name or password",
                reason::CLIENT_ID_INVALID => {
                    "its client ID is bound to a user, or its user to others"
                }
                reason::BUSY => "too many wrong passwords or password checks before it",
                _ => "no user has its certificate, or it has neither certificate nor password",
            };
            shared.note(|journal, now| journal.refused(peer, why, now));
            // Of 3.x clients some stop for ever at a refusal: they are to come again.
            if code != reason::BUSY || connect.version == Version::V5 {
                refuse(stream, connect.version, code).await;
            }
            None
        }
    }
}

/// Checks credentials; again if the users were replaced while that went on.
async fn identify(
    credentials: Option<Credentials>,
    client: &str,
    from: Origin<'_>,
    shared: &Rc<Shared>,
) -> Result<Identity, u8> {
    loop {
        let logins = shared.logins();
        let verdict = logins.identify(credentials.clone(), client, from).await;
        if Rc::ptr_eq(&logins, &shared.logins()) {
            return verdict;
        }
    }
}

async fn refuse_undecoded(
    mut stream: Transport,
    peer: SocketAddr,
    shared: &Rc<Shared>,
    error: DecodeError,
) {
    let (what, answer) = match error {
        // Whoever does not speak MQTT gets no answer in it (MQTT-3.1.4-1).
        DecodeError::Malformed(what) | DecodeError::Protocol(what) => (what, None),
        DecodeError::TooLarge => ("a CONNECT over the packet limit", None),
        DecodeError::UnsupportedVersion(form) => (
            "an MQTT version that is not spoken here",
            Some((form, reason::UNSUPPORTED_VERSION)),
        ),
        DecodeError::UnsupportedAuthentication => (
            "extended authentication",
            Some((Version::V5, reason::BAD_AUTHENTICATION)),
        ),
    };
    shared.note(|journal, now| journal.violation(peer, what, now));
    stream.note_end(Ended::Protocol);
    match answer {
        Some((version, code)) => refuse(&mut stream, version, code).await,
        None if stream.tells_its_end() => part(&mut stream).await,
        None => {}
    }
}

/// Sends a CONNACK that refuses, and closes.
async fn refuse(stream: &mut Transport, version: Version, code: u8) {
    let refusal = ConnAck {
        session_present: false,
        reason: code,
        grant: None,
    };
    let mut bytes = BytesMut::new();
    codec::encode(version, Outgoing::ConnAck(refusal), &mut bytes);
    if let Ok(Ok(())) = timeout(FAREWELL, stream.write_all(&bytes)).await {
        part(stream).await;
    }
}

/// Closes our end and waits briefly for the peer's: closing with unread bytes would reset the
/// connection, and the peer might lose what was written last.
pub(super) async fn part(stream: &mut Transport) {
    let mut rest = [0; 256];
    let _ = timeout(LINGER, async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// What a session waited for.
enum Turn {
    /// So many bytes were read; 0 at the end of the stream.
    Read(io::Result<usize>),
    /// Bytes that were read before can be decoded now.
    Unread,
    /// All that was to be written is, or it cannot be.
    Wrote(io::Result<()>),
    /// There is something to write, or the connection has to go.
    Rung,
    /// A time limit may have passed.
    Late,
}

struct Session<'a> {
    stream: Transport,
    shared: &'a Rc<Shared>,
    peer: SocketAddr,
    line: Rc<Line>,
    version: Version,
    /// What was read and not decoded; without memory when empty.
    input: BytesMut,
    /// Whether `input` may hold whole packets.
    unread: bool,
    patience: Patience,
    /// How fast the client may publish, `None` for as fast as it can.
    pace: Option<Pace>,
    published: Tally,
    alarm: Pin<Box<Sleep>>,
    /// When the alarm goes off, `None` when it went off.
    alarm_at: Option<Instant>,
}

impl Session<'_> {
    /// Serves the client until the connection ends, and tells why; `None` if the hub knows.
    async fn run(&mut self) -> Option<Ended> {
        loop {
            if self.line.more.get() {
                self.fill();
            }
            if self.line.closing.get() {
                return None;
            }
            let this = &mut *self;
            let turn = poll_fn(move |context| this.poll_turn(context)).await;
            // The task is up: what is rung from here on need not wake it.
            self.line.bell.hush();
            match turn {
                Turn::Read(Ok(1..)) => {}
                Turn::Unread => tokio::task::yield_now().await,
                Turn::Read(_) | Turn::Wrote(Err(_)) => {
                    let Some(what) = self.stream.fault() else {
                        return Some(Ended::Lost);
                    };
                    self.note(what);
                    return Some(Ended::Protocol);
                }
                Turn::Wrote(Ok(())) | Turn::Rung => continue,
                Turn::Late => {
                    let now = clock::now();
                    self.patience.release(now);
                    if let Some((ended, what)) = self.patience.overdue(now) {
                        self.note(what);
                        return Some(ended);
                    }
                    continue;
                }
            }
            if let Err(ended) = self.take_packets() {
                return Some(ended);
            }
        }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(Some(result)) = self.poll_write(context) {
            return Poll::Ready(Turn::Wrote(result));
        }
        if self.line.bell.poll_rung(context).is_ready() {
            return Poll::Ready(Turn::Rung);
        }
        if !self.line.is_backed_up() && !self.patience.is_held() {
            if self.unread {
                return Poll::Ready(Turn::Unread);
            }
            if let Poll::Ready(result) = self.poll_read(context) {
                return Poll::Ready(Turn::Read(result));
            }
        }
        self.poll_alarm(context).map(|()| Turn::Late)
    }

    /// Writes until all is written or the socket takes no more; `None` if there is nothing.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        let mut output = self.line.output.borrow_mut();
        if output.is_empty() {
            return Poll::Ready(None);
        }
        while !output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &output) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Some(Err(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(count)) => {
                    output.advance(count);
                    self.patience.progress();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    self.patience.stalled(clock::now);
                    return Poll::Pending;
                }
            }
        }
        let buffer = std::mem::take(&mut *output);
        self.shared.buffers().return_output(buffer);
        self.line.emptied();
        Poll::Ready(Some(Ok(())))
    }

    /// Reads into the buffer that all clients share, behind what was left of the last read.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.len() <= SMALL {
            let begun = std::mem::replace(&mut self.input, self.shared.buffers().take_input());
            self.input.extend_from_slice(&begun);
        }
        self.input.reserve(READ);
        let result = pin!(self.stream.read_buf(&mut self.input)).poll(context);
        if result.is_pending() {
            self.put_input_away();
        }
        result
    }

    /// Gives the shared buffer back and keeps what is left in memory of its own, if it is little.
    fn put_input_away(&mut self) {
        if self.input.len() <= SMALL {
            let rest = BytesMut::from(&*self.input);
            let buffer = std::mem::replace(&mut self.input, rest);
            self.shared.buffers().return_input(buffer);
        }
    }

    /// Hands complete packets to the hub, as many as are to be handled at once.
    fn take_packets(&mut self) -> Result<(), Ended> {
        let max_packet = self.shared.max_packet();
        let mut taken = 0;
        self.unread = false;
        loop {
            if self.line.closing.get() {
                return Ok(());
            }
            if taken == BURST || self.line.is_backed_up() || self.patience.is_held() {
                self.unread = true;
                break;
            }
            let packet = codec::decode(self.version, &mut self.input, max_packet)
                .map_err(|error| self.give_up(error))?;
            let Some(packet) = packet else { break };
            taken += 1;
            let is_paced = matches!(
                packet,
                Incoming::Publish(_) | Incoming::Subscribe(_) | Incoming::Unsubscribe(_)
            );
            let now = self.shared.with(|gateway, now| {
                gateway.receive(self.line.id, packet, now);
                now
            });
            self.patience.packet(now);
            if is_paced {
                self.keep_pace(now);
            }
        }
        if !self.unread && !self.input.is_empty() {
            self.patience.begun(clock::now);
        }
        self.put_input_away();
        Ok(())
    }

    /// Reads nothing more for a while from a client that publishes or subscribes too fast: TCP slows
    /// it down.
    fn keep_pace(&mut self, now: Instant) {
        let Some(pace) = &self.pace else { return };
        if let Some(until) = pace.count(&mut self.published, now) {
            self.patience.hold(until);
            self.shared
                .note(|journal, now| journal.slowed(self.peer, now));
        }
    }

    /// Notes what is wrong with the bytes of the client, and returns why the connection ends.
    fn give_up(&self, error: DecodeError) -> Ended {
        let (what, ended) = match error {
            DecodeError::Malformed(what) => (what, Ended::Malformed),
            DecodeError::Protocol(what) => (what, Ended::Protocol),
            DecodeError::TooLarge => ("a packet over the limit", Ended::TooLarge),
            DecodeError::UnsupportedVersion(_) | DecodeError::UnsupportedAuthentication => {
                ("a second CONNECT", Ended::Protocol)
            }
        };
        self.note(what);
        ended
    }

    fn note(&self, what: &'static str) {
        self.shared
            .note(|journal, now| journal.violation(self.peer, what, now));
    }

    /// Takes from the hub what did not fit before.
    fn fill(&mut self) {
        self.shared
            .with(|gateway, now| gateway.fill(&self.line, now));
    }

    /// Waits for the earliest limit. The alarm is only ever moved to an earlier time: later ones
    /// are found when it goes off, so that traffic does not touch the timer.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.patience.next() else {
            return Poll::Pending;
        };
        if self.alarm_at.is_none_or(|at| limit < at) {
            self.alarm.as_mut().reset(limit.into());
            self.alarm_at = Some(limit);
        }
        self.alarm
            .as_mut()
            .poll(context)
            .map(|()| self.alarm_at = None)
    }

    /// Tells the hub why the connection ends, if it does not know, and writes what is left.
    async fn finish(mut self, ended: Option<Ended>) {
        if let Some(ended) = ended {
            self.stream.note_end(ended);
            self.shared
                .with(|gateway, now| gateway.close(self.line.id, ended, now));
        }
        if ended == Some(Ended::Lost) {
            return;
        }
        let write = timeout(FAREWELL, async {
            loop {
                let this = &mut self;
                match poll_fn(move |context| this.poll_write(context)).await {
                    Some(Ok(())) if self.line.more.get() => self.fill(),
                    result => return result.is_none_or(|result| result.is_ok()),
                }
            }
        });
        if let Ok(true) = write.await {
            part(&mut self.stream).await;
        }
    }
}
