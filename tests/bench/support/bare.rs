//! Bare ureq with a resolver that remembers: what the requests alone cost.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::support::load::Timings;
use crate::support::origin::Origin;
use crate::support::process::{Child, cpu_of};

/// Makes `messages` requests in a process of its own and returns what they took.
pub(crate) fn measure(origin: &Origin, threads: usize, messages: usize) -> (Timings, Duration) {
    let root = origin.root_file();
    let child = Child::of_this_program(&[
        "bare",
        &origin.port.to_string(),
        root.to_str().unwrap(),
        &threads.to_string(),
        &messages.to_string(),
    ]);
    let line = child.wait_for_line("done ");
    let mut numbers = line.split(' ').skip(1).map(|n| n.parse::<u64>().unwrap());
    let mut next = || Duration::from_nanos(numbers.next().unwrap());
    let (total, median, p99, cpu) = (next(), next(), next(), next());
    let mut each = vec![median; 100];
    each[99] = p99;
    each[98] = p99;
    (Timings { total, each }, cpu)
}

/// The role.
pub(crate) fn run(arguments: &[String]) {
    let port: u16 = arguments[0].parse().unwrap();
    let agent = agent(port, &std::fs::read(&arguments[1]).unwrap());
    let threads: usize = arguments[2].parse().unwrap();
    let messages: usize = arguments[3].parse().unwrap();
    ask(&agent, port, threads, threads * 20);
    let before = cpu_of(std::process::id());
    let start = Instant::now();
    let mut each = ask(&agent, port, threads, messages);
    let (total, cpu) = (start.elapsed(), cpu_of(std::process::id()) - before);
    each.sort();
    let (median, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
    println!(
        "done {} {} {} {}",
        total.as_nanos(),
        median.as_nanos(),
        p99.as_nanos(),
        cpu.as_nanos()
    );
}

fn ask(agent: &ureq::Agent, port: u16, threads: usize, messages: usize) -> Vec<Duration> {
    let url = format!("https://localhost:{port}/post");
    let left = AtomicUsize::new(messages);
    std::thread::scope(|scope| {
        let work = || {
            let mut each = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let start = Instant::now();
                let request = agent.post(&url).header("content-type", "application/json");
                let mut response = request.send(br#"{"t":21.5,"h":40}"#.as_slice()).unwrap();
                response.body_mut().read_to_vec().unwrap();
                each.push(start.elapsed());
            }
            each
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

fn agent(port: u16, root: &[u8]) -> ureq::Agent {
    let root = ureq::tls::Certificate::from_pem(root).unwrap();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[root]))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .max_idle_connections_per_host(8)
        .build();
    let resolver = Remembered(SocketAddr::from(([127, 0, 0, 1], port)));
    ureq::Agent::with_parts(config, DefaultConnector::default(), resolver)
}

/// Knows the one address already.
#[derive(Debug)]
struct Remembered(SocketAddr);

impl Resolver for Remembered {
    fn resolve(
        &self,
        _uri: &ureq::http::Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}
