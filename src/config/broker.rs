//! `[gateway]` and `[broker]`: the gateway's name, listeners, limits, and who may connect unnamed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::core::access::Rules;

use super::section::Section;
use super::show::quote;
use super::users::{self, Holder, Rule};
use super::{Anonymous, Broker, limits, value};

/// The users file unless `users_file` names another.
const USERS_FILE: &str = "users.toml";

/// `[gateway]` as read.
pub(super) struct Gateway {
    pub(super) name: Arc<str>,
    pub(super) stop_timeout: Duration,
}

/// Reads `[gateway]`; `host_name` stands in for a name that is not configured.
pub(super) fn read_gateway(top: &Section<'_>, host_name: impl FnOnce() -> String) -> Gateway {
    let section = top.table("gateway", "gateway", "[gateway]");
    let name = section.as_ref().and_then(|section| {
        let name = section.text("name")?;
        if name.value.is_empty() || name.value.contains(['/', '+', '#']) || has_control(&name.value)
        {
            let text = format!(
                "name is {}, expected one topic level without `/`, `+` and `#`; write a plain word",
                quote(&name.value)
            );
            section.report.error(&name.origin, text);
        }
        Some(name.value)
    });
    let bounds = Duration::ZERO..=Duration::from_secs(300);
    let stop_timeout = section.and_then(|section| section.duration("stop_timeout", bounds));
    Gateway {
        name: name.unwrap_or_else(host_name).into(),
        stop_timeout: stop_timeout.map_or(Duration::from_secs(10), |at| at.value),
    }
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
    let broker = Broker {
        listen: read_listeners(section),
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
    written.map_or(USERS_FILE.into(), |file| file.value)
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
            &anonymous.origin,
            "anonymous is `anywhere`: whoever reaches a listener may publish and have requests \
             made with your secrets; add users and write \"loopback\" or \"no\"",
        );
    }
    anonymous.value
}

fn read_listeners(section: Option<&Section<'_>>) -> Vec<SocketAddr> {
    let example = "[\"127.0.0.1:1883\"]";
    let Some((section, texts)) = section.and_then(|s| Some((s, s.texts("listen", example)?)))
    else {
        return vec![
            SocketAddr::from(([127, 0, 0, 1], 1883)),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 1883)),
        ];
    };
    if texts.is_empty() {
        let origin = section.origin_of("listen");
        section.report.error(
            &origin,
            format!("listen is empty; write `listen = {example}`"),
        );
    }
    let mut listeners = Vec::new();
    for text in texts {
        match value::listen_address(&text.value) {
            Err(error) => section
                .report
                .error(&text.origin, format!("[broker] {error}")),
            Ok(address) => {
                if let Some(error) = value::listen_collision(address, &listeners) {
                    let error = format!("[broker] {error}");
                    section.report.error(&text.origin, error);
                }
                listeners.push(address);
            }
        }
    }
    listeners
}

/// Warns if nobody at all can connect.
pub(super) fn warn_of_locked_doors(top: &Section<'_>, broker: &Broker, users: usize) {
    if users > 0 || broker.anonymous != Anonymous::No {
        return;
    }
    let section = top.table("broker", "broker", "[broker]");
    let origin = section.map_or(top.origin.clone(), |section| section.origin_of("anonymous"));
    let text = "nobody can connect: anonymous is `no` and there are no users; \
                run `mqtt-https-bridge user add <name>`";
    top.report.warning(&origin, text);
}
