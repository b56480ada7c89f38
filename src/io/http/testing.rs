//! An endpoint and its client on a test server, in a line.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::resolver::Resolver;
use super::support::certificates::{Authority, Identity};
use super::support::https::{Script, Server};
use crate::core::bridge::{Job, JobId};
use crate::core::endpoint::{Conduct, Endpoint, IpVersions, Limits, Redirects, Trust};
use crate::core::outcome::{Failure, Outcome, Response};
use crate::core::request::{Method, Request};
use crate::io::clock::{self, Wall};
use crate::io::tls;
use crate::io::tls::client::Surroundings;

/// The host name of [`Site`]'s certificate; it never goes to a name server.
pub(crate) const HOST: &str = "site.example";
/// Longer than any test that works.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// How long tests wait for what must time out.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// A server and a client that trusts it.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) client: Arc<Client>,
    pub(crate) endpoint: Arc<Endpoint>,
}

impl Site {
    /// A server with a good certificate.
    pub(crate) fn new(script: Script) -> Self {
        Self::with(script, |_| {})
    }

    /// A server with a good certificate, and an endpoint that differs from the usual one.
    pub(crate) fn with(script: Script, change: impl FnOnce(&mut Endpoint)) -> Self {
        let authority = Authority::new("test");
        Self::presenting(&authority.good(&[HOST]), &authority, script, change)
    }

    /// A server that presents `identity` to a client that trusts `authority`.
    pub(crate) fn presenting(
        identity: &Identity,
        authority: &Authority,
        script: Script,
        change: impl FnOnce(&mut Endpoint),
    ) -> Self {
        let server = Server::start(identity, script);
        let mut endpoint = endpoint();
        change(&mut endpoint);
        let endpoint = Arc::new(endpoint);
        let client = Arc::new(client(&endpoint, authority));
        Self {
            server,
            client,
            endpoint,
        }
    }

    /// A GET of `target`.
    pub(crate) fn get(&self, target: &str) -> Request {
        request(Method::Get, self.server.port(), target)
    }

    /// A POST of `body`.
    pub(crate) fn post(&self, body: &str) -> Request {
        Request {
            body_holds_secret: false,
            body: Some(body.to_owned().into()),
            ..request(Method::Post, self.server.port(), "/post")
        }
    }

    /// Performs a request.
    pub(crate) fn perform(&self, request: Request) -> Outcome {
        self.perform_within(request, LONG)
    }

    /// Performs a request with this time limit.
    pub(crate) fn perform_within(&self, request: Request, timeout: Duration) -> Outcome {
        self.client.perform(&job(&self.endpoint, request, timeout))
    }

    /// Performs a request that gets a response.
    pub(crate) fn respond(&self, request: Request) -> Response {
        match self.perform(request) {
            Outcome::Response(response) => response,
            Outcome::Failure(failure) => panic!("{failure:?}"),
        }
    }

    /// Performs a request that fails.
    pub(crate) fn fail(&self, request: Request) -> Failure {
        failure(self.perform(request))
    }
}

/// Returns the failure of an outcome that is one.
pub(crate) fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failure(failure) => failure,
        Outcome::Response(response) => panic!("{response:?}"),
    }
}

/// An endpoint at 127.0.0.1.
pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        name: "test".to_owned(),
        url: format!("https://{HOST}/"),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ip: IpVersions::Both,
        captured_host: false,
        private_addresses: true,
        trust: Trust::default(),
        redirects: Redirects::SameOrigin,
        concurrency: 4,
        queue: 16,
        share: 16,
        conduct: Conduct::default(),
    }
}

/// A client that trusts `authority`.
pub(crate) fn client(endpoint: &Arc<Endpoint>, authority: &Authority) -> Client {
    client_by(&Arc::default(), endpoint, authority)
}

/// The same, judging by this clock.
pub(crate) fn client_by(
    clock: &Arc<Wall>,
    endpoint: &Arc<Endpoint>,
    authority: &Authority,
) -> Client {
    let surroundings = Surroundings {
        clock: Arc::clone(clock),
        library: None,
    };
    let roots = tls::roots::only(authority.root());
    let tls = tls::client::Client::within(&endpoint.trust, roots, &surroundings).unwrap();
    Client::new(
        Arc::clone(endpoint),
        tls,
        Arc::new(Resolver::new()),
        Arc::default(),
    )
}

/// A request without header fields and body.
pub(crate) fn request(method: Method, port: u16, target: &str) -> Request {
    Request {
        body_holds_secret: false,
        method,
        host: HOST.to_owned(),
        port,
        target: target.to_owned(),
        headers: Vec::new(),
        body: None,
    }
}

/// A job with this time limit and 64 KiB of response.
pub(crate) fn job(endpoint: &Arc<Endpoint>, request: Request, timeout: Duration) -> Job {
    Job {
        id: JobId(1),
        endpoint: Arc::clone(endpoint),
        request: Arc::new(request),
        attempt: 1,
        deadline: clock::now() + LONG,
        limits: Limits {
            timeout,
            deadline: LONG,
            max_response: 64 * 1024,
        },
    }
}
