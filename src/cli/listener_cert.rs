//! `listener-cert`: what the TLS listener shows, and what nodes have to know to trust it.
//!
//! A small CA of the owner's own signs it, so that a certificate made anew (another address, a
//! lost key) needs no change in any node. ECDSA on P-256: keys and signatures that an ESP8266 can
//! check in time.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256 as SHA256_DIGEST, digest};
use ring::error::Unspecified;

use crate::cli::exit::Exit;
use crate::cli::sign::{CLIENTS, Draft, Issuer, Key, SERVERS, SHA256};
use crate::cli::syntax::{Argument, Given, Syntax};
use crate::cli::{Streams, users_file};
use crate::config::{check_name, io_cause};
use crate::core::calendar::date;
use crate::io::tls::certificate::subject_name;
use crate::io::{clock, password};

const DAY: u64 = 86_400;
/// How long certificates are valid: nodes are not visited every year.
const DAYS: u64 = 3650;
/// 2026-01-01: certificates do not begin before, whatever a clock that is not set yet shows.
const EARLIEST: u64 = 1_767_225_600;
/// Longest DNS name (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;

/// How `listener-cert` is written.
pub(super) const SYNTAX: Syntax = Syntax::new(
    "listener-cert",
    "Make a certificate for the TLS listener, its key, and a small CA that nodes trust",
    &[
        Argument::operand(
            "names",
            "NAME",
            "The names and IP addresses by which nodes reach this machine",
        )
        .several()
        .required_without("client"),
        Argument::option(
            "client",
            "USER",
            "Make a certificate for a node of this user instead, to be accepted by `client_ca`",
        )
        .excludes("names"),
        Argument::option(
            "directory",
            "DIRECTORY",
            "Where the files are [default: beside bridge.toml]",
        )
        .path(),
    ],
);

/// Arguments of `listener-cert`.
pub(super) struct Arguments {
    names: Vec<String>,
    client: Option<String>,
    directory: Option<PathBuf>,
}

impl Arguments {
    /// Reads what was given.
    pub(super) fn read(given: Given<'_>) -> Self {
        Self {
            names: given.texts("names"),
            client: given.text("client"),
            directory: given.path("directory"),
        }
    }
}

/// Performs `listener-cert`.
pub(super) fn listener_cert(
    config: &Path,
    arguments: &Arguments,
    streams: &mut Streams<'_>,
) -> io::Result<Exit> {
    if let Err(error) = check(arguments) {
        return streams.refuse(Exit::Usage, error);
    }
    let beside = config.parent().unwrap_or_else(|| Path::new(""));
    let directory = arguments.directory.as_deref().unwrap_or(beside);
    let maker = Maker { directory };
    let made = match &arguments.client {
        Some(user) => maker.client(user),
        None => maker.listener(&arguments.names),
    };
    match made {
        Ok(text) => {
            streams.out.write_all(text.as_bytes())?;
            Ok(Exit::Ok)
        }
        Err(error) => streams.refuse(Exit::Failed, error),
    }
}

fn check(arguments: &Arguments) -> Result<(), String> {
    if let Some(user) = &arguments.client {
        if matches!(&**user, "listener" | "listener-ca") {
            return Err(format!(
                "`{user}.pem` and its key are the listener's own; choose another name for the user"
            ));
        }
        return check_name(user);
    }
    let is_label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(plain)
    };
    let is_name = |name: &str| {
        name.parse::<IpAddr>().is_ok()
            || (name.len() <= LONGEST_NAME && name.split('.').all(is_label))
    };
    match arguments.names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(format!(
            "`{}` is neither a host name nor an IP address; write one such as `router.lan` or \
             `192.168.1.1`",
            name.escape_debug()
        )),
        None => Ok(()),
    }
}

/// Makes certificates in a directory.
struct Maker<'a> {
    directory: &'a Path,
}

/// The owner's CA.
struct Authority {
    name: String,
    key: Key,
    /// In DER.
    certificate: Vec<u8>,
}

impl Authority {
    fn issuer(&self) -> Issuer<'_> {
        Issuer {
            name: &self.name,
            key: &self.key,
        }
    }
}

impl Maker<'_> {
    fn listener(&self, names: &[String]) -> Result<String, String> {
        let authority = match self.authority()? {
            Some(authority) => authority,
            None => self.found()?,
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let draft = draft(names.first().copied().unwrap_or_default(), &names)?;
        let (leaf, key) = issue(&draft, &authority)?;
        self.write("listener.key", &key)?;
        self.write("listener.pem", &pem("CERTIFICATE", &leaf))?;
        Ok(self.explain(&names, &leaf, &authority))
    }

    fn client(&self, user: &str) -> Result<String, String> {
        let shown = self.directory.join("listener-ca.key");
        let none = || {
            let shown = shown.display();
            format!("there is no {shown}; make the listener's certificate first")
        };
        let authority = self.authority()?.ok_or_else(none)?;
        let draft = Draft {
            purpose: CLIENTS,
            ..draft(user, &[])?
        };
        let (leaf, key) = issue(&draft, &authority)?;
        let (certificate, own) = (format!("{user}.pem"), format!("{user}.key"));
        // Only what this command has made for the same user may go.
        let there = self.directory.join(&certificate);
        let text = std::fs::read_to_string(&there).unwrap_or_default();
        let made = from_pem(&text).and_then(|der| subject_name(&der));
        if there.exists() && made.as_deref() != Some(user) {
            let there = there.display();
            return Err(format!(
                "{there} is no certificate of user `{user}`; move it away"
            ));
        }
        self.write(&own, &key)?;
        self.write(&certificate, &pem("CERTIFICATE", &leaf))?;
        Ok(format!(
            "{} and {}: certificate and key for a node of user `{user}`, valid until {}\n\n\
             The listener accepts it with client_ca = \"listener-ca.pem\" in `tls` of [broker], and \
             the user `{user}` has to exist; password = \"none\" lets it in by certificate alone.\n",
            self.shown(&certificate),
            self.shown(&own),
            date(draft.valid.1),
        ))
    }

    /// Reads the CA, `None` if there is none yet.
    fn authority(&self) -> Result<Option<Authority>, String> {
        let key = self.directory.join("listener-ca.key");
        let certificate = self.directory.join("listener-ca.pem");
        if !key.exists() && !certificate.exists() {
            return Ok(None);
        }
        let read = |file: &Path| {
            let text = std::fs::read_to_string(file).map_err(|error| {
                let cause = io_cause(&error);
                format!(
                    "{} can not be read: {cause}; correct the file",
                    file.display()
                )
            })?;
            from_pem(&text).ok_or_else(|| format!("{} is not PEM; restore it", file.display()))
        };
        let (pkcs8, certificate_der) = (read(&key)?, read(&certificate)?);
        let strange = |file: &Path| {
            let file = file.display();
            format!("{file} is not what this command has made; restore it or move it away")
        };
        Ok(Some(Authority {
            name: subject_name(&certificate_der).ok_or_else(|| strange(&certificate))?,
            key: Key::read(pkcs8).map_err(|_| strange(&key))?,
            certificate: certificate_der,
        }))
    }

    /// Makes the CA.
    fn found(&self) -> Result<Authority, String> {
        let name = format!("mqtt-https-bridge CA {:08x}", random()?);
        let key = Key::new().map_err(no_random)?;
        let issuer = Issuer {
            name: &name,
            key: &key,
        };
        let draft = Draft {
            authority: Some(Some(0)),
            ..draft(&name, &[])?
        };
        let certificate = draft.sign(&key, issuer).map_err(no_random)?;
        self.write("listener-ca.key", &pem("PRIVATE KEY", &key.pkcs8))?;
        self.write("listener-ca.pem", &pem("CERTIFICATE", &certificate))?;
        Ok(Authority {
            name,
            key,
            certificate,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let file = self.directory.join(name);
        users_file::replace(&file, text).map_err(|error| {
            let (file, cause) = (file.display(), io_cause(&error));
            format!("{file} can not be written: {cause}; check the directory's permissions")
        })
    }

    fn shown(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn explain(&self, names: &[&str], leaf: &[u8], authority: &Authority) -> String {
        let mut text = String::new();
        let mut line = |line: &str| {
            // Writing to a String can not fail.
            let _ = writeln!(text, "{line}");
        };
        let file = |name: &str| self.shown(name);
        line(&format!(
            "{} and {}: certificate and key for {}",
            file("listener.pem"),
            file("listener.key"),
            names.join(", ")
        ));
        line(&format!(
            "{}: the CA that nodes trust; {} signs with it and belongs nowhere else",
            file("listener-ca.pem"),
            file("listener-ca.key")
        ));
        line("\nbridge.toml:\n\n[broker]");
        line(
            "tls = { listen = [\"0.0.0.0:8883\"], certificate = \"listener.pem\", key = \"listener.key\" }",
        );
        line(
            "\nA sketch for ESP8266 (BearSSL) that trusts the CA, also after a new certificate:\n",
        );
        line("const char CA[] PROGMEM = R\"EOF(");
        line(pem("CERTIFICATE", &authority.certificate).trim_end());
        line(")EOF\";");
        line("BearSSL::X509List ca(CA);");
        line(
            "BearSSL::WiFiClientSecure network;   // network.setTrustAnchors(&ca); before connecting",
        );
        line("\nOr one that knows this certificate alone:\n");
        let sha1 = fingerprint(&SHA1_FOR_LEGACY_USE_ONLY, leaf);
        line(&format!("network.setFingerprint(\"{sha1}\");"));
        line(&format!("SHA-256  {}", fingerprint(&SHA256_DIGEST, leaf)));
        text
    }
}

fn draft<'a>(subject: &'a str, names: &'a [&'a str]) -> Result<Draft<'a>, String> {
    let now = clock::unix_time().as_secs().max(EARLIEST);
    Ok(Draft {
        // Positive, and not the 1 of small CAs.
        serial: Some(random()? >> 1 | 1 << 30),
        subject,
        names,
        valid: (now - DAY, now + DAYS * DAY),
        authority: None,
        purpose: SERVERS,
        hash: SHA256,
        extension: None,
    })
}

/// Returns a certificate in DER and its new key as PEM.
fn issue(draft: &Draft<'_>, authority: &Authority) -> Result<(Vec<u8>, String), String> {
    let key = Key::new().map_err(no_random)?;
    let leaf = draft.sign(&key, authority.issuer()).map_err(no_random)?;
    Ok((leaf, pem("PRIVATE KEY", &key.pkcs8)))
}

fn no_random(_: Unspecified) -> String {
    "this machine has no random numbers".to_owned()
}

fn random() -> Result<u32, String> {
    let bytes = password::random().map_err(|_| no_random(Unspecified))?;
    Ok(u32::from_be_bytes(bytes))
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {kind}-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    let _ = writeln!(out, "\n-----END {kind}-----");
    out
}

/// Returns what stands in the first block.
fn from_pem(text: &str) -> Option<Vec<u8>> {
    let (_, behind) = text.split_once("-----BEGIN ")?;
    let (_, body) = behind.split_once("-----\n")?;
    let (body, _) = body.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    BASE64_STANDARD.decode(body).ok()
}

fn fingerprint(algorithm: &'static Algorithm, der: &[u8]) -> String {
    let hash = digest(algorithm, der);
    let bytes: Vec<_> = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_read_as_it_is_written() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der = vec![0xA5; length];
            let text = pem("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            assert_eq!(from_pem(&text), Some(der));
        }
        assert_eq!(from_pem("no PEM"), None);
    }

    #[test]
    fn names_are_host_names_and_addresses() {
        let names = |name: &str| Arguments {
            names: vec![name.to_owned()],
            client: None,
            directory: None,
        };
        for good in ["router", "router.lan", "192.168.1.1", "fd00::1", "a-b.c_d"] {
            assert_eq!(check(&names(good)), Ok(()), "{good}");
        }
        for bad in ["", "a..b", "a b", "http://a", "192.168.1.1:8883", "*.lan"] {
            assert!(check(&names(bad)).is_err(), "{bad}");
        }
    }
}
