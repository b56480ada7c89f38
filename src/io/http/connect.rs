//! TCP connect to the first of several addresses that answers.
//!
//! Attempts start 250 ms apart (RFC 8305 §5), or at once when one has failed, and run side by side:
//! a dead address or family costs a quarter of a second and not the time limit.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};

use crate::io::clock;

/// How long an attempt is alone.
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses that are tried.
const MAX_ATTEMPTS: usize = 8;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The deadline passed.
    TimedOut,
    /// Every address failed; the most telling error.
    Io(io::Error),
}

/// Connects to one of the addresses, which are tried in order, families in turn.
///
/// # Errors
/// Why none could be connected to.
pub(crate) fn connect(
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
) -> Result<(TcpStream, SocketAddr), Failed> {
    let mut race = Race {
        waiting: interleave(addresses)
            .into_iter()
            .take(MAX_ATTEMPTS)
            .map(|address| SocketAddr::new(address, port))
            .collect(),
        running: Vec::new(),
        error: None,
    };
    loop {
        if let Some((socket, address)) = race.start_next() {
            return finish(socket, address);
        }
        if race.running.is_empty() {
            if race.waiting.is_empty() {
                let none = || io::Error::from(ErrorKind::AddrNotAvailable);
                return Err(Failed::Io(race.error.take().unwrap_or_else(none)));
            }
            continue;
        }
        let now = clock::now();
        let left = deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(Failed::TimedOut);
        }
        let until = match race.waiting.is_empty() {
            true => left,
            false => left.min(STAGGER),
        };
        if let Some((socket, address)) = race.wait(now + until)? {
            return finish(socket, address);
        }
    }
}

struct Race {
    waiting: VecDeque<SocketAddr>,
    running: Vec<(Socket, SocketAddr)>,
    error: Option<io::Error>,
}

impl Race {
    /// Starts the next attempt; returns it if it is connected already.
    fn start_next(&mut self) -> Option<(Socket, SocketAddr)> {
        let address = self.waiting.pop_front()?;
        match start(address) {
            Ok((socket, true)) => return Some((socket, address)),
            Ok((socket, false)) => self.running.push((socket, address)),
            Err(error) => self.failed(error),
        }
        None
    }

    /// Waits until an attempt is connected, all have failed, or it is time for the next one.
    fn wait(&mut self, until: Instant) -> Result<Option<(Socket, SocketAddr)>, Failed> {
        while !self.running.is_empty() {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            let ready = poll(&self.running, left).map_err(Failed::Io)?;
            let before = self.running.len();
            // From the back, so that indices stay true.
            for at in ready.into_iter().rev() {
                let (socket, address) = self.running.swap_remove(at);
                match socket.take_error() {
                    Ok(None) => return Ok(Some((socket, address))),
                    Ok(Some(error)) | Err(error) => self.failed(error),
                }
            }
            if self.running.len() < before && !self.waiting.is_empty() {
                break;
            }
        }
        Ok(None)
    }

    fn failed(&mut self, error: io::Error) {
        // A refusal says more than a missing route: somebody is there.
        let telling = |error: &io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if self
            .error
            .as_ref()
            .is_none_or(|kept| telling(&error) && !telling(kept))
        {
            self.error = Some(error);
        }
    }
}

fn start(address: SocketAddr) -> io::Result<(Socket, bool)> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Requests go out in one piece; nothing is gained by waiting for more.
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => Ok((socket, true)),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Ok((socket, false))
        }
        Err(error) => Err(error),
    }
}

fn finish(socket: Socket, address: SocketAddr) -> Result<(TcpStream, SocketAddr), Failed> {
    socket.set_nonblocking(false).map_err(Failed::Io)?;
    Ok((socket.into(), address))
}

/// Returns the indices of the attempts that are decided, in order.
fn poll(attempts: &[(Socket, SocketAddr)], limit: Duration) -> io::Result<Vec<usize>> {
    let mut polled: Vec<_> = attempts
        .iter()
        .map(|(socket, _)| PollFd::new(socket, PollFlags::OUT))
        .collect();
    let limit = Timespec::try_from(limit).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    match rustix::event::poll(&mut polled, Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let decided = |fd: &PollFd<'_>| !fd.revents().is_empty();
    Ok(polled
        .iter()
        .enumerate()
        .filter(|(_, fd)| decided(fd))
        .map(|(at, _)| at)
        .collect())
}

/// Puts the families in turn, starting with that of the first address, else in order.
fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = addresses.first() else {
        return Vec::new();
    };
    let (mut same, mut other): (VecDeque<IpAddr>, VecDeque<IpAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut out = Vec::with_capacity(addresses.len());
    while !same.is_empty() || !other.is_empty() {
        out.extend(same.pop_front());
        out.extend(other.pop_front());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    fn v6(last: u16) -> IpAddr {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
    }

    #[test]
    fn families_take_turns_in_the_order_given() {
        assert!(interleave(&[]).is_empty());
        assert_eq!(
            interleave(&[v6(1), v6(2), v6(3), v4(1), v4(2)]),
            [v6(1), v4(1), v6(2), v4(2), v6(3)]
        );
        assert_eq!(interleave(&[v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
    }

    /// A listener whose queue is full: connects to it hang.
    fn dead(address: &str) -> (Socket, u16, Vec<Socket>) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let bound: SocketAddr = format!("{address}:0").parse().unwrap();
        listener.bind(&bound.into()).unwrap();
        listener.listen(0).unwrap();
        let bound = listener.local_addr().unwrap().as_socket().unwrap();
        let filling = (0..4).map(|_| start(bound).unwrap().0).collect();
        (listener, bound.port(), filling)
    }

    #[test]
    fn a_dead_address_costs_a_quarter_of_a_second() {
        let (_listener, port, _filling) = dead("127.0.0.2");
        let alive = TcpListener::bind(("127.0.0.3", port)).unwrap();
        let before = clock::now();
        let deadline = before + Duration::from_secs(10);
        let (_, peer) = connect(&[v4(2), v4(3)], port, deadline).unwrap();
        let took = clock::now() - before;
        assert_eq!(peer, alive.local_addr().unwrap());
        assert!(took >= STAGGER && took < STAGGER * 4, "{took:?}");
    }

    #[test]
    fn an_address_that_refuses_costs_nothing() {
        let alive = TcpListener::bind("127.0.0.3:0").unwrap();
        let peer = alive.local_addr().unwrap();
        let before = clock::now();
        let deadline = before + Duration::from_secs(10);
        let (_, found) = connect(&[v4(4), v4(5), v4(3)], peer.port(), deadline).unwrap();
        assert_eq!(found, peer);
        assert!(clock::now() - before < STAGGER);
    }

    #[test]
    fn the_deadline_ends_all_attempts() {
        let (_listener, port, _filling) = dead("127.0.0.2");
        let before = clock::now();
        let deadline = before + Duration::from_millis(100);
        let failed = connect(&[v4(2)], port, deadline).unwrap_err();
        assert!(matches!(failed, Failed::TimedOut), "{failed:?}");
        let took = clock::now() - before;
        assert!(
            took >= Duration::from_millis(100) && took < STAGGER,
            "{took:?}"
        );
    }

    #[test]
    fn a_refusal_is_reported_before_a_missing_route() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let deadline = clock::now() + Duration::from_secs(10);
        // Documentation addresses have no route, or one that leads nowhere in the time given.
        let unroutable = IpAddr::V4(Ipv4Addr::BROADCAST);
        for addresses in [[unroutable, v4(1)], [v4(1), unroutable]] {
            let Err(Failed::Io(error)) = connect(&addresses, port, deadline) else {
                panic!("connected to {addresses:?}");
            };
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{addresses:?}");
        }
    }

    #[test]
    fn no_address_is_an_error() {
        let deadline = clock::now() + Duration::from_secs(10);
        assert!(matches!(connect(&[], 1, deadline), Err(Failed::Io(_))));
    }
}
