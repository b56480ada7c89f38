//! What is tested: servers, good ones and ones with a single defect, and what a node has to be told.

use std::fmt::Display;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::certificates::{Authority, Identity};
use super::server::{Answer, Behaviour};
use crate::core::endpoint::TlsVersion::{self, V1_2, V1_3};
use crate::io::tls::local::Acceptor;

/// The name that servers are asked by. It never goes to a name server.
const HOST: &str = "site.test";
const NAMES: &[&str] = &[HOST];
/// Trusts one root.
const ROOT: &str = "roots = [\"@root.pem\"]\n";
const GOOD: &str = "ok TLS 1.3, full handshake";

/// One server and what has to come of asking it.
pub(super) struct Case {
    /// In a few words.
    pub(super) name: &'static str,
    /// The host in the URL.
    pub(super) host: &'static str,
    /// Files that its `[endpoint]` names, with an `@` before each name.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// What the server does.
    pub(super) behaviour: Behaviour,
    /// Further lines of its `[endpoint]`.
    pub(super) lines: String,
    /// How often it is asked; the last answer counts, and those before it have to be good.
    pub(super) asks: usize,
    /// `ok` with the body, or a failure's code.
    pub(super) expected: &'static str,
}

/// Makes certificates and cases, at a time in seconds since 1970.
///
/// # Errors
/// If this machine has no random numbers.
pub(super) fn make(now: u64) -> Result<Vec<Case>, String> {
    let world = World {
        ours: Authority::new("our", now).map_err(unmade)?,
        other: Authority::new("other", now).map_err(unmade)?,
        impostor: Authority::new("our", now).map_err(unmade)?,
    };
    let mut cases = world.good()?;
    cases.extend(world.bad_dates_and_names()?);
    cases.extend(world.bad_issuers()?);
    cases.extend(world.bad_certificates()?);
    cases.extend(world.pins()?);
    cases.extend(world.revocation()?);
    cases.extend(world.client_certificates()?);
    cases.extend(world.bad_handshakes()?);
    cases.extend(world.bad_http()?);
    Ok(cases)
}

fn unmade(error: impl Display) -> String {
    format!("can not make certificates: {error}")
}

/// The authorities that the cases share.
struct World {
    ours: Authority,
    other: Authority,
    /// Named as ours.
    impostor: Authority,
}

type Made = Result<Identity, ring::error::Unspecified>;
/// A revocation list.
type Listed = Result<Vec<u8>, ring::error::Unspecified>;
type Cases = Result<Vec<Case>, String>;

impl World {
    fn case(&self, name: &'static str, behaviour: Behaviour, expected: &'static str) -> Case {
        Case {
            name,
            host: HOST,
            files: vec![("root.pem", pem("CERTIFICATE", &self.ours.root))],
            behaviour,
            lines: ROOT.to_owned(),
            asks: 1,
            expected,
        }
    }

    /// A server that shows this, over TLS 1.3.
    fn shows(
        &self,
        name: &'static str,
        made: Made,
        expected: &'static str,
    ) -> Result<Case, String> {
        let behaviour = tls(made, V1_3, Answer::Keep)?;
        Ok(self.case(name, behaviour, expected))
    }

    fn good(&self) -> Cases {
        let ours = &self.ours;
        let speaking = |version, answer| tls(ours.good(NAMES), version, answer);
        let twice = |name, behaviour, expected| Case {
            asks: 2,
            ..self.case(name, behaviour, expected)
        };
        let itself = ours.self_signed(NAMES, false).map_err(unmade)?;
        Ok(vec![
            self.case("good, TLS 1.3", speaking(V1_3, Answer::Keep)?, GOOD),
            self.case(
                "good, TLS 1.2",
                speaking(V1_2, Answer::Keep)?,
                "ok TLS 1.2, full handshake",
            ),
            twice(
                "good again, TLS 1.3",
                speaking(V1_3, Answer::Close)?,
                "ok TLS 1.3, resumed",
            ),
            twice(
                "good again, TLS 1.2",
                speaking(V1_2, Answer::Close)?,
                "ok TLS 1.2, resumed",
            ),
            twice(
                "good again, kept open",
                speaking(V1_3, Answer::Keep)?,
                "ok TLS 1.3, connection kept",
            ),
            Case {
                host: "a.site.test",
                ..self.shows("wildcard", ours.good(&["*.site.test"]), GOOD)?
            },
            self.shows("second of two names", ours.good(&["a.test", HOST]), GOOD)?,
            Case {
                host: "127.0.0.1",
                ..self.shows("IP address", ours.good(&["127.0.0.1"]), GOOD)?
            },
            self.shows("valid since a minute", ours.valid(NAMES, -60, 3600), GOOD)?,
            self.shows("valid for an hour", ours.valid(NAMES, -3600, 3600), GOOD)?,
            Case {
                files: vec![("root.pem", pem("CERTIFICATE", &itself.chain.concat()))],
                ..self.shows("self-signed, trusted itself", Ok(itself), GOOD)?
            },
        ])
    }

    fn bad_dates_and_names(&self) -> Cases {
        let ours = &self.ours;
        Ok(vec![
            self.shows("expired", ours.expired(NAMES), "tls.expired")?,
            self.shows(
                "expired a minute ago",
                ours.valid(NAMES, -3600, -60),
                "tls.expired",
            )?,
            self.shows(
                "expired intermediate",
                ours.expired_intermediate(NAMES),
                "tls.expired",
            )?,
            self.shows(
                "not yet valid",
                ours.not_yet_valid(NAMES),
                "tls.not_yet_valid",
            )?,
            self.shows(
                "valid in an hour",
                ours.valid(NAMES, 3600, 7200),
                "tls.not_yet_valid",
            )?,
            self.shows("another name", ours.good(&["a.test"]), "tls.wrong_name")?,
            self.shows(
                "wildcard, not for its own",
                ours.good(&["*.site.test"]),
                "tls.wrong_name",
            )?,
            Case {
                host: "a.b.site.test",
                ..self.shows(
                    "wildcard, two labels",
                    ours.good(&["*.site.test"]),
                    "tls.wrong_name",
                )?
            },
            self.shows(
                "no name but a common name",
                ours.common_name_only(HOST),
                "tls.wrong_name",
            )?,
            Case {
                host: "127.0.0.1",
                ..self.shows("a name for an address", ours.good(NAMES), "tls.wrong_name")?
            },
        ])
    }

    fn bad_issuers(&self) -> Cases {
        const UNKNOWN: &str = "tls.unknown_issuer";
        let ours = &self.ours;
        Ok(vec![
            self.shows(
                "self-signed",
                ours.self_signed(NAMES, false),
                "tls.self_signed",
            )?,
            self.shows(
                "self-signed CA",
                ours.self_signed(NAMES, true),
                "tls.self_signed",
            )?,
            self.shows("unknown root", self.other.good(NAMES), UNKNOWN)?,
            self.shows(
                "another root of that name",
                self.impostor.good(NAMES),
                UNKNOWN,
            )?,
            self.shows(
                "intermediate left out",
                ours.without_intermediate(NAMES),
                UNKNOWN,
            )?,
        ])
    }

    fn bad_certificates(&self) -> Cases {
        const BAD: &str = "tls.bad_certificate";
        let ours = &self.ours;
        Ok(vec![
            self.shows(
                "signed over SHA-224",
                ours.weak_signature(NAMES),
                "tls.weak",
            )?,
            self.shows("signature broken", ours.broken_signature(NAMES), BAD)?,
            self.shows("issued by no CA", ours.issued_by_leaf(NAMES), BAD)?,
            self.shows("chain too long for its CA", ours.too_long(NAMES), BAD)?,
            self.shows("outside of its CA's names", ours.constrained(NAMES), BAD)?,
            self.shows("a CA as server", ours.ca_as_leaf(NAMES), BAD)?,
            self.shows("for clients only", ours.for_clients(NAMES), BAD)?,
            self.shows(
                "unknown critical extension",
                ours.critical_extension(NAMES),
                BAD,
            )?,
            self.shows("malformed", ours.malformed(NAMES), BAD)?,
            self.shows(
                "stolen, without its key",
                ours.stolen(NAMES),
                "tls.handshake",
            )?,
        ])
    }

    fn pins(&self) -> Cases {
        const MISMATCH: &str = "tls.pin_mismatch";
        let (ours, other) = (&self.ours, &self.other);
        let itself = |authority: &Authority| authority.self_signed(NAMES, true);
        let with = |lines: &str, pin: String, case| Case {
            lines: format!("{lines}pins = [\"{pin}\"]\n"),
            ..case
        };
        let beside = |pin, case| with(ROOT, pin, case);
        let alone = |pin, case| with("roots = \"none\"\n", pin, case);
        let shows = |name, made, expected| self.shows(name, made, expected);
        Ok(vec![
            beside(ours.pin(), shows("key pinned", ours.good(NAMES), GOOD)?),
            beside(
                other.pin(),
                shows("another key pinned", ours.good(NAMES), MISMATCH)?,
            ),
            alone(
                ours.pin(),
                shows("self-signed, pinned", itself(ours), GOOD)?,
            ),
            alone(
                other.pin(),
                shows("self-signed, another pinned", itself(ours), MISMATCH)?,
            ),
        ])
    }

    fn revocation(&self) -> Cases {
        const UNKNOWN: &str = "tls.revocation_unknown";
        const HOUR: i64 = 3600;
        let ours = &self.ours;
        let listed = |name, (root, intermediate): (Listed, Listed), expected| {
            let mut case = self.shows(name, ours.good(NAMES), expected)?;
            case.lines
                .push_str("revocation = \"require\"\ncrl = [\"@1.crl\", \"@2.crl\"]\n");
            case.files.push(("1.crl", root.map_err(unmade)?));
            case.files.push(("2.crl", intermediate.map_err(unmade)?));
            Ok::<_, String>(case)
        };
        let good = || (ours.root_list(false), ours.intermediate_list(&[], HOUR));
        Ok(vec![
            listed("not revoked", good(), GOOD)?,
            listed(
                "revoked",
                (good().0, ours.intermediate_list(NAMES, HOUR)),
                "tls.revoked",
            )?,
            listed(
                "its CA revoked",
                (ours.root_list(true), good().1),
                "tls.revoked",
            )?,
            listed(
                "its CA's list out of date",
                (good().0, ours.intermediate_list(&[], -HOUR)),
                UNKNOWN,
            )?,
            listed("its CA's list missing", (good().0, good().0), UNKNOWN)?,
        ])
    }

    fn client_certificates(&self) -> Cases {
        const REFUSED: &str = "tls.client_certificate";
        let own = self.ours.for_clients(NAMES).map_err(unmade)?;
        let leaf = own.chain.first().cloned().unwrap_or_default();
        let demanding = |version, client| {
            let identity = self.ours.good(NAMES).map_err(unmade)?;
            let made = Acceptor::new(&identity.chain, &identity.key, version, Some(client));
            Ok::<_, String>(Behaviour::Tls(made.map_err(unmade)?, Answer::Keep))
        };
        let shown = |mut case: Case| {
            case.lines
                .push_str("client_certificate = \"@own.pem\"\nclient_key = \"@own.key\"\n");
            case.files.push(("own.pem", pem("CERTIFICATE", &leaf)));
            case.files.push(("own.key", pem("PRIVATE KEY", &own.key)));
            case
        };
        let case = |name, behaviour, expected| self.case(name, behaviour, expected);
        let other = || demanding(V1_3, Vec::new());
        Ok(vec![
            shown(case(
                "our certificate shown",
                demanding(V1_3, leaf.clone())?,
                GOOD,
            )),
            shown(case("our certificate refused", other()?, REFUSED)),
            case("none shown, TLS 1.3", other()?, REFUSED),
            case("none shown, TLS 1.2", demanding(V1_2, Vec::new())?, REFUSED),
        ])
    }

    fn bad_handshakes(&self) -> Cases {
        let sends = |name, bytes: &[u8], expected| {
            self.case(name, Behaviour::Send(bytes.to_vec()), expected)
        };
        // Record and message headers, version, random, no session, a cipher suite of its time.
        let mut old = vec![0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1];
        old.extend([7; 32]);
        old.extend([0, 0, 0x2f, 0]);
        Ok(vec![
            Case {
                lines: format!("{ROOT}min_tls = \"1.3\"\n"),
                ..self.case(
                    "TLS 1.2, where 1.3 is wanted",
                    tls(self.ours.good(NAMES), V1_2, Answer::Keep)?,
                    "tls.protocol",
                )
            },
            sends("TLS 1.0", &old, "tls.protocol"),
            sends("no cipher in common", &alert(40), "tls.protocol"),
            sends("another alert", &alert(80), "tls.handshake"),
            sends(
                "HTTP without TLS",
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                "tls.handshake",
            ),
            sends("garbage", &[0xff; 200], "tls.handshake"),
            sends("closed in the handshake", &[], "tls.handshake"),
            Case {
                lines: format!("{ROOT}timeout = \"500ms\"\n"),
                ..self.case("silent", Behaviour::Silence, "timeout.tls")
            },
            self.case("nobody there", Behaviour::Absence, "connect.refused"),
        ])
    }

    fn bad_http(&self) -> Cases {
        let answers = |answer| tls(self.ours.good(NAMES), V1_3, answer);
        Ok(vec![
            self.case("404", answers(Answer::NotFound)?, "http.status"),
            self.case("cut off", answers(Answer::Truncate)?, "http.truncated"),
        ])
    }
}

fn tls(made: Made, version: TlsVersion, answer: Answer) -> Result<Behaviour, String> {
    let identity = made.map_err(unmade)?;
    let acceptor = Acceptor::new(&identity.chain, &identity.key, version, None);
    Ok(Behaviour::Tls(acceptor.map_err(unmade)?, answer))
}

/// Returns DER as a PEM file (RFC 7468).
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

/// A fatal alert (RFC 8446 §6).
fn alert(number: u8) -> [u8; 7] {
    [0x15, 3, 3, 0, 2, 2, number]
}
