//! `[broker] websocket`: where MQTT is spoken to browsers, and to pages of which sites.

use std::net::SocketAddr;

use super::WebSocketListener;
use super::broker::{read_addresses, refuse_empty};
use super::section::Section;
use super::show::quote;

const EXAMPLE: &str = "{ listen = [\"127.0.0.1:8080\"], origins = [\"https://garden.example\"] }";

/// The path unless `path` says otherwise; what clients ask for that are not told.
const PATH: &str = "/mqtt";

/// The table, opened.
pub(super) struct Opened<'a> {
    section: Section<'a>,
    /// Whether it needs the certificate of `tls`.
    pub(super) tls: bool,
}

/// Opens the table, if there is one and this build can do it.
pub(super) fn open<'a>(broker: &Section<'a>) -> Option<Opened<'a>> {
    if !broker.has("websocket") {
        return None;
    }
    let origin = broker.origin_of("websocket");
    if !cfg!(feature = "websocket") {
        let text = "websocket is not in this build of the program; remove it, or build the program \
                    with the feature `websocket`";
        broker.report.error(origin, text);
        return None;
    }
    if !broker.is_table("websocket") {
        let text = format!("websocket is not a table; write `websocket = {EXAMPLE}`");
        broker.report.error(origin, text);
        return None;
    }
    let section = broker.table("websocket", "broker.websocket", "`websocket` of [broker]")?;
    let tls = section.flag("tls").unwrap_or_default();
    if tls && !broker.has("tls") {
        let text = "tls is `true`, and [broker] has no certificate; write `tls = { listen = [], \
                    certificate = \"listener.pem\", key = \"listener.key\" }` there";
        section.report.error(section.origin_of("tls"), text);
    }
    Some(Opened { section, tls })
}

/// Reads the table; `others` are the listeners without WebSocket.
pub(super) fn read(opened: &Opened<'_>, others: &[SocketAddr]) -> Option<WebSocketListener> {
    let section = &opened.section;
    let listen = read_addresses(section, "websocket", others);
    let remedy = format!("write `websocket = {EXAMPLE}`");
    let listen = section.require("listen", listen, &remedy);
    if section.is_empty_list("listen") {
        refuse_empty(section, "[\"127.0.0.1:8080\"]");
    }
    Some(WebSocketListener {
        tls: opened.tls,
        path: read_path(section),
        origins: read_origins(section),
        listen: listen?,
    })
}

fn read_path(section: &Section<'_>) -> String {
    let Some(path) = section.text("path") else {
        return PATH.to_owned();
    };
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    if !path.value.starts_with('/') || !path.value.chars().all(is_plain) {
        let text = format!(
            "path is {}, expected one that begins with `/`, without space, `?` and `#`; write \
             `path = \"{PATH}\"`",
            quote(path.value)
        );
        section.report.error(path.origin, text);
    }
    path.value.to_owned()
}

fn read_origins(section: &Section<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    let written = section.texts("origins", "[\"https://garden.example\"]");
    for text in written.unwrap_or_default() {
        match parse_origin(text.value) {
            Ok(origin) => origins.push(origin),
            Err(remedy) => {
                let found = quote(text.value);
                section.report.error(
                    text.origin,
                    format!("origins holds {found}, expected a site as browsers name it; {remedy}"),
                );
            }
        }
    }
    origins
}

/// Parses a site as browsers write it (RFC 6454 §6.2), or says what to write.
fn parse_origin(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let example = || "write `https://garden.example`, with a port if the page has one".to_owned();
    let (scheme, rest) = lower.split_once("://").ok_or_else(example)?;
    let own_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return Err(example()),
    };
    let site = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let site = site.strip_suffix(own_port).unwrap_or(site);
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
    if site.is_empty() || !site.chars().all(is_plain) {
        return Err(example());
    }
    if site != rest {
        return Err(format!("write `{scheme}://{site}`"));
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_written_as_browsers_do() {
        let good = [
            "https://garden.example",
            "http://192.168.1.1",
            "http://[fd00::1]:8080",
            "https://Garden.Example:8443",
        ];
        for text in good {
            assert_eq!(parse_origin(text), Ok(text.to_ascii_lowercase()));
        }
        let bad = [
            ("https://garden.example/", "`https://garden.example`"),
            ("https://garden.example:443", "`https://garden.example`"),
            ("http://Garden.example:80/x?y", "`http://garden.example`"),
            ("garden.example", "with a port"),
            ("wss://garden.example", "with a port"),
            ("*", "with a port"),
            ("null", "with a port"),
            ("https://", "with a port"),
            ("https://*.example", "with a port"),
            ("https://user@garden.example", "with a port"),
        ];
        for (text, remedy) in bad {
            let found = parse_origin(text).unwrap_err();
            assert!(found.contains(remedy), "{text}: {found}");
        }
    }
}
