//! What the bridge is told and what it asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::access::Hearing;
use crate::core::bridge::circuit::Standing;
use crate::core::bridge::queue::Queue;
use crate::core::endpoint::{Endpoint, Limits};
use crate::core::hub::ConnectionId;
use crate::core::message::Message;
use crate::core::outcome::{Failure, Outcome};
use crate::core::request::Request;
use crate::core::route::RouteTable;
use crate::core::store::{Change, Key};

/// Who published a message, as far as replies and fairness need to know.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The client ID, as used by the session.
    pub client: Arc<str>,
    /// The user, `None` for anonymous.
    pub user: Option<Arc<str>>,
    /// The user's own `reply_packet`, in bytes.
    pub reply_packet: Option<usize>,
    /// MQTT 5 Maximum Packet Size of the connection.
    pub maximum_packet: Option<usize>,
    /// How far the publisher may hear the message's Response Topic.
    pub hearing: Hearing,
}

/// What has to be acknowledged to whom. Comes back in [`Action::Acknowledge`] exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The connection the publish came over.
    pub connection: ConnectionId,
    /// Its packet identifier.
    pub packet_id: u16,
}

/// A number that is unique among the jobs of a process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub usize);

/// One request to be answered, as a worker gets it.
#[derive(Clone, Debug)]
pub struct Job {
    /// Comes back with the outcome.
    pub id: JobId,
    /// The endpoint to ask.
    pub endpoint: Arc<Endpoint>,
    /// What to ask, the same at each attempt.
    pub request: Arc<Request>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// When the outcome is of no more use.
    pub deadline: Instant,
    /// Limits of this attempt.
    pub limits: Limits,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A client published (or its will was): see [`crate::core::hub::Offer`].
    Message {
        /// The message.
        message: Message,
        /// Who published it.
        publisher: Publisher,
        /// What to acknowledge, `None` at QoS 0 and for wills.
        ticket: Option<Ticket>,
        /// Wall clock, seconds since 1970, for `{time}`.
        unix_time: u64,
    },
    /// A worker is done with a job.
    Finished {
        /// The job.
        id: JobId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Whether the time is known: `None` if so, else why not. While it is not, jobs wait, since no
    /// certificate can be judged; at their deadline they are answered `clock.unset`.
    Clock(Option<String>),
    /// The changes of an [`Action::Store`] with this token are on the disk, as are all before them.
    Committed {
        /// The action's token.
        token: usize,
    },
    /// The changes of an [`Action::Store`] with this token could not be written: none of its batch
    /// is in the store. Those that delete are made with the next batch that can be written.
    NotStored {
        /// The action's token.
        token: usize,
        /// What is wrong, for a person.
        why: Arc<str>,
    },
    /// The answer to an [`Action::Load`].
    Loaded {
        /// The action's key.
        key: Key,
        /// The value, `None` if there is none or it can not be read.
        value: Option<Bytes>,
    },
    /// Something happened that may have mended what did not work, such as the uplink coming up:
    /// endpoints that are paused or out of reach are tried at once.
    ProbeNow,
    /// The configuration was read anew. Counters stay with the name of their route.
    Routes(Arc<RouteTable>),
    /// No new jobs from now on; waiting ones are answered `bridge.stopping`.
    Stop,
    /// The end is there: those with a worker are answered `bridge.stopping` too.
    GiveUp,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Action {
    /// Hand the job to a worker of its endpoint.
    Start(Job),
    /// Acknowledge the publish with an MQTT 5 reason code.
    Acknowledge(Ticket, u8),
    /// Leave a publish with its client: say so with reason 0x97 in MQTT 5; where there is no such
    /// code, never acknowledge it, and close the connection a while later.
    Refuse(Ticket),
    /// Publish a reply through the hub.
    Publish(Message),
    /// Write changes to the store. Those of one call of the bridge, and of what it causes, are one
    /// batch: after a power cut all of them are there or none.
    Store {
        /// The changes, in order.
        changes: Vec<Change>,
        /// Comes back in [`Event::Committed`] or [`Event::NotStored`], in order; `None` if nobody
        /// waits for it.
        token: Option<usize>,
    },
    /// Read a value of the store, as this batch leaves it; it comes in [`Event::Loaded`].
    Load(Key),
    /// Write a line to the log (the shell adds caps and escapes).
    Report(Report),
}

/// An event for the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// A job ended; `code` is `ok` or the failure's code.
    Settled {
        /// Route name.
        route: String,
        /// Client ID.
        client: Arc<str>,
        /// `ok` or a failure code.
        code: &'static str,
        /// HTTP status of a failure, if there was a response.
        status: Option<u16>,
        /// Detail of a failure, empty for ok.
        detail: String,
        /// Fault of the gateway that its owner must fix.
        gateway_fault: bool,
    },
    /// A publish that almost matches a route: same first level, no route takes it.
    NearMiss {
        /// Client ID.
        client: Arc<str>,
        /// The topic published to.
        topic: String,
        /// Name of the nearest route.
        route: String,
        /// Its topic as configured.
        expected: String,
    },
    /// An endpoint does not work any more. Said once, until it works again.
    Endpoint {
        /// Its name.
        endpoint: String,
        /// How it stands now.
        standing: Standing,
        /// The failure's code.
        code: &'static str,
        /// Its detail.
        detail: String,
    },
    /// An endpoint works again.
    EndpointWorks {
        /// Its name.
        endpoint: String,
        /// How long it did not.
        after: Duration,
    },
    /// A stored message that could not be read any more.
    Lost {
        /// Route name.
        route: String,
    },
    /// Stored messages wait for a route that is not in the configuration.
    Orphans {
        /// The name that it had.
        route: String,
        /// How many wait.
        count: usize,
    },
    /// TLS with several servers has failed within a minute: something between them and the
    /// gateway answers in their place. Said once, until an endpoint works again.
    CaptivePortal {
        /// The servers.
        hosts: Vec<String>,
    },
    /// A Response Topic that may not be used; the reply went to the route's topic.
    ResponseTopicRefused {
        /// Client ID.
        client: Arc<str>,
        /// The Response Topic.
        topic: String,
        /// Why.
        why: &'static str,
    },
}

/// Per-route counters: received = succeeded + failed + queued + in flight + dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages the route took.
    pub received: usize,
    /// Jobs whose reply told a success, whole or in part.
    pub succeeded: usize,
    /// Jobs whose reply told a failure, refused ones and `reply.too_large` included.
    pub failed: usize,
    /// Jobs that wait.
    pub queued: usize,
    /// Jobs with a worker.
    pub in_flight: usize,
    /// Stored messages given up to make room.
    pub dropped: usize,
}

/// How an endpoint stands, for the owner.
#[derive(Clone, Debug)]
pub struct EndpointState {
    /// Its name.
    pub name: String,
    /// Whether it works.
    pub standing: Standing,
    /// Since when it does not.
    pub since: Option<Instant>,
    /// When it is tried next; `None` if it works or is tried at present.
    pub next_probe: Option<Instant>,
    /// The last failure to reach it, which may be long ago.
    pub last_failure: Option<Failure>,
    /// Requests with a worker.
    pub running: usize,
}

impl EndpointState {
    pub(super) fn of(queue: &Queue) -> Self {
        Self {
            name: queue.endpoint.name.clone(),
            standing: queue.circuit.standing(),
            since: queue.circuit.since(),
            next_probe: queue.circuit.next_probe(),
            last_failure: queue.circuit.last_failure().cloned(),
            running: queue.running(),
        }
    }
}
