//! The whole way of a message, beside the sum of its parts: ratios in one run.
//!
//! The parts are bare ureq with a caching resolver making the same requests, and a bare MQTT echo
//! over mosquitto (which has to be installed). Rounds are interleaved, medians compared, CPU time
//! read from the kernel's accounts of each process. `cargo bench --bench pipeline`; numbers behind
//! `--` choose how many clients (`-- 64`).
//!
//! What profiling found (x86_64, two cores, 8 clients): two thirds of the bridge's time is the
//! kernel's, and a third of that is waking threads and letting them sleep, so what makes a message
//! cheaper is waking fewer. It needs five system calls at least: MQTT in and out, a look whether the
//! pooled connection is still open, HTTPS out and in; at QoS 1 a sixth for PUBACK. The rest is the
//! hand-off between loop and workers. A message took, with a queue and a condition variable for
//! each endpoint, then with `io/http/pool`, in turns beside the same busy neighbours:
//!
//! | | system calls | of these futex | context switches | CPU |
//! |---|---|---|---|---|
//! | QoS 0 | 7.8 → 7.7 | 1.9 → 1.4 | 3.0 → 2.6 | −9 % |
//! | QoS 1 | 8.6 → 7.9 | 2.0 → 1.1 | 3.2 → 2.2 | −6 % |
//!
//! Workers that are scheduled as batches (`io/scheduling`) do not interrupt the loop when it wakes
//! them: 10 to 12 % less CPU and a fifth less at p99, where another niceness gains nothing.
//!
//! Waking one worker at a time, which then wakes the next, saves more CPU, but where others want
//! the processor too all jobs wait for the one that was woken: half the rate and five times the p99
//! at QoS 1. Yielding before a worker sleeps changes nothing. A message reads the clock some thirty
//! times, most of them in ureq, for 2 % of the time.

#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time, prints, and may end at the first surprise"
)]

#[path = "support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use support::{bare, echo, load, origin, process};

const ROUNDS: usize = 3;

/// One way of answering nodes, measured.
#[derive(Clone, Copy, Default)]
struct Sample {
    per_second: f64,
    median: Duration,
    p99: Duration,
    /// CPU seconds for 1,000 messages, of all processes that answer.
    cpu: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("bare") => bare::run(&arguments[1..]),
        Some("echo") => echo::run(&arguments[1..]),
        _ => return compare(),
    }
    ExitCode::SUCCESS
}

fn compare() -> ExitCode {
    let origin = origin::Origin::start();
    let wanted: Vec<usize> = std::env::args()
        .filter_map(|number| number.parse().ok())
        .collect();
    let shapes = [(1, 10_000), (8, 30_000), (64, 50_000)];
    let mut good = true;
    for (clients, messages) in shapes {
        if !wanted.is_empty() && !wanted.contains(&clients) {
            continue;
        }
        for qos in [0, 1] {
            good &= compare_shape(&origin, clients, messages, qos);
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn compare_shape(origin: &origin::Origin, clients: usize, messages: usize, qos: u8) -> bool {
    let mut rounds = [[Sample::default(); 3]; ROUNDS];
    for round in &mut rounds {
        *round = [
            measure_bridge(origin, clients, messages, qos),
            measure_bare(origin, clients.min(8), messages),
            measure_echo(clients, messages, qos),
        ];
    }
    let [bridge, bare, echo] =
        [0, 1, 2].map(|way| median_of_rounds(rounds.map(|round| round[way])));
    println!("\n{clients} clients, one request outstanding each, QoS {qos}, {messages} messages");
    for (name, sample) in [
        ("bridge", bridge),
        ("bare ureq", bare),
        ("mosquitto echo", echo),
    ] {
        println!(
            "  {name:<15} {:>8.0}/s   median {:>7.3} ms   p99 {:>7.3} ms   CPU {:.4} s per 1,000",
            sample.per_second,
            sample.median.as_secs_f64() * 1e3,
            sample.p99.as_secs_f64() * 1e3,
            sample.cpu,
        );
    }
    let mut good = verdict(
        "CPU / sum of the parts",
        bridge.cpu / (bare.cpu + echo.cpu),
        0.75,
    );
    if clients == 1 {
        let added = bridge.median.saturating_sub(bare.median).as_secs_f64();
        good &= verdict(
            "added median latency / echo",
            added / echo.median.as_secs_f64(),
            1.3,
        );
    }
    if clients == 8 {
        // Turned round, so that every figure is "at most": 45 % of the bare rate is 2.22.
        good &= verdict(
            "bare rate / bridge rate",
            bare.per_second / bridge.per_second,
            1.0 / 0.45,
        );
    }
    good
}

fn verdict(what: &str, ratio: f64, most: f64) -> bool {
    let met = ratio <= most;
    println!(
        "  {what}: {ratio:.2}, at most {most:.2}: {}",
        if met { "met" } else { "MISSED" }
    );
    met
}

fn median_of_rounds(rounds: [Sample; ROUNDS]) -> Sample {
    let middle = |value: fn(&Sample) -> f64| {
        let mut values = rounds.each_ref().map(value);
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    Sample {
        per_second: middle(|s| s.per_second),
        median: Duration::from_secs_f64(middle(|s| s.median.as_secs_f64())),
        p99: Duration::from_secs_f64(middle(|s| s.p99.as_secs_f64())),
        cpu: middle(|s| s.cpu),
    }
}

fn measure_bridge(origin: &origin::Origin, clients: usize, messages: usize, qos: u8) -> Sample {
    let daemon = process::Daemon::start(&origin.bridge_toml());
    let ask = load::Ask {
        port: daemon.port,
        clients,
        qos,
        ..load::Ask::default()
    };
    load::run(&ask, clients * 20); // warm: connections open, pool filled
    let before = daemon.cpu();
    let timings = load::run(&ask, messages);
    sample(timings, daemon.cpu() - before, messages)
}

fn measure_bare(origin: &origin::Origin, threads: usize, messages: usize) -> Sample {
    let (timings, cpu) = bare::measure(origin, threads, messages);
    sample(timings, cpu, messages)
}

fn measure_echo(clients: usize, messages: usize, qos: u8) -> Sample {
    let mosquitto = process::Mosquitto::start();
    let echo = echo::Echo::start(mosquitto.port, qos);
    let ask = load::Ask {
        port: mosquitto.port,
        clients,
        qos,
        ..load::Ask::default()
    };
    load::run(&ask, clients * 20);
    let before = mosquitto.cpu() + echo.cpu();
    let timings = load::run(&ask, messages);
    sample(timings, mosquitto.cpu() + echo.cpu() - before, messages)
}

fn sample(mut timings: load::Timings, cpu: Duration, messages: usize) -> Sample {
    timings.each.sort();
    let at = |share: f64| timings.each[((timings.each.len() - 1) as f64 * share) as usize];
    Sample {
        per_second: messages as f64 / timings.total.as_secs_f64(),
        median: at(0.5),
        p99: at(0.99),
        cpu: cpu.as_secs_f64() * 1e3 / messages as f64,
    }
}
