//! `[gateway]` and `[broker]`: the gateway's name, listeners, limits, and who may connect unnamed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::core::access::Rules;

use super::section::Section;
use super::show::quote;
use super::users::{self, Holder, Rule};
use super::{Anonymous, Broker, ClockTrust, TlsListener, limits, value, websocket};

/// The users file unless `users_file` names another.
const USERS_FILE: &str = "users.toml";

/// Longest path of a socket, in bytes: the system's structure has room for 107.
const LONGEST_SOCKET: usize = 100;

/// `[gateway]` as read.
pub(super) struct Gateway {
    pub(super) name: Arc<str>,
    pub(super) stop_timeout: Duration,
    pub(super) clock: ClockTrust,
    pub(super) status_socket: Option<PathBuf>,
}

/// Reads `[gateway]`; `host_name` stands in for a name that is not configured, and relative paths
/// start at `directory`.
pub(super) fn read_gateway(
    top: &Section<'_>,
    directory: &Path,
    host_name: impl FnOnce() -> String,
) -> Gateway {
    let section = top.table("gateway", "gateway", "[gateway]");
    let name = section.as_ref().and_then(|section| {
        let name = section.text("name")?;
        if name.value.is_empty() || name.value.contains(['/', '+', '#']) || has_control(name.value)
        {
            let text = format!(
                "name is {}, expected one topic level without `/`, `+` and `#`; write a plain word",
                quote(name.value)
            );
            section.report.error(name.origin, text);
        }
        Some(name.value)
    });
    let bounds = Duration::ZERO..=Duration::from_secs(300);
    let clock = section
        .as_ref()
        .and_then(|section| read_clock(section, directory));
    let status_socket = section
        .as_ref()
        .and_then(|section| read_status_socket(section, directory));
    let stop_timeout = section.and_then(|section| section.duration("stop_timeout", bounds));
    Gateway {
        clock: clock.unwrap_or_default(),
        status_socket,
        name: name.map_or_else(host_name, str::to_owned).into(),
        stop_timeout: stop_timeout.map_or(Duration::from_secs(10), |at| at.value),
    }
}

fn read_clock(section: &Section<'_>, directory: &Path) -> Option<ClockTrust> {
    if !section.is_table("clock") {
        let words = [("trusted", ClockTrust::Trusted)];
        return section.choice("clock", &words).map(|at| at.value);
    }
    let clock = section.table("clock", "gateway.clock", "clock")?;
    let file = clock.text("synchronised_file");
    let remedy = "write `clock = { synchronised_file = \"…\" }` or `clock = \"trusted\"`";
    // It need not be there: that it comes is what is waited for.
    let file = clock.require("synchronised_file", file, remedy)?;
    Some(ClockTrust::SynchronisedFile(directory.join(file.value)))
}

fn read_status_socket(section: &Section<'_>, directory: &Path) -> Option<PathBuf> {
    let written = section.text("status_socket")?;
    let path = directory.join(written.value);
    let bytes = path.as_os_str().len();
    if written.value.is_empty() || bytes > LONGEST_SOCKET {
        let text = format!(
            "status_socket {} has {bytes} bytes with its folder, expected 1 to {LONGEST_SOCKET}; \
             write a shorter path",
            quote(written.value)
        );
        section.report.error(written.origin, text);
    }
    Some(path)
}

/// Returns the name of this machine, or `gateway` if it has none that fits a topic level.
pub(super) fn host_name() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty() && !name.contains(['/', '+', '#']) && !has_control(name))
        .unwrap_or_else(|| "gateway".into())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// `[broker]` as read, with the rules of anonymous clients for later checks.
pub(super) struct ReadBroker {
    pub(super) broker: Broker,
    /// Publish rules that were written, not the default.
    pub(super) written_rules: Vec<Rule>,
}

/// Reads `[broker]`; the users file starts at `directory`.
pub(super) fn read_broker(top: &Section<'_>, directory: &Path) -> ReadBroker {
    let section = top.table("broker", "broker", "[broker]");
    let section = section.as_ref();
    let anonymous = read_anonymous(section);
    let mut written_rules = Vec::new();
    let mut rules = |key: &str| {
        let rules = section.and_then(|section| users::read_rules(section, key, Holder::default()));
        let Some(rules) = rules else {
            return vec!["#".to_owned()];
        };
        let texts = rules.iter().map(|rule| rule.text.value.clone()).collect();
        if key == "anonymous_publish" {
            written_rules = rules;
        }
        texts
    };
    let anonymous_rules = Rules {
        publish: rules("anonymous_publish"),
        subscribe: rules("anonymous_subscribe"),
    };
    let listen = read_listeners(section);
    let websocket = section.and_then(|section| websocket::open(section));
    let shares = websocket.as_ref().is_some_and(|opened| opened.tls);
    let tls = section.and_then(|section| read_tls(section, directory, (&listen, shares)));
    let mut others = listen.clone();
    others.extend(tls.iter().flat_map(|tls| &tls.listen));
    let broker = Broker {
        websocket: websocket.and_then(|opened| websocket::read(&opened, &others)),
        tls,
        listen,
        follows_networks: false,
        anonymous,
        anonymous_rules: Arc::new(anonymous_rules),
        limits: limits::read_limits(section),
        connections: limits::read_connections(section),
        users_file: directory.join(users_file(section)),
    };
    ReadBroker {
        broker,
        written_rules,
    }
}

/// Returns the users file as written, or its default.
pub(super) fn users_file(broker: Option<&Section<'_>>) -> String {
    let written = broker.and_then(|section| section.text("users_file"));
    written.map_or(USERS_FILE, |file| file.value).to_owned()
}

fn read_anonymous(section: Option<&Section<'_>>) -> Anonymous {
    let choices = [
        ("no", Anonymous::No),
        ("loopback", Anonymous::Loopback),
        ("anywhere", Anonymous::Anywhere),
    ];
    let read = section.and_then(|section| Some((section, section.choice("anonymous", &choices)?)));
    let Some((section, anonymous)) = read else {
        return Anonymous::default();
    };
    if anonymous.value == Anonymous::Anywhere {
        section.report.warning(
            anonymous.origin,
            "anonymous is `anywhere`: whoever reaches a listener may publish and have requests \
             made with your secrets; add users and write \"loopback\" or \"no\"",
        );
    }
    anonymous.value
}

fn read_listeners(section: Option<&Section<'_>>) -> Vec<SocketAddr> {
    let read = section.and_then(|section| read_addresses(section, "[broker]", &[]));
    let Some(listeners) = read else {
        return vec![
            SocketAddr::from(([127, 0, 0, 1], 1883)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 1883)),
        ];
    };
    if let Some(section) = section
        && section.is_empty_list("listen")
        && !section.has("tls")
        && !section.has("websocket")
    {
        refuse_empty(section, "[\"127.0.0.1:1883\"]");
    }
    listeners
}

/// Reports a list of no listeners.
pub(super) fn refuse_empty(section: &Section<'_>, example: &str) {
    let origin = section.origin_of("listen");
    let text = format!("listen is empty; write `listen = {example}`");
    section.report.error(origin, text);
}

/// Reads a list of addresses that get into the way neither of each other nor of `others`.
pub(super) fn read_addresses(
    section: &Section<'_>,
    label: &str,
    others: &[SocketAddr],
) -> Option<Vec<SocketAddr>> {
    let mut all = others.to_vec();
    for text in section.texts("listen", "[\"127.0.0.1:1883\"]")? {
        match value::listen_address(text.value) {
            Err(error) => section
                .report
                .error(text.origin, format!("{label} {error}")),
            Ok(address) => {
                if let Some(error) = value::listen_collision(address, &all) {
                    let error = format!("{label} {error}");
                    section.report.error(text.origin, error);
                }
                all.push(address);
            }
        }
    }
    Some(all.split_off(others.len()))
}

/// Reads where to listen with TLS, beside the listeners without; nowhere will do if the
/// certificate is for others to use as well.
fn read_tls(
    section: &Section<'_>,
    directory: &Path,
    (plain, is_shared): (&[SocketAddr], bool),
) -> Option<TlsListener> {
    let example = "{ listen = [\"0.0.0.0:8883\"], certificate = \"listener.pem\", \
                   key = \"listener.key\" }";
    if section.has("tls") && !section.is_table("tls") {
        let text = format!("tls is not a table; write `tls = {example}`");
        section.report.error(section.origin_of("tls"), text);
        return None;
    }
    let tls = section.table("tls", "broker.tls", "`tls` of [broker]")?;
    let listen = read_addresses(&tls, "tls", plain);
    let listen = tls.require("listen", listen, &format!("write `tls = {example}`"));
    if tls.is_empty_list("listen") && !is_shared {
        refuse_empty(&tls, "[\"0.0.0.0:8883\"]");
    }
    let file = |key: &str| Some(directory.join(tls.text(key)?.value));
    let remedy = "name the file; `mqtt-https-bridge listener-cert` makes certificate and key";
    let certificate = tls.require("certificate", file("certificate"), remedy);
    let key = tls.require("key", file("key"), remedy);
    let client_ca = file("client_ca");
    Some(TlsListener {
        listen: listen?,
        certificate: certificate?,
        key: key?,
        client_ca,
    })
}

/// Warns if nobody at all can connect.
pub(super) fn warn_of_locked_doors(top: &Section<'_>, broker: &Broker, users: usize) {
    if users > 0 || broker.anonymous != Anonymous::No {
        return;
    }
    let section = top.table("broker", "broker", "[broker]");
    let origin = section.map_or(top.origin, |section| section.origin_of("anonymous"));
    let text = "nobody can connect: anonymous is `no` and there are no users; \
                run `mqtt-https-bridge user add <name>`";
    top.report.warning(origin, text);
}
