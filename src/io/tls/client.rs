//! A rustls client configuration per endpoint, and the facts of each handshake made with it.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, version};

use crate::core::endpoint::{TlsVersion, Trust};
use crate::io::clock::Wall;
use crate::io::tls::certificate::{self, Certificate};
use crate::io::tls::client_certificate::Own;
use crate::io::tls::revocation::Library;
use crate::io::tls::roots::{self, Trusted};
use crate::io::tls::sessions::Sessions;
use crate::io::tls::verifier::Verifier;

/// What TLS connections of one endpoint have in common.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
    sessions: Arc<Sessions>,
    roots: Arc<Trusted>,
    /// Whether certificates are taken whatever their dates.
    undated: bool,
    own: Option<Arc<Certificate>>,
    surroundings: Surroundings,
}

/// What the clients of all endpoints share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The clock that certificates are judged by.
    pub(crate) clock: Arc<Wall>,
    /// Where revocation lists are fetched; `None` if they can't be.
    pub(crate) library: Option<Arc<dyn Library>>,
}

/// The facts of a completed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Handshake {
    /// `TLS 1.3` or `TLS 1.2`.
    pub(crate) protocol: &'static str,
    /// The cipher suite, by its IANA name.
    pub(crate) suite: String,
    /// Whether an earlier session was resumed, so that no certificate was shown.
    pub(crate) resumed: bool,
    /// The chain, leaf first, in DER; that of the earlier session if resumed.
    pub(crate) chain: Vec<Vec<u8>>,
    /// Until when the chain is valid and known not to be revoked, seconds since 1970.
    pub(crate) not_after: u64,
    /// When the first certificate of the chain ends, of those that have not, seconds since 1970;
    /// 0 if all have.
    pub(crate) chain_end: u64,
}

impl Client {
    /// Builds the configuration for an endpoint's trust.
    ///
    /// # Errors
    /// Says what is wrong with roots or client certificate, and names the file.
    pub(crate) fn new(trust: &Trust, roots: Arc<Trusted>) -> Result<Self, String> {
        Self::within(trust, roots, &Surroundings::default())
    }

    /// The same, with a clock that others share.
    ///
    /// # Errors
    /// Says what is wrong with roots, lists or client certificate, and names the file.
    pub(crate) fn within(
        trust: &Trust,
        roots: Arc<Trusted>,
        surroundings: &Surroundings,
    ) -> Result<Self, String> {
        let provider = Arc::new(preferring_fast_suites());
        let library = surroundings.library.as_ref();
        let verifier = Verifier::new(trust, Arc::clone(&roots), Arc::clone(&provider), library)?;
        let own = Own::read(trust.client_certificate.as_ref(), &provider)?;
        let versions: &[_] = match trust.min_tls {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let shown = own.leaf().and_then(|leaf| Certificate::read(leaf));
        let clock = Arc::clone(&surroundings.clock);
        let sessions = Arc::new(Sessions::new(Arc::clone(&clock)));
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(Clock(clock)))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous() // rustls's word for any verifier but its own; ours asks WebPKI
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(own));
        config.resumption = Resumption::store(sessions.clone());
        Ok(Self {
            config: Arc::new(config),
            sessions,
            roots,
            undated: trust.unchecked.dates,
            own: shown.map(Arc::new),
            surroundings: surroundings.clone(),
        })
    }

    /// Reads the files that `trust` names, and builds the configuration.
    ///
    /// # Errors
    /// Names the file that is wrong.
    pub(crate) fn load(trust: &Trust, surroundings: &Surroundings) -> Result<Self, String> {
        let roots = roots::load(&trust.roots)?;
        Self::within(trust, roots, surroundings)
    }

    /// Returns what it shares with others.
    pub(crate) const fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Starts a connection to the server of this name.
    ///
    /// # Errors
    /// If the name is neither a DNS name nor an IP address.
    pub(crate) fn connection(
        &self,
        server: &ServerName<'static>,
    ) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), server.clone())
    }

    /// Returns the configuration, for protocols other than HTTPS.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Returns the roots it trusts.
    pub(crate) fn roots(&self) -> &Trusted {
        &self.roots
    }

    /// Returns the certificate that is shown to servers that ask for one.
    pub(crate) fn own(&self) -> Option<Arc<Certificate>> {
        self.own.clone()
    }

    /// Collects the facts of a completed handshake and lets its sessions be resumed; `until` is
    /// when what is known of its revocation ends.
    pub(crate) fn complete(
        &self,
        server: &ServerName<'static>,
        connection: &ClientConnection,
        until: Option<u64>,
    ) -> Handshake {
        let chain = connection.peer_certificates().unwrap_or_default();
        // Where the time is not known any more nothing is kept.
        let now = self.surroundings.clock.now();
        let now = now.map_or(u64::MAX, |now| now.as_secs());
        let chain_end = certificate::earliest_end(chain.iter().map(AsRef::as_ref), now);
        let end = match self.undated {
            true => u64::MAX,
            false => chain_end,
        };
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let not_after = match resumed {
            // What limited the full handshake limits those that follow from it.
            true => end.min(self.sessions.end(server)),
            false => {
                let end = end.min(until.unwrap_or(end));
                self.sessions.note_end(server.clone(), end, now);
                end
            }
        };
        let suite = connection.negotiated_cipher_suite();
        Handshake {
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            },
            suite: suite
                .map(|suite| format!("{:?}", suite.suite()))
                .unwrap_or_default(),
            resumed,
            chain: chain.iter().map(|one| one.to_vec()).collect(),
            not_after,
            chain_end,
        }
    }
}

/// No certificate is judged while the time is not known: the handshake fails instead.
#[derive(Debug, Default)]
pub(super) struct Clock(Arc<Wall>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().map(UnixTime::since_unix_epoch)
    }
}

/// ring's provider, with those suites first that cost the least: a server that has no preference
/// of its own takes the first.
///
/// ChaCha20 comes first where AES has no instructions of its own: on a MIPS router it takes 53
/// instructions a byte, AES-128-GCM 288. AES-256 comes after AES-128: nobody breaks either, and
/// with it comes SHA-384, for which there are no instructions anywhere.
pub(super) fn preferring_fast_suites() -> CryptoProvider {
    let mut provider = provider::default_provider();
    let chacha_first = !has_aes_instructions();
    provider.cipher_suites.sort_by_key(|suite| {
        let name = format!("{:?}", suite.suite());
        match name.contains("CHACHA20") {
            true => u8::from(!chacha_first) * 2,
            false => 1 + 2 * u8::from(name.contains("AES_256")),
        }
    });
    provider
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::core::calendar;
    use crate::core::outcome::Code;
    use crate::io::clock;
    use crate::io::http::support::certificates::Authority;
    use crate::io::http::support::https::{Script, Server, response};
    use crate::io::tls::stream::{Fault, Stream};

    const NAME: &str = "site.example";

    fn client(authority: &Authority) -> Client {
        Client::new(&Trust::default(), roots::only(authority.root())).unwrap()
    }

    /// Makes a handshake, and a request so that session tickets arrive.
    fn visit(client: &Client, server: &Server) -> Handshake {
        let deadline = clock::now() + Duration::from_secs(10);
        let socket = TcpStream::connect(server.address()).unwrap();
        let (mut stream, facts) = Stream::connect(client, NAME, socket, deadline).unwrap();
        stream.write(b"GET / HTTP/1.1\r\n\r\n", deadline).unwrap();
        assert!(stream.read(&mut [0; 100], deadline).unwrap() > 0);
        facts.as_ref().clone()
    }

    #[test]
    fn a_handshake_leaves_its_facts() {
        let authority = Authority::new("test");
        let identity = authority.good(&[NAME]);
        for (script, protocol) in [
            (Script::echo().tls12(), "TLS 1.2"),
            (Script::echo().tls13(), "TLS 1.3"),
        ] {
            let server = Server::start(&identity, script);
            let client = client(&authority);
            let first = visit(&client, &server);
            assert_eq!((first.protocol, first.resumed), (protocol, false));
            assert!(first.suite.starts_with("TLS"), "{}", first.suite);
            assert_eq!(calendar::date(first.not_after), "2090-01-01");
            let chain: Vec<_> = identity.chain.iter().map(|one| one.to_vec()).collect();
            assert_eq!(first.chain, chain);
            let second = visit(&client, &server);
            assert!(second.resumed);
            assert_eq!(second.not_after, first.not_after);
            assert_eq!(second.chain, first.chain);
        }
    }

    #[test]
    fn no_session_outlives_its_chain() {
        let authority = Authority::new("test");
        for script in [Script::echo().tls12(), Script::echo().tls13()] {
            let server = Server::start(&authority.good(&[NAME]), script);
            let client = client(&authority);
            visit(&client, &server);
            assert!(visit(&client, &server).resumed);
            let name = ServerName::try_from(NAME).unwrap();
            let now = clock::unix_time().as_secs();
            client.sessions.note_end(name, now, now);
            assert!(!visit(&client, &server).resumed, "the chain has ended");
            assert!(visit(&client, &server).resumed, "the new one has not");
        }
    }

    #[test]
    fn no_session_outlives_a_jump_of_the_clock() {
        let authority = Authority::new("test");
        for script in [Script::echo().tls12(), Script::echo().tls13()] {
            let server = Server::start(&authority.good(&[NAME]), script);
            let clock = Arc::new(Wall::since_1971());
            let surroundings = Surroundings {
                clock: Arc::clone(&clock),
                library: None,
            };
            let roots = roots::only(authority.root());
            let client = Client::within(&Trust::default(), roots, &surroundings).unwrap();
            visit(&client, &server);
            clock.turn_back(Duration::from_secs(3_500));
            assert!(visit(&client, &server).resumed, "a correction");
            clock.turn_back(Duration::from_secs(2 * 3_600));
            assert!(!visit(&client, &server).resumed, "another time");
            assert!(visit(&client, &server).resumed);
        }
    }

    #[test]
    fn without_the_time_there_is_no_verdict() {
        let authority = Authority::new("test");
        let names = &[NAME][..];
        for identity in [
            authority.good(names),
            authority.expired(names),
            authority.not_yet_valid(names),
        ] {
            for script in [Script::echo().tls12(), Script::echo().tls13()] {
                let server = Server::start(&identity, script);
                let clock = Arc::new(Wall::since_1971());
                let surroundings = Surroundings {
                    clock: Arc::clone(&clock),
                    library: None,
                };
                let roots = roots::only(authority.root());
                let client = Client::within(&Trust::default(), roots, &surroundings).unwrap();
                clock.turn_back(clock.now().unwrap());
                let deadline = clock::now() + Duration::from_secs(10);
                let socket = TcpStream::connect(server.address()).unwrap();
                let refused = Stream::connect(&client, NAME, socket, deadline).unwrap_err();
                let Fault::Tls(failure) = refused.fault else {
                    panic!("{:?}", refused.fault);
                };
                assert_eq!(failure.code, Code::ClockUnset);
            }
        }
    }

    #[test]
    fn another_client_shares_no_sessions() {
        let authority = Authority::new("test");
        let script = Script::bytes(response("200 OK", &[], b"ok"));
        let server = Server::start(&authority.good(&[NAME]), script);
        visit(&client(&authority), &server);
        assert!(!visit(&client(&authority), &server).resumed);
    }

    #[test]
    fn fast_suites_come_first() {
        let suites = preferring_fast_suites().cipher_suites;
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
        let names: Vec<_> = suites.iter().map(name).collect();
        let at = |what: &str| names.iter().position(|name| name.contains(what)).unwrap();
        let chacha_first = at("CHACHA20") < at("AES_128");
        assert_eq!(chacha_first, !has_aes_instructions(), "{names:?}");
        assert!(at("AES_128") < at("AES_256"), "{names:?}");
        let provided = provider::default_provider().cipher_suites;
        let mut all: Vec<_> = provided.iter().map(name).collect();
        let mut found = names.clone();
        all.sort();
        found.sort();
        assert_eq!(found, all, "none is missing");
    }
}
