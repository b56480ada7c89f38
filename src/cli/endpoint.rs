//! What an endpoint is, in words.

use crate::core::endpoint::{
    Endpoint, IpVersions, Lists, Redirects, Revocation, Roots, TlsVersion, Trust,
};

/// Says all of an endpoint but its name and URL, a detail a line.
pub(super) fn describe(endpoint: &Endpoint) -> Vec<String> {
    let mut details = describe_trust(&endpoint.trust);
    let redirects = match endpoint.redirects {
        Redirects::None => "no redirects",
        Redirects::SameOrigin => "redirects to the same origin",
        Redirects::Any => "redirects to any https host",
    };
    let ip = match endpoint.ip {
        IpVersions::Both => "IPv4 and IPv6",
        IpVersions::V4 => "IPv4 only",
        IpVersions::V6 => "IPv6 only",
    };
    let address = endpoint
        .address
        .map(|address| format!("connects to {address}; "));
    details.push(format!(
        "{}{ip}; follows {redirects}",
        address.unwrap_or_default()
    ));
    if endpoint.captured_host && !endpoint.private_addresses {
        details.push("host from the topic; private addresses are refused".into());
    }
    details.push(format!(
        "{} requests at a time, {} jobs at most, {} of one client",
        endpoint.concurrency, endpoint.queue, endpoint.share
    ));
    details
}

/// Says whom it trusts, and what it shows of itself.
pub(super) fn describe_trust(trust: &Trust) -> Vec<String> {
    let roots = match &trust.roots {
        Roots::Bundled => "the bundled roots".into(),
        Roots::System => "the system's roots".into(),
        Roots::Files(files) => {
            let names: Vec<_> = files
                .iter()
                .map(|file| file.display().to_string())
                .collect();
            format!("only {}", names.join(", "))
        }
        Roots::None => "no roots".into(),
    };
    let tls = match trust.min_tls {
        TlsVersion::V1_2 => "TLS 1.2 or later",
        TlsVersion::V1_3 => "TLS 1.3 or later",
    };
    let mut details = vec![format!("trusts {roots}; {tls}")];
    details.extend(describe_pins(trust));
    details.extend(describe_lists(trust));
    if let Some(own) = &trust.client_certificate {
        details.push(format!("shows {} if asked", own.chain.display()));
    }
    details
}

/// Says which keys are accepted, and what of a pinned certificate is not checked.
fn describe_pins(trust: &Trust) -> Option<String> {
    let pins = match trust.pins.len() {
        0 => return None,
        1 => "1 pinned key".into(),
        count => format!("{count} pinned keys"),
    };
    let whose = match trust.roots {
        Roots::None => "the server's own key must be",
        _ => "the chain must hold",
    };
    let unchecked = trust.unchecked.describe();
    Some(match unchecked {
        None => format!("{whose} one of {pins}"),
        Some(what) => format!("{whose} one of {pins}; NOT CHECKED: {what}"),
    })
}

fn describe_lists(trust: &Trust) -> Option<String> {
    let what = match trust.revocation {
        Revocation::Off => return None,
        Revocation::Check => "refuses what is revoked by",
        Revocation::Require => "refuses what is not shown to be unrevoked by",
    };
    match &trust.lists {
        Lists::None => None,
        Lists::Files(files) => {
            let names: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
            Some(format!("{what} {}", names.join(", ")))
        }
        Lists::Fetch { .. } => Some(format!("{what} the lists that its issuers offer")),
    }
}
