//! `probe`: one request with the trust of an endpoint, explained.
//!
//! Says whose trust it uses, how long each phase took, what TLS settled on, what the server's
//! certificates are for, and what to do about a failure. The verdict on the server is the one that
//! a route of that endpoint gets; what is asked is not: no header, no secret, no redirect.

mod choice;
mod remedy;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Uri;

use crate::cli::exit::Exit;
use crate::cli::probe::choice::Choice;
use crate::cli::{Streams, load};
use crate::config::{Config, escape};
use crate::core::calendar::date;
use crate::core::decimal;
use crate::core::endpoint::{Limits, Roots};
use crate::core::outcome::{Code, Failure, Phase, Response};
use crate::core::request::{Method, Request};
use crate::io::clock::{self, Wall};
use crate::io::http::client::Client;
use crate::io::http::exchange::{PHASES, Progress};
use crate::io::http::workers;
use crate::io::tls::certificate::{Certificate, show_pin};
use crate::io::tls::failure::brief;

/// Largest response that is read; only its size is shown.
const MAX_RESPONSE: usize = 1024 * 1024;

/// What to do about a status of 400 or more.
const REFUSED: &str = "  meaning    the server is trusted, and refuses this request
  what to do correct the path; a probe sends no headers, so what needs some is refused to it
";

/// What to probe.
#[derive(Clone, Debug)]
pub(crate) struct ProbeOptions {
    /// The server.
    pub(crate) url: String,
    /// The endpoint whose trust to use, by its name; by the URL's host if `None`.
    pub(crate) endpoint: Option<String>,
    /// Whom to trust, if not whom the endpoint trusts.
    pub(crate) roots: Option<Roots>,
    /// Connect here instead of where the endpoint does, or of looking the name up.
    pub(crate) address: Option<IpAddr>,
    /// Longest wait for the whole request.
    pub(crate) timeout: Duration,
}

/// Probes, with the endpoints of bridge.toml at `path` if there is one.
pub(super) fn probe(
    path: Option<&Path>,
    options: &ProbeOptions,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    let config = match path {
        None => None,
        Some(path) => match load(path, streams)? {
            Some((config, _)) => Some(config),
            None => return Ok(Exit::Configuration),
        },
    };
    match Probe::new(options, config.as_ref()) {
        Ok(probe) => {
            let good = probe.perform(streams.out)?;
            Ok(if good { Exit::Ok } else { Exit::Failed })
        }
        Err((exit, error)) => {
            writeln!(streams.err, "{error}")?;
            Ok(exit)
        }
    }
}

/// A probe that can be made.
pub(crate) struct Probe {
    request: Request,
    choice: Choice,
    client: Client,
    clock: Arc<Wall>,
    timeout: Duration,
}

impl Probe {
    /// Prepares a probe; nothing is sent yet.
    ///
    /// # Errors
    /// Says what is wrong with the URL, the endpoint's name, or a file that is trusted.
    fn new(options: &ProbeOptions, config: Option<&Config>) -> Result<Self, (Exit, String)> {
        let usage = |error| (Exit::Usage, error);
        let request = request(&options.url).map_err(usage)?;
        let choice = choice::choose(options, &request, config).map_err(usage)?;
        let trust = config.map(|config| config.clock.clone());
        let clock = Arc::new(Wall::new(&trust.unwrap_or_default()));
        let client = workers::client(Arc::clone(&choice.endpoint), &clock);
        let client = client.map_err(|error| match (&choice.name, config) {
            (Some(name), Some(config)) if options.roots.is_none() => {
                let (file, name) = (config.path.display(), escape(name));
                (
                    Exit::Configuration,
                    format!("{file}: endpoint `{name}`: {error}"),
                )
            }
            _ => usage(error),
        })?;
        Ok(Self {
            request,
            choice,
            client,
            clock,
            timeout: options.timeout,
        })
    }

    /// Makes the request and prints what came of it; returns whether there was a response of any
    /// status below 400.
    ///
    /// # Errors
    /// If `out` can't be written to.
    fn perform(&self, out: &mut dyn Write) -> io::Result<bool> {
        self.print_endpoint(out)?;
        let limits = Limits {
            timeout: self.timeout,
            deadline: self.timeout,
            max_response: MAX_RESPONSE,
        };
        let started = clock::now();
        let mut progress = Progress::default();
        let times = (started, started + self.timeout);
        let result = self
            .client
            .request(&self.request, &limits, times, &mut progress);
        print_phases(&progress, clock::now(), out)?;
        print_handshake(&progress, out)?;
        self.print_verdict(&result, out)
    }

    fn print_endpoint(&self, out: &mut dyn Write) -> io::Result<()> {
        let titles = std::iter::once("endpoint").chain(std::iter::repeat(""));
        for (title, line) in titles.zip(&self.choice.description) {
            writeln!(out, "{title:<12}{line}")?;
        }
        writeln!(out)?;
        out.flush()
    }

    fn print_verdict(
        &self,
        result: &Result<Response, Failure>,
        out: &mut dyn Write,
    ) -> io::Result<bool> {
        writeln!(out)?;
        let failure = match result {
            Ok(response) => {
                let size = response.body.len();
                let kind = response.content_type.as_deref().unwrap_or("no type given");
                let kind = brief(kind);
                let good = response.status < 400;
                let verdict = if good {
                    "ok"
                } else {
                    Code::HttpStatus.as_str()
                };
                let status = response.status;
                writeln!(out, "{verdict}: status {status}, {size} bytes, {kind}")?;
                if !good {
                    out.write_all(REFUSED.as_bytes())?;
                }
                return Ok(good);
            }
            Err(failure) => failure,
        };
        let (code, detail) = (failure.code, &failure.detail);
        writeln!(out, "{}: {detail}", code.as_str())?;
        writeln!(out, "  meaning    {}", code.meaning())?;
        let remedy = remedy::of(failure, &self.choice.endpoint.trust);
        writeln!(out, "  what to do {remedy}")?;
        self.print_clock(code, out)?;
        Ok(false)
    }

    /// Prints what time it is, where that is what matters.
    fn print_clock(&self, code: Code, out: &mut dyn Write) -> io::Result<()> {
        if matches!(
            code,
            Code::TlsExpired | Code::TlsNotYetValid | Code::ClockUnset
        ) {
            let now = clock::unix_time().as_secs();
            let (hour, minute) = (now / 3600 % 24, now / 60 % 60);
            writeln!(out, "  clock      {} {hour:02}:{minute:02} UTC", date(now))?;
        }
        match (code, self.clock.sign()) {
            (Code::ClockUnset, Some(file)) => {
                let file = file.display();
                writeln!(out, "             not believed before `{file}` is there")
            }
            _ => Ok(()),
        }
    }
}

fn request(url: &str) -> Result<Request, String> {
    let bad =
        |what: &str| format!("`{url}` {what}; expected a URL such as https://example.com/path");
    let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(bad("does not start with https://"));
    }
    let host = uri.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty()
        || uri
            .authority()
            .is_some_and(|all| all.as_str().contains('@'))
    {
        return Err(bad("names no plain host"));
    }
    // An authority with a port that is none has no port for this type.
    let has_port = uri
        .authority()
        .is_some_and(|all| all.as_str() != uri.host().unwrap_or_default());
    let port = match uri.port_u16() {
        None if has_port => return Err(bad("has no valid port, which is 1 to 65535")),
        Some(0) => return Err(bad("has no valid port, which is 1 to 65535")),
        port => port.unwrap_or(443),
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok(Request {
        method: Method::Get,
        host: host.to_ascii_lowercase(),
        port,
        target: match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        },
        headers: Vec::new(),
        body: None,
        body_holds_secret: false,
    })
}

fn print_phases(progress: &Progress, end: Instant, out: &mut dyn Write) -> io::Result<()> {
    let entered: Vec<(Phase, Instant)> = PHASES
        .into_iter()
        .filter_map(|phase| Some((phase, progress.entered(phase)?)))
        .collect();
    let ends = entered.iter().skip(1).map(|(_, at)| *at).chain([end]);
    for ((phase, began), ended) in entered.iter().zip(ends) {
        let took = ended.saturating_duration_since(*began);
        let peer = match (phase, progress.peer) {
            (Phase::Connect, Some(peer)) => format!("  {peer}"),
            _ => String::new(),
        };
        let milliseconds = decimal::milliseconds(took, 1).to_string();
        writeln!(out, "{:<11} {milliseconds:>9} ms{peer}", phase_name(*phase))?;
    }
    Ok(())
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "prepare",
        Phase::Resolve => "look-up",
        Phase::Connect => "connect",
        Phase::Handshake => "handshake",
        Phase::Send => "send",
        Phase::Receive => "response",
        Phase::Reply => "reply",
    }
}

fn print_handshake(progress: &Progress, out: &mut dyn Write) -> io::Result<()> {
    let chain = match &progress.handshake {
        Some(handshake) => {
            let (protocol, suite) = (handshake.protocol, &handshake.suite);
            writeln!(out, "\n{protocol}, {suite}")?;
            &handshake.chain
        }
        None => &progress.refused_chain,
    };
    for (at, der) in chain.iter().enumerate() {
        writeln!(out)?;
        match Certificate::read(der) {
            Some(certificate) => print_certificate(at, &certificate, out)?,
            None => writeln!(out, "certificate {at}: can not be read")?,
        }
    }
    Ok(())
}

fn print_certificate(at: usize, one: &Certificate, out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<String> = one.names.iter().map(|name| brief(name)).collect();
    writeln!(out, "certificate {at}: {}", brief(&one.subject))?;
    writeln!(out, "  issued by  {}", brief(&one.issuer))?;
    writeln!(
        out,
        "  valid      {} to {}",
        date(one.not_before),
        date(one.not_after)
    )?;
    if !names.is_empty() {
        writeln!(out, "  for        {}", names.join(", "))?;
    }
    writeln!(out, "  pin        {}", show_pin(&one.pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::http::support::certificates::Authority;
    use crate::io::http::support::https::{Script, Server};

    fn options(server: &Server, host: &str, roots: Roots) -> ProbeOptions {
        ProbeOptions {
            url: format!("https://{host}:{}/path?q=1", server.port()),
            endpoint: None,
            roots: Some(roots),
            address: Some("127.0.0.1".parse().unwrap()),
            timeout: Duration::from_secs(10),
        }
    }

    fn run(options: &ProbeOptions) -> (bool, String) {
        let mut out = Vec::new();
        let good = Probe::new(options, None)
            .unwrap()
            .perform(&mut out)
            .unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_good_server_is_described() {
        let authority = Authority::new("test");
        let server = Server::start(&authority.good(&["site.example"]), Script::echo());
        let file = authority.root_file();
        let roots = Roots::Files(vec![file.path().to_owned()]);
        let (good, text) = run(&options(&server, "Site.example", roots));
        assert!(good, "{text}");
        for line in [
            format!("  127.0.0.1:{}", server.port()),
            "TLS 1.3, TLS13_".to_owned(),
            "certificate 0: CN=site.example\n  issued by  CN=test intermediate\n  \
             valid      2020-01-01 to 2090-01-01\n  for        site.example\n  pin        sha256/"
                .to_owned(),
            "certificate 1: CN=test intermediate\n  issued by  CN=test root\n".to_owned(),
            "\nok: status 200, 13 bytes, no type given\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        for phase in ["look-up", "connect", "handshake", "send", "response"] {
            assert!(text.contains(phase), "{phase} in\n{text}");
        }
        assert_eq!(server.last().line(), "GET /path?q=1");
    }

    #[test]
    fn a_refused_chain_is_shown_with_verdict_and_remedy() {
        let authority = Authority::new("test");
        let server = Server::start(&authority.expired(&["site.example"]), Script::echo());
        let file = authority.root_file();
        let roots = Roots::Files(vec![file.path().to_owned()]);
        let (good, text) = run(&options(&server, "site.example", roots));
        assert!(!good);
        for line in [
            "certificate 0: CN=site.example\n",
            "  valid      2014-04-09 to 2015-04-12\n",
            "\ntls.expired: expired 2015-04-12\n  meaning    a certificate of the chain is past \
             its not-after date\n  what to do the server's owner has to renew it; if the date is \
             wrong, set the clock\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("response  "), "{text}");
    }

    #[test]
    fn a_server_that_refuses_the_request_is_not_ok() {
        let authority = Authority::new("test");
        let script = Script::fixed("404 Not Found", "none");
        let server = Server::start(&authority.good(&["site.example"]), script);
        let file = authority.root_file();
        let roots = Roots::Files(vec![file.path().to_owned()]);
        let (good, text) = run(&options(&server, "site.example", roots));
        assert!(!good, "{text}");
        let verdict = format!("\nhttp.status: status 404, 4 bytes, no type given\n{REFUSED}");
        assert!(text.ends_with(&verdict), "{text}");
    }

    #[test]
    fn what_is_no_https_url_is_said_so() {
        for (url, what) in [
            ("http://a.example/", "does not start with https://"),
            ("a.example", "does not start with https://"),
            ("https://u:p@a.example/", "names no plain host"),
            ("https:// /", "is not a URL"),
        ] {
            let options = ProbeOptions {
                url: url.to_owned(),
                endpoint: None,
                roots: None,
                address: None,
                timeout: Duration::from_secs(1),
            };
            let told = format!("`{url}` {what}; expected a URL such as https://example.com/path");
            assert_eq!(Probe::new(&options, None).err(), Some((Exit::Usage, told)));
        }
    }
}
