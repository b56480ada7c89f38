//! Several faults at once: each pair has the verdict of the one that README names first.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};

use crate::Case;
use crate::maker::{Behind, Ca, broken, extension, valid};
use crate::nodes::HOST;

/// In README's order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    UnknownCritical,
    Expired,
    IssuerExpired,
    RootExpired,
    OtherUse,
    Weak,
    NoCa,
    Broken,
    TooLong,
    Revoked,
    IssuerRevoked,
    WrongName,
    NotPinned,
}

const FAULTS: [(Fault, &str); 13] = [
    (
        Fault::UnknownCritical,
        "tls.bad_certificate - unknown critical extension 1.2.3.4",
    ),
    (Fault::Expired, "tls.expired - expired 2015-01-01"),
    (
        Fault::IssuerExpired,
        "tls.expired - issuer CN=our ca expired 2016-01-01",
    ),
    (
        Fault::RootExpired,
        "tls.expired - root CN=our root expired 2017-01-01",
    ),
    (
        Fault::OtherUse,
        "tls.bad_certificate - not meant for servers but for clients",
    ),
    (
        Fault::Weak,
        "tls.weak - its signature is ECDSA with SHA-224, which is too weak",
    ),
    (
        Fault::NoCa,
        "tls.bad_certificate - issuer CN=our ca is not a CA",
    ),
    (
        Fault::Broken,
        "tls.bad_certificate - broken signature: not made with the key of CN=our ca",
    ),
    (
        Fault::TooLong,
        "tls.bad_certificate - root CN=our root allows 0 CAs below it, the chain has 1",
    ),
    (Fault::Revoked, "tls.revoked - revoked by its issuer"),
    (
        Fault::IssuerRevoked,
        "tls.revoked - its issuer CN=our ca: revoked by its issuer",
    ),
    (
        Fault::WrongName,
        "tls.wrong_name - for a.example, not for site.example",
    ),
    (Fault::NotPinned, "tls.pin_mismatch"),
];

/// Those that one list or one verdict can't tell apart, or of which either may be told.
const TOGETHER: [(Fault, Fault); 3] = [
    (Fault::NoCa, Fault::Broken),
    (Fault::Revoked, Fault::IssuerRevoked),
    (Fault::Weak, Fault::Broken),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, (first, told)) in FAULTS.iter().enumerate() {
        for (second, _) in FAULTS.iter().skip(at + 1) {
            if !TOGETHER.contains(&(*first, *second)) {
                cases.push(with(&[*first, *second], told));
            }
        }
    }
    cases
}

fn with(faults: &[Fault], told: &str) -> Case {
    let has = |fault| faults.contains(&fault);
    let root = Ca::root_with("our root", |params| {
        if has(Fault::RootExpired) {
            valid(params, 2010, 2017);
        }
        if has(Fault::TooLong) {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        }
    });
    let ca = root.ca_with("our ca", |params| {
        if has(Fault::IssuerExpired) {
            valid(params, 2010, 2016);
        }
        if has(Fault::NoCa) {
            params.is_ca = IsCa::ExplicitNoCa;
        }
    });
    let name = if has(Fault::WrongName) {
        "a.example"
    } else {
        HOST
    };
    let mut identity = ca.leaf_with(&[name], |params| {
        if has(Fault::Expired) {
            valid(params, 2014, 2015);
        }
        if has(Fault::OtherUse) {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        if has(Fault::UnknownCritical) {
            params.custom_extensions = vec![extension(&[1, 2, 3, 4], vec![5, 0], true)];
        }
    });
    let list = match (has(Fault::Revoked), has(Fault::IssuerRevoked)) {
        (true, _) => Some(ca.list(&[&identity.chain[0]])),
        (_, true) => Some(root.list(&[ca.der()])),
        _ => None,
    };
    if has(Fault::Weak) {
        identity.chain[0] = sha224(&identity.chain[0]).into();
    }
    if has(Fault::Broken) {
        identity = broken(identity, 0);
    }
    let case = Case::new("two faults", identity.and(&[ca.der()]), root.pem(), told);
    Case {
        list,
        lines: match has(Fault::NotPinned) {
            true => "pins = [\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n",
            false => "",
        },
        ..case
    }
}

/// Says in both places that it is signed with another algorithm; nobody gets as far as to try it.
fn sha224(der: &[u8]) -> Vec<u8> {
    const SHA256: [u8; 8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02];
    let mut der = der.to_vec();
    let places: Vec<usize> = (0..der.len() - 8)
        .filter(|at| der[*at..at + 8] == SHA256)
        .collect();
    for at in places {
        der[at + 7] = 0x01;
    }
    der
}
