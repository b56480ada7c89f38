//! Certificates made for a test run: a private authority, and every way a chain can be wrong.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its own part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test support: a panic is the report"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CrlDistributionPoint, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A chain to present, leaf first, and the leaf's key.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl Identity {
    fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self { chain, key }
    }

    /// The leaf as PEM, for a roots file that trusts it directly.
    pub(crate) fn leaf_pem(&self) -> String {
        pem("CERTIFICATE", self.chain.first().expect("a leaf"))
    }

    /// The chain as PEM.
    pub(crate) fn chain_pem(&self) -> String {
        let pems = self.chain.iter().map(|one| pem("CERTIFICATE", one));
        pems.collect()
    }

    /// The key as PEM: PKCS#8.
    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.secret_der())
    }

    /// The key as PEM: SEC1, as `openssl ecparam -genkey` writes it.
    pub(crate) fn key_sec1_pem(&self) -> String {
        // PKCS#8 holds it as its last OCTET STRING; all lengths are of one byte here.
        let der = self.key.secret_der();
        let algorithm = 3 + der.windows(2).position(|at| at == [2, 1]).unwrap();
        let octets = algorithm + 2 + usize::from(der[algorithm + 1]);
        assert_eq!(der[octets], 4, "an OCTET STRING");
        pem("EC PRIVATE KEY", &der[octets + 2..])
    }

    /// The pin of the certificate at this place of the chain.
    pub(crate) fn pin(&self, at: usize) -> String {
        pin(&self.chain[at])
    }
}

/// The pin of a certificate as it stands in bridge.toml.
pub(crate) fn pin(der: &[u8]) -> String {
    use base64::Engine;
    use x509_cert::der::{Decode, Encode};
    let read = x509_cert::Certificate::from_der(der).unwrap();
    let key = read.tbs_certificate().subject_public_key_info().to_der();
    let hash = ring::digest::digest(&ring::digest::SHA256, &key.unwrap());
    format!("sha256/{}", base64::prelude::BASE64_STANDARD.encode(hash))
}

/// A root, an intermediate below it, and their keys.
pub(crate) struct Authority {
    root: Certificate,
    root_key: KeyPair,
    root_params: CertificateParams,
    intermediate: Certificate,
    intermediate_key: KeyPair,
    intermediate_params: CertificateParams,
}

impl Authority {
    /// Makes an authority whose certificates are named after `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_intermediate(name, |_| {})
    }

    /// Makes an authority whose intermediate says that the root's list is there.
    pub(crate) fn with_list_at(name: &str, url: &str) -> Self {
        Self::with_intermediate(name, |params| {
            params.crl_distribution_points = vec![list_at(url)];
        })
    }

    /// A chain without fault whose leaf says that the intermediate's list is there.
    pub(crate) fn listed_at(&self, names: &[&str], url: &str) -> Identity {
        let mut params = leaf_params(names);
        params.crl_distribution_points = vec![list_at(url)];
        self.leaf(&params)
    }

    /// Makes an authority whose intermediate is changed before it is signed.
    fn with_intermediate(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = ca_params(&format!("{name} root"));
        let root = root_params.self_signed(&root_key).unwrap();
        let intermediate_key = KeyPair::generate().unwrap();
        let mut intermediate_params = ca_params(&format!("{name} intermediate"));
        change(&mut intermediate_params);
        let issuer = Issuer::from_params(&root_params, &root_key);
        let intermediate = intermediate_params
            .signed_by(&intermediate_key, &issuer)
            .unwrap();
        Self {
            root,
            root_key,
            root_params,
            intermediate,
            intermediate_key,
            intermediate_params,
        }
    }

    /// The root certificate.
    pub(crate) fn root(&self) -> &CertificateDer<'static> {
        self.root.der()
    }

    /// The root certificate as PEM.
    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The root certificate in a file.
    pub(crate) fn root_file(&self) -> TemporaryFile {
        TemporaryFile::new("root.pem", self.root_pem().as_bytes())
    }

    /// A chain without fault for these DNS names, wildcards or IP addresses.
    pub(crate) fn good(&self, names: &[&str]) -> Identity {
        self.leaf(&leaf_params(names))
    }

    /// A leaf that ends in this time from now.
    pub(crate) fn ending_in(&self, names: &[&str], time: Duration) -> Identity {
        let mut params = leaf_params(names);
        params.not_after = date_time_ymd(1970, 1, 1) + since_1970() + time;
        self.leaf(&params)
    }

    /// A leaf that ended on 2015-04-12.
    pub(crate) fn expired(&self, names: &[&str]) -> Identity {
        let mut params = leaf_params(names);
        expired_in_2015(&mut params);
        self.leaf(&params)
    }

    /// A leaf that begins on 2100-01-10.
    pub(crate) fn not_yet_valid(&self, names: &[&str]) -> Identity {
        let mut params = leaf_params(names);
        params.not_before = date_time_ymd(2100, 1, 10);
        params.not_after = date_time_ymd(2101, 1, 10);
        self.leaf(&params)
    }

    /// A leaf that ends this long from now.
    pub(crate) fn ending(&self, names: &[&str], left: Duration) -> Identity {
        let mut params = leaf_params(names);
        params.not_after = date_time_ymd(1970, 1, 1) + from_now(left);
        self.leaf(&params)
    }

    /// A list of the intermediate with the leaves that it revokes, until this long from now.
    pub(crate) fn list(&self, revoked: &[&Identity], left: Duration) -> Vec<u8> {
        let leaves = revoked.iter().map(|identity| &identity.chain[0]);
        let issuer = Issuer::from_params(&self.intermediate_params, &self.intermediate_key);
        list(leaves, &issuer, from_now(left))
    }

    /// The same, out of date since 2024-11-23.
    pub(crate) fn old_list(&self, revoked: &[&Identity]) -> Vec<u8> {
        let leaves = revoked.iter().map(|identity| &identity.chain[0]);
        let issuer = Issuer::from_params(&self.intermediate_params, &self.intermediate_key);
        list(leaves, &issuer, Duration::from_secs(1_732_320_000))
    }

    /// A list of the root, which revokes the intermediate or nothing.
    pub(crate) fn root_list(&self, revokes: bool) -> Vec<u8> {
        let intermediate = revokes.then(|| self.intermediate.der());
        let issuer = Issuer::from_params(&self.root_params, &self.root_key);
        list(intermediate.into_iter(), &issuer, from_now(DAY))
    }

    /// A list of the root or the intermediate without entries, until then in seconds since 1970.
    pub(crate) fn list_until(&self, root: bool, end: u64) -> Vec<u8> {
        let issuer = match root {
            true => Issuer::from_params(&self.root_params, &self.root_key),
            false => Issuer::from_params(&self.intermediate_params, &self.intermediate_key),
        };
        list(std::iter::empty(), &issuer, Duration::from_secs(end))
    }

    /// A list in the root's name that another key signed; it revokes nothing.
    pub(crate) fn forged_root_list(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.root_params, &key);
        list(std::iter::empty(), &issuer, from_now(DAY))
    }

    /// A list in the intermediate's name, newer than any, that another key signed; it revokes
    /// nothing.
    pub(crate) fn forged_list(&self) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.intermediate_params, &key);
        list_made_in(2026, std::iter::empty(), &issuer, from_now(DAY))
    }

    /// A list of the intermediate made in that year, out of date since 2024-11-23, that revokes
    /// these leaves.
    pub(crate) fn list_made_in(&self, year: i32, revoked: &[&Identity]) -> Vec<u8> {
        let leaves = revoked.iter().map(|identity| &identity.chain[0]);
        let issuer = Issuer::from_params(&self.intermediate_params, &self.intermediate_key);
        list_made_in(year, leaves, &issuer, Duration::from_secs(1_732_320_000))
    }

    /// A list of the intermediate with that many serial numbers of nobody's on it.
    pub(crate) fn long_list(&self, length: usize) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.intermediate_params, &self.intermediate_key);
        let number = |at: usize| [&[0x7F; 8], &at.to_be_bytes()[..]].concat();
        list_of_serials(2024, (0..length).map(number), &issuer, from_now(DAY))
    }

    /// A leaf without any name.
    pub(crate) fn nameless(&self) -> Identity {
        self.leaf(&leaf_params(&[]))
    }

    /// A leaf for clients only.
    pub(crate) fn for_clients(&self, names: &[&str]) -> Identity {
        let mut params = leaf_params(names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.leaf(&params)
    }

    /// A CA certificate used as the server's own.
    pub(crate) fn ca_as_leaf(&self, names: &[&str]) -> Identity {
        let mut params = leaf_params(names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.leaf(&params)
    }

    /// A leaf with a critical extension that nobody knows.
    pub(crate) fn critical_extension(&self, names: &[&str]) -> Identity {
        let mut params = leaf_params(names);
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 4711], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
        self.leaf(&params)
    }

    /// A good leaf, sent without the intermediate.
    pub(crate) fn without_intermediate(&self, names: &[&str]) -> Identity {
        let mut identity = self.good(names);
        identity.chain.truncate(1);
        identity
    }

    /// A leaf whose signature has one bit turned over.
    pub(crate) fn broken_signature(&self, names: &[&str]) -> Identity {
        let mut identity = self.good(names);
        let mut leaf = identity.chain.remove(0).to_vec();
        *leaf.last_mut().expect("a byte") ^= 1;
        identity.chain.insert(0, leaf.into());
        identity
    }

    /// A leaf that claims to be signed with ECDSA over SHA-224, which nobody accepts.
    pub(crate) fn weak_signature(&self, names: &[&str]) -> Identity {
        const ECDSA_WITH_SHA256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
        let mut identity = self.good(names);
        let mut leaf = identity.chain.remove(0).to_vec();
        // Once in what is signed and once beside the signature.
        for at in 0..leaf.len() - ECDSA_WITH_SHA256.len() {
            let end = at + ECDSA_WITH_SHA256.len();
            if leaf[at..end] == ECDSA_WITH_SHA256 {
                leaf[end - 1] = 0x01;
            }
        }
        identity.chain.insert(0, leaf.into());
        identity
    }

    /// A good chain with the root at its end, which servers may send and clients don't need.
    pub(crate) fn with_root(&self, names: &[&str]) -> Identity {
        let mut identity = self.good(names);
        identity.chain.push(self.root().clone());
        identity
    }

    /// A good chain with a certificate before the intermediate that belongs to another one.
    pub(crate) fn with_stranger(&self, names: &[&str], stranger: &Identity) -> Identity {
        let mut identity = self.good(names);
        identity.chain.splice(1..1, stranger.chain.iter().cloned());
        identity
    }

    /// A leaf that is not DER.
    pub(crate) fn malformed(&self, names: &[&str]) -> Identity {
        let mut identity = self.good(names);
        identity.chain.insert(0, vec![0x30, 0x03, 0x01].into());
        identity
    }

    fn leaf(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.intermediate_params, &self.intermediate_key);
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.intermediate.der().clone()];
        Identity::new(chain, &key)
    }
}

/// An authority whose intermediate ended on 2016-07-03.
pub(crate) fn with_expired_intermediate() -> Authority {
    Authority::with_intermediate("expired", |params| {
        params.not_before = date_time_ymd(2015, 7, 3);
        params.not_after = date_time_ymd(2016, 7, 3);
    })
}

/// An authority whose intermediate may issue for `example.org` only.
pub(crate) fn with_name_constraint() -> Authority {
    Authority::with_intermediate("constrained", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: vec![],
        });
    })
}

/// A certificate that signed itself, with or without the CA flag that `openssl req -x509` sets.
pub(crate) fn self_signed(names: &[&str], ca: bool) -> Identity {
    self_signed_from(names, ca, |_| {})
}

/// A self-signed certificate with the CA flag that ended on 2015-04-12.
pub(crate) fn self_signed_ca_expired(names: &[&str]) -> Identity {
    self_signed_from(names, true, expired_in_2015)
}

/// A self-signed certificate with the CA flag, for clients only.
pub(crate) fn self_signed_ca_for_clients(names: &[&str]) -> Identity {
    self_signed_from(names, true, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
}

/// A self-signed certificate that ended on 2015-04-12.
pub(crate) fn self_signed_expired(names: &[&str]) -> Identity {
    self_signed_from(names, false, expired_in_2015)
}

/// A self-signed certificate with this common name, whatever it holds.
pub(crate) fn self_signed_named(common: &str, names: &[&str]) -> Identity {
    self_signed_from(names, false, |params| {
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, common);
    })
}

fn self_signed_from(
    names: &[&str],
    ca: bool,
    change: impl FnOnce(&mut CertificateParams),
) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = leaf_params(names);
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    Identity::new(vec![certificate.der().clone()], &key)
}

/// One day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A time since 1970.
#[allow(
    clippy::disallowed_methods,
    reason = "certificates end soon after now; benchmarks have another list of lints"
)]
fn from_now(left: Duration) -> Duration {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    Duration::from_secs(now.as_secs()) + left
}

/// A list of this issuer that names these certificates.
pub(crate) fn list<'c>(
    revoked: impl Iterator<Item = &'c CertificateDer<'static>>,
    issuer: &Issuer<'_, &KeyPair>,
    next_update: Duration,
) -> Vec<u8> {
    list_made_in(2024, revoked, issuer, next_update)
}

fn list_made_in<'c>(
    year: i32,
    revoked: impl Iterator<Item = &'c CertificateDer<'static>>,
    issuer: &Issuer<'_, &KeyPair>,
    next_update: Duration,
) -> Vec<u8> {
    use x509_cert::der::Decode;
    let serial = |der: &CertificateDer<'_>| {
        let read = x509_cert::Certificate::from_der(der).unwrap();
        let serial = read.tbs_certificate().serial_number();
        serial.as_bytes().to_vec()
    };
    list_of_serials(year, revoked.map(serial), issuer, next_update)
}

fn list_of_serials(
    year: i32,
    revoked: impl Iterator<Item = Vec<u8>>,
    issuer: &Issuer<'_, &KeyPair>,
    next_update: Duration,
) -> Vec<u8> {
    let revoked_certs = revoked.map(|serial| RevokedCertParams {
        serial_number: serial.into(),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(year, 1, 1),
        next_update: date_time_ymd(1970, 1, 1) + next_update,
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).unwrap().der().to_vec()
}

/// A CA certificate that belongs to nothing else and says that its issuer's list is there.
pub(crate) fn stray_listed_at(url: &str) -> CertificateDer<'static> {
    let mut params = ca_params("stray");
    params.crl_distribution_points = vec![list_at(url)];
    let issuer = Authority::new("nobody");
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::from_params(&issuer.root_params, &issuer.root_key);
    params.signed_by(&key, &issuer).unwrap().der().clone()
}

fn list_at(url: &str) -> CrlDistributionPoint {
    // What else may stand there is passed over.
    let uris = vec!["ldap://a.example/list".to_owned(), url.to_owned()];
    CrlDistributionPoint { uris }
}

/// A list as PEM.
pub(crate) fn list_pem(der: &[u8]) -> String {
    pem("X509 CRL", der)
}

/// A CA of this name, valid from 2020 to 2090, before anything else is changed in it.
pub(crate) fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for_long(&mut params);
    params
}

/// A server's certificate for these names, in the same way.
pub(crate) fn leaf_params(names: &[&str]) -> CertificateParams {
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(owned).unwrap();
    params.distinguished_name.remove(DnType::CommonName);
    let common = names.first().copied().unwrap_or("nameless");
    params.distinguished_name.push(DnType::CommonName, common);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    valid_for_long(&mut params);
    params
}

#[expect(clippy::disallowed_methods, reason = "certificates end by this clock")]
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
}

fn expired_in_2015(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2014, 4, 9);
    params.not_after = date_time_ymd(2015, 4, 12);
}

fn valid_for_long(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// A file that is removed at the end of the test.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    directory: PathBuf,
    path: PathBuf,
}

impl TemporaryFile {
    /// Writes a file of that name into a directory of its own.
    pub(crate) fn new(name: &str, contents: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("mqtt-https-bridge-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(unique);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, contents).unwrap();
        Self { directory, path }
    }

    /// Replaces the file, so that it is never seen half written.
    pub(crate) fn replace(&self, contents: &[u8]) {
        let new = self.directory.join("new");
        fs::write(&new, contents).unwrap();
        fs::rename(&new, &self.path).unwrap();
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
