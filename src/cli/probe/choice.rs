//! Whose trust a probe uses: that of an endpoint of bridge.toml, or the default.

use std::sync::Arc;

use crate::cli::endpoint::describe_trust;
use crate::cli::probe::ProbeOptions;
use crate::config::{Config, escape, nearest};
use crate::core::endpoint::{Conduct, Endpoint, IpVersions, Redirects, Trust, Unchecked};
use crate::core::request::Request;

/// The endpoint that a probe is made with.
#[derive(Debug)]
pub(super) struct Choice {
    /// As in bridge.toml, but for what the command line says otherwise.
    pub(super) endpoint: Arc<Endpoint>,
    /// Its name, if it is one of bridge.toml.
    pub(super) name: Option<String>,
    /// Says in words which it is and what it trusts, a line each.
    pub(super) description: Vec<String>,
}

/// Chooses the endpoint that the options name, else the one that reaches the request's host, else
/// one that trusts the bundled roots.
///
/// # Errors
/// If there is no endpoint of that name.
pub(super) fn choose(
    options: &ProbeOptions,
    request: &Request,
    config: Option<&Config>,
) -> Result<Choice, String> {
    let found = config.map_or_else(Vec::new, |config| {
        config.endpoints_at(&request.host, request.port)
    });
    let named = match (&options.endpoint, config) {
        (Some(name), Some(config)) => Some(by_name(name, config)?),
        _ => None,
    };
    let chosen = named.or_else(|| found.first().copied());
    let mut description = vec![title(chosen, request, config)];
    if named.is_none() {
        let others = found.iter().skip(1);
        description.extend(others.map(|other| {
            let name = escape(&other.name);
            format!("`{name}` reaches this host too; --endpoint {name} chooses it")
        }));
    }
    let mut endpoint = chosen.map_or_else(|| default(options), |it| Endpoint::clone(it));
    // Where another host is asked, the address is not its own.
    if !found.iter().any(|it| it.name == endpoint.name) {
        endpoint.address = None;
    }
    endpoint.redirects = Redirects::None;
    endpoint.address = options.address.or(endpoint.address);
    if let Some(roots) = &options.roots {
        endpoint.trust.roots = roots.clone();
        // Only a pin that stands alone lets something go unchecked.
        endpoint.trust.unchecked = Unchecked::default();
    }
    description.extend(describe_trust(&endpoint.trust));
    Ok(Choice {
        name: chosen.map(|it| it.name.clone()),
        endpoint: Arc::new(endpoint),
        description,
    })
}

fn by_name<'c>(name: &str, config: &'c Config) -> Result<&'c Arc<Endpoint>, String> {
    let mut endpoints = config.endpoints.iter();
    endpoints.find(|it| it.name == name).ok_or_else(|| {
        let known = config.endpoints.iter().map(|it| it.name.as_str());
        let remedy = match nearest(name, known) {
            Some(near) => format!("did you mean `{}`?", escape(near)),
            None => "`mqtt-https-bridge check` shows all".to_owned(),
        };
        let (file, name) = (config.path.display(), escape(name));
        format!("{file} has no endpoint `{name}`; {remedy}")
    })
}

fn title(chosen: Option<&Arc<Endpoint>>, request: &Request, config: Option<&Config>) -> String {
    match (chosen, config) {
        (Some(endpoint), Some(config)) => {
            format!("`{}` of {}", escape(&endpoint.name), config.path.display())
        }
        (_, Some(config)) => {
            let (file, host, port) = (config.path.display(), &request.host, request.port);
            format!("none, as {file} has none for {host} port {port}; the default is used")
        }
        (_, None) => "none, as there is no bridge.toml; the default is used".to_owned(),
    }
}

fn default(options: &ProbeOptions) -> Endpoint {
    Endpoint {
        name: String::new(),
        url: options.url.clone(),
        address: None,
        ip: IpVersions::Both,
        captured_host: false,
        private_addresses: true,
        trust: Trust::default(),
        redirects: Redirects::None,
        concurrency: 1,
        queue: 1,
        share: 1,
        conduct: Conduct::default(),
    }
}
