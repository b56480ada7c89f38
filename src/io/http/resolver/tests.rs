//! The resolver over look-ups that the test answers when it likes.

use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;
use crate::core::endpoint::IpVersions;

/// A look-up that waits for its answer.
struct Asked {
    name: String,
    answer: Sender<Answer>,
}

/// A resolver whose look-ups arrive on a channel.
fn scripted() -> (Arc<Resolver>, Receiver<Asked>) {
    let (asked, looked_up) = mpsc::channel();
    let asked = Mutex::new(asked);
    let resolver = Resolver::with_lookup(Box::new(move |name| {
        let (answer, answered) = mpsc::channel();
        let name = name.to_owned();
        let asked = asked.lock().unwrap().clone();
        asked.send(Asked { name, answer }).unwrap();
        answered
            .recv()
            .unwrap_or_else(|_| Err(NoAddress::Failed("the test is over".to_owned())))
    }));
    (Arc::new(resolver), looked_up)
}

fn plan(limit: Duration) -> Plan {
    let now = clock::now();
    Plan {
        started: now,
        deadline: now + limit,
        address: None,
        ip: IpVersions::Both,
        private_addresses: true,
        foreign_host: false,
        fresh: false,
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(50);

/// Asks in a thread of its own.
fn ask(
    resolver: &Arc<Resolver>,
    name: &'static str,
) -> thread::JoinHandle<Result<Vec<IpAddr>, Failure>> {
    let resolver = Arc::clone(resolver);
    thread::spawn(move || resolver.resolve(name, &plan(LONG)))
}

/// Moves the times of what is known about a name into the past.
fn age(resolver: &Resolver, name: &str, by: Duration) {
    let mut state = resolver.pool.lock();
    let entry = state.names.get_mut(name).unwrap();
    if let Some((_, at)) = &mut entry.addresses {
        *at = at.checked_sub(by).unwrap();
    }
    if let Some((_, at)) = &mut entry.failure {
        *at = at.checked_sub(by).unwrap();
    }
}

/// Lets one look-up be answered so.
fn answer(looked_up: &Receiver<Asked>, answer: Answer) {
    let asked = looked_up.recv_timeout(LONG).unwrap();
    asked.answer.send(answer).unwrap();
}

#[test]
fn an_answer_is_kept_for_a_minute() {
    let (resolver, looked_up) = scripted();
    let first = ask(&resolver, "a.example");
    answer(&looked_up, Ok(vec![address(1)]));
    assert_eq!(first.join().unwrap(), Ok(vec![address(1)]));
    age(&resolver, "a.example", Duration::from_secs(59));
    let kept = resolver.resolve("a.example", &plan(SHORT));
    assert_eq!(kept, Ok(vec![address(1)]));
    age(&resolver, "a.example", Duration::from_secs(1));
    let second = ask(&resolver, "a.example");
    answer(&looked_up, Ok(vec![address(2)]));
    assert_eq!(second.join().unwrap(), Ok(vec![address(2)]));
}

#[test]
fn one_look_up_serves_all_who_ask_at_the_same_time() {
    let (resolver, looked_up) = scripted();
    let all: Vec<_> = (0..4).map(|_| ask(&resolver, "a.example")).collect();
    answer(&looked_up, Ok(vec![address(1)]));
    for one in all {
        assert_eq!(one.join().unwrap(), Ok(vec![address(1)]));
    }
    assert!(looked_up.try_recv().is_err(), "asked once");
}

#[test]
fn failures_have_their_codes_and_are_kept_for_five_seconds() {
    let (resolver, looked_up) = scripted();
    let gone = ask(&resolver, "gone.example");
    answer(&looked_up, Err(NoAddress::NotFound));
    let failure = gone.join().unwrap().unwrap_err();
    assert_eq!(
        (failure.code, failure.detail.as_str()),
        (Code::DnsNotFound, "gone.example does not exist")
    );
    let dead = ask(&resolver, "dead.example");
    answer(&looked_up, Err(NoAddress::Failed("no answer".to_owned())));
    let failure = dead.join().unwrap().unwrap_err();
    assert_eq!(
        (failure.code, failure.detail.as_str()),
        (Code::DnsFailed, "dead.example: no answer")
    );
    for name in ["gone.example", "dead.example"] {
        assert!(resolver.resolve(name, &plan(SHORT)).is_err());
    }
    assert!(looked_up.try_recv().is_err(), "not asked again");
    age(&resolver, "gone.example", FAILURE);
    let back = ask(&resolver, "gone.example");
    answer(&looked_up, Ok(vec![address(1)]));
    assert_eq!(back.join().unwrap(), Ok(vec![address(1)]));
}

#[test]
fn a_look_up_that_takes_too_long_is_a_timeout() {
    let (resolver, looked_up) = scripted();
    let failure = resolver.resolve("slow.example", &plan(SHORT)).unwrap_err();
    assert_eq!(failure.code, Code::TimeoutDns);
    // Its answer still serves the next one who asks.
    answer(&looked_up, Ok(vec![address(1)]));
    let next = resolver.resolve("slow.example", &plan(LONG));
    assert_eq!(next, Ok(vec![address(1)]));
}

#[test]
fn an_old_answer_is_better_than_none() {
    let (resolver, looked_up) = scripted();
    let first = ask(&resolver, "a.example");
    answer(&looked_up, Ok(vec![address(1)]));
    first.join().unwrap().unwrap();
    age(&resolver, "a.example", FRESH);
    // The name server is silent: patience ends long before the deadline would.
    let before = clock::now();
    let old = resolver.resolve("a.example", &plan(LONG));
    assert_eq!(old, Ok(vec![address(1)]));
    assert!(clock::now() - before < LONG / 2);
    // It fails: the old answer at once.
    answer(&looked_up, Err(NoAddress::Failed("no answer".to_owned())));
    let old = resolver.resolve("a.example", &plan(SHORT));
    assert_eq!(old, Ok(vec![address(1)]));
}

#[test]
fn an_old_answer_ends_with_the_name_and_after_an_hour() {
    let (resolver, looked_up) = scripted();
    for (wait, end, code) in [
        (FRESH, NoAddress::NotFound, Code::DnsNotFound),
        (
            STALE,
            NoAddress::Failed("no answer".to_owned()),
            Code::DnsFailed,
        ),
    ] {
        let first = ask(&resolver, "a.example");
        answer(&looked_up, Ok(vec![address(1)]));
        first.join().unwrap().unwrap();
        age(&resolver, "a.example", wait);
        let next = ask(&resolver, "a.example");
        answer(&looked_up, Err(end));
        assert_eq!(next.join().unwrap().unwrap_err().code, code);
        age(&resolver, "a.example", FAILURE);
    }
}

#[test]
fn a_doubted_answer_is_asked_for_anew() {
    let (resolver, looked_up) = scripted();
    let first = ask(&resolver, "a.example");
    answer(&looked_up, Ok(vec![address(1)]));
    first.join().unwrap().unwrap();
    resolver.doubt("a.example");
    let second = ask(&resolver, "a.example");
    answer(&looked_up, Ok(vec![address(2)]));
    assert_eq!(second.join().unwrap(), Ok(vec![address(2)]));
}

#[test]
fn names_and_threads_are_bounded() {
    let (resolver, looked_up) = scripted();
    for n in 0..MAX_NAMES + 50 {
        let resolver = Arc::clone(&resolver);
        let name = format!("n{n}.example");
        let asked = thread::spawn(move || resolver.resolve(&name, &plan(LONG)));
        answer(&looked_up, Ok(vec![address(1)]));
        asked.join().unwrap().unwrap();
    }
    assert_eq!(resolver.pool.lock().names.len(), MAX_NAMES);
    let names = ["a.x", "b.x", "c.x", "d.x", "e.x", "f.x"];
    let waiting: Vec<_> = names.iter().map(|name| ask(&resolver, name)).collect();
    let mut held: Vec<Asked> = (0..MAX_THREADS)
        .map(|_| looked_up.recv_timeout(LONG).unwrap())
        .collect();
    assert!(
        looked_up.recv_timeout(SHORT).is_err(),
        "no more than four at a time"
    );
    assert_eq!(resolver.pool.lock().threads(), MAX_THREADS);
    let first = held.remove(0);
    assert!(names.contains(&first.name.as_str()));
    first.answer.send(Ok(vec![address(1)])).unwrap();
    held.push(looked_up.recv_timeout(LONG).unwrap());
    for asked in held {
        asked.answer.send(Ok(vec![address(1)])).unwrap();
    }
    answer(&looked_up, Ok(vec![address(1)]));
    for one in waiting {
        assert!(one.join().unwrap().is_ok());
    }
}

#[test]
fn the_system_knows_localhost_and_says_what_does_not_exist() {
    let resolver = Resolver::new();
    let found = resolver.resolve("localhost", &plan(LONG)).unwrap();
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    // Reserved never to exist (RFC 6761 §6.4); without a network there is no answer at all.
    let failure = resolver.resolve("x.invalid", &plan(LONG)).unwrap_err();
    assert!(
        matches!(
            failure.code,
            Code::DnsNotFound | Code::DnsFailed | Code::TimeoutDns
        ),
        "{failure:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_system_says_of_a_name_has_its_code() {
    // The numbers of netdb.h, the same with glibc and musl.
    let failed = |text: &str| NoAddress::Failed(text.to_owned());
    for (number, expected, why) in [
        (-2, NoAddress::NotFound, "EAI_NONAME"),
        (-5, NoAddress::NotFound, "EAI_NODATA"),
        (-3, failed("no answer from a name server"), "EAI_AGAIN"),
        (-4, failed("the name server refused"), "EAI_FAIL"),
    ] {
        assert_eq!(no_address(LookupError::new(number)), expected, "{why}");
    }
    let other = no_address(LookupError::new(-10));
    assert!(
        matches!(other, NoAddress::Failed(why) if !why.is_empty()),
        "EAI_MEMORY"
    );
}

#[test]
fn names_that_nobody_answers_for_hold_up_no_others() {
    let (resolver, looked_up) = scripted();
    let foreign = |limit| Plan {
        foreign_host: true,
        ..plan(limit)
    };
    let silent: Vec<_> = ["a.silent", "b.silent", "c.silent", "d.silent", "e.silent"]
        .into_iter()
        .map(|name| {
            let resolver = Arc::clone(&resolver);
            thread::spawn(move || resolver.resolve(name, &foreign(LONG)))
        })
        .collect();
    // Two of them are asked for, and keep their threads.
    let kept: Vec<_> = (0..MAX_FOREIGN)
        .map(|_| looked_up.recv_timeout(LONG).unwrap())
        .collect();
    let own = ask(&resolver, "own.example");
    let asked = looked_up.recv_timeout(LONG).unwrap();
    assert_eq!(asked.name, "own.example");
    asked.answer.send(Ok(vec![address(1)])).unwrap();
    assert_eq!(own.join().unwrap(), Ok(vec![address(1)]));
    // So does one of those that wait, once it is the owner's own too.
    let waiting = ["a.silent", "b.silent", "c.silent", "d.silent", "e.silent"]
        .into_iter()
        .find(|name| kept.iter().all(|asked| asked.name != *name))
        .unwrap();
    let own = ask(&resolver, waiting);
    answer(&looked_up, Ok(vec![address(2)]));
    assert_eq!(own.join().unwrap(), Ok(vec![address(2)]));
    // The others have their turn when those are done.
    for asked in kept {
        asked.answer.send(Err(NoAddress::NotFound)).unwrap();
    }
    for _ in MAX_FOREIGN + 1..silent.len() {
        answer(&looked_up, Err(NoAddress::NotFound));
    }
    let answers = silent.into_iter().map(|one| one.join().unwrap());
    let failures: Vec<_> = answers.filter_map(Result::err).collect();
    assert_eq!(failures.len(), 4);
    assert!(failures.iter().all(|it| it.code == Code::DnsNotFound));
}

#[test]
fn a_look_up_that_nobody_waits_for_any_more_is_not_begun() {
    let (resolver, looked_up) = scripted();
    let foreign = |limit| Plan {
        foreign_host: true,
        ..plan(limit)
    };
    let busy: Vec<_> = ["a.silent", "b.silent"]
        .into_iter()
        .map(|name| {
            let resolver = Arc::clone(&resolver);
            thread::spawn(move || resolver.resolve(name, &foreign(LONG)))
        })
        .collect();
    let kept: Vec<_> = (0..MAX_FOREIGN)
        .map(|_| looked_up.recv_timeout(LONG).unwrap())
        .collect();
    for number in 0..2 * MAX_NAMES {
        let limit = Duration::from_micros(1);
        let name = format!("{number}.silent");
        let failure = resolver.resolve(&name, &foreign(limit)).unwrap_err();
        assert_eq!(failure.code, Code::TimeoutDns);
    }
    let state = resolver.pool.lock();
    assert_eq!(state.queue.len(), 0);
    assert!(state.names.len() <= MAX_NAMES, "{}", state.names.len());
    drop(state);
    for asked in kept {
        asked.answer.send(Err(NoAddress::NotFound)).unwrap();
    }
    for one in busy {
        one.join().unwrap().unwrap_err();
    }
    assert!(looked_up.try_recv().is_err(), "nothing else was asked");
}

#[test]
fn a_name_that_somebody_waits_for_is_not_forgotten_for_others() {
    let (resolver, looked_up) = scripted();
    let mut state = resolver.pool.lock();
    let now = clock::now();
    // It was answered, and who waits has not woken up yet.
    state.entry("waited.example", now).waiting = 1;
    for number in 0..2 * MAX_NAMES {
        state.entry(&format!("{number}.example"), now + SHORT);
    }
    assert!(state.names.contains_key("waited.example"));
    assert!(state.names.len() <= MAX_NAMES, "{}", state.names.len());
    drop(state);
    assert!(looked_up.try_recv().is_err(), "nothing was asked");
}
