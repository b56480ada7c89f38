//! What roots say of themselves, and ways to them that are long, many or in circles.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::CertificateDer;

use crate::certificates::Identity;
use crate::maker::{Behind, Ca, extension, first, valid, without_extensions};
use crate::nodes::HOST;
use crate::{Case, told};

const NAMES: &[&str] = &[HOST];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = limits();
    cases.extend(ways());
    cases.extend(versions());
    cases.extend(names());
    cases
}

fn pem(der: &CertificateDer<'static>, like: &Ca) -> String {
    let chain = vec![der.clone()];
    Identity {
        chain,
        ..like.alone()
    }
    .leaf_pem()
}

/// What roots allow.
#[expect(clippy::too_many_lines, reason = "a table")]
fn limits() -> Vec<Case> {
    let limited = |change: &dyn Fn(&mut CertificateParams)| {
        let root = Ca::root_with("our root", change);
        let ca = root.ca("our ca");
        (root, ca)
    };
    let length = |most| {
        move |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        }
    };
    let (none, ca) = limited(&length(0));
    let (one, below) = limited(&length(1));
    let two = below.ca("second ca");
    let (plain, _) = limited(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let (mute, mute_ca) = limited(&|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    let (clients, clients_ca) = limited(&|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (both, both_ca) = limited(&|params| {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
    });
    let again = none.renewed_by(&none, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let behind = |ca: &Ca| ca.leaf(NAMES).and(&[ca.der()]);
    vec![
        Case::new(
            "a root's path length is kept",
            none.leaf(NAMES),
            none.pem(),
            told::OK,
        ),
        Case::new(
            "a root's path length is exceeded",
            behind(&ca),
            none.pem(),
            "tls.bad_certificate - root CN=our root allows 0 CAs below it, the chain has 1",
        ),
        Case::new(
            "so, with the root",
            behind(&ca).and(&[none.der()]),
            none.pem(),
            "tls.bad_certificate - root CN=our root allows 0 CAs below it, the chain has 1",
        ),
        Case::new(
            "another certificate of the root allows it",
            behind(&ca),
            none.pem() + &pem(&again, &none),
            told::OK,
        ),
        Case::new(
            "a root's path length of 1",
            behind(&below),
            one.pem(),
            told::OK,
        ),
        Case::new(
            "a root's path length of 1 is exceeded",
            two.leaf(NAMES).and(&[two.der(), below.der()]),
            one.pem(),
            "tls.bad_certificate - root CN=our root allows 1 CAs below it, the chain has 2",
        ),
        Case::new(
            "a root that is no CA",
            plain.leaf(NAMES),
            plain.pem(),
            "tls.bad_certificate - root CN=our root is not a CA",
        ),
        Case::new(
            "a root that may not sign certificates",
            behind(&mute_ca),
            mute.pem(),
            "tls.bad_certificate - root CN=our root may not sign certificates",
        ),
        Case::new(
            "a root for clients",
            behind(&clients_ca),
            clients.pem(),
            "tls.bad_certificate - root CN=our root is not meant for servers but for clients",
        ),
        Case::new(
            "a root for servers too",
            behind(&both_ca),
            both.pem(),
            told::OK,
        ),
    ]
}

/// Ways to a root.
#[expect(clippy::too_many_lines, reason = "a table")]
fn ways() -> Vec<Case> {
    let root = Ca::root("our root");
    let ca = root.ca("our ca");
    let case = |why, identity: Identity, told: &str| Case::new(why, identity, root.pem(), told);
    let (a, b) = (Ca::root("a"), Ca::root("b"));
    let circle = [a.cross_signed_by(&b), b.cross_signed_by(&a)];
    let crowd = |count: usize| {
        let stranger = Ca::root("stranger").leaf(&["a.example"]);
        let mut crowd = ca.leaf(NAMES);
        crowd
            .chain
            .extend((0..count).map(|_| stranger.chain[0].clone()));
        crowd.and(&[ca.der()])
    };
    let impostors = |count: usize| {
        let mut crowd = ca.leaf(NAMES);
        crowd
            .chain
            .extend((0..count).map(|_| root.ca("our ca").der().clone()));
        crowd.and(&[ca.der()])
    };
    let past = root.renewed_by(&root, |params| valid(params, 2010, 2016));
    let old_ca = ca.renewed_by(&root, |params| valid(params, 2010, 2016));
    let for_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    vec![
        case(
            "a circle of CAs that signed each other",
            a.leaf(NAMES).and(&[&circle[0], &circle[1]]),
            "tls.unknown_issuer - issuer not known: CN=a",
        ),
        case("a chain of a hundred certificates", crowd(98), told::OK),
        case("40 others of the issuer's name", impostors(40), told::OK),
        case(
            "an old certificate of the trusted root is sent",
            ca.leaf(NAMES).and(&[ca.der(), &past]),
            told::OK,
        ),
        case(
            "for clients, an old certificate of its issuer beside the new one",
            ca.leaf_with(NAMES, for_clients).and(&[&old_ca, ca.der()]),
            "tls.bad_certificate - not meant for servers but for clients",
        ),
        case(
            "for clients, an old certificate of its issuer alone",
            ca.leaf_with(NAMES, for_clients).and(&[&old_ca]),
            "tls.expired - issuer CN=our ca expired 2016-01-01",
        ),
        case(
            "the leaf twice",
            {
                let leaf = ca.leaf(NAMES);
                let again = leaf.chain[0].clone();
                leaf.and(&[&again, ca.der()])
            },
            told::OK,
        ),
        case(
            "the certificate of another server first",
            {
                let mut leaf = ca.leaf(NAMES);
                leaf.chain
                    .insert(0, ca.leaf(&["a.example"]).chain[0].clone());
                leaf.and(&[ca.der()])
            },
            "tls.wrong_name - for a.example, not for site.example",
        ),
        case(
            "an intermediate that is never valid",
            {
                let never = root.ca_with("never ca", |params| valid(params, 2085, 2015));
                never.leaf(NAMES).and(&[never.der()])
            },
            "tls.bad_certificate - valid from 2085-01-01 until 2015-01-01, which is never",
        ),
        case(
            "an intermediate with an extension twice",
            {
                let twice = root.ca_with("twice ca", |params| {
                    let one = extension(&[1, 2, 3, 4], vec![5, 0], false);
                    params.custom_extensions = vec![one.clone(), one];
                });
                twice.leaf(NAMES).and(&[twice.der()])
            },
            "tls.bad_certificate - issuer CN=twice ca: extension 1.2.3.4 stands in it twice",
        ),
    ]
}

/// Issuers of older versions.
fn versions() -> Vec<Case> {
    let root = Ca::root("our root");
    let ca = root.ca("our ca");
    let strip = |fields: &mut Vec<u8>| {
        let (_, rest) = first(fields);
        *fields = without_extensions(rest);
    };
    let old_root = root.sign_again(root.der(), strip);
    let old_ca = root.sign_again(ca.der(), strip);
    let stranger = Ca::root("stranger");
    let old_stranger = stranger.sign_again(stranger.der(), strip);
    vec![
        Case::new(
            "a root of version 1",
            ca.leaf(NAMES).and(&[ca.der()]),
            pem(&old_root, &root),
            told::OK,
        ),
        Case::new(
            "a root of version 1, which is sent",
            ca.leaf(NAMES).and(&[ca.der(), &old_root]),
            pem(&old_root, &root),
            told::OK,
        ),
        Case::new(
            "an intermediate of version 1",
            ca.leaf(NAMES).and(&[&old_ca]),
            root.pem(),
            "tls.bad_certificate - issuer CN=our ca is not an X.509 certificate of version 3",
        ),
        Case::new(
            "an unknown root of version 1",
            stranger.leaf(NAMES).and(&[&old_stranger]),
            root.pem(),
            "tls.unknown_issuer - root not trusted: CN=stranger",
        ),
    ]
}

/// Kinds of name constraints, and names as they are asked for.
fn names() -> Vec<Case> {
    let root = Ca::root("our root");
    let narrow = |subtrees: Vec<GeneralSubtree>, host: &'static str, told: &str| {
        let ca = root.ca_with("narrow ca", |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees,
                excluded_subtrees: vec![],
            });
        });
        Case {
            host,
            ..Case::new(
                "narrow",
                ca.leaf(&[host]).and(&[ca.der()]),
                root.pem(),
                told,
            )
        }
    };
    let dns = |name: &str| vec![GeneralSubtree::DnsName(name.to_owned())];
    let asked = |host, names: &[&str], told: &str| Case {
        host,
        ..Case::new("asked", root.leaf(names), root.pem(), told)
    };
    vec![
        narrow(dns(".site.example"), "www.site.example", told::OK),
        narrow(
            dns("www.site.example"),
            HOST,
            "tls.bad_certificate - issuer CN=narrow ca may issue for www.site.example only",
        ),
        narrow(dns("SITE.example"), HOST, told::OK),
        narrow(
            dns("ite.example"),
            HOST,
            "tls.bad_certificate - issuer CN=narrow ca may issue for ite.example only",
        ),
        narrow(
            vec![GeneralSubtree::Rfc822Name("site.example".to_owned())],
            HOST,
            told::OK,
        ),
        asked("localhost", &["localhost"], told::OK),
        asked("1.2.3.4.example", &["1.2.3.4.example"], told::OK),
        asked(
            "[::ffff:127.0.0.1]",
            &["127.0.0.1"],
            "tls.wrong_name - for 127.0.0.1, not for ::ffff:127.0.0.1",
        ),
    ]
}
