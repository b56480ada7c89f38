//! Fetches revocation lists from the places that certificates name, and keeps them while they are
//! good.
//!
//! Over plain HTTP, as CAs offer them: a list is signed by its issuer, and no other is kept.
//! Fetching has threads of its own, one for each endpoint that asks, so that slow places of one
//! don't keep those of others waiting. Those who ask wait no longer than they may, and the list is
//! there for the next. A few lists are kept, the longest unused goes first.

use std::collections::HashMap;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;

use crate::core::endpoint::IpVersions;
use crate::io::clock::{self, Wall};
use crate::io::http::address;
use crate::io::http::connect::{self, Failed};
use crate::io::http::exchange::Plan;
use crate::io::http::resolver::Resolver;
use crate::io::tls::list::{self, List, MAX_LIST};
use crate::io::tls::revocation::{Library, Place};

/// Longest time for one list.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a place that gave no list is not asked again.
const FAILURE: Duration = Duration::from_secs(60);
/// Lists fetched at the same time, one for each endpoint.
const MAX_THREADS: usize = 8;
/// Places that are remembered.
const MAX_PLACES: usize = 16;
/// Bytes of all lists.
const MAX_BYTES: usize = 4 << 20;
/// Bytes of a response before its body.
const MAX_HEAD: usize = 8 << 10;
/// As much as look-ups of names have.
const STACK: usize = 256 * 1024;

/// Lists of all endpoints.
pub(crate) struct Lists {
    shared: Arc<Shared>,
}

struct Shared {
    resolver: Arc<Resolver>,
    clock: Arc<Wall>,
    state: Mutex<State>,
    /// Wakes those who wait for a list.
    settled: Condvar,
}

#[derive(Default)]
struct State {
    shelf: HashMap<Place, Entry>,
    /// Endpoints that something is being fetched for.
    busy: Vec<usize>,
}

#[derive(Default)]
struct Entry {
    list: Option<Arc<List>>,
    failed: Option<Instant>,
    fetching: bool,
    used: Option<Instant>,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lists")
    }
}

impl Lists {
    /// Makes an empty collection.
    pub(crate) fn new(resolver: Arc<Resolver>, clock: Arc<Wall>) -> Self {
        Self {
            shared: Arc::new(Shared {
                resolver,
                clock,
                state: Mutex::default(),
                settled: Condvar::new(),
            }),
        }
    }
}

impl Library for Lists {
    fn lists(&self, endpoint: usize, places: &[Place], deadline: Instant) -> Vec<Arc<List>> {
        let mut state = self.shared.lock();
        loop {
            let now = clock::now();
            let waiting = places
                .iter()
                .filter(|place| self.shared.is_awaited(&mut state, endpoint, place, now))
                .count();
            let left = deadline.saturating_duration_since(now);
            if waiting == 0 || left.is_zero() {
                break;
            }
            let woken = self.shared.settled.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let found = places.iter().filter_map(|place| state.shelf.get(place));
        found.filter_map(|entry| entry.list.clone()).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a list is on its way, after seeing to it if there is none that is good.
    fn is_awaited(
        self: &Arc<Self>,
        state: &mut State,
        endpoint: usize,
        place: &Place,
        now: Instant,
    ) -> bool {
        let time = self.clock.now().unwrap_or_default().as_secs();
        let busy = state.busy.len() >= MAX_THREADS || state.busy.contains(&endpoint);
        let entry = state.entry(place, now);
        let good = entry.list.as_ref().is_some_and(|it| time < it.next_update);
        let recent = |at: Instant| now.saturating_duration_since(at) < FAILURE;
        if entry.fetching {
            return true;
        }
        if good || entry.failed.is_some_and(recent) {
            return false;
        }
        // When a thread ends, who waits looks again.
        if busy {
            return true;
        }
        entry.fetching = true;
        let (shared, wanted) = (Arc::clone(self), place.clone());
        let thread = thread::Builder::new()
            .name("revocation".to_owned())
            .stack_size(STACK)
            .spawn(move || shared.fetch(endpoint, &wanted));
        match thread {
            Ok(_) => state.busy.push(endpoint),
            Err(_) => state.settle(place, Err(String::new())),
        }
        true
    }

    fn fetch(&self, endpoint: usize, place: &Place) {
        let found = fetch(place, &self.resolver);
        if let Err(why) = &found {
            log::debug!("no revocation list from `{}`: {why}", place.url);
        }
        let mut state = self.lock();
        state.busy.retain(|one| *one != endpoint);
        state.settle(place, found);
        drop(state);
        self.settled.notify_all();
    }
}

impl State {
    fn entry(&mut self, place: &Place, now: Instant) -> &mut Entry {
        if !self.shelf.contains_key(place) && self.shelf.len() >= MAX_PLACES {
            self.drop_oldest(place);
        }
        let entry = self.shelf.entry(place.clone()).or_default();
        entry.used = Some(now);
        entry
    }

    /// Takes in what came of fetching. A list that is out of date is better than none: it says
    /// what was revoked. An older one must not take its place: whoever sends it may have kept it.
    fn settle(&mut self, place: &Place, found: Result<List, String>) {
        let now = clock::now();
        let entry = self.shelf.entry(place.clone()).or_default();
        entry.fetching = false;
        // It is asked again no sooner than a failed one: the one that came may be out of date.
        entry.failed = Some(now);
        entry.used = Some(now);
        if let Ok(list) = found
            && entry
                .list
                .as_ref()
                .is_none_or(|kept| kept.made <= list.made)
        {
            entry.list = Some(Arc::new(list));
        }
        while self.bytes() > MAX_BYTES && self.drop_oldest(place) {}
    }

    fn bytes(&self) -> usize {
        let lists = self.shelf.values().filter_map(|entry| entry.list.as_ref());
        lists.map(|list| list.size()).sum()
    }

    fn drop_oldest(&mut self, but: &Place) -> bool {
        let unused = self
            .shelf
            .iter()
            .filter(|(place, entry)| *place != but && !entry.fetching);
        let oldest = unused.min_by_key(|(_, entry)| entry.used);
        let oldest = oldest.map(|(place, _)| place.clone());
        oldest.is_some_and(|place| self.shelf.remove(&place).is_some())
    }
}

fn fetch(place: &Place, resolver: &Resolver) -> Result<List, String> {
    let uri: Uri = place.url.parse().map_err(|_| "not a URL")?;
    let host = uri.host().unwrap_or_default();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let now = clock::now();
    let plan = Plan {
        started: now,
        deadline: now + PATIENCE,
        address: None,
        ip: IpVersions::Both,
        private_addresses: place.private_addresses,
        foreign_host: true,
        fresh: true,
    };
    let addresses = addresses(name, &plan, resolver)?;
    let (socket, _) =
        connect::connect(&addresses, port, plan.deadline).map_err(|why| match why {
            Failed::TimedOut => "no answer to the connect".to_owned(),
            Failed::Io(error) => error.to_string(),
        })?;
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let body = get(&socket, authority, target, plan.deadline)?;
    let list = List::read(&body).map_err(|why| format!("what came {why}"))?;
    match list.is_named(&place.issuer) && list.is_by(&place.issuer) {
        true => Ok(list),
        false => Err("the issuer of the certificate did not sign what came".to_owned()),
    }
}

/// The rules of captured hosts: a certificate must not lead us into the owner's network.
fn addresses(name: &str, plan: &Plan, resolver: &Resolver) -> Result<Vec<IpAddr>, String> {
    let found = match name.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => resolver.resolve(name, plan).map_err(|why| why.detail)?,
    };
    let allowed = |address: &IpAddr| plan.private_addresses || address::is_public(*address);
    let allowed: Vec<IpAddr> = found.into_iter().filter(allowed).collect();
    match allowed.is_empty() {
        true => Err("it is at a private address".to_owned()),
        false => Ok(allowed),
    }
}

/// Gets a body of at most [`MAX_LIST`] bytes.
///
/// HTTP/1.0, to which no server answers in chunks. The list says itself how long it is, so that a
/// server that does not close the connection costs no time. Redirects are not followed.
fn get(
    mut socket: &TcpStream,
    host: &str,
    target: &str,
    deadline: Instant,
) -> Result<Vec<u8>, String> {
    let agent = concat!("mqtt-https-bridge/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {target} HTTP/1.0\r\nhost: {host}\r\nuser-agent: {agent}\r\naccept: */*\r\n\
         connection: close\r\n\r\n"
    );
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "it takes too long".to_owned(),
        _ => error.to_string(),
    };
    let left = || match deadline.saturating_duration_since(clock::now()) {
        Duration::ZERO => Err("it takes too long".to_owned()),
        left => Ok(Some(left)),
    };
    socket.set_write_timeout(left()?).map_err(failed)?;
    socket.write_all(request.as_bytes()).map_err(failed)?;
    let (mut response, mut buffer) = (Vec::new(), [0_u8; 4096]);
    loop {
        socket.set_read_timeout(left()?).map_err(failed)?;
        let count = match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        response.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if is_complete(&response) {
            break;
        }
        if response.len() > MAX_LIST + MAX_HEAD {
            return Err("it is longer than 2 MiB".to_owned());
        }
    }
    body(response)
}

/// Returns where the body begins.
fn body_start(response: &[u8]) -> Option<usize> {
    let mut head = response.windows(4).take(MAX_HEAD);
    head.position(|at| at == b"\r\n\r\n").map(|at| at + 4)
}

fn is_ok(response: &[u8]) -> bool {
    [b"HTTP/1.0 200", b"HTTP/1.1 200"]
        .iter()
        .any(|line| response.starts_with(*line))
}

/// Returns whether what follows would change nothing.
fn is_complete(response: &[u8]) -> bool {
    let Some(start) = body_start(response) else {
        return response.len() > MAX_HEAD + 4;
    };
    let body = response.get(start..).unwrap_or_default();
    !is_ok(response) || list::whole(body).is_some()
}

fn body(mut response: Vec<u8>) -> Result<Vec<u8>, String> {
    let start = body_start(&response).ok_or("the answer is not HTTP")?;
    if !is_ok(&response) {
        let digits = response.get(9..12).unwrap_or_default();
        let status = std::str::from_utf8(digits).unwrap_or_default();
        return Err(match response.starts_with(b"HTTP/1.") {
            true if status.bytes().all(|digit| digit.is_ascii_digit()) => {
                format!("status {status}")
            }
            _ => "the answer is not HTTP".to_owned(),
        });
    }
    let body = response.split_off(start);
    Ok(list::whole(&body).map(<[u8]>::to_vec).unwrap_or(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::support::certificates::Authority;
    use crate::io::tls::list::Issuer;

    #[test]
    fn an_older_list_does_not_take_the_place_of_a_newer_one() {
        let us = Authority::new("test");
        let place = Place {
            url: "http://a.example/list".to_owned(),
            issuer: Issuer {
                name: Vec::new(),
                key: Vec::new(),
            },
            private_addresses: false,
        };
        let mut state = State::default();
        for (year, kept) in [(2023, 2023), (2022, 2023), (2024, 2024), (2023, 2024)] {
            let made = |year| List::read(&us.list_made_in(year, &[])).unwrap();
            state.settle(&place, Ok(made(year)));
            state.settle(&place, Err("not there".to_owned()));
            let list = state.shelf[&place].list.as_ref().unwrap();
            assert_eq!(list.made, made(kept).made, "{year}");
        }
    }

    #[test]
    fn a_response_is_taken_apart() {
        for (response, expected) in [
            ("HTTP/1.1 200 OK\r\na: b\r\n\r\nbody", Ok("body")),
            ("HTTP/1.0 200 OK\r\n\r\n", Ok("")),
            ("HTTP/1.0 200 OK\r\n\r\n0\x01ab", Ok("0\x01a")),
            ("HTTP/1.1 \x1b[m OK\r\n\r\n", Err("the answer is not HTTP")),
            ("HTTP/1.1 404 Not Found\r\n\r\nbody", Err("status 404")),
            ("HTTP/1.1 200 OK\r\na: b\r\n", Err("the answer is not HTTP")),
            ("SSH-2.0-x\r\n\r\n", Err("the answer is not HTTP")),
            ("", Err("the answer is not HTTP")),
        ] {
            let found = body(response.as_bytes().to_vec());
            let expected = expected.map(|body| body.as_bytes().to_vec());
            assert_eq!(found, expected.map_err(str::to_owned), "{response}");
        }
    }
}
