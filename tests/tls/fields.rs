//! What else stands in certificates: version, serial number, keys, usages, extensions.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use crate::certificates::Identity;
use crate::maker::{Behind, Ca, extension, first, tlv, without_extensions};
use crate::nodes::HOST;
use crate::{Case, told};

const NAMES: &[&str] = &[HOST];
const NOT_X509: &str = "tls.bad_certificate - malformed certificate";

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let root = Ca::root("test root");
    let case = |why, identity: Identity, told: &str| Case::new(why, identity, root.pem(), told);
    let leaf = |why, change: &dyn Fn(&mut CertificateParams), told: &str| {
        case(why, root.leaf_with(NAMES, change), told)
    };
    let uses = |uses: &[ExtendedKeyUsagePurpose]| {
        let uses = uses.to_vec();
        move |params: &mut CertificateParams| params.extended_key_usages.clone_from(&uses)
    };
    let usage = |usages: &[KeyUsagePurpose]| {
        let usages = usages.to_vec();
        move |params: &mut CertificateParams| params.key_usages.clone_from(&usages)
    };
    let with = |oid: &[u64], content: &[u8], critical| {
        let extension = extension(oid, content.to_vec(), critical);
        move |params: &mut CertificateParams| params.custom_extensions = vec![extension.clone()]
    };
    let serial = |bytes: &[u8]| {
        let integer = tlv(0x02, bytes);
        root.changed_leaf(NAMES, move |fields| {
            let (version, rest) = first(fields);
            let (_, rest) = first(rest);
            *fields = [version, &integer, rest].concat();
        })
    };
    let key = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    let strange_ca = root.ca_with("strange ca", |params| {
        params.custom_extensions = vec![extension(&[1, 2, 3, 4], vec![5, 0], true)];
    });
    let mut other_key = root.leaf(NAMES);
    other_key.key = root.leaf(NAMES).key;
    let must_staple = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
    let status_request = &[0x30, 3, 2, 1, 5];
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, EmailProtection, ServerAuth};
    vec![
        // Keys.
        case(
            "P-384",
            root.leaf_of(NAMES, &key(&rcgen::PKCS_ECDSA_P384_SHA384), |_| {}),
            told::OK,
        ),
        case(
            "Ed25519",
            root.leaf_of(NAMES, &key(&rcgen::PKCS_ED25519), |_| {}),
            told::OK,
        ),
        case(
            "another key than the certificate's",
            other_key,
            "tls.handshake - the server did not prove that it holds the certificate's key",
        ),
        // What a key is for.
        leaf(
            "for servers and clients",
            &uses(&[ClientAuth, ServerAuth]),
            told::OK,
        ),
        leaf("for no stated use", &uses(&[]), told::OK),
        leaf(
            "for clients",
            &uses(&[ClientAuth]),
            "tls.bad_certificate - not meant for servers but for clients",
        ),
        leaf(
            "for code signing and e-mail",
            &uses(&[CodeSigning, EmailProtection]),
            "tls.bad_certificate - not meant for servers but for code signing, e-mail",
        ),
        leaf(
            "for any use",
            &uses(&[Any]),
            "tls.bad_certificate - not meant for servers but for any use",
        ),
        leaf("no key usage", &usage(&[]), told::OK),
        leaf(
            "signatures and encipherment",
            &usage(&[
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
            ]),
            told::OK,
        ),
        leaf(
            "encipherment only",
            &usage(&[KeyUsagePurpose::KeyEncipherment]),
            "tls.bad_certificate - its key usage does not allow signatures",
        ),
        leaf(
            "key agreement only",
            &usage(&[KeyUsagePurpose::KeyAgreement]),
            "tls.bad_certificate - its key usage does not allow signatures",
        ),
        leaf(
            "for clients and another name",
            &|params| {
                params.extended_key_usages = vec![ClientAuth];
                params.subject_alt_names.clear();
            },
            "tls.bad_certificate - not meant for servers but for clients",
        ),
        // Extensions.
        leaf(
            "an unknown extension",
            &with(&[1, 2, 3, 4], &[5, 0], false),
            told::OK,
        ),
        leaf(
            "an unknown critical extension",
            &with(&[1, 2, 3, 4], &[5, 0], true),
            "tls.bad_certificate - unknown critical extension 1.2.3.4",
        ),
        leaf(
            "a critical policy, which nobody checks",
            &with(&[2, 5, 29, 32], &[0x30, 6, 0x30, 4, 6, 2, 0x2A, 3], true),
            "tls.bad_certificate - unknown critical extension 2.5.29.32",
        ),
        leaf(
            "a policy",
            &with(&[2, 5, 29, 32], &[0x30, 6, 0x30, 4, 6, 2, 0x2A, 3], false),
            told::OK,
        ),
        leaf(
            "must-staple without a staple",
            &with(must_staple, status_request, false),
            told::OK,
        ),
        leaf(
            "critical must-staple",
            &with(must_staple, status_request, true),
            "tls.bad_certificate - unknown critical extension 1.3.6.1.5.5.7.1.24",
        ),
        leaf(
            "names that are no DER",
            &|params| {
                params.subject_alt_names.clear();
                params.custom_extensions =
                    vec![extension(&[2, 5, 29, 17], vec![0x30, 9, 1], false)];
            },
            NOT_X509,
        ),
        leaf(
            "key usage twice",
            &with(&[2, 5, 29, 15], &[3, 2, 7, 0x80], true),
            "tls.bad_certificate - extension 2.5.29.15 stands in it twice",
        ),
        leaf(
            "an extension twice that nobody looks at",
            &|params| {
                let one = extension(&[1, 2, 3, 4], vec![5, 0], false);
                params.custom_extensions = vec![one.clone(), one];
            },
            "tls.bad_certificate - extension 1.2.3.4 stands in it twice",
        ),
        leaf(
            "a use that is critical",
            &|params| {
                let for_servers = [0x30, 10, 6, 8, 0x2B, 6, 1, 5, 5, 7, 3, 1].to_vec();
                params.extended_key_usages.clear();
                params.custom_extensions = vec![extension(&[2, 5, 29, 37], for_servers, true)];
            },
            told::OK,
        ),
        // Nobody had certificates then.
        leaf(
            "a date before 1970",
            &|params| crate::maker::valid(params, 1955, 2090),
            NOT_X509,
        ),
        case(
            "an unknown critical extension of the intermediate",
            strange_ca.leaf(NAMES).and(&[strange_ca.der()]),
            "tls.bad_certificate - issuer CN=strange ca: unknown critical extension 1.2.3.4",
        ),
        leaf(
            "names that are critical",
            &|params| {
                params.subject_alt_names.clear();
                let names = tlv(0x30, &tlv(0x82, HOST.as_bytes()));
                params.custom_extensions = vec![extension(&[2, 5, 29, 17], names, true)];
            },
            told::OK,
        ),
        leaf(
            "name constraints of a server, which are for CAs",
            &with(
                &[2, 5, 29, 30],
                &[0x30, 7, 0xA0, 5, 0x30, 3, 0x82, 1, b'x'],
                true,
            ),
            told::OK,
        ),
        // Version and serial number.
        case(
            "version 1",
            root.changed_leaf(NAMES, |fields| {
                let (_, rest) = first(fields);
                let fields_without_extensions = without_extensions(rest);
                *fields = fields_without_extensions;
            }),
            "tls.bad_certificate - not an X.509 certificate of version 3",
        ),
        case(
            "version 2",
            root.changed_leaf(NAMES, |fields| fields[4] = 1),
            "tls.bad_certificate - not an X.509 certificate of version 3",
        ),
        case(
            "version 4",
            root.changed_leaf(NAMES, |fields| fields[4] = 3),
            "tls.bad_certificate - not an X.509 certificate of version 3",
        ),
        case("serial number 0", serial(&[0]), told::OK),
        case("a negative serial number", serial(&[0x80]), told::OK),
        case("a serial number of 40 bytes", serial(&[0x7F; 40]), told::OK),
        // Two names of the algorithm have to agree (RFC 5280 §4.1.1.2).
        case(
            "the signature algorithm inside is another one",
            root.changed_leaf(NAMES, |fields| {
                let sha256 = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
                let at = fields
                    .windows(8)
                    .position(|window| window == sha256)
                    .unwrap();
                fields[at + 7] = 0x03;
            }),
            "tls.bad_certificate - two signature algorithms are given, which differ",
        ),
        // Encoding.
        case("bytes behind it", longer(root.leaf(NAMES)), NOT_X509),
        case(
            "bytes behind its fields",
            root.changed_leaf(NAMES, |fields| fields.extend([5, 0])),
            NOT_X509,
        ),
        case("empty", replaced(root.leaf(NAMES), vec![]), NOT_X509),
        case(
            "garbage",
            replaced(root.leaf(NAMES), vec![0xFF; 300]),
            NOT_X509,
        ),
        case(
            "an empty sequence",
            replaced(root.leaf(NAMES), vec![0x30, 0]),
            NOT_X509,
        ),
        case(
            "a length beyond the end",
            replaced(root.leaf(NAMES), vec![0x30, 0x84, 0x7F, 0xFF, 0xFF, 0xFF]),
            NOT_X509,
        ),
        case(
            "nested a thousand times",
            replaced(
                root.leaf(NAMES),
                (0..1000).fold(vec![5, 0], |inner, _| tlv(0x30, &inner)),
            ),
            NOT_X509,
        ),
        case(
            "no certificate",
            Identity {
                chain: vec![],
                ..root.leaf(NAMES)
            },
            "tls.bad_certificate - the server showed no certificate",
        ),
        case(
            "dates that are none",
            root.changed_leaf(NAMES, |fields| {
                let at = fields
                    .windows(4)
                    .position(|window| window == b"2001")
                    .unwrap();
                fields[at..at + 4].copy_from_slice(b"2099");
            }),
            NOT_X509,
        ),
    ]
}

fn longer(identity: Identity) -> Identity {
    let der = [&identity.chain[0][..], &[0, 0]].concat();
    replaced(identity, der)
}

fn replaced(mut identity: Identity, der: Vec<u8>) -> Identity {
    identity.chain[0] = der.into();
    identity
}
