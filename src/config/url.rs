//! An endpoint's URL: scheme, host, port and base path.
//!
//! Decides what an endpoint's URL may be: `https` only, without credentials, query or fragment,
//! and at most one captured label. Rendering is left to `core::template`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::show::quote;

/// An `https` URL, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// As written.
    pub(super) text: String,
    /// Host name or IP literal (IPv6 without brackets) in lower case; may start with `{capture}.`.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// Path without a slash at its end; empty for none.
    pub(super) base_path: String,
    /// The capture that is the host's first label.
    pub(super) capture: Option<String>,
}

/// Fewest labels behind a captured one: `{x}.example` would reach all of a top-level domain.
const FIXED_LABELS: usize = 2;

impl Url {
    /// Parses an endpoint's URL.
    ///
    /// # Errors
    /// Says what is wrong and what to do, as `what; remedy`. Credentials are never quoted.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = strip_scheme(text)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("url holds a user name or password; \
                        send them in `headers` with a {secret.<name>}"
                .into());
        }
        if path.contains('#') {
            return Err(format!(
                "url {} has a fragment; remove it from the `#` on",
                quote(text)
            ));
        }
        if path.contains('?') {
            return Err("url has a query; move it to `query = { name = \"value\" }`".into());
        }
        let (host, port) = split_port(authority)
            .ok_or_else(|| format!("url {} has no valid port; write 1 to 65535", quote(text)))?;
        let host = host.to_ascii_lowercase();
        let capture = captured_label(&host, text)?;
        check_host(&host, capture.as_deref(), text)?;
        check_base_path(path, text)?;
        Ok(Self {
            text: text.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            base_path: path.trim_end_matches('/').to_owned(),
            capture,
        })
    }

    /// Returns whether requests can go to this host, in lower case and without brackets, and port.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        let host_fits = match (
            &self.capture,
            self.host.split_once('.'),
            host.split_once('.'),
        ) {
            (None, ..) => {
                self.host == host || address(host).is_some_and(|it| address(&self.host) == Some(it))
            }
            (Some(_), Some((_, fixed)), Some((label, rest))) => fixed == rest && is_label(label),
            (Some(_), ..) => false,
        };
        host_fits && self.port == port
    }
}

fn strip_scheme(text: &str) -> Result<&str, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!(
            "url {} has no scheme; write `https://` before it",
            quote(text)
        ));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Ok(rest);
    }
    // Only the scheme is quoted: the rest may hold a password.
    let written = format!("{scheme}://");
    let scheme = quote(&written);
    Err(format!(
        "url begins with {scheme}, only `https://` is spoken; write https://"
    ))
}

fn split_port(authority: &str) -> Option<(&str, u16)> {
    let after_brackets = authority.rfind(']').unwrap_or(0);
    match authority
        .rfind(':')
        .filter(|colon| *colon >= after_brackets)
    {
        None => Some((authority, 443)),
        Some(colon) => {
            let (host, port) = authority.split_at_checked(colon)?;
            let port = port.strip_prefix(':')?;
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port > 0)?;
            Some((host, port))
        }
    }
}

/// Returns the capture that stands for the first label, after checking that it may.
fn captured_label(host: &str, text: &str) -> Result<Option<String>, String> {
    if !host.contains(['{', '}']) {
        return Ok(None);
    }
    let refuse = |what: &str| Err(format!("host of url {} {what}", quote(text)));
    let (first, rest) = host.split_once('.').unwrap_or((host, ""));
    let name = first
        .strip_prefix('{')
        .and_then(|name| name.strip_suffix('}'));
    let Some(name) = name.filter(|name| is_capture_name(name)) else {
        return refuse(
            "has a capture that is not its whole first label; write it as in `https://{name}.example.com`",
        );
    };
    if rest.contains(['{', '}']) {
        return refuse("has more than one capture; write out all labels but the first");
    }
    if rest.split('.').filter(|label| !label.is_empty()).count() < FIXED_LABELS {
        return refuse(
            "leaves too much open; write at least two fixed labels behind the capture, as in `https://{name}.example.com`",
        );
    }
    Ok(Some(name.to_owned()))
}

fn is_capture_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn check_host(host: &str, capture: Option<&str>, text: &str) -> Result<(), String> {
    // A captured label is checked at run time; any valid label may stand for it here.
    let fixed = match capture {
        Some(name) => host.replacen(&format!("{{{name}}}"), "x", 1),
        None => host.to_owned(),
    };
    let refuse = |what: &str| Err(format!("host of url {} {what}", quote(text)));
    if let Some(literal) = fixed.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return match literal.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => refuse("is not an IPv6 address; correct what stands in brackets"),
        };
    }
    if fixed.is_empty() {
        return refuse("is missing; write a host name behind `https://`");
    }
    if !fixed.is_ascii() {
        return refuse(
            "holds letters beyond ASCII; write its punycode form, which begins with `xn--`",
        );
    }
    let last = fixed.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let valid = if is_number {
        fixed.parse::<Ipv4Addr>().is_ok()
    } else {
        fixed.len() <= 253 && fixed.split('.').all(is_label)
    };
    if !valid || format!("https://{fixed}/").parse::<http::Uri>().is_err() {
        return refuse("is not a host name; correct it");
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn check_base_path(path: &str, text: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("path of url {} {what}", quote(text)));
    if path.contains(['{', '}']) {
        return refuse("holds a placeholder; move it to the route's `path`");
    }
    let dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if path.split('/').any(dots) {
        return refuse("holds a `.` or `..` segment; write the path it leads to");
    }
    if path.trim_end_matches('/').contains("//") {
        return refuse("holds an empty segment; write one `/`");
    }
    if !path.is_empty() && path.parse::<http::uri::PathAndQuery>().is_err() {
        return refuse("holds a character that must be percent-encoded; encode it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            ("https://example.com", "example.com", 443, "", None),
            ("HTTPS://Example.COM:8443/", "example.com", 8443, "", None),
            (
                "https://example.com/api/v1/",
                "example.com",
                443,
                "/api/v1",
                None,
            ),
            ("https://127.0.0.1:1", "127.0.0.1", 1, "", None),
            ("https://[::1]:8443/x", "::1", 8443, "/x", None),
            ("https://[2001:db8::1]", "2001:db8::1", 443, "", None),
            ("https://localhost", "localhost", 443, "", None),
            (
                "https://{case}.badssl.com/",
                "{case}.badssl.com",
                443,
                "",
                Some("case"),
            ),
            (
                "https://example.com/a%20b",
                "example.com",
                443,
                "/a%20b",
                None,
            ),
        ];
        for (text, host, port, base_path, capture) in cases {
            let url = Url::parse(text).unwrap();
            let parts = (
                url.host.as_str(),
                url.port,
                url.base_path.as_str(),
                url.capture.as_deref(),
            );
            assert_eq!(parts, (host, port, base_path, capture), "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_a_remedy() {
        let cases = [
            (
                "example.com",
                "url `example.com` has no scheme; write `https://` before it",
            ),
            (
                "http://u:p@h/",
                "url begins with `http://`, only `https://` is spoken; write https://",
            ),
            (
                "https://me:hunter2@example.com",
                "url holds a user name or password; send them in `headers` with a {secret.<name>}",
            ),
            (
                "https://example.com/?key=hunter2",
                "url has a query; move it to `query = { name = \"value\" }`",
            ),
            (
                "https://example.com/#top",
                "url `https://example.com/#top` has a fragment; remove it from the `#` on",
            ),
            (
                "https://example.com:0/",
                "url `https://example.com:0/` has no valid port; write 1 to 65535",
            ),
            (
                "https://example.com:+1/",
                "url `https://example.com:+1/` has no valid port; write 1 to 65535",
            ),
            (
                "https:///x",
                "host of url `https:///x` is missing; write a host name behind `https://`",
            ),
            (
                "https://a b",
                "host of url `https://a b` is not a host name; correct it",
            ),
            (
                "https://a..b",
                "host of url `https://a..b` is not a host name; correct it",
            ),
            (
                "https://1.2.3",
                "host of url `https://1.2.3` is not a host name; correct it",
            ),
            (
                "https://[::g]",
                "host of url `https://[::g]` is not an IPv6 address; correct what stands in brackets",
            ),
            (
                "https://bücher.example",
                "host of url `https://bücher.example` holds letters beyond ASCII; \
                 write its punycode form, which begins with `xn--`",
            ),
            (
                "https://example.com/{id}",
                "path of url `https://example.com/{id}` holds a placeholder; \
                 move it to the route's `path`",
            ),
            (
                "https://example.com/a/%2E./b",
                "path of url `https://example.com/a/%2E./b` holds a `.` or `..` segment; \
                 write the path it leads to",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Url::parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_captured_label_leaves_two_fixed_ones() {
        let cases = [
            (
                "https://{x}.com",
                "host of url `https://{x}.com` leaves too much open; write at least two fixed \
                 labels behind the capture, as in `https://{name}.example.com`",
            ),
            (
                "https://api-{x}.example.com",
                "host of url `https://api-{x}.example.com` has a capture that is not its whole \
                 first label; write it as in `https://{name}.example.com`",
            ),
            (
                "https://{x}.{y}.example.com",
                "host of url `https://{x}.{y}.example.com` has more than one capture; \
                 write out all labels but the first",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Url::parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_url_covers_its_host_and_port_and_what_may_stand_for_its_capture() {
        let cases = [
            ("https://A.example/base", "a.example", 443, true),
            ("https://a.example", "b.a.example", 443, false),
            ("https://a.example", "a.example", 8443, false),
            ("https://a.example:8443", "a.example", 8443, true),
            ("https://[::1]", "0:0:0:0:0:0:0:1", 443, true),
            ("https://[::1]", "::2", 443, false),
            ("https://127.0.0.1", "127.0.0.1", 443, true),
            ("https://{x}.a.example", "b.a.example", 443, true),
            ("https://{x}.a.example", "c.b.a.example", 443, false),
            ("https://{x}.a.example", "a.example", 443, false),
            ("https://{x}.a.example", "-b.a.example", 443, false),
            ("https://{x}.a.example", "localhost", 443, false),
        ];
        for (url, host, port, expected) in cases {
            let covers = Url::parse(url).unwrap().covers(host, port);
            assert_eq!(covers, expected, "{url} and {host}:{port}");
        }
    }
}
