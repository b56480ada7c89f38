//! TLS records that no server would send, properly encrypted.
//!
//! A [`Script`](super::https::Script) that encrypts by [`provider`] sends what [`encrypted`] makes as
//! a record of that type, instead of as data.

#![expect(
    clippy::indexing_slicing,
    reason = "test support: a panic is the report"
)]

use std::sync::{Arc, LazyLock};

use rustls::crypto::cipher::{
    AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundOpaqueMessage, OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, ring};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, SupportedCipherSuite, Tls12CipherSuite,
    Tls13CipherSuite,
};

/// Data that begins with this is a record of the type that follows.
const MARK: &[u8] = b"\0\xFFrecord:";

/// Data that is sent as a record of this type, at most 16,000 bytes.
pub(crate) fn encrypted(kind: u8, contents: &[u8]) -> Vec<u8> {
    [MARK, &[kind], contents].concat()
}

/// A record of this type with that many zeros behind its contents (TLS 1.3; RFC 8446 §5.4).
pub(crate) fn padded(kind: u8, contents: &[u8], zeros: usize) -> Vec<u8> {
    // The type that is put behind all of it is the last of the zeros.
    encrypted(0, &[contents, &[kind], &vec![0; zeros - 1]].concat())
}

/// ring's provider, with an eye on what is encrypted.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = ring::default_provider();
        for suite in &mut provider.cipher_suites {
            *suite = watched(*suite);
        }
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// rustls wants suites that live for ever.
fn watched(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: Box::leak(Box::new(Watched(suite.aead_alg))),
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: Box::leak(Box::new(Watched(suite.aead_alg))),
                quic: None,
            })))
        }
    }
}

fn common(of: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: of.suite,
        hash_provider: of.hash_provider,
        confidentiality_limit: of.confidentiality_limit,
    }
}

struct Watched<A: 'static + ?Sized>(&'static A);

impl Tls12AeadAlgorithm for Watched<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter(self.0.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }
}

impl Tls13AeadAlgorithm for Watched<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Encrypter(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct Encrypter(Box<dyn MessageEncrypter>);

impl MessageEncrypter for Encrypter {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let bytes = message.payload.to_vec();
        match bytes.strip_prefix(MARK) {
            Some(marked) if message.typ == ContentType::ApplicationData => {
                let message = OutboundPlainMessage {
                    typ: ContentType::from(marked[0]),
                    version: message.version,
                    payload: OutboundChunks::Single(&marked[1..]),
                };
                self.0.encrypt(message, number)
            }
            _ => self.0.encrypt(message, number),
        }
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        self.0.encrypted_payload_len(length)
    }
}
