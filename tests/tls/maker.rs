//! Certificates with any single property changed: rcgen makes them, and what it refuses to make
//! is put in by hand and signed again.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, SigningKey, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::certificates::{Identity, ca_params, leaf_params, list};

/// A certificate that issues others.
pub(crate) struct Ca {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

impl Ca {
    /// A root.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// A root that is changed before it is signed.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(name);
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { params, key, der }
    }

    /// A CA below this one.
    pub(crate) fn ca(&self, name: &str) -> Self {
        self.ca_with(name, |_| {})
    }

    /// A CA below this one that is changed before it is signed.
    pub(crate) fn ca_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        self.ca_of(name, KeyPair::generate().unwrap(), change)
    }

    /// A CA below this one with a key of this kind.
    pub(crate) fn ca_of(
        &self,
        name: &str,
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let der = params
            .signed_by(&key, &self.issuer())
            .unwrap()
            .der()
            .clone();
        Self { params, key, der }
    }

    /// Another certificate for the same subject and key, signed by `other`.
    pub(crate) fn cross_signed_by(&self, other: &Self) -> CertificateDer<'static> {
        let signed = self.params.signed_by(&self.key, &other.issuer());
        signed.unwrap().der().clone()
    }

    /// A new certificate for the same subject and key.
    pub(crate) fn renewed_by(
        &self,
        other: &Self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = self.params.clone();
        change(&mut params);
        let signed = params.signed_by(&self.key, &other.issuer());
        signed.unwrap().der().clone()
    }

    /// A server's certificate that issues others all the same.
    pub(crate) fn leaf_as_ca(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        self.ca_with(name, |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            change(params);
        })
    }

    /// A list of those it has revoked, good until 2090.
    pub(crate) fn list(&self, revoked: &[&CertificateDer<'static>]) -> Vec<u8> {
        let until = Duration::from_secs(3_786_912_000);
        list(revoked.iter().copied(), &self.issuer(), until)
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Its own certificate.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The same as PEM.
    pub(crate) fn pem(&self) -> String {
        self.alone().leaf_pem()
    }

    /// Its own certificate as a server's.
    pub(crate) fn alone(&self) -> Identity {
        Identity {
            chain: vec![self.der.clone()],
            key: key_of(&self.key),
        }
    }

    /// A server's certificate, without its issuer.
    pub(crate) fn leaf(&self, names: &[&str]) -> Identity {
        self.leaf_with(names, |_| {})
    }

    /// The same, changed before it is signed.
    pub(crate) fn leaf_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        self.leaf_of(names, &KeyPair::generate().unwrap(), change)
    }

    /// The same with this key.
    pub(crate) fn leaf_of(
        &self,
        names: &[&str],
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = leaf_params(names);
        change(&mut params);
        let leaf = params.signed_by(key, &self.issuer()).unwrap();
        Identity {
            chain: vec![leaf.der().clone()],
            key: key_of(key),
        }
    }

    /// A server's certificate with this extension instead of names.
    pub(crate) fn leaf_with_san(&self, names: &[(u8, &[u8])]) -> Identity {
        self.leaf_with(&[], |params| {
            let names = names.iter().map(|(tag, name)| tlv(*tag, name));
            let content = tlv(0x30, &names.collect::<Vec<_>>().concat());
            params.custom_extensions = vec![extension(&[2, 5, 29, 17], content, false)];
        })
    }

    /// Changes what is signed in a certificate that this CA issued, and signs it again.
    pub(crate) fn sign_again(
        &self,
        der: &CertificateDer<'_>,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> CertificateDer<'static> {
        let (signed, rest) = first(contents(der));
        let mut fields = contents(signed).to_vec();
        change(&mut fields);
        let signed = tlv(0x30, &fields);
        let (algorithm, _) = first(rest);
        let signature = [&[0][..], &self.key.sign(&signed).unwrap()].concat();
        let all = [&signed[..], algorithm, &tlv(0x03, &signature)].concat();
        tlv(0x30, &all).into()
    }

    /// A leaf that is good but for a change of what is signed.
    pub(crate) fn changed_leaf(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Identity {
        let mut identity = self.leaf(names);
        identity.chain[0] = self.sign_again(&identity.chain[0], change);
        identity
    }
}

fn key_of(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

/// A server's certificate with more behind it.
pub(crate) trait Behind {
    /// Adds certificates to the end of the chain.
    fn and(self, more: &[&CertificateDer<'static>]) -> Self;
}

impl Behind for Identity {
    fn and(mut self, more: &[&CertificateDer<'static>]) -> Self {
        self.chain.extend(more.iter().copied().cloned());
        self
    }
}

/// An extension by its object identifier.
pub(crate) fn extension(oid: &[u64], content: Vec<u8>, critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// Tag, length and contents.
pub(crate) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut out = match u8::try_from(length) {
        Ok(short @ 0..=127) => vec![tag, short],
        Ok(byte) => vec![tag, 0x81, byte],
        Err(_) => {
            let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
            vec![tag, 0x82, high, low]
        }
    };
    out.extend_from_slice(contents);
    out
}

fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
        short => (2, usize::from(short)),
    }
}

/// The first element and what follows it.
pub(crate) fn first(der: &[u8]) -> (&[u8], &[u8]) {
    let (start, length) = header(der);
    der.split_at(start + length)
}

/// What is in the first element.
pub(crate) fn contents(der: &[u8]) -> &[u8] {
    let (start, length) = header(der);
    &der[start..start + length]
}

/// The chain with a certificate's last bytes cut off.
pub(crate) fn cut(mut identity: Identity, at: usize) -> Identity {
    let mut der = identity.chain[at].to_vec();
    der.truncate(der.len() - 9);
    identity.chain[at] = der.into();
    identity
}

/// The chain with one bit of a certificate's signature turned over.
pub(crate) fn broken(mut identity: Identity, at: usize) -> Identity {
    let mut der = identity.chain[at].to_vec();
    *der.last_mut().unwrap() ^= 1;
    identity.chain[at] = der.into();
    identity
}

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "certificates that end now have to know when that is"
)]
fn now() -> Duration {
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// Makes it valid from so many seconds after now until so many.
pub(crate) fn valid_around_now(params: &mut CertificateParams, from: i64, until: i64) {
    let now = now();
    let epoch = date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        match seconds < 0 {
            true => epoch + (now - distance),
            false => epoch + (now + distance),
        }
    };
    params.not_before = at(from);
    params.not_after = at(until);
}

/// Today, as verdicts write it.
pub(crate) fn today() -> String {
    date_after(Duration::ZERO)
}

/// The date after so much time.
pub(crate) fn date_after(time: Duration) -> String {
    let now = now();
    (date_time_ymd(1970, 1, 1) + now + time).date().to_string()
}

/// Makes it valid from the begin of one year to that of another.
pub(crate) fn valid(params: &mut CertificateParams, from: i32, until: i32) {
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
}

/// The fields of a certificate without those of `[3]`.
pub(crate) fn without_extensions(fields: &[u8]) -> Vec<u8> {
    let mut rest = fields;
    let mut kept = Vec::new();
    while !rest.is_empty() {
        let (element, after) = first(rest);
        if element[0] != 0xA3 {
            kept.extend_from_slice(element);
        }
        rest = after;
    }
    assert!(!contents(&tlv(0x30, &kept)).is_empty());
    kept
}
