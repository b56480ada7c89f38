//! `[defaults]` and `[endpoint.<name>]`: destinations and what routes inherit.

use std::cell::Cell;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::core::endpoint::{Endpoint, IpVersions, Redirects};
use crate::core::message::QoS;
use crate::core::reply::Oversize;
use crate::core::route::StatusSet;

use super::conduct;
use super::error::Line;
use super::section::{At, Section};
use super::show::quote;
use super::trust::{self, Trusted};
use super::url::Url;
use super::users::{LARGEST_REPLY_PACKET, SMALLEST_REPLY_PACKET};

/// Header fields that frame the message or belong to the connection: never a route's to set.
const FRAMING_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an exchange is limited to, where it was said; a more special section replaces it.
#[derive(Clone, Default)]
pub(super) struct Exchange {
    pub(super) timeout: Option<At<Duration>>,
    pub(super) deadline: Option<At<Duration>>,
    pub(super) max_response: Option<At<usize>>,
    pub(super) success: Option<StatusSet>,
}

impl Exchange {
    /// Reads the keys that defaults, endpoints and routes share.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(300));
        Self {
            timeout: section.duration("timeout", shortest..=longest),
            deadline: section.duration("deadline", shortest..=longest),
            max_response: section.size("max_response", 1..=16 << 20),
            success: read_success(section),
        }
    }

    /// Returns these values, and `general`'s where nothing was said.
    pub(super) fn or(self, general: &Self) -> Self {
        Self {
            timeout: self.timeout.or(general.timeout),
            deadline: self.deadline.or(general.deadline),
            max_response: self.max_response.or(general.max_response),
            success: self.success.or_else(|| general.success.clone()),
        }
    }
}

/// What an endpoint is, where it was said.
#[derive(Clone, Default)]
struct Reach {
    trusted: Trusted,
    ip: Option<IpVersions>,
    concurrency: Option<usize>,
    queue: Option<usize>,
    share: Option<At<usize>>,
    redirects: Option<Redirects>,
    conduct: conduct::Written,
}

impl Reach {
    fn read(section: &Section<'_>, directory: &Path) -> Self {
        let ip = [
            ("both", IpVersions::Both),
            ("4", IpVersions::V4),
            ("6", IpVersions::V6),
        ];
        let redirects = [
            ("none", Redirects::None),
            ("same-origin", Redirects::SameOrigin),
            ("any", Redirects::Any),
        ];
        Self {
            trusted: Trusted::read(section, directory),
            ip: section.choice("ip", &ip).map(|at| at.value),
            concurrency: section.number("concurrency", 1..=64).map(|at| at.value),
            queue: section.number("queue", 1..=10_000).map(|at| at.value),
            share: section.number("share", 1..=10_000),
            redirects: section.choice("redirects", &redirects).map(|at| at.value),
            conduct: conduct::Written::read(section),
        }
    }

    fn or(self, general: &Self) -> Self {
        Self {
            trusted: self.trusted.or(&general.trusted),
            ip: self.ip.or(general.ip),
            concurrency: self.concurrency.or(general.concurrency),
            queue: self.queue.or(general.queue),
            share: self.share.or(general.share),
            redirects: self.redirects.or(general.redirects),
            conduct: self.conduct.or(&general.conduct),
        }
    }
}

/// How replies travel, where it was said.
#[derive(Clone, Default)]
pub(super) struct Delivery {
    pub(super) qos: Option<QoS>,
    pub(super) oversize: Option<Oversize>,
    pub(super) reply_packet: Option<usize>,
}

impl Delivery {
    /// Reads the keys that defaults and routes share.
    pub(super) fn read(section: &Section<'_>) -> Self {
        let oversize = [
            ("error", Oversize::Error),
            ("cut", Oversize::Cut),
            ("chunks", Oversize::Chunks),
        ];
        let qos = section.number("qos", 0..=2).map(|at| match at.value {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        });
        let bounds = SMALLEST_REPLY_PACKET..=LARGEST_REPLY_PACKET;
        Self {
            qos,
            oversize: section.choice("oversize", &oversize).map(|at| at.value),
            reply_packet: section.size("reply_packet", bounds).map(|at| at.value),
        }
    }

    /// Returns these values, and `general`'s where nothing was said.
    pub(super) fn or(self, general: &Self) -> Self {
        Self {
            qos: self.qos.or(general.qos),
            oversize: self.oversize.or(general.oversize),
            reply_packet: self.reply_packet.or(general.reply_packet),
        }
    }
}

/// `[defaults]` as read.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) exchange: Exchange,
    reach: Reach,
    pub(super) delivery: Delivery,
}

impl Defaults {
    /// Reads `[defaults]`; a section that is not there says nothing.
    pub(super) fn read(top: &Section<'_>, directory: &Path) -> Self {
        match top.table("defaults", "defaults", "[defaults]") {
            None => Self::default(),
            Some(section) => Self {
                exchange: Exchange::read(&section),
                reach: Reach::read(&section, directory),
                delivery: Delivery::read(&section),
            },
        }
    }
}

/// A template with a name: a header or a query parameter.
pub(super) type Named<'a> = (String, At<&'a str>);

/// An endpoint with what its routes need of it.
pub(super) struct Destination<'a> {
    pub(super) name: String,
    pub(super) origin: Line,
    pub(super) url_origin: Line,
    /// `None` after a mistake that was reported.
    pub(super) url: Option<Url>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) headers: Vec<Named<'a>>,
    pub(super) query: Vec<Named<'a>>,
    pub(super) exchange: Exchange,
    pub(super) used: Cell<bool>,
}

/// Reads each `[endpoint.<name>]`; relative paths start at `directory`.
pub(super) fn read_endpoints<'a>(
    top: &Section<'a>,
    directory: &Path,
    defaults: &Defaults,
) -> Vec<Destination<'a>> {
    let read =
        |(name, section): (String, Section<'a>)| read_one(name, &section, directory, defaults);
    top.named("endpoint").into_iter().map(read).collect()
}

fn read_one<'a>(
    name: String,
    section: &Section<'a>,
    directory: &Path,
    defaults: &Defaults,
) -> Destination<'a> {
    let url_origin = section.origin_of("url");
    let written = section.require("url", section.text("url"), "write `url = \"https://…\"`");
    let url = written.and_then(|url| match Url::parse(url.value) {
        Ok(url) => Some(url),
        Err(error) => {
            section.report.error(url_origin, error);
            None
        }
    });
    let reach = Reach::read(section, directory).or(&defaults.reach);
    let captured_host = url.as_ref().is_some_and(|url| url.capture.is_some());
    let written = section.flag("private_addresses");
    let private_addresses = written.unwrap_or(!captured_host);
    let ip = reach.ip.unwrap_or_default();
    let queue = reach.queue.unwrap_or(100);
    let redirects = reach.redirects.unwrap_or_default();
    let reading = trust::Circumstances {
        captured_host,
        redirects,
        private_addresses: written == Some(true),
    };
    let endpoint = Endpoint {
        name: name.clone(),
        url: url.as_ref().map(|url| url.text.clone()).unwrap_or_default(),
        address: read_address(section, ip),
        ip,
        captured_host,
        private_addresses,
        trust: trust::read(section, directory, reach.trusted, &reading),
        redirects,
        concurrency: reach.concurrency.unwrap_or(2),
        queue,
        share: read_share(section, reach.share, queue),
        conduct: reach.conduct.resolve(),
    };
    Destination {
        name,
        origin: section.origin,
        url_origin,
        url,
        endpoint: Arc::new(endpoint),
        headers: read_headers(section),
        query: read_query(section),
        exchange: Exchange::read(section).or(&defaults.exchange),
        used: Cell::new(false),
    }
}

fn read_share(section: &Section<'_>, share: Option<At<usize>>, queue: usize) -> usize {
    let Some(share) = share else {
        return (queue / 4).max(1);
    };
    if share.value > queue {
        let text = format!(
            "share is `{}`, the whole queue is `{queue}`; lower it",
            share.value
        );
        section.report.error(share.origin, text);
    }
    share.value
}

fn read_address(section: &Section<'_>, ip: IpVersions) -> Option<IpAddr> {
    let written = section.text("address")?;
    let Ok(address) = written.value.parse::<IpAddr>() else {
        let shown = quote(written.value);
        let text = format!(
            "address is {shown}, expected an IP address without port; the port belongs into url"
        );
        section.report.error(written.origin, text);
        return None;
    };
    let fits = match ip {
        IpVersions::Both => true,
        IpVersions::V4 => address.is_ipv4(),
        IpVersions::V6 => address.is_ipv6(),
    };
    if !fits {
        let text = format!("address is `{address}`, which `ip` rules out; remove one of the two");
        section.report.error(written.origin, text);
    }
    Some(address)
}

fn read_success(section: &Section<'_>) -> Option<StatusSet> {
    let texts = section.texts("success", "[\"2xx\"]")?;
    let origin = section.origin_of("success");
    if texts.is_empty() {
        let text = "success is empty, so nothing could succeed; write `success = [\"2xx\"]`";
        section.report.error(origin, text);
        return None;
    }
    match StatusSet::parse(texts.iter().map(|text| text.value)) {
        Ok(set) => Some(set),
        Err(error) => {
            section
                .report
                .error(origin, format!("success: {}", error.0));
            None
        }
    }
}

/// Reads header templates; names come out in lower case.
pub(super) fn read_headers<'a>(section: &Section<'a>) -> Vec<Named<'a>> {
    let example = "{ accept = \"application/json\" }";
    let mut headers: Vec<Named<'_>> = Vec::new();
    for (name, value) in section.text_table("headers", example).unwrap_or_default() {
        let lower = name.to_ascii_lowercase();
        let shown = quote(&name);
        let fault = if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            format!("header name {shown} holds a character that may not stand there; correct it")
        } else if FRAMING_HEADERS.contains(&lower.as_str()) {
            format!("header {shown} is the bridge's own to set; remove it")
        } else if headers.iter().any(|(other, _)| *other == lower) {
            format!("header {shown} stands here twice; remove one")
        } else if value
            .value
            .bytes()
            .any(|byte| !(0x20..0x7f).contains(&byte))
        {
            format!("header {shown} holds a character other than printable ASCII; remove it")
        } else {
            headers.push((lower, value));
            continue;
        };
        section.report.error(value.origin, fault);
    }
    headers
}

/// Reads query parameter templates.
pub(super) fn read_query<'a>(section: &Section<'a>) -> Vec<Named<'a>> {
    let example = "{ limit = \"10\" }";
    let query = section.text_table("query", example).unwrap_or_default();
    for (name, value) in &query {
        if name.is_empty() || name.contains('{') {
            let text = format!(
                "query parameter {} has no fixed name; write one",
                quote(name)
            );
            section.report.error(value.origin, text);
        }
    }
    query
}
