//! One task per client: bytes ↔ packets ↔ hub.
//!
//! It decides when a client is too slow to be kept: to say CONNECT, to finish a packet, to take
//! what is written to it. Everything else is the hub's decision.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use log::debug;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until, timeout};

use super::codec::{self, DecodeError};
use crate::core::hub::{ConnectionId, Ended};
use crate::core::packet::{ConnAck, Connect, Outgoing, Version, reason};
use crate::io::clock;
use crate::io::event_loop::gateway::{Line, Shared};
use crate::io::log::escape;

/// Time until CONNECT is there.
const CONNECT: Duration = Duration::from_secs(10);
/// Time from the first byte of a packet to its last.
const PACKET: Duration = Duration::from_secs(30);
/// Time in which a client takes at least a byte of what is written to it.
const STALL: Duration = Duration::from_secs(20);
/// Time to write what is left to a client that is being closed.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time in which a client that was told to go closes its end.
const LINGER: Duration = Duration::from_secs(1);
/// Room for one read.
const READ: usize = 8 * 1024;
/// Bytes that wait to be written; beyond it nothing is taken from the hub, nor from the client.
const HIGH_WATER: usize = 32 * 1024;
/// A shorter start of a packet waits in memory of its own size, a longer one in the buffer that
/// it was read into.
const SMALL: usize = 2 * 1024;

/// Serves one connection until it ends; `seat` tells its ID once it has one.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: &Rc<Shared>,
    seat: &Cell<Option<ConnectionId>>,
) {
    let mut input = BytesMut::new();
    let connect = match timeout(CONNECT, read_connect(&mut stream, &mut input, shared)).await {
        Ok(Ok(Some(connect))) => connect,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return refuse_undecoded(stream, peer, shared, error).await,
        Err(_) => {
            let what = "no CONNECT within 10 s";
            return shared.with(|gateway, now| gateway.journal().violation(peer, what, now));
        }
    };
    let version = connect.version;
    let Some((id, line)) = enter(connect, &mut stream, peer, shared).await else {
        return;
    };
    seat.set(Some(id));
    let now = clock::now();
    let mut session = Session {
        stream,
        shared,
        peer,
        id,
        line,
        version,
        input,
        output: BytesMut::new(),
        silence: shared.with(|gateway, _| gateway.silence(id)),
        last_packet: now,
        packet_begun: None,
        stalled: None,
        alarm: Box::pin(sleep_until(now.into())),
        alarm_at: None,
    };
    // CONNECT and what follows it may have come in one piece.
    let ended = match session.take_packets(now) {
        Ok(()) => session.run().await,
        Err(ended) => ended,
    };
    session.finish(ended).await;
}

/// Reads until CONNECT is complete; `None` if the peer closed before.
async fn read_connect(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    shared: &Rc<Shared>,
) -> Result<Option<Connect>, DecodeError> {
    loop {
        if let Some(connect) = codec::decode_connect(input, shared.max_packet())? {
            return Ok(Some(connect));
        }
        input.reserve(256);
        if !matches!(stream.read_buf(input).await, Ok(1..)) {
            return Ok(None);
        }
    }
}

/// Checks credentials and enters the client into the hub; answers a refusal itself.
async fn enter(
    mut connect: Connect,
    stream: &mut TcpStream,
    peer: SocketAddr,
    shared: &Rc<Shared>,
) -> Option<(ConnectionId, Rc<Line>)> {
    let credentials = connect.credentials.take();
    match shared.logins().identify(credentials, peer.ip()).await {
        Ok(_) if shared.is_stopping() => {
            refuse(stream, connect.version, reason::SHUTTING_DOWN).await;
            None
        }
        Ok(who) => {
            debug!("{peer}: client `{}` connects", escape(&connect.client_id));
            Some(shared.with(|gateway, now| gateway.connect(connect, who, now)))
        }
        Err(code) => {
            let why = match code {
                reason::BAD_CREDENTIALS => "wrong user name or password",
                _ => "anonymous clients are not welcome from there",
            };
            shared.with(|gateway, now| gateway.journal().refused(peer, why, now));
            refuse(stream, connect.version, code).await;
            None
        }
    }
}

async fn refuse_undecoded(
    mut stream: TcpStream,
    peer: SocketAddr,
    shared: &Rc<Shared>,
    error: DecodeError,
) {
    let (what, answer) = match error {
        // Whoever does not speak MQTT gets no answer in it (MQTT-3.1.4-1).
        DecodeError::Malformed(what) => (what, None),
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
    shared.with(|gateway, now| gateway.journal().violation(peer, what, now));
    if let Some((version, code)) = answer {
        refuse(&mut stream, version, code).await;
    }
}

/// Sends a CONNACK that refuses, and closes.
async fn refuse(stream: &mut TcpStream, version: Version, code: u8) {
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
async fn part(stream: &mut TcpStream) {
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
    /// All that was to be written is, or it cannot be.
    Wrote(io::Result<()>),
    /// There is something to write, or the connection has to go.
    Rung,
    /// A time limit may have passed.
    Late,
}

struct Session<'a> {
    stream: TcpStream,
    shared: &'a Rc<Shared>,
    peer: SocketAddr,
    id: ConnectionId,
    line: Rc<Line>,
    version: Version,
    /// The start of a packet whose rest is to come; without memory when empty.
    input: BytesMut,
    /// What the socket has not taken yet; without memory when empty.
    output: BytesMut,
    silence: Option<Duration>,
    last_packet: Instant,
    packet_begun: Option<Instant>,
    /// When the socket last took something, while there is more for it.
    stalled: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    /// When the alarm goes off, `None` when it went off.
    alarm_at: Option<Instant>,
}

impl Session<'_> {
    /// Serves the client until the connection ends, and tells why.
    async fn run(&mut self) -> Option<Ended> {
        loop {
            self.fill();
            if self.line.closing.get() {
                return None;
            }
            let turn = {
                let this = &mut *self;
                std::future::poll_fn(move |context| this.poll_turn(context)).await
            };
            // What was rung until now is seen to by `fill`; rings during it need wake nobody.
            self.line.bell.hush();
            match turn {
                Turn::Read(Ok(1..)) => {
                    if let Err(ended) = self.take_packets(clock::now()) {
                        return ended;
                    }
                }
                Turn::Read(_) | Turn::Wrote(Err(_)) => return Some(Ended::Lost),
                Turn::Wrote(Ok(())) | Turn::Rung => {}
                Turn::Late => {
                    if let Some(ended) = self.overdue(clock::now()) {
                        return Some(ended);
                    }
                }
            }
        }
    }

    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        if !self.output.is_empty()
            && let Poll::Ready(result) = self.poll_write(context)
        {
            return Poll::Ready(Turn::Wrote(result));
        }
        if self.line.bell.poll_rung(context).is_ready() {
            return Poll::Ready(Turn::Rung);
        }
        if self.output.len() < HIGH_WATER
            && let Poll::Ready(result) = self.poll_read(context)
        {
            return Poll::Ready(Turn::Read(result));
        }
        self.poll_alarm(context).map(|()| Turn::Late)
    }

    /// Writes until all is written or the socket takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.output.advance(count);
                    self.stalled = Some(clock::now());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.stalled.is_none() {
                        self.stalled = Some(clock::now());
                    }
                    return Poll::Pending;
                }
            }
        }
        self.stalled = None;
        self.shared.return_output(std::mem::take(&mut self.output));
        Poll::Ready(Ok(()))
    }

    /// Reads into the buffer that all clients share, behind what was left of the last read.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_empty() || self.input.len() <= SMALL {
            let begun = std::mem::replace(&mut self.input, self.shared.take_input());
            self.input.extend_from_slice(&begun);
        }
        self.input.reserve(READ);
        let result = pin!(self.stream.read_buf(&mut self.input)).poll(context);
        if result.is_pending() {
            self.put_input_away();
        }
        result
    }

    /// Keeps the start of a packet and gives the shared buffer back.
    fn put_input_away(&mut self) {
        if self.input.len() <= SMALL {
            let begun = BytesMut::from(&*self.input);
            self.shared
                .return_input(std::mem::replace(&mut self.input, begun));
        }
    }

    /// Hands the packets that are complete to the hub. The error is why the connection ends,
    /// `None` in it that the hub knows already.
    fn take_packets(&mut self, now: Instant) -> Result<(), Option<Ended>> {
        let max_packet = self.shared.max_packet();
        let mut any = false;
        while !self.line.closing.get() {
            match codec::decode(self.version, &mut self.input, max_packet) {
                Ok(Some(packet)) => {
                    any = true;
                    self.shared
                        .with(|gateway, now| gateway.receive(self.id, packet, now));
                }
                Ok(None) => break,
                Err(error) => return Err(Some(self.give_up(error))),
            }
        }
        if any {
            self.last_packet = now;
            self.packet_begun = None;
        }
        if self.input.is_empty() {
            self.packet_begun = None;
        } else if self.packet_begun.is_none() {
            self.packet_begun = Some(now);
        }
        self.put_input_away();
        Ok(())
    }

    /// Notes what is wrong with the bytes of the client, and returns why the connection ends.
    fn give_up(&self, error: DecodeError) -> Ended {
        let (what, ended) = match error {
            DecodeError::Malformed(what) => (what, Ended::Malformed),
            DecodeError::TooLarge => ("a packet over the limit", Ended::TooLarge),
            DecodeError::UnsupportedVersion(_) | DecodeError::UnsupportedAuthentication => {
                ("a second CONNECT", Ended::Malformed)
            }
        };
        self.shared
            .with(|gateway, now| gateway.journal().violation(self.peer, what, now));
        ended
    }

    /// Takes packets from the hub, as many as may wait.
    fn fill(&mut self) {
        self.line.bell.hush();
        if self.output.len() >= HIGH_WATER {
            return;
        }
        self.shared.with(|gateway, now| {
            while self.output.len() < HIGH_WATER
                && let Some(packet) = gateway.next_packet(self.id, now)
            {
                if self.output.is_empty() && self.output.capacity() == 0 {
                    self.output = self.shared.take_output();
                }
                codec::encode(self.version, packet, &mut self.output);
            }
        });
    }

    /// Waits for the earliest limit. The alarm is only ever moved to an earlier time: later ones
    /// are found when it goes off, so that traffic does not touch the timer.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limits().into_iter().flatten().map(|(at, _)| at).min() else {
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

    fn limits(&self) -> [Option<(Instant, Ended)>; 3] {
        [
            self.silence
                .map(|silence| (self.last_packet + silence, Ended::KeepAlive)),
            self.packet_begun
                .map(|begun| (begun + PACKET, Ended::Malformed)),
            self.stalled.map(|since| (since + STALL, Ended::Lost)),
        ]
    }

    fn overdue(&self, now: Instant) -> Option<Ended> {
        let over = self
            .limits()
            .into_iter()
            .flatten()
            .filter(|(at, _)| *at <= now);
        over.min_by_key(|(at, _)| *at).map(|(_, ended)| ended)
    }

    /// Tells the hub why the connection ends, if it does not know, and writes what is left.
    async fn finish(mut self, ended: Option<Ended>) {
        if let Some(ended) = ended {
            self.shared
                .with(|gateway, now| gateway.close(self.id, ended, now));
        }
        if ended == Some(Ended::Lost) {
            return;
        }
        let left = timeout(FAREWELL, async {
            loop {
                self.fill();
                if self.output.is_empty() {
                    return true;
                }
                let this = &mut self;
                let write = std::future::poll_fn(move |context| this.poll_write(context));
                if write.await.is_err() {
                    return false;
                }
            }
        });
        if let Ok(true) = left.await {
            part(&mut self.stream).await;
        }
    }
}
