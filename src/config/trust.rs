//! Whom an endpoint trusts, and what it shows of itself: roots, pins, client certificate.
//!
//! Decides what the keys mean together. Files are opened here, so that a wrong path has its line;
//! what is in them is judged by whoever uses them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::core::endpoint::{
    ClientCertificate, Lists, Pin, Redirects, Revocation, Roots, TlsVersion, Trust, Unchecked,
};

use super::secrets::{io_cause, warn_if_exposed};
use super::section::{At, Section};
use super::show::quote;

/// What a pin begins with.
const PIN: &str = "sha256/";

/// What defaults and endpoints have in common, where it was said.
#[derive(Clone, Default)]
pub(super) struct Trusted {
    roots: Option<Roots>,
    revocation: Option<At<Revocation>>,
    lists: Option<Lists>,
    min_tls: Option<TlsVersion>,
}

impl Trusted {
    /// Reads the keys; relative paths start at `directory`.
    pub(super) fn read(section: &Section<'_>, directory: &Path) -> Self {
        let tls = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
        let revocation = [
            ("off", Revocation::Off),
            ("check", Revocation::Check),
            ("require", Revocation::Require),
        ];
        Self {
            roots: read_roots(section, directory),
            revocation: section.choice("revocation", &revocation),
            lists: read_lists(section, directory),
            min_tls: section.choice("min_tls", &tls).map(|at| at.value),
        }
    }

    /// Returns these values, and `general`'s where nothing was said.
    pub(super) fn or(self, general: &Self) -> Self {
        Self {
            roots: self.roots.or_else(|| general.roots.clone()),
            revocation: self.revocation.or(general.revocation),
            lists: self.lists.or_else(|| general.lists.clone()),
            min_tls: self.min_tls.or(general.min_tls),
        }
    }
}

/// What else of an endpoint bears on its trust.
pub(super) struct Circumstances {
    /// Whether the host name comes from a topic.
    pub(super) captured_host: bool,
    /// Which redirects are followed.
    pub(super) redirects: Redirects,
    /// Whether it says in so many words that private addresses may be connected to.
    pub(super) private_addresses: bool,
}

/// Reads the keys of an endpoint; `trusted` is what it and the defaults say.
pub(super) fn read(
    section: &Section<'_>,
    directory: &Path,
    trusted: Trusted,
    circumstances: &Circumstances,
) -> Trust {
    let roots = trusted.roots.unwrap_or_default();
    let pins = read_pins(section);
    if roots == Roots::None && !section.has("pins") {
        let text = "roots is `none`, so nothing could be trusted; write the server's key as \
                    `pins = [\"sha256/…\"]`, which `mqtt-https-bridge probe` prints";
        section.report.error(section.origin_of("roots"), text);
    }
    let unchecked = read_unchecked(section, &roots);
    let lists = match trusted.lists.unwrap_or_default() {
        Lists::Fetch { .. } => Lists::Fetch {
            private_addresses: circumstances.private_addresses,
        },
        lists => lists,
    };
    let revocation = match (trusted.revocation, &lists) {
        (Some(policy), Lists::None) if policy.value != Revocation::Off => {
            let text = "revocation is to be checked and no list says what is revoked; name some \
                        with `crl = [\"…\"]` or write `crl = \"fetch\"`";
            section.report.error(policy.origin, text);
            Revocation::Off
        }
        (Some(policy), _) => policy.value,
        (None, Lists::None) => Revocation::Off,
        (None, Lists::Files(_) | Lists::Fetch { .. }) => Revocation::Check,
    };
    if roots == Roots::None && revocation != Revocation::Off {
        let text = "roots is `none`, so nothing but pins is looked at, and revocation can not be \
                    checked; write `revocation = \"off\"` here, or name roots";
        section.report.error(section.origin_of("roots"), text);
    }
    Trust {
        roots,
        pins,
        unchecked,
        revocation,
        lists,
        min_tls: trusted.min_tls.unwrap_or_default(),
        client_certificate: read_client_certificate(section, directory, circumstances),
    }
}

fn read_roots(section: &Section<'_>, directory: &Path) -> Option<Roots> {
    if !section.is_list("roots") {
        let choices = [
            ("bundled", Roots::Bundled),
            ("system", Roots::System),
            ("none", Roots::None),
        ];
        let text = section
            .has("roots")
            .then(|| section.text("roots"))
            .flatten();
        if text
            .as_ref()
            .is_some_and(|text| text.value.contains(['/', '.']))
        {
            let text = text?;
            let shown = quote(text.value);
            let error =
                format!("roots is {shown}, expected a list of files; write `roots = [\"…\"]`");
            section.report.error(text.origin, error);
            return None;
        }
        if section.has("roots") && text.is_none() {
            return None;
        }
        return section.choice("roots", &choices).map(|at| at.value);
    }
    let files = section.texts("roots", "[\"root.pem\"]")?;
    if files.is_empty() {
        let text = "roots is empty, so no certificate could be trusted; name a PEM file";
        section.report.error(section.origin_of("roots"), text);
    }
    let read = |file: &At<&str>| readable(section, directory, "roots", *file).0;
    Some(Roots::Files(files.iter().map(read).collect()))
}

/// Returns where a file is, and what is known of it if it can be opened.
fn readable(
    section: &Section<'_>,
    directory: &Path,
    key: &str,
    file: At<&str>,
) -> (PathBuf, Option<std::fs::Metadata>) {
    let path = directory.join(file.value);
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    let found = opened.inspect_err(|error| {
        let (shown, cause) = (quote(file.value), io_cause(error));
        let text = format!("{key} file {shown} can not be read: {cause}; correct the path");
        section.report.error(file.origin, text);
    });
    (path, found.ok())
}

fn read_lists(section: &Section<'_>, directory: &Path) -> Option<Lists> {
    if section.has("crl") && !section.is_list("crl") {
        let fetch = Lists::Fetch {
            private_addresses: false,
        };
        return section
            .choice("crl", &[("fetch", fetch)])
            .map(|at| at.value);
    }
    let files = section.texts("crl", "[\"list.pem\"]")?;
    if files.is_empty() {
        let text = "crl is empty; name a file with a revocation list or remove it";
        section.report.error(section.origin_of("crl"), text);
    }
    let read = |file: &At<&str>| readable(section, directory, "crl", *file).0;
    Some(Lists::Files(files.iter().map(read).collect()))
}

fn read_pins(section: &Section<'_>) -> Vec<Pin> {
    let example = "[\"sha256/…\"]";
    let Some(written) = section.texts("pins", example) else {
        return Vec::new();
    };
    if written.is_empty() {
        let text = "pins is empty, so no server could be right; name a key or remove it";
        section.report.error(section.origin_of("pins"), text);
    }
    let mut pins = Vec::with_capacity(written.len());
    for text in &written {
        let bytes = text.value.strip_prefix(PIN).and_then(|encoded| {
            let bytes = BASE64_STANDARD.decode(encoded).ok()?;
            Pin::try_from(bytes).ok()
        });
        match bytes {
            Some(pin) if !pins.contains(&pin) => pins.push(pin),
            Some(_) => {
                let error = format!("pin {} stands here twice; remove one", quote(text.value));
                section.report.error(text.origin, error);
            }
            None => {
                let error = format!(
                    "pin is {}, expected `sha256/` and 44 characters of base64; copy it from \
                     `mqtt-https-bridge probe`",
                    quote(text.value)
                );
                section.report.error(text.origin, error);
            }
        }
    }
    pins
}

fn read_unchecked(section: &Section<'_>, roots: &Roots) -> Unchecked {
    let mut unchecked = Unchecked::default();
    let written = section.texts("unchecked", "[\"name\"]");
    for word in written.iter().flatten() {
        match word.value {
            "name" => unchecked.name = true,
            "dates" => unchecked.dates = true,
            other => {
                let text = format!(
                    "unchecked has {}, expected `name` or `dates`; correct it",
                    quote(other)
                );
                section.report.error(word.origin, text);
            }
        }
    }
    if section.has("unchecked") && *roots != Roots::None {
        let text = "unchecked stands beside roots that are trusted, where everything is checked; \
                    write `roots = \"none\"` and pins, or remove it";
        section.report.error(section.origin_of("unchecked"), text);
    }
    unchecked
}

fn read_client_certificate(
    section: &Section<'_>,
    directory: &Path,
    circumstances: &Circumstances,
) -> Option<ClientCertificate> {
    let (chain, key) = (
        section.text("client_certificate"),
        section.text("client_key"),
    );
    for (one, other) in [
        ("client_certificate", "client_key"),
        ("client_key", "client_certificate"),
    ] {
        if section.has(one) && !section.has(other) {
            let text = format!("{} has {one} and no {other}; add it", section.label);
            section.report.error(section.origin_of(one), text);
        }
    }
    let (chain, key) = (chain?, key?);
    // Whom it is shown to must be the owner's choice.
    let stranger = if circumstances.captured_host {
        Some("to hosts that a topic names; write the host into url, or remove it")
    } else if circumstances.redirects == Redirects::Any {
        Some(
            "to any host that redirects lead to; write `redirects = \"same-origin\"`, or remove it",
        )
    } else {
        None
    };
    if let Some(whom) = stranger {
        let text = format!("client_certificate would be shown {whom}");
        section.report.error(chain.origin, text);
    }
    let (chain, _) = readable(section, directory, "client_certificate", chain);
    let (path, metadata) = readable(section, directory, "client_key", key);
    if let Some(metadata) = metadata {
        warn_if_exposed(section, key, &metadata);
    }
    Some(ClientCertificate { chain, key: path })
}
