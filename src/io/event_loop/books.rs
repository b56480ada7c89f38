//! What the loop keeps for its status beside hub, bridge and workers, and when `$bridge/status` is
//! due.
//!
//! It is published after a change and not sooner than [`FLOOR`] after the last time: while nothing
//! changes nothing wakes up, and where no rule lets anybody hear it nothing is published.

use std::time::{Duration, Instant};

use crate::core::bridge::Report;
use crate::core::few::Few;
use crate::core::route::RouteTable;
use crate::core::status::{Configuration, LastError, Listener, Reload};
use crate::io::clock;

/// Shortest time between two messages on `$bridge/status`.
const FLOOR: Duration = Duration::from_secs(10);

/// What nobody else remembers.
#[derive(Debug)]
pub(crate) struct Books {
    started: Instant,
    configuration: Configuration,
    /// When the last reload was.
    reloaded: Instant,
    pub(super) listeners: Vec<Listener>,
    /// By endpoint.
    errors: Few<String, (Instant, &'static str, String)>,
    /// Whether a rule lets somebody hear `$bridge/status`.
    heard: bool,
    changed: bool,
    published: Option<Instant>,
    pub(super) due: Option<Instant>,
}

impl Default for Books {
    fn default() -> Self {
        let now = clock::now();
        Self {
            started: now,
            configuration: Configuration::default(),
            reloaded: now,
            listeners: Vec::new(),
            errors: Few::default(),
            heard: false,
            changed: true,
            published: None,
            due: None,
        }
    }
}

impl Books {
    /// Notes which configuration the daemon starts with.
    pub(crate) fn begin(&mut self, file: String, id: String) {
        self.configuration.file = file;
        self.configuration.id = id;
    }

    /// Notes that another configuration is in force.
    pub(super) fn take_over(&mut self, id: String, now: Instant) {
        self.configuration.id = id;
        self.configuration.reloads = self.configuration.reloads.saturating_add(1);
        self.refuse(Vec::new(), now);
    }

    /// Notes why another configuration is not in force; the reasons are empty if it is.
    pub(super) fn refuse(&mut self, errors: Vec<String>, now: Instant) {
        self.reloaded = now;
        let ago = Duration::ZERO;
        self.configuration.last = Some(Reload { ago, errors });
        self.changed = true;
    }

    /// Notes what came of a job, for its endpoint.
    pub(super) fn settled(&mut self, report: &Report, routes: &RouteTable, now: Instant) {
        let Report::Settled {
            route,
            code,
            detail,
            ..
        } = report
        else {
            return;
        };
        self.changed = true;
        if *code == "ok" {
            return;
        }
        let route = routes.routes.iter().find(|it| it.name == *route);
        if let Some(route) = route {
            let endpoint = &route.endpoint.name;
            let error = (now, *code, detail.clone());
            match self.errors.get_mut(endpoint) {
                Some(known) => *known = error,
                None => drop(self.errors.insert(endpoint.clone(), error)),
            }
        }
    }

    /// Notes that something is not as it was published.
    pub(crate) fn change(&mut self) {
        self.changed = true;
    }

    /// Notes whether anybody may hear of changes.
    pub(crate) fn set_heard(&mut self, heard: bool) {
        self.heard = heard;
    }

    /// Sees to it that a change is published when it may be.
    pub(super) fn plan(&mut self, now: Instant) {
        if self.heard && self.changed && self.due.is_none() {
            let earliest = self.published.map(|last| last + FLOOR);
            self.due = Some(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// Returns whether a message is due, which is then taken as published.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = None;
        self.changed = false;
        self.published = Some(now);
        self.heard
    }

    /// Returns the time since the start.
    pub(super) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Returns which configuration is in force.
    pub(super) fn configuration(&self, now: Instant) -> Configuration {
        let mut configuration = self.configuration.clone();
        if let Some(last) = &mut configuration.last {
            last.ago = now.saturating_duration_since(self.reloaded);
        }
        configuration
    }

    /// Returns the last error of an endpoint.
    pub(super) fn last_error(&self, endpoint: &str, now: Instant) -> Option<LastError> {
        let (at, code, detail) = self.errors.get(endpoint)?;
        Some(LastError {
            ago: now.saturating_duration_since(*at),
            code,
            detail: detail.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_published_soon_and_then_no_more_often_than_the_floor() {
        let (mut books, start) = (Books::default(), clock::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        books.plan(at(0));
        assert_eq!(books.due, None, "nobody may hear it");
        books.set_heard(true);
        books.plan(at(0));
        assert!(books.take_due(at(0)));
        books.plan(at(1));
        assert_eq!(books.due, None, "nothing has changed");
        for seconds in [2, 3] {
            books.change();
            books.plan(at(seconds));
            assert_eq!(books.due, Some(at(10)));
            assert!(!books.take_due(at(seconds)));
        }
        assert!(books.take_due(at(10)));
        books.change();
        books.plan(at(30));
        assert_eq!(books.due, Some(at(30)));
    }
}
