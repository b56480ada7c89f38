//! Accepts connections, with limits in all and per address.
//!
//! Which listeners are open when is for [`doors`].

mod admission;
pub(crate) mod certificates;
pub(crate) mod doors;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use log::error;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::admission::{Admission, Place};
use super::session::{self, Guest};
use super::transport::Transport;
use crate::io::clock;
use crate::io::event_loop::contain;
use crate::io::event_loop::shared::Shared;
use crate::io::task::spawn;
use crate::io::tls::accepted::{Accepted, Refused};

#[cfg(feature = "websocket")]
use super::websocket::{self, Gate, WebSocket};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// Pause after a failed accept: the cause, such as too many open files, lasts a while.
const PAUSE: Duration = Duration::from_millis(250);

/// What is spoken at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// MQTT.
    Plain,
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket, which may be over TLS.
    #[cfg(feature = "websocket")]
    WebSocket { gate: Rc<Gate>, tls: bool },
}

impl Kind {
    /// Returns what MQTT is carried by, as it is written behind it.
    fn describe(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Tls => " over TLS",
            #[cfg(feature = "websocket")]
            Self::WebSocket { tls: false, .. } => " over WebSocket",
            #[cfg(feature = "websocket")]
            Self::WebSocket { tls: true, .. } => " over WebSocket and TLS",
        }
    }

    fn has_tls(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls => true,
            #[cfg(feature = "websocket")]
            Self::WebSocket { tls, .. } => *tls,
        }
    }
}

/// Listens on an address; returns it with the port that was taken if any was asked for.
fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the run before to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that `[::]` and `0.0.0.0` can stand beside each other.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn accept(
    listener: &TcpListener,
    address: SocketAddr,
    kind: &Kind,
    shared: &Rc<Shared>,
    admission: &Rc<RefCell<Admission>>,
) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                welcome((stream, peer), kind, shared, admission);
            }
            // The client gave up before it was its turn.
            Err(cause) if is_the_clients(&cause) => {}
            Err(cause) => {
                if !failing {
                    error!("cannot accept connections on {address}: {cause}");
                }
                failing = true;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_the_clients(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

fn welcome(
    (stream, peer): (TcpStream, SocketAddr),
    kind: &Kind,
    shared: &Rc<Shared>,
    admission: &Rc<RefCell<Admission>>,
) {
    let refused = admission.borrow_mut().enter(peer.ip(), clock::now()).err();
    if let Some(why) = refused {
        shared.note(|journal, now| journal.turned_away(peer, why, now));
        return;
    }
    let place = Place {
        admission: Rc::clone(admission),
        address: peer.ip(),
    };
    shared.note(|journal, _| journal.accepted());
    // Both are wishes: a socket that cannot have them still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive());
    let (kind, shared) = (kind.clone(), Rc::clone(shared));
    spawn(async move {
        // A box of its own, so that the task does not keep room for handshakes.
        let guest = Box::pin(receive(stream, peer, kind, &shared));
        attend(guest, &shared).await;
        drop(place);
    });
}

/// Serves one client to its end. A panic on the way is the end of this client alone.
async fn attend(guest: impl Future<Output = Option<Guest>>, shared: &Rc<Shared>) {
    let seat = Cell::new(None);
    // Pinned here: handed on by value, it would take its room in the task thrice.
    let serve = pin!(async {
        if let Some(guest) = guest.await {
            session::serve(guest, shared, &seat).await;
        }
    });
    if !contain(serve).await {
        shared.note(|journal, _| journal.panicked("a client's session"));
    }
    if let Some(id) = seat.get() {
        shared.with(|gateway, now| gateway.leave(id, now));
    }
}

/// Performs the handshakes that there are to be, all within the time for CONNECT.
async fn receive(
    stream: TcpStream,
    peer: SocketAddr,
    kind: Kind,
    shared: &Shared,
) -> Option<Guest> {
    let guest = Guest {
        transport: Transport::Plain(stream),
        address: peer,
        certificate: None,
        must_log_in: false,
    };
    if matches!(kind, Kind::Plain) {
        return Some(guest);
    }
    let limit = shared.connection_limits().connect_timeout;
    let what = match timeout(limit, shake_hands(guest, &kind, shared)).await {
        Ok(Ok(guest)) => return Some(guest),
        Ok(Err(what)) => what,
        Err(_) if kind.has_tls() => "no TLS handshake in time".to_owned(),
        Err(_) => "no WebSocket handshake in time".to_owned(),
    };
    shared.note(|journal, now| journal.violation(peer, &what, now));
    None
}

/// Performs the handshakes of a listener, or says why they failed.
async fn shake_hands(mut guest: Guest, kind: &Kind, shared: &Shared) -> Result<Guest, String> {
    if kind.has_tls()
        && let Transport::Plain(stream) = guest.transport
    {
        let (acceptor, turns) = shared.tls().ok_or("there is no certificate to show")?;
        let accepted = Accepted::accept(stream, &acceptor, turns).await;
        let accepted = accepted.map_err(|refused| match refused {
            Refused::Lost => "gone during the TLS handshake".to_owned(),
            Refused::Tls(error) => format!("TLS handshake failed, {error}"),
        })?;
        guest.certificate = accepted.subject().map(Option::unwrap_or_default);
        guest.transport = Transport::Tls(accepted);
    }
    #[cfg(feature = "websocket")]
    if let Kind::WebSocket { gate, .. } = kind {
        match websocket::accept(&mut guest.transport, gate).await {
            Ok(must_log_in) => guest.must_log_in = must_log_in,
            Err(what) => {
                session::part(&mut guest.transport).await;
                return Err(what);
            }
        }
        guest.transport = Transport::WebSocket(Box::new(WebSocket::new(guest.transport)));
    }
    Ok(guest)
}

/// A node with keep alive 0 that lost its power is noticed after two minutes.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::LocalSet;

    use super::*;
    use crate::io::event_loop::testing;

    /// CONNECT of 3.1.1 as `c` with a clean session.
    const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
    /// The same as `w`, with the will `gone` on `t`.
    const DYING: &[u8] = b"\x10\x16\0\x04MQTT\x04\x06\0\0\0\x01w\0\x01t\0\x04gone";

    fn client(shared: &Rc<Shared>, faulty: bool) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (ours, stream) = duplex(1024);
        let shared = Rc::clone(shared);
        let guest = Guest {
            transport: Transport::Pipe { stream, faulty },
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            certificate: None,
            must_log_in: false,
        };
        let task = spawn(async move {
            attend(std::future::ready(Some(guest)), &shared).await;
        });
        (ours, task)
    }

    async fn expect(client: &mut DuplexStream, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn panic_in_a_session_ends_that_session_alone_and_is_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        LocalSet::new().block_on(&runtime.unwrap(), async {
            let shared = testing::shared();
            let (mut well, _task) = client(&shared, false);
            well.write_all(CONNECT).await.unwrap();
            expect(&mut well, &[0x20, 2, 0, 0]).await;
            well.write_all(b"\x82\x06\0\x01\0\x01t\0").await.unwrap();
            expect(&mut well, &[0x90, 3, 0, 1, 0]).await;

            let (mut dying, task) = client(&shared, true);
            dying.write_all(DYING).await.unwrap();
            task.await.unwrap();
            // Its will is published, as after any other loss of a connection.
            expect(&mut well, b"\x30\x07\0\x01tgone").await;
            well.write_all(&[0xC0, 0]).await.unwrap();
            expect(&mut well, &[0xD0, 0]).await;
            let panics = Cell::new(0);
            shared.note(|journal, _| panics.set(journal.counts().panics));
            assert_eq!(panics.get(), 1);
        });
    }
}
