//! Who issued certificates, and whether they may.

use rcgen::{
    BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints,
};

use crate::certificates::{Identity, self_signed};
use crate::maker::{Behind, Ca, broken, cut};
use crate::nodes::HOST;
use crate::{Case, told};

const NAMES: &[&str] = &[HOST];

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let root = Ca::root("test root");
    let (one, other) = (root.ca("one"), Ca::root("other root"));
    let two = one.ca("two");
    let deep = deep_chain(&root, 6);
    let deeper = deep_chain(&root, 7);
    let case = |why, identity: Identity, told: &str| Case::new(why, identity, root.pem(), told);
    let trusting = |roots: &Ca, case: Case| Case {
        roots: roots.pem(),
        ..case
    };
    let namesake = Ca::root("test root");
    let identified = |params: &mut rcgen::CertificateParams| {
        params.use_authority_key_identifier_extension = true;
    };
    let known_as_other = other.ca("other ca");
    let crossed = known_as_other.cross_signed_by(&root);
    let leaf_as_ca = two.leaf_as_ca("www.site.example", |_| {});
    let no_basic = one.leaf_as_ca("plain", |params| params.is_ca = IsCa::NoCa);
    let mute = root.ca_with("mute ca", |params| {
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let for_clients = root.ca_with("clients' ca", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let for_both = root.ca_with("servers' ca", |params| {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
    });
    let short = root.ca_with("short ca", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let below_short = short.ca("below");
    let stranger = other.leaf(&["a.example"]);
    let mut crowd = one.leaf(NAMES);
    let strangers: Vec<_> = (0..48).map(|_| stranger.chain[0].clone()).collect();
    crowd.chain.extend(strangers);
    let fooling = other.leaf_with(&["other root"], |params| params.subject_alt_names.clear());
    let p384 = root.ca_of(
        "p384 ca",
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        |_| {},
    );
    let ed = root.ca_of(
        "ed25519 ca",
        KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        |_| {},
    );
    let impostor = root_like("one");
    vec![
        case("issued by the root itself", root.leaf(NAMES), told::OK),
        case(
            "with the root",
            root.leaf(NAMES).and(&[root.der()]),
            told::OK,
        ),
        case(
            "an intermediate",
            one.leaf(NAMES).and(&[one.der()]),
            told::OK,
        ),
        case(
            "two intermediates",
            two.leaf(NAMES).and(&[two.der(), one.der()]),
            told::OK,
        ),
        case(
            "out of order",
            two.leaf(NAMES).and(&[one.der(), two.der()]),
            told::OK,
        ),
        case(
            "out of order, the root between",
            two.leaf(NAMES).and(&[root.der(), one.der(), two.der()]),
            told::OK,
        ),
        case(
            "twice",
            two.leaf(NAMES)
                .and(&[two.der(), two.der(), one.der(), one.der()]),
            told::OK,
        ),
        case(
            "unrelated ones between",
            one.leaf(NAMES)
                .and(&[&stranger.chain[0], other.der(), one.der()]),
            told::OK,
        ),
        case(
            "48 unrelated ones between",
            crowd.and(&[one.der()]),
            told::OK,
        ),
        case(
            "garbage behind",
            one.leaf(NAMES).and(&[one.der(), &vec![7; 99].into()]),
            told::OK,
        ),
        case("six intermediates", deep, told::OK),
        case(
            "cross-signed by the trusted root",
            known_as_other.leaf(NAMES).and(&[&crossed]),
            told::OK,
        ),
        case(
            "both ways, the trusted one last",
            known_as_other
                .leaf(NAMES)
                .and(&[known_as_other.der(), other.der(), &crossed]),
            told::OK,
        ),
        case(
            "a CA with P-384",
            p384.leaf(NAMES).and(&[p384.der()]),
            told::OK,
        ),
        case(
            "a CA with Ed25519",
            ed.leaf(NAMES).and(&[ed.der()]),
            told::OK,
        ),
        case(
            "a CA for servers and clients",
            for_both.leaf(NAMES).and(&[for_both.der()]),
            told::OK,
        ),
        case(
            "a root that is trusted, its own signature broken",
            broken(root.leaf(NAMES).and(&[root.der()]), 1),
            told::OK,
        ),
        trusting(
            &one,
            case("the intermediate is trusted", one.leaf(NAMES), told::OK),
        ),
        // Unknown issuers.
        case(
            "unknown root",
            other.leaf(NAMES),
            "tls.unknown_issuer - issuer not known: CN=other root, and the server sent no intermediate",
        ),
        case(
            "unknown root and intermediate",
            known_as_other.leaf(NAMES).and(&[known_as_other.der()]),
            "tls.unknown_issuer - issuer not known: CN=other root",
        ),
        case(
            "unknown root, which is sent",
            other.leaf(NAMES).and(&[other.der()]),
            "tls.unknown_issuer - root not trusted: CN=other root",
        ),
        case(
            "unknown root behind an intermediate",
            known_as_other
                .leaf(NAMES)
                .and(&[known_as_other.der(), other.der()]),
            "tls.unknown_issuer - root not trusted: CN=other root",
        ),
        case(
            "intermediate not sent",
            one.leaf(NAMES),
            "tls.unknown_issuer - issuer not known: CN=one, and the server sent no intermediate",
        ),
        case(
            "second intermediate not sent",
            two.leaf(NAMES).and(&[two.der()]),
            "tls.unknown_issuer - issuer not known: CN=one",
        ),
        case(
            "first intermediate not sent",
            two.leaf(NAMES).and(&[one.der()]),
            "tls.unknown_issuer - issuer not known: CN=two",
        ),
        case(
            "another root of the same name",
            namesake.leaf(NAMES),
            "tls.unknown_issuer - not signed by the key of CN=test root",
        ),
        case(
            "another of the same name that identifies its key",
            namesake.leaf_with(NAMES, identified),
            "tls.unknown_issuer - not signed by the key of CN=test root",
        ),
        case(
            "another root of the same name, which is sent",
            namesake.leaf(NAMES).and(&[namesake.der()]),
            "tls.unknown_issuer - root not trusted: CN=test root",
        ),
        case(
            "another intermediate of the same name is sent",
            one.leaf_with(NAMES, identified).and(&[impostor.der()]),
            "tls.unknown_issuer - not signed by the CN=one that was sent, but by another",
        ),
        case(
            "unknown issuer and wrong name",
            other.leaf(&["a.example"]),
            "tls.unknown_issuer - issuer not known: CN=other root, and the server sent no intermediate",
        ),
        case(
            "its issuer has its own name",
            other.ca(HOST).leaf(NAMES),
            "tls.unknown_issuer - issuer not known: CN=site.example, and the server sent no intermediate",
        ),
        case(
            "a leaf with the name of a root",
            other.leaf(NAMES).and(&[&fooling.chain[0]]),
            "tls.bad_certificate - issuer CN=other root may not sign certificates",
        ),
        // Self-signed.
        case(
            "self-signed",
            self_signed(NAMES, false),
            "tls.self_signed - self-signed CN=site.example",
        ),
        case(
            "self-signed CA",
            self_signed(NAMES, true),
            "tls.self_signed - self-signed CN=site.example",
        ),
        case(
            "self-signed, with the trusted root behind",
            self_signed(NAMES, false).and(&[root.der()]),
            "tls.self_signed - self-signed CN=site.example",
        ),
        case(
            "self-signed for another name",
            self_signed(&["a.example"], false),
            "tls.self_signed - self-signed CN=a.example",
        ),
        // Issuers that may not.
        case(
            "issued by a leaf",
            leaf_as_ca
                .leaf(NAMES)
                .and(&[leaf_as_ca.der(), two.der(), one.der()]),
            "tls.bad_certificate - issuer CN=www.site.example is not a CA",
        ),
        case(
            "issued by one that doesn't say it is a CA",
            no_basic.leaf(NAMES).and(&[no_basic.der(), one.der()]),
            "tls.bad_certificate - issuer CN=plain is not a CA",
        ),
        case(
            "issued by a CA that may not sign certificates",
            mute.leaf(NAMES).and(&[mute.der()]),
            "tls.bad_certificate - issuer CN=mute ca may not sign certificates",
        ),
        case(
            "issued by a CA for clients",
            for_clients.leaf(NAMES).and(&[for_clients.der()]),
            "tls.bad_certificate - issuer CN=clients' ca is not meant for servers but for clients",
        ),
        case(
            "a path length that is kept",
            short.leaf(NAMES).and(&[short.der()]),
            told::OK,
        ),
        case(
            "a path length that is exceeded",
            below_short
                .leaf(NAMES)
                .and(&[below_short.der(), short.der()]),
            "tls.bad_certificate - issuer CN=short ca allows 0 CAs below it, the chain has 1",
        ),
        case(
            "seven intermediates",
            deeper,
            "tls.bad_certificate - the chain has more than 6 intermediates",
        ),
        case(
            "a CA as the server's own",
            root.ca_with(HOST, |params| {
                params.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
            })
            .alone(),
            "tls.bad_certificate - a CA certificate as the server's own",
        ),
        case(
            "the root as the server's own",
            named_root(),
            "tls.self_signed - self-signed CN=site.example",
        ),
        // Signatures.
        case(
            "broken signature",
            broken(one.leaf(NAMES).and(&[one.der()]), 0),
            "tls.bad_certificate - broken signature: not made with the key of CN=one",
        ),
        case(
            "broken signature of the intermediate",
            broken(two.leaf(NAMES).and(&[two.der(), one.der()]), 1),
            "tls.bad_certificate - broken signature: not made with the key of CN=one",
        ),
        case(
            "broken signature, the root identified",
            broken(root.leaf_with(NAMES, identified), 0),
            "tls.bad_certificate - broken signature: not made with the key of CN=test root",
        ),
        case(
            "broken signature, the root sent",
            broken(root.leaf(NAMES).and(&[root.der()]), 0),
            "tls.bad_certificate - broken signature: not made with the key of CN=test root",
        ),
        // Encoding.
        case(
            "cut off",
            cut(one.leaf(NAMES).and(&[one.der()]), 0),
            "tls.bad_certificate - malformed certificate",
        ),
        case(
            "intermediate cut off",
            cut(one.leaf(NAMES).and(&[one.der()]), 1),
            "tls.bad_certificate - malformed certificate, number 2 of the chain",
        ),
        constrained(
            &root,
            "permitted",
            dns(&["site.example"], &[]),
            NAMES,
            told::OK,
        ),
        constrained(
            &root,
            "permitted by its domain",
            dns(&["example"], &[]),
            NAMES,
            told::OK,
        ),
        constrained(
            &root,
            "not permitted",
            dns(&["example.org"], &[]),
            NAMES,
            "tls.bad_certificate - issuer CN=narrow ca may issue for example.org only",
        ),
        constrained(
            &root,
            "one of two names not permitted",
            dns(&["site.example"], &[]),
            &[HOST, "a.example"],
            "tls.bad_certificate - issuer CN=narrow ca may issue for site.example only",
        ),
        constrained(
            &root,
            "excluded",
            dns(&[], &["example"]),
            NAMES,
            "tls.bad_certificate - issuer CN=narrow ca may issue for all but example",
        ),
        constrained(
            &root,
            "not excluded",
            dns(&[], &["example.org"]),
            NAMES,
            told::OK,
        ),
        constrained(
            &root,
            "permitted network",
            network(true, 127),
            &["127.0.0.1"],
            told::OK,
        ),
        constrained(
            &root,
            "other network",
            network(true, 10),
            &["127.0.0.1"],
            "tls.bad_certificate - issuer CN=narrow ca may issue for 10.0.0.0/8 only",
        ),
        constrained(
            &root,
            "excluded network",
            network(false, 127),
            &["127.0.0.1"],
            "tls.bad_certificate - issuer CN=narrow ca may issue for all but 127.0.0.0/8",
        ),
        narrow_root(),
    ]
}

/// A chain of so many CAs below the root.
fn deep_chain(root: &Ca, count: usize) -> Identity {
    let mut cas = vec![root.ca("ca 0")];
    for number in 1..count {
        let next = cas[number - 1].ca(&format!("ca {number}"));
        cas.push(next);
    }
    let mut identity = cas[count - 1].leaf(NAMES);
    identity
        .chain
        .extend(cas.iter().rev().map(|ca| ca.der().clone()));
    identity
}

fn root_like(name: &str) -> Ca {
    Ca::root("test root").ca(name)
}

fn named_root() -> Identity {
    Ca::root_with(HOST, |params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(HOST.try_into().unwrap())];
    })
    .alone()
}

fn dns(permitted: &[&str], excluded: &[&str]) -> NameConstraints {
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned());
        names.map(GeneralSubtree::DnsName).collect()
    };
    NameConstraints {
        permitted_subtrees: names(permitted),
        excluded_subtrees: names(excluded),
    }
}

fn network(permitted: bool, first: u8) -> NameConstraints {
    let subnet = CidrSubnet::from_v4_prefix([first, 0, 0, 0], 8);
    let subtree = vec![GeneralSubtree::IpAddress(subnet)];
    let (permitted_subtrees, excluded_subtrees) = match permitted {
        true => (subtree, vec![]),
        false => (vec![], subtree),
    };
    NameConstraints {
        permitted_subtrees,
        excluded_subtrees,
    }
}

fn constrained(
    root: &Ca,
    why: &'static str,
    constraints: NameConstraints,
    names: &[&'static str],
    told: &str,
) -> Case {
    let ca = root.ca_with("narrow ca", |params| {
        params.name_constraints = Some(constraints);
    });
    Case {
        host: names[0],
        ..Case::new(why, ca.leaf(names).and(&[ca.der()]), root.pem(), told)
    }
}

fn narrow_root() -> Case {
    let root = Ca::root_with("narrow root", |params| {
        params.name_constraints = Some(dns(&["example.org"], &[]));
    });
    let told = "tls.bad_certificate - outside of its root's name constraints";
    Case::new(
        "the root's own constraint",
        root.leaf(NAMES),
        root.pem(),
        told,
    )
}
