//! Where a redirect leads, whether it may be followed, and with what.
//!
//! Pure: the client performs what comes out of it. Only `https://` is followed, and nothing that
//! could be a credential leaves the origin it was written for.

use crate::core::endpoint::Redirects;
use crate::core::outcome::{Code, Failure};
use crate::core::request::{GOES_ALONG, MAX_TARGET, Method, Request};
use crate::io::tls::failure::brief;

/// Returns whether a response with this status is a redirect with a location to follow.
pub(crate) const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Returns the request that follows `request` after a redirect (RFC 9110 §15.4).
///
/// # Errors
/// `http.redirect`, naming the place without its query, if it may not be followed.
pub(crate) fn follow(
    request: &Request,
    status: u16,
    location: &[u8],
    allowed: Redirects,
) -> Result<Request, Failure> {
    let refuse = |detail: &str| {
        let mut failure = Failure::new(Code::HttpRedirect, brief(detail));
        failure.status = Some(status);
        failure
    };
    let location = escape(location);
    let target = resolve(request, &location).map_err(|detail| refuse(&detail))?;
    if target.target.len() > MAX_TARGET {
        let detail = format!("to a place of more than {} KiB", MAX_TARGET >> 10);
        return Err(refuse(&detail));
    }
    let same_origin = target.host == request.host && target.port == request.port;
    if !same_origin && allowed != Redirects::Any {
        return Err(refuse(&format!("to another origin: {}", target.shown())));
    }
    let (method, body) = match (status, request.method) {
        // The exceptions for 301 and 302 are for POST alone; browsers and curl agree.
        (301 | 302, Method::Post) => (Method::Get, None),
        (303, method) if method != Method::Head => (Method::Get, None),
        (_, method) => (method, request.body.clone()),
    };
    if !same_origin && body.is_some() && request.body_holds_secret {
        return Err(refuse("to another origin, with a secret in the body"));
    }
    let describes_body = |name: &str| name.starts_with("content-");
    let headers = request
        .headers
        .iter()
        .filter(|(name, _)| same_origin || GOES_ALONG.contains(&name.as_str()))
        .filter(|(name, _)| body.is_some() || !describes_body(name))
        .cloned()
        .collect();
    Ok(Request {
        method,
        host: target.host,
        port: target.port,
        target: target.target,
        headers,
        body,
        body_holds_secret: request.body_holds_secret,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    target: String,
}

impl Target {
    fn shown(&self) -> String {
        let path = self.target.split('?').next().unwrap_or_default();
        match self.port {
            443 => format!("https://{}{path}", self.host),
            port => format!("https://{}:{port}{path}", self.host),
        }
    }
}

/// Makes a Location printable ASCII, as a URL has to be: other bytes are percent-encoded, which
/// is what browsers do with them. The fragment is of no use to a server.
fn escape(location: &[u8]) -> String {
    let mut out = String::with_capacity(location.len());
    for byte in location.iter().take_while(|byte| **byte != b'#') {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Resolves a reference against the request's URL (RFC 3986 §5.2); `Err` holds the detail.
fn resolve(request: &Request, location: &str) -> Result<Target, String> {
    if let Some((scheme, rest)) = scheme(location) {
        let shown = location.split('?').next().unwrap_or_default();
        let shown = without_user(shown);
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(format!("not to https: {shown}"));
        }
        return match rest.strip_prefix("//") {
            Some(rest) => absolute(rest),
            None => Err(format!("to a URL without a host: {shown}")),
        };
    }
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(rest);
    }
    let (path, query) = split_query(location);
    let (base, base_query) = split_query(&request.target);
    let path = match path {
        "" => base.to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => {
            let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
            without_dots(&format!("{directory}/{path}"))
        }
    };
    let query = if location.is_empty() {
        base_query
    } else {
        query
    };
    Ok(Target {
        host: request.host.clone(),
        port: request.port,
        target: join(path, query),
    })
}

fn scheme(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once(':')?;
    let mut characters = scheme.chars();
    let valid = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    valid.then_some((scheme, rest))
}

/// Takes the user name out of a URL for display: it may come with a password.
fn without_user(url: &str) -> String {
    match url.split_once("//") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// Parses what follows `https://`.
fn absolute(rest: &str) -> Result<Target, String> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        let host = authority.rsplit('@').next().unwrap_or_default();
        return Err(format!("to a URL with a user name at {host}"));
    }
    let bad = || format!("to an unusable host: {authority}");
    let (host, port) = split_port(authority).ok_or_else(bad)?;
    let host = host.to_ascii_lowercase();
    let is_host = |host: &str| {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !host.is_empty() && host.len() <= 253 && host.chars().all(valid)
    };
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_v6 && !is_host(&host) {
        return Err(bad());
    }
    let (path, query) = split_query(target);
    let path = without_dots(if path.is_empty() { "/" } else { path });
    let target = join(path, query);
    Ok(Target { host, port, target })
}

/// Splits an authority into host, without brackets, and port.
fn split_port(authority: &str) -> Option<(&str, u16)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some("") => Some((host, 443)),
            Some(port) => Some((host, parse_port(port)?)),
            None if rest.is_empty() => Some((host, 443)),
            None => None,
        };
    }
    match authority.split_once(':') {
        None | Some((_, "")) => Some((authority.trim_end_matches(':'), 443)),
        Some((host, port)) => Some((host, parse_port(port)?)),
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits)?;
    (port > 0).then_some(port)
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

fn join(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Removes `.` and `..` segments (RFC 3986 §5.2.4); `path` starts with `/`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            body_holds_secret: false,
            method: Method::Post,
            host: "a.example".to_owned(),
            port: 443,
            target: "/one/two?x=1".to_owned(),
            headers: [
                ("authorization", "Bearer secret"),
                ("x-api-key", "secret"),
                ("content-type", "text/plain"),
                ("accept", "text/plain"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            body: Some("body".into()),
        }
    }

    fn url(request: &Request) -> String {
        format!("{}:{}{}", request.host, request.port, request.target)
    }

    #[test]
    fn locations_resolve_against_the_request() {
        for (location, expected, why) in [
            ("https://a.example/z", "a.example:443/z", "absolute"),
            (
                "HTTPS://A.Example/z",
                "a.example:443/z",
                "case of scheme and host",
            ),
            ("https://a.example", "a.example:443/", "no path"),
            (
                "https://a.example?q",
                "a.example:443/?q",
                "query without path",
            ),
            (
                "https://a.example:443/z",
                "a.example:443/z",
                "explicit port",
            ),
            ("https://a.example:/z", "a.example:443/z", "empty port"),
            ("//a.example/z?q=1", "a.example:443/z?q=1", "same scheme"),
            ("/z", "a.example:443/z", "absolute path"),
            ("z", "a.example:443/one/z", "relative path"),
            ("./z", "a.example:443/one/z", "relative with a dot"),
            ("../z", "a.example:443/z", "up"),
            (
                "../../../z",
                "a.example:443/z",
                "no further up than the root",
            ),
            ("..", "a.example:443/", "up, no name"),
            (".", "a.example:443/one/", "here"),
            ("/a/./b/../c", "a.example:443/a/c", "dots within"),
            ("/a//b", "a.example:443/a//b", "empty segments stay"),
            ("?y=2", "a.example:443/one/two?y=2", "query alone"),
            ("", "a.example:443/one/two?x=1", "empty"),
            ("#part", "a.example:443/one/two?x=1", "fragment alone"),
            ("/z#part", "a.example:443/z", "fragment"),
            (
                "/a:b",
                "a.example:443/a:b",
                "colon after a slash is no scheme",
            ),
            ("/a b", "a.example:443/a%20b", "space"),
            ("/ü", "a.example:443/%C3%BC", "not ASCII"),
            ("/a%2Fb", "a.example:443/a%2Fb", "encoded stays"),
        ] {
            let next = follow(&request(), 307, location.as_bytes(), Redirects::SameOrigin);
            let next = next.map(|next| url(&next)).map_err(|f| f.detail);
            assert_eq!(next, Ok(expected.to_owned()), "`{location}`: {why}");
        }
    }

    #[test]
    fn a_redirect_that_may_not_be_followed_says_where_it_leads() {
        for (location, detail, why) in [
            (
                "http://a.example/z?t=1",
                "not to https: http://a.example/z",
                "downgrade",
            ),
            (
                "http://u:p@a.example/",
                "not to https: http://a.example/",
                "password hidden",
            ),
            (
                "ftp://a.example/",
                "not to https: ftp://a.example/",
                "other scheme",
            ),
            (
                "javascript:alert(1)",
                "not to https: javascript:alert(1)",
                "no URL of ours",
            ),
            (
                "https:/z",
                "to a URL without a host: https:/z",
                "no authority",
            ),
            (
                "https://b.example/z?t=1",
                "to another origin: https://b.example/z",
                "host",
            ),
            (
                "//b.example",
                "to another origin: https://b.example/",
                "host, same scheme",
            ),
            (
                "https://a.example:444/",
                "to another origin: https://a.example:444/",
                "port",
            ),
            (
                "https://u@a.example/",
                "to a URL with a user name at a.example",
                "user name",
            ),
            ("https:///z", "to an unusable host: ", "no host"),
            (
                "https://a.example:0/",
                "to an unusable host: a.example:0",
                "port 0",
            ),
            (
                "https://a.example:99999/",
                "to an unusable host: a.example:99999",
                "port",
            ),
            (
                "https://a.example:+1/",
                "to an unusable host: a.example:+1",
                "signed port",
            ),
            (
                "https://a%2eb/",
                "to an unusable host: a%2eb",
                "encoded host",
            ),
            ("https://[::1/", "to an unusable host: [::1", "open bracket"),
            (
                "https://ä.example/",
                "to an unusable host: %C3%A4.example",
                "not ASCII",
            ),
        ] {
            let next = follow(&request(), 302, location.as_bytes(), Redirects::SameOrigin);
            let failure = next.map(|next| url(&next)).expect_err(why);
            assert_eq!(failure.code, Code::HttpRedirect, "`{location}`: {why}");
            assert_eq!(failure.detail, detail, "`{location}`: {why}");
            assert_eq!(failure.status, Some(302));
        }
    }

    #[test]
    fn a_place_that_is_too_long_is_refused_as_the_server_s() {
        let long = format!("/{}", "a".repeat(MAX_TARGET));
        let refused = follow(&request(), 302, long.as_bytes(), Redirects::SameOrigin);
        let refused = refused.expect_err("longer than a path and query may be");
        assert_eq!(
            (refused.code, refused.status),
            (Code::HttpRedirect, Some(302))
        );
        assert_eq!(refused.detail, "to a place of more than 8 KiB");
        let fits = long.get(1..).unwrap_or_default();
        assert!(follow(&request(), 302, fits.as_bytes(), Redirects::SameOrigin).is_err());
        let fits = long.get(..MAX_TARGET).unwrap_or_default();
        assert!(follow(&request(), 302, fits.as_bytes(), Redirects::SameOrigin).is_ok());
    }

    #[test]
    fn method_and_body_change_as_the_standard_says() {
        let body = Some("body");
        for (status, method, expected, kept) in [
            (301, Method::Post, Method::Get, None),
            (302, Method::Post, Method::Get, None),
            (303, Method::Post, Method::Get, None),
            (303, Method::Put, Method::Get, None),
            (303, Method::Head, Method::Head, body),
            (307, Method::Post, Method::Post, body),
            (308, Method::Post, Method::Post, body),
            (301, Method::Put, Method::Put, body),
            (302, Method::Delete, Method::Delete, body),
            (301, Method::Get, Method::Get, body),
        ] {
            let request = Request {
                body_holds_secret: false,
                method,
                ..request()
            };
            let next = follow(&request, status, b"/z", Redirects::SameOrigin).expect("followed");
            let sent = next.body.as_deref().map(|body| body.to_vec());
            assert_eq!(next.method, expected, "{status} {method:?}");
            assert_eq!(sent, kept.map(|kept| kept.as_bytes().to_vec()));
            let typed = next.headers.iter().any(|(name, _)| name == "content-type");
            assert_eq!(typed, kept.is_some(), "content-type goes with the body");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let names = |next: &Request| -> Vec<String> {
            next.headers.iter().map(|(name, _)| name.clone()).collect()
        };
        let same = follow(&request(), 307, b"/z", Redirects::Any).expect("same origin");
        assert_eq!(
            names(&same),
            ["authorization", "x-api-key", "content-type", "accept"]
        );
        for elsewhere in [
            "https://b.example/",
            "https://a.example:8443/",
            "//[2001:db8::1]/",
        ] {
            let next = follow(&request(), 307, elsewhere.as_bytes(), Redirects::Any);
            let next = next.expect("followed");
            assert_eq!(names(&next), ["content-type", "accept"], "{elsewhere}");
        }
    }

    #[test]
    fn a_body_with_a_secret_stays_with_its_origin() {
        let secret = Request {
            body_holds_secret: true,
            ..request()
        };
        let elsewhere = |status| follow(&secret, status, b"https://b.example/", Redirects::Any);
        let refused = elsewhere(307).expect_err("its body would go along");
        assert_eq!(
            (refused.code, refused.detail.as_str(), refused.status),
            (
                Code::HttpRedirect,
                "to another origin, with a secret in the body",
                Some(307)
            )
        );
        assert_eq!(
            elsewhere(303).expect("followed").body,
            None,
            "as GET, without it"
        );
        let same = follow(&secret, 307, b"/z", Redirects::SameOrigin).expect("same origin");
        assert_eq!(same.body, secret.body);
    }
}
