//! Opens connections for ureq: name look-up, TCP, TLS.
//!
//! The look-up happens here and not in ureq's resolver, which ureq asks for every request, also
//! when the connection comes from its pool. So a request over a kept connection needs no name
//! server, and works while there is none.

use std::net::IpAddr;
use std::sync::Arc;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector as UreqConnector, NextTimeout};

use crate::core::endpoint::IpVersions;
use crate::core::outcome::{Code, Failure, Phase};
use crate::io::clock;
use crate::io::http::address;
use crate::io::http::connect;
use crate::io::http::exchange::{self, Plan};
use crate::io::http::failure;
use crate::io::http::ledger::{Encounter, Ledger};
use crate::io::http::resolver::Resolver;
use crate::io::http::transport::Link;
use crate::io::tls::client::Client;
use crate::io::tls::failure::brief;
use crate::io::tls::stream::{Fault, Refused, Stream};

/// Stands where ureq wants a resolver, and does nothing: see the module's documentation.
#[derive(Debug)]
pub(crate) struct NoLookup;

impl UreqResolver for NoLookup {
    fn resolve(
        &self,
        _: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(self.empty())
    }
}

/// Opens the connections of one endpoint.
#[derive(Debug)]
pub(crate) struct Connector {
    endpoint: Arc<str>,
    tls: Client,
    resolver: Arc<Resolver>,
    ledger: Arc<Ledger>,
}

impl Connector {
    /// Builds a connector of the endpoint of this name.
    pub(crate) fn new(
        endpoint: &str,
        tls: Client,
        resolver: Arc<Resolver>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls,
            resolver,
            ledger,
        }
    }

    fn open(&self, host: &str, port: u16) -> Result<Link, Failure> {
        let plan = exchange::plan();
        exchange::enter(Phase::Resolve);
        let addresses = self.addresses(host, &plan)?;
        exchange::enter(Phase::Connect);
        let (socket, peer) = connect::connect(&addresses, port, plan.deadline)
            .map_err(|error| self.not_connected(host, error, &plan))?;
        exchange::note(|progress| progress.peer = Some(peer));
        exchange::enter(Phase::Handshake);
        let cpu = clock::thread_cpu();
        let (stream, facts) = Stream::connect(&self.tls, host, socket, plan.deadline)
            .map_err(|refused| self.not_secured(refused, &plan))?;
        let not_after = facts.not_after;
        let encounter = Encounter {
            endpoint: Arc::clone(&self.endpoint),
            host: host.to_ascii_lowercase(),
            port,
            foreign: plan.foreign_host,
            handshake: Arc::clone(&facts),
            own: self.tls.own(),
        };
        let cpu = clock::thread_cpu().saturating_sub(cpu);
        self.ledger.complete(encounter, cpu);
        exchange::note(|progress| progress.handshake = Some(facts));
        let clock = Arc::clone(&self.tls.surroundings().clock);
        Ok(Link::new(stream, peer, not_after, clock))
    }

    /// Returns the addresses that may be connected to: at least one.
    fn addresses(&self, host: &str, plan: &Plan) -> Result<Vec<IpAddr>, Failure> {
        if let Some(address) = plan.address {
            return Ok(vec![address]);
        }
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host, plan)?,
        };
        let wanted = of_version(found, plan.ip);
        if wanted.is_empty() {
            let version = if plan.ip == IpVersions::V4 { 4 } else { 6 };
            let detail = format!("{host} has no IPv{version} address");
            return Err(Failure::new(Code::DnsNotFound, brief(&detail)));
        }
        let allowed: Vec<_> = wanted
            .into_iter()
            .filter(|found| plan.private_addresses || address::is_public(*found))
            .collect();
        if allowed.is_empty() {
            let detail = format!("{host} is at a private address");
            return Err(Failure::new(Code::BridgeDenied, brief(&detail)));
        }
        Ok(allowed)
    }

    fn not_connected(&self, host: &str, error: connect::Failed, plan: &Plan) -> Failure {
        // The address may have changed; the next exchange asks for it.
        self.resolver.doubt(host);
        let fault = match error {
            connect::Failed::TimedOut => Fault::TimedOut,
            connect::Failed::Io(error) => Fault::Io(error),
        };
        failure::of_fault(fault, &exchange::so_far(), plan, clock::now())
    }

    fn not_secured(&self, refused: Refused, plan: &Plan) -> Failure {
        self.ledger.fail();
        exchange::note(|progress| {
            progress.refused_chain = refused.chain;
        });
        failure::of_fault(refused.fault, &exchange::so_far(), plan, clock::now())
    }
}

fn of_version(addresses: Vec<IpAddr>, wanted: IpVersions) -> Vec<IpAddr> {
    match wanted {
        IpVersions::Both => addresses,
        IpVersions::V4 => addresses.into_iter().filter(IpAddr::is_ipv4).collect(),
        IpVersions::V6 => addresses.into_iter().filter(IpAddr::is_ipv6).collect(),
    }
}

impl UreqConnector for Connector {
    type Out = Link;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Link>, ureq::Error> {
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = details.uri.port_u16().unwrap_or(443);
        self.open(host, port).map(Some).map_err(failure::carry)
    }
}
