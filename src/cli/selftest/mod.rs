//! `selftest`: is every bad certificate told from the good ones, on this machine, by this program?
//!
//! Starts servers with certificates made on the spot, one defect each, and the whole daemon before
//! them, and asks each as a node would: MQTT client, broker, bridge, HTTPS, reply. Needs no
//! network, no file and no right time: certificates are judged by a clock of its own. The verifier
//! is the one of every request; nothing here could make it milder.

mod cases;
mod certificates;
mod gateway;
mod server;

#[cfg(feature = "selftest-program")]
use std::ffi::OsStr;
use std::io;
use std::time::{Duration, Instant};

use log::LevelFilter;

use crate::Shutdown;
use crate::cli::exit::Exit;
use crate::cli::{Streams, send};
use crate::core::calendar::date;
use crate::core::decimal;
use crate::io::clock;
use crate::io::tls::failure::brief;
use cases::Case;
use gateway::Gateway;
use server::{Place, Server};

/// What the clock of the test shows when it begins: 2030-01-01, noon.
const NOW: u64 = 1_893_499_200;
const DAY: u64 = 86_400;
/// Longest wait for one reply: more than the bridge waits for a server.
const PATIENCE: Duration = Duration::from_secs(15);

const NOT_MADE: &str = "\
Not made here, for want of a library that makes them: RSA certificates, keys that are too weak,
SHA-1 and MD5 signatures, SSL 3 to TLS 1.1. Those are tested against OpenSSL before a release.";

#[cfg(feature = "selftest-program")]
const HELP: &str = "\
Usage: mqtt-https-bridge-selftest

Makes good and bad certificates, a server with each and the gateway before them, asks each as a
node would, and shows what came of it. Needs no network, no file and no right clock; leaves nothing
behind. Exits with 0 only if all is as expected.";

/// How many cases ended as they should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    agree: usize,
    differ: usize,
}

/// Runs all cases and prints them as a table; the answer is no if one differs.
pub(super) fn selftest(level: Option<LevelFilter>, streams: &mut Streams<'_>) -> io::Result<Exit> {
    if let Some(level) = level {
        crate::io::log::init(level);
    }
    // A clock before this program was built is not believed.
    let now = NOW.max(clock::built() + DAY);
    clock::start_own(Duration::from_secs(now));
    match cases::make(now) {
        Ok(cases) => run(cases, streams),
        Err(why) => impossible(&why, streams),
    }
}

/// Runs the self-test for a program of its own, which has been given this argument.
#[cfg(feature = "selftest-program")]
pub(super) fn alone(argument: Option<&OsStr>, streams: &mut Streams<'_>) -> io::Result<Exit> {
    match argument.map(OsStr::as_encoded_bytes) {
        None => selftest(None, streams),
        Some(b"-h" | b"--help") => {
            writeln!(streams.out, "{HELP}")?;
            Ok(Exit::Ok)
        }
        Some(b"-V" | b"--version") => {
            let version = env!("CARGO_PKG_VERSION");
            writeln!(streams.out, "mqtt-https-bridge-selftest {version}")?;
            Ok(Exit::Ok)
        }
        Some(_) => {
            writeln!(streams.err, "{HELP}")?;
            Ok(Exit::Usage)
        }
    }
}

fn run(cases: Vec<Case>, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let started = clock::now();
    let ended = runtime.block_on(async {
        // A signal must not leave files behind.
        let mut signals = Shutdown::signals().listen()?;
        tokio::select! {
            signal = signals.stop() => Ok(Err(signal)),
            ended = ask_all(cases, streams) => ended.map(Ok),
        }
    });
    match ended? {
        Ok(Ok(tally)) => conclude(tally, started, streams),
        Ok(Err(why)) => impossible(&why, streams),
        Err(signal) => Ok(Exit::Daemon(128_u8.saturating_add(signal))),
    }
}

/// Asks one server after the other; the string says why that is not possible.
async fn ask_all(cases: Vec<Case>, streams: &mut Streams<'_>) -> io::Result<Result<Tally, String>> {
    let places = cases.iter().map(|case| Place::new(&case.behaviour));
    let places = places.collect::<io::Result<Vec<_>>>()?;
    let gateway = match Gateway::start(&cases, &places) {
        Ok(gateway) => gateway,
        Err(why) => return Ok(Err(why)),
    };
    let columns = Columns::of(&cases);
    columns.print(["case", "expected", "time", "got"], streams)?;
    let mut tally = Tally::default();
    for (number, (case, place)) in cases.iter().zip(places).enumerate() {
        let server = Server::start(place, case.behaviour.clone())?;
        let (got, took) = ask(&gateway, number, case).await;
        drop(server);
        let mark = match agrees(case.expected, &got) {
            true => {
                tally.agree += 1;
                ""
            }
            false => {
                tally.differ += 1;
                "DIFFERS: "
            }
        };
        let time = format!("{} ms", decimal::milliseconds(took, 0));
        let got = format!("{mark}{}", brief(&got));
        columns.print([case.name, case.expected, &time, &got], streams)?;
    }
    Ok(Ok(tally))
}

/// Asks one case as often as it wants and returns what the node was told last, and how long it
/// took.
async fn ask(gateway: &Gateway, number: usize, case: &Case) -> (String, Duration) {
    let mut last = (String::new(), Duration::ZERO);
    for ask in 1..=case.asks {
        let started: Instant = clock::now();
        let told = send::ask(gateway.address, gateway::topic(number), PATIENCE).await;
        let (good, got) = match told {
            Ok((code, text)) if code == "ok" => (true, format!("ok {text}")),
            Ok((_, text)) => (false, text),
            Err(why) => (false, why),
        };
        last = (got, clock::now().saturating_duration_since(started));
        if !good && ask < case.asks {
            break;
        }
    }
    last
}

/// Returns whether a reply is the one expected: with `ok` all of it, else the code.
fn agrees(expected: &str, got: &str) -> bool {
    match expected.starts_with("ok ") {
        true => got == expected,
        false => got.split(' ').next() == Some(expected),
    }
}

fn conclude(tally: Tally, started: Instant, streams: &mut Streams<'_>) -> io::Result<Exit> {
    let Tally { agree, differ } = tally;
    let took = clock::now().saturating_duration_since(started);
    let (today, seconds) = (
        date(clock::unix_time().as_secs()),
        decimal::seconds(took, 1),
    );
    writeln!(
        streams.out,
        "\n{} cases in {seconds} s, by a clock that says {today}: {agree} as expected, \
         {differ} not\n{NOT_MADE}",
        agree + differ
    )?;
    // No case at all proves nothing.
    Ok(match tally {
        Tally {
            agree: 1..,
            differ: 0,
        } => Exit::Ok,
        Tally { .. } => Exit::Failed,
    })
}

fn impossible(why: &str, streams: &mut Streams<'_>) -> io::Result<Exit> {
    writeln!(streams.err, "the self-test can not be made: {why}")?;
    Ok(Exit::Failed)
}

/// How wide the columns of names and expectations are, in characters.
struct Columns(usize, usize);

impl Columns {
    fn of(cases: &[Case]) -> Self {
        let widest = |text: fn(&Case) -> &str| {
            let widths = cases.iter().map(|case| text(case).chars().count());
            widths.max().unwrap_or_default()
        };
        Self(widest(|case| case.name), widest(|case| case.expected))
    }

    fn print(&self, cells: [&str; 4], streams: &mut Streams<'_>) -> io::Result<()> {
        let Self(first, second) = self;
        let [name, expected, time, got] = cells;
        writeln!(
            streams.out,
            "{name:<first$}  {expected:<second$}  {time:>7}  {got}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_agrees_by_its_code_or_as_a_whole() {
        for (expected, got, agree, why) in [
            (
                "tls.expired",
                "tls.expired - expired 2015-04-12",
                true,
                "the code counts",
            ),
            ("tls.expired", "tls.expired", true, "no detail"),
            ("tls.expired", "tls.expired_long_ago", false, "another code"),
            ("tls.expired", "ok TLS 1.3, full handshake", false, "let in"),
            ("tls.expired", "", false, "nothing"),
            (
                "ok TLS 1.3, resumed",
                "ok TLS 1.3, resumed",
                true,
                "all of it",
            ),
            (
                "ok TLS 1.3, resumed",
                "ok TLS 1.3, full handshake",
                false,
                "good for the wrong reason",
            ),
            (
                "ok TLS 1.3, resumed",
                "tls.expired - expired 2015-04-12",
                false,
                "refused",
            ),
        ] {
            assert_eq!(agrees(expected, got), agree, "{why}");
        }
    }

    /// Runs these cases and returns the exit code and what was printed.
    fn run_some(cases: Vec<Case>) -> (Exit, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            out: &mut out,
            err: &mut err,
        };
        let exit = run(cases, &mut streams).unwrap();
        assert_eq!(String::from_utf8(err).unwrap(), "");
        (exit, String::from_utf8(out).unwrap())
    }

    /// Cases of these names, by the clock of this machine.
    fn some(names: &[&str]) -> Vec<Case> {
        let mut cases = cases::make(clock::unix_time().as_secs()).unwrap();
        cases.retain(|case| names.contains(&case.name));
        assert_eq!(cases.len(), names.len());
        cases
    }

    #[test]
    fn what_differs_is_marked_and_the_answer_is_no() {
        let (exit, out) = run_some(some(&["good, TLS 1.3", "expired"]));
        assert_eq!(exit, Exit::Ok, "{out}");
        assert!(!out.contains("DIFFERS"), "{out}");

        // As if the verifier let everything in, and as if it let nothing in.
        for (name, expected) in [
            ("expired", "ok TLS 1.3, full handshake"),
            ("good, TLS 1.3", "tls.expired"),
        ] {
            let mut cases = some(&["good, TLS 1.3", "expired"]);
            let case = cases.iter_mut().find(|case| case.name == name).unwrap();
            case.expected = expected;
            let (exit, out) = run_some(cases);
            assert_eq!(exit, Exit::Failed, "{out}");
            assert_eq!(out.matches("DIFFERS").count(), 1, "{out}");
            assert!(out.contains("1 as expected, 1 not"), "{out}");
        }
        let (exit, out) = run_some(Vec::new());
        assert_eq!(exit, Exit::Failed, "nothing was tested: {out}");
    }
}
