//! Which listeners are open when.
//!
//! Those on loopback are open from the start. Those that the network reaches are open only while
//! somebody could connect from there, so that a gateway nobody has set up yet shows nothing. An
//! address that is not there yet, or that another program has, is tried again: a router starts
//! its services and its interfaces in no certain order.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use log::{error, info, warn};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use super::Kind;
use super::admission::Admission;
use crate::RunError;
use crate::config::{Broker, is_network};
use crate::core::status;
use crate::io::event_loop::shared::Shared;
use crate::io::task::spawn;

#[cfg(feature = "websocket")]
use crate::{config::WebSocketListener, io::broker::websocket::Gate};

/// Connections beside those of the clients: in their handshake, or being closed.
const HANDSHAKES: usize = 64;

/// All listeners, open or not.
pub(crate) struct Doors {
    doors: Vec<Door>,
    admission: Rc<RefCell<Admission>>,
    /// Whether others may come while it runs.
    follows_networks: bool,
    /// Whether it has been told that those which the network reaches are closed.
    told: bool,
}

struct Door {
    address: SocketAddr,
    kind: Kind,
    state: State,
}

enum State {
    /// Nobody could use it.
    Closed,
    /// It accepts connections.
    Open(Accepting),
    /// It could not be opened, for this reason.
    Failing(io::ErrorKind),
}

/// A task that accepts connections; dropping it closes the socket.
struct Accepting {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Doors {
    /// Opens the listeners that are to be open.
    ///
    /// Fails if one on loopback is taken: that is no matter of boot order, most often a second
    /// gateway, and has to be seen at once.
    pub(crate) fn open(broker: &Broker, shared: &Rc<Shared>) -> Result<Self, RunError> {
        let limit = shared.max_clients().saturating_add(HANDSHAKES);
        let admission = Admission::new(limit, &shared.connection_limits());
        let mut doors = Self {
            doors: wanted(broker),
            admission: Rc::new(RefCell::new(admission)),
            follows_networks: broker.follows_networks,
            told: false,
        };
        let network = shared.lets_network_in();
        for door in &mut doors.doors {
            if !door.is_wanted(network) {
                continue;
            }
            if let Err(cause) = door.open(shared, &doors.admission) {
                if !is_network(door.address) && !is_absent(&cause) {
                    let address = door.address;
                    return Err(RunError::Listen { address, cause });
                }
                door.fail(cause);
            }
        }
        doors.tell_what_is_closed(network);
        Ok(doors)
    }

    /// Returns the addresses of the open listeners, with the ports that were taken where any was
    /// asked for.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let bound = self.doors.iter().filter_map(|door| match &door.state {
            State::Open(accepting) => Some(accepting.address),
            State::Closed | State::Failing(_) => None,
        });
        bound.collect()
    }

    /// Returns all listeners and how they are.
    pub(crate) fn listeners(&self) -> Vec<status::Listener> {
        let listeners = self.doors.iter().map(|door| {
            let (address, state) = match &door.state {
                State::Open(accepting) => (accepting.address, status::Door::Open),
                State::Closed => (door.address, status::Door::Closed),
                State::Failing(_) => (door.address, status::Door::Failing),
            };
            status::Listener {
                address,
                tls: door.kind.has_tls(),
                door: state,
            }
        });
        listeners.collect()
    }

    /// Opens and closes listeners as users came and went, and tries again what failed.
    ///
    /// Dropping the doors closes all.
    pub(crate) fn adjust(&mut self, shared: &Rc<Shared>) {
        let network = shared.lets_network_in();
        for door in &mut self.doors {
            match (door.is_wanted(network), &door.state) {
                (true, State::Open(_)) | (false, State::Closed) => {}
                (true, State::Closed | State::Failing(_)) => {
                    if let Err(cause) = door.open(shared, &self.admission) {
                        door.fail(cause);
                    }
                }
                (false, State::Open(_) | State::Failing(_)) => door.close(),
            }
        }
        self.tell_what_is_closed(network);
    }

    /// Listens where another configuration says; [`Doors::adjust`] has to follow. Listeners that
    /// stay are not touched, and nobody who is connected notices. Returns when those that go are
    /// closed, so that another may have their address.
    pub(crate) async fn change(&mut self, broker: &Broker, shared: &Rc<Shared>) {
        let limit = shared.max_clients().saturating_add(HANDSHAKES);
        let limits = shared.connection_limits();
        self.admission.borrow_mut().set_limits(limit, &limits);
        self.follows_networks = broker.follows_networks;
        let mut before = std::mem::take(&mut self.doors);
        for wanted in wanted(broker) {
            let same = |door: &Door| door.address == wanted.address && door.kind == wanted.kind;
            let known = before
                .iter()
                .position(same)
                .map(|at| before.swap_remove(at));
            self.doors.push(known.unwrap_or(wanted));
        }
        for mut door in before {
            if let State::Open(accepting) = &mut door.state {
                info!("no longer listening on {}", accepting.address);
                accepting.task.abort();
                // The socket is closed when the task is gone.
                let _ = (&mut accepting.task).await;
            }
        }
    }

    /// Returns whether there are listeners to try again.
    pub(crate) fn wait_for_addresses(&self) -> bool {
        let mut doors = self.doors.iter();
        doors.any(|door| matches!(door.state, State::Failing(_)))
    }

    /// Tells once that there are listeners which only a user opens.
    fn tell_what_is_closed(&mut self, network: bool) {
        let reached = self.doors.iter().any(|door| is_network(door.address));
        let closed = !network && (reached || self.follows_networks);
        let known = std::mem::replace(&mut self.told, closed);
        if !closed || known {
            return;
        }
        let local = self.doors.iter().any(|door| !is_network(door.address));
        let so = if !local {
            "it does not listen"
        } else {
            "it listens on loopback only"
        };
        warn!(
            "there are no users, so {so}; run `mqtt-https-bridge user add kitchen`, and the other \
             listeners open by themselves"
        );
    }
}

/// Returns the doors of what is spoken to browsers.
#[cfg(feature = "websocket")]
fn web_doors(listener: &WebSocketListener) -> impl Iterator<Item = Door> {
    let (gate, tls) = (Rc::new(Gate::new(listener)), listener.tls);
    let kind = Kind::WebSocket { gate, tls };
    let addresses = listener.listen.iter();
    addresses.map(move |at| Door::new(*at, kind.clone()))
}

/// Returns the doors that a configuration wants, none of them open.
fn wanted(broker: &Broker) -> Vec<Door> {
    let plain = broker.listen.iter().map(|at| Door::new(*at, Kind::Plain));
    let tls = broker.tls.iter().flat_map(|tls| &tls.listen);
    let doors = plain.chain(tls.map(|at| Door::new(*at, Kind::Tls)));
    #[cfg(feature = "websocket")]
    let doors = doors.chain(broker.websocket.iter().flat_map(web_doors));
    doors.collect()
}

impl Door {
    fn new(address: SocketAddr, kind: Kind) -> Self {
        Self {
            address,
            kind,
            state: State::Closed,
        }
    }

    fn is_wanted(&self, network: bool) -> bool {
        network || !is_network(self.address)
    }

    fn open(&mut self, shared: &Rc<Shared>, admission: &Rc<RefCell<Admission>>) -> io::Result<()> {
        let (listener, address) = super::bind(self.address)?;
        let kind = self.kind.clone();
        let over = kind.describe();
        info!("listening on {address} (MQTT 3.1, 3.1.1 and 5{over})");
        let (shared, admission) = (Rc::clone(shared), Rc::clone(admission));
        let task = spawn(async move {
            super::accept(&listener, address, &kind, &shared, &admission).await;
        });
        self.state = State::Open(Accepting { address, task });
        Ok(())
    }

    fn close(&mut self) {
        if let State::Open(accepting) = &self.state {
            info!("no longer listening on {}", accepting.address);
        }
        self.state = State::Closed;
    }

    /// Reports a failure once, however often it is met.
    fn fail(&mut self, cause: io::Error) {
        let kind = cause.kind();
        let is_known = matches!(self.state, State::Failing(known) if known == kind);
        self.state = State::Failing(kind);
        if is_known {
            return;
        }
        let waits = is_absent(&cause);
        let address = self.address;
        let text = RunError::Listen { address, cause };
        if waits {
            // Most often an interface that is still coming up.
            warn!("{text}; tried again every few seconds");
        } else {
            error!("{text}; tried again every few seconds");
        }
    }
}

/// Returns whether the address is not there, and may come: its interface, or IPv6 at all.
fn is_absent(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::AddrNotAvailable
        || cause.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}
