//! Accepts connections, with limits in all and per address.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use log::error;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

use super::session;
use crate::RunError;
use crate::io::event_loop::contain;
use crate::io::event_loop::shared::Shared;

/// Connections beside those of the clients: in their handshake, or being closed.
const HANDSHAKES: usize = 64;
/// Connections from one address; this machine's own are not counted.
const PER_ADDRESS: usize = 64;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// Pause after a failed accept: the cause, such as too many open files, lasts a while.
const PAUSE: Duration = Duration::from_millis(250);

/// Sockets that listen already.
pub(crate) struct Listeners(Vec<(TcpListener, SocketAddr)>);

/// Listens on all addresses.
pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Listeners, RunError> {
    let bound = addresses
        .iter()
        .map(|&address| bind_one(address).map_err(|cause| RunError::Listen { address, cause }));
    Ok(Listeners(bound.collect::<Result<_, _>>()?))
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
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

impl Listeners {
    /// Returns the addresses, with the ports that were taken where any was asked for.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address)| *address).collect()
    }

    /// Starts to accept; aborting the tasks closes the sockets.
    pub(crate) fn accept(self, shared: &Rc<Shared>) -> Vec<JoinHandle<()>> {
        let admission = Rc::new(RefCell::new(Admission {
            limit: shared.max_clients().saturating_add(HANDSHAKES),
            ..Admission::default()
        }));
        let tasks = self.0.into_iter().map(|(listener, address)| {
            let (shared, admission) = (Rc::clone(shared), Rc::clone(&admission));
            spawn_local(async move { accept(&listener, address, &shared, &admission).await })
        });
        tasks.collect()
    }
}

async fn accept(
    listener: &TcpListener,
    address: SocketAddr,
    shared: &Rc<Shared>,
    admission: &Rc<RefCell<Admission>>,
) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                welcome(stream, peer, shared, admission);
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
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Rc<Shared>,
    admission: &Rc<RefCell<Admission>>,
) {
    let refused = admission.borrow_mut().enter(peer.ip()).err();
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
    let shared = Rc::clone(shared);
    spawn_local(async move {
        let seat = Cell::new(None);
        if !contain(session::serve(stream, peer, &shared, &seat)).await {
            shared.note(|journal, _| journal.panicked("a client's session"));
        }
        if let Some(id) = seat.get() {
            shared.with(|gateway, now| gateway.leave(id, now));
        }
        drop(place);
    });
}

/// A node with keep alive 0 that lost its power is noticed after two minutes.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// Counts connections.
#[derive(Debug, Default)]
struct Admission {
    limit: usize,
    total: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// One connection's place in the count.
struct Place {
    admission: Rc<RefCell<Admission>>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.borrow_mut().leave(self.address);
    }
}

impl Admission {
    fn enter(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.total >= self.limit {
            return Err("too many connections");
        }
        let address = address.to_canonical();
        if !address.is_loopback() {
            let count = self.per_address.entry(address).or_default();
            if *count >= PER_ADDRESS {
                return Err("too many connections from its address");
            }
            *count += 1;
        }
        self.total += 1;
        Ok(())
    }

    fn leave(&mut self, address: IpAddr) {
        self.total = self.total.saturating_sub(1);
        let address = address.to_canonical();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_per_address() {
        let mut admission = Admission {
            limit: 100,
            ..Admission::default()
        };
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_ADDRESS {
            admission.enter(one).unwrap();
        }
        assert_eq!(
            admission.enter(one),
            Err("too many connections from its address")
        );
        for _ in PER_ADDRESS..100 {
            admission.enter(other).unwrap();
        }
        assert_eq!(admission.enter(other), Err("too many connections"));
        admission.leave(one);
        admission.enter(one).unwrap();
    }

    #[test]
    fn addresses_that_left_are_forgotten() {
        let mut admission = Admission {
            limit: 10,
            ..Admission::default()
        };
        for last in 0..=255 {
            let address = IpAddr::from([10, 0, 0, last]);
            admission.enter(address).unwrap();
            admission.leave(address);
        }
        assert_eq!((admission.total, admission.per_address.len()), (0, 0));
    }

    #[test]
    fn programs_on_this_machine_are_limited_in_all_only() {
        let mut admission = Admission {
            limit: 100,
            ..Admission::default()
        };
        for _ in 0..100 {
            admission.enter([127, 0, 0, 1].into()).unwrap();
        }
        assert_eq!(
            admission.enter([127, 0, 0, 1].into()),
            Err("too many connections")
        );
    }
}
