//! Whether an endpoint is asked at all: the state that its failures leave it in.
//!
//! A refused certificate pauses the endpoint: it will be refused the next time too, and each
//! attempt costs a handshake. Connections that don't come about hold up stored messages only; who
//! waits for an answer gets one. Either way one request at a time finds out whether it is over.

use std::time::{Duration, Instant};

use crate::core::bridge::JobId;
use crate::core::outcome::{Failure, Outcome};
use crate::core::retry::Way;

/// Until the first probe.
pub(super) const FIRST_PROBE: Duration = Duration::from_secs(5);

/// Between probes at most.
pub(super) const LONGEST_PROBE: Duration = Duration::from_secs(300);

/// Connections in a row that have to fail until an endpoint counts as out of reach.
pub(super) const FAILURES: u32 = 3;

/// How an endpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// As far as is known it can be asked.
    #[default]
    Works,
    /// Its certificate was refused: nothing is sent but probes.
    Paused,
    /// No connection comes about: nothing is sent of stored routes but probes.
    Unreachable,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It stands worse now, see [`Circuit::standing`].
    Opened,
    /// It works again; it did not since then.
    Closed(Instant),
}

/// Whether a job may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Start,
    /// It may, as the one that finds out.
    Probe,
    /// It may not: not before then, or before the probe that runs is back.
    Wait(Option<Instant>),
}

/// The state of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    open: Option<Open>,
    /// Connections in a row that have failed.
    failures: u32,
    /// Until when the server has asked to be left alone.
    hold: Option<Instant>,
    last: Option<Failure>,
}

#[derive(Debug)]
struct Open {
    /// Whether by a verdict.
    paused: bool,
    why: Failure,
    since: Instant,
    probe: Instant,
    delay: Duration,
    probing: Option<JobId>,
}

impl Circuit {
    /// Returns how the endpoint stands.
    pub(super) fn standing(&self) -> Standing {
        match &self.open {
            None => Standing::Works,
            Some(open) if open.paused => Standing::Paused,
            Some(_) => Standing::Unreachable,
        }
    }

    /// Returns since when it does not work.
    pub(super) fn since(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.since)
    }

    /// Returns when it is tried next, `None` while it is tried or works.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let open = self.open.as_ref()?;
        open.probing.is_none().then_some(open.probe)
    }

    /// Returns the last failure of the way to the server; success of a later request keeps it.
    pub(super) fn last_failure(&self) -> Option<&Failure> {
        self.last.as_ref()
    }

    /// Returns until when the server has asked to be left alone.
    pub(super) fn hold(&self, now: Instant) -> Option<Instant> {
        self.hold.filter(|hold| *hold > now)
    }

    /// Decides whether a job may start.
    pub(super) fn admits(&self, stored: bool, now: Instant) -> Admission {
        if stored && let Some(hold) = self.hold(now) {
            return Admission::Wait(Some(hold));
        }
        match &self.open {
            Some(open) if open.paused || stored => match open.probing {
                Some(_) => Admission::Wait(None),
                None if open.probe <= now => Admission::Probe,
                None => Admission::Wait(Some(open.probe)),
            },
            _ => Admission::Start,
        }
    }

    /// Returns why a new job of a direct route is not taken: `None` if it is.
    pub(super) fn refuses(&self, now: Instant) -> Option<String> {
        let open = self.open.as_ref().filter(|open| open.paused)?;
        let next = match open.probing {
            Some(_) => "it is tried at present".to_owned(),
            None if open.probe <= now => return None,
            None => {
                let left = open.probe.saturating_duration_since(now);
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                format!("next try in {seconds} s")
            }
        };
        let Failure { code, detail, .. } = &open.why;
        Some(format!("{}: {detail}; {next}", code.as_str()))
    }

    /// Takes note that a job started as probe.
    pub(super) fn probe(&mut self, id: JobId) {
        if let Some(open) = &mut self.open {
            open.probing = Some(id);
        }
    }

    /// Takes note that a job which started as probe was not sent.
    pub(super) fn give_back(&mut self, id: JobId, now: Instant) {
        if let Some(open) = self.open.as_mut().filter(|it| it.probing == Some(id)) {
            open.probing = None;
            open.probe = now;
        }
    }

    /// Leaves the server alone until then, at least.
    pub(super) fn hold_until(&mut self, until: Instant) {
        self.hold = self.hold.max(Some(until));
    }

    /// Has the next job find out, whatever the time.
    pub(super) fn probe_now(&mut self, now: Instant) {
        if let Some(open) = &mut self.open {
            open.probe = now;
            open.delay = FIRST_PROBE;
        }
    }

    /// Takes note of a failure of the way to a server, for people; it changes nothing.
    pub(super) fn note(&mut self, outcome: &Outcome) {
        if let (Outcome::Failure(failure), Way::Closed | Way::Refused) = (outcome, Way::of(outcome))
        {
            self.last = Some(failure.clone());
        }
    }

    /// Takes in how a job ended; `pauses` says whether a verdict counts for the whole endpoint.
    pub(super) fn observe(
        &mut self,
        id: JobId,
        outcome: &Outcome,
        pauses: bool,
        now: Instant,
    ) -> Change {
        let way = Way::of(outcome);
        self.note(outcome);
        match way {
            Way::Open => self.failures = 0,
            Way::Closed => self.failures = self.failures.saturating_add(1),
            Way::Refused | Way::Unknown => {}
        }
        let Some(open) = &mut self.open else {
            return self.open_if(outcome, way, pauses, now);
        };
        let probe = open.probing == Some(id);
        if probe {
            open.probing = None;
        }
        match (way, outcome) {
            // Requests that began before the verdict may go on over connections that stand.
            (Way::Open, _) if probe || !open.paused => {
                let since = open.since;
                self.open = None;
                return Change::Closed(since);
            }
            (Way::Refused, Outcome::Failure(why)) if pauses => {
                let opened = !open.paused;
                open.paused = true;
                open.why = why.clone();
                if opened {
                    open.delay = FIRST_PROBE;
                    open.probe = now + FIRST_PROBE;
                    return Change::Opened;
                }
            }
            (Way::Closed, Outcome::Failure(why)) if !open.paused => open.why = why.clone(),
            _ => {}
        }
        if probe {
            if way != Way::Unknown {
                open.delay = (open.delay * 2).min(LONGEST_PROBE);
            }
            open.probe = now + open.delay;
        }
        Change::None
    }

    fn open_if(&mut self, outcome: &Outcome, way: Way, pauses: bool, now: Instant) -> Change {
        let Outcome::Failure(why) = outcome else {
            return Change::None;
        };
        let paused = match way {
            Way::Refused if pauses => true,
            Way::Closed if self.failures >= FAILURES => false,
            Way::Open | Way::Refused | Way::Closed | Way::Unknown => return Change::None,
        };
        self.open = Some(Open {
            paused,
            why: why.clone(),
            since: now,
            probe: now + FIRST_PROBE,
            delay: FIRST_PROBE,
            probing: None,
        });
        Change::Opened
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::outcome::{Code, Response};

    fn failed(code: Code) -> Outcome {
        Outcome::Failure(Failure::new(code, "why"))
    }

    fn status(status: u16) -> Outcome {
        Outcome::Response(Response {
            status,
            content_type: None,
            retry_after: None,
            body: Bytes::new(),
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an `Instant` can be made in no other way"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_verdict_pauses_and_probes_come_after_5_s_doubling_to_5_min() {
        let start = start();
        let mut now = start;
        let mut circuit = Circuit::default();
        let verdict = failed(Code::TlsExpired);
        let observe =
            |circuit: &mut Circuit, id, now| circuit.observe(JobId(id), &verdict, true, now);
        assert_eq!(observe(&mut circuit, 1, now), Change::Opened);
        assert_eq!(observe(&mut circuit, 2, now), Change::None, "said once");
        let mut waits = Vec::new();
        for id in 3..12 {
            let Admission::Wait(Some(next)) = circuit.admits(false, now) else {
                panic!("{:?}", circuit.admits(false, now));
            };
            waits.push((next - now).as_secs());
            now = next;
            assert_eq!(circuit.admits(false, now), Admission::Probe);
            assert_eq!(circuit.refuses(now), None);
            circuit.probe(JobId(id));
            assert_eq!(circuit.admits(false, now), Admission::Wait(None));
            let told = "tls.expired: why; it is tried at present";
            assert_eq!(circuit.refuses(now).unwrap(), told);
            assert_eq!(observe(&mut circuit, id, now), Change::None);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        let told = "tls.expired: why; next try in 300 s";
        assert_eq!(circuit.refuses(now).unwrap(), told);
        circuit.probe_now(now);
        circuit.probe(JobId(20));
        let closed = circuit.observe(JobId(20), &status(500), true, now);
        assert_eq!(closed, Change::Closed(start));
        assert_eq!(circuit.admits(false, now), Admission::Start);
        assert_eq!(circuit.last_failure().unwrap().code, Code::TlsExpired);
    }

    #[test]
    fn an_old_connection_that_works_says_nothing_of_the_certificate() {
        let now = start();
        let mut circuit = Circuit::default();
        circuit.observe(JobId(1), &failed(Code::TlsRevoked), true, now);
        let late = circuit.observe(JobId(0), &status(200), true, now);
        assert_eq!((late, circuit.standing()), (Change::None, Standing::Paused));
    }

    #[test]
    fn a_verdict_on_a_captured_host_is_none_on_the_endpoint() {
        let now = start();
        let mut circuit = Circuit::default();
        for id in 0..9 {
            let change = circuit.observe(JobId(id), &failed(Code::TlsExpired), false, now);
            assert_eq!(change, Change::None);
        }
        assert_eq!(circuit.standing(), Standing::Works);
    }

    #[test]
    fn three_failed_connections_in_a_row_hold_up_stored_messages_alone() {
        let now = start();
        let mut circuit = Circuit::default();
        let refused = failed(Code::ConnectRefused);
        for outcome in [&refused, &refused, &status(404), &refused, &refused] {
            let change = circuit.observe(JobId(1), outcome, true, now);
            assert_eq!(change, Change::None);
        }
        let change = circuit.observe(JobId(1), &refused, true, now);
        assert_eq!(change, Change::Opened);
        assert_eq!(circuit.standing(), Standing::Unreachable);
        assert_eq!(circuit.admits(false, now), Admission::Start);
        assert_eq!(circuit.refuses(now), None);
        let next = now + FIRST_PROBE;
        assert_eq!(circuit.admits(true, now), Admission::Wait(Some(next)));
        // Whoever gets through shows that it is over.
        let change = circuit.observe(JobId(9), &status(200), true, now);
        assert_eq!(change, Change::Closed(now));
    }

    #[test]
    fn a_verdict_on_the_way_back_pauses() {
        let now = start();
        let mut circuit = Circuit::default();
        for id in 0..3 {
            circuit.observe(JobId(id), &failed(Code::DnsFailed), true, now);
        }
        circuit.probe(JobId(3));
        let change = circuit.observe(JobId(3), &failed(Code::TlsUnknownIssuer), true, now);
        assert_eq!(change, Change::Opened);
        assert_eq!(circuit.standing(), Standing::Paused);
        assert_eq!(circuit.next_probe(), Some(now + FIRST_PROBE));
    }

    #[test]
    fn a_probe_that_finds_out_nothing_is_repeated_after_the_same_time() {
        let now = start();
        let mut circuit = Circuit::default();
        circuit.observe(JobId(0), &failed(Code::TlsExpired), true, now);
        circuit.probe(JobId(1));
        circuit.observe(JobId(1), &failed(Code::BridgeInternal), true, now);
        assert_eq!(circuit.next_probe(), Some(now + FIRST_PROBE));
    }

    #[test]
    fn retry_after_holds_up_stored_messages_alone() {
        let now = start();
        let mut circuit = Circuit::default();
        let later = now + Duration::from_secs(30);
        circuit.hold_until(later);
        circuit.hold_until(now);
        assert_eq!(circuit.admits(true, now), Admission::Wait(Some(later)));
        assert_eq!(circuit.admits(false, now), Admission::Start);
        assert_eq!(circuit.admits(true, later), Admission::Start);
    }
}
