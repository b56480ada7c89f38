//! TLS on the server's side, for the self-test's own servers: whatever chain they are given they
//! show, however wrong it is.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{ring as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, StreamOwned, version,
};

use crate::core::endpoint::TlsVersion;

/// What the connections of one server have in common.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    config: Arc<ServerConfig>,
    version: TlsVersion,
}

impl Acceptor {
    /// Makes a server's side that shows this chain, leaf first in DER, and speaks this version
    /// only. `key` is PKCS#8 in DER, of an elliptic curve. With `client`, clients have to show
    /// that certificate, in DER; an empty one is nobody's.
    ///
    /// # Errors
    /// If the key is none.
    pub(crate) fn new(
        chain: &[Vec<u8>],
        key: &[u8],
        version: TlsVersion,
        client: Option<Vec<u8>>,
    ) -> Result<Self, Error> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let key = provider::sign::any_ecdsa_type(&key)?;
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        let identity = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let versions = match version {
            TlsVersion::V1_2 => [&version::TLS12],
            TlsVersion::V1_3 => [&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&versions)?;
        let builder = match client {
            Some(client) => builder.with_client_cert_verifier(Arc::new(Only(client))),
            None => builder.with_no_client_auth(),
        };
        let config = Arc::new(builder.with_cert_resolver(Arc::new(identity)));
        Ok(Self { config, version })
    }

    /// Performs a handshake on a connection, within the socket's own time limits.
    ///
    /// # Errors
    /// If the client refuses, or goes away.
    pub(crate) fn accept(&self, mut socket: TcpStream) -> io::Result<Accepted> {
        let tls = ServerConnection::new(Arc::clone(&self.config));
        let mut tls = tls.map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Accepted {
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
            version: self.version,
            stream: StreamOwned::new(tls, socket),
        })
    }
}

/// A connection after its handshake.
pub(crate) struct Accepted {
    /// Whether an earlier session was resumed.
    pub(crate) resumed: bool,
    /// What is spoken.
    pub(crate) version: TlsVersion,
    stream: StreamOwned<ServerConnection, TcpStream>,
}

impl Accepted {
    /// Reads a request's head; `None` when the client has gone.
    ///
    /// # Errors
    /// If it is longer than 8 KiB, cut off, or does not come in time.
    pub(crate) fn request(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = Vec::new();
        let mut chunk = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut chunk)? {
                0 => return Ok(None),
                count => head.extend(chunk.iter().take(count)),
            }
            if head.len() > 8192 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(Some(head))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the client does not take them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Says that no more will come (close_notify).
    ///
    /// # Errors
    /// If the client does not take it.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }
}

/// Lets nobody in but the client with this certificate, in DER.
#[derive(Debug)]
struct Only(Vec<u8>);

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match shown.as_ref() == self.0 {
            true => Ok(ClientCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
