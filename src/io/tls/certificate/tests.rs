//! Certificates of our own making, and all others as x509-cert reads them.

mod reference;
mod samples;

use proptest::collection::vec;
use proptest::prelude::*;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::DB;
use x509_cert::name::Name as TheirName;

use super::*;
use crate::core::calendar::date;
use crate::io::http::support::certificates::Authority;
use crate::io::tls::certificate::tests::reference::Reference;
use crate::io::tls::certificate::tests::samples::{Change, change};
use crate::io::tls::name::attribute::short_name;
use crate::io::tls::points::Scope;

#[test]
fn a_certificate_is_told_in_words() {
    let identity = Authority::new("test").good(&["a.example", "192.0.2.1", "2001:db8::1"]);
    let leaf = Certificate::read(&identity.chain[0]).unwrap();
    assert_eq!(leaf.subject, "CN=a.example");
    assert_eq!(leaf.issuer, "CN=test intermediate");
    assert_eq!(leaf.names, ["a.example", "192.0.2.1", "2001:db8::1"]);
    assert_eq!(date(leaf.not_before), "2020-01-01");
    assert_eq!(date(leaf.not_after), "2090-01-01");
    assert_eq!(leaf.key.name, "ECDSA P-256");
    assert_eq!(leaf.signed_with.name, "ECDSA with SHA-256");
    assert_eq!(leaf.uses, ["servers"]);
    assert!(leaf.for_servers && leaf.may_sign && !leaf.may_issue);
    assert!(!leaf.self_issued);
    assert_eq!(show_pin(&leaf.pin).len(), 51);
    assert_eq!(Certificate::read(b"no certificate"), None);
}

#[test]
fn the_end_is_found_where_the_whole_reading_finds_it() {
    let authority = Authority::new("test");
    for identity in [
        authority.good(&["a.example"]),
        authority.expired(&["a.example"]),
        authority.not_yet_valid(&["a.example"]),
    ] {
        for der in &identity.chain {
            let whole = Certificate::read(der).unwrap().not_after;
            assert_eq!(end(der), Some(whole));
            for length in 0..der.len() {
                assert_eq!(end(&der[..length]), None, "cut off at {length}");
            }
        }
    }
}

#[test]
fn a_chain_ends_with_its_leaf_or_an_issuer_that_is_still_valid() {
    let authority = Authority::new("test");
    let expired = authority.expired(&["a.example"]).chain.remove(0);
    let good = authority.good(&["a.example"]).chain.remove(0);
    let [late, end] = [&expired, &good].map(|one| Certificate::read(one).unwrap().not_after);
    let cases = [
        ([&good, &expired], 1_700_000_000, end),
        ([&good, &expired], late + 61, end),
        ([&good, &expired], late + 60, late),
        ([&expired, &good], 1_700_000_000, late),
    ];
    for (chain, now, expected) in cases {
        assert_eq!(
            earliest_end(chain.map(|one| &**one).into_iter(), now),
            expected
        );
    }
    assert_eq!(earliest_end([&b"x"[..]].into_iter(), 0), 0);
}

/// Whether names of these kinds are told here as x509-cert tells them, which knows words for
/// identifiers that are no attributes, too.
fn is_told_alike(name: &TheirName) -> bool {
    name.iter().all(|one| {
        let known = DB.find_names_for_oid(one.oid).next().is_some();
        known == short_name(one.oid.as_bytes()).is_some()
    })
}

/// Compares what is read of a certificate; returns whether it is one.
fn compare(der: &[u8]) -> bool {
    let (ours, theirs) = (Certificate::read(der), Reference::read(der));
    assert_eq!(ours.is_some(), theirs.is_some());
    let (Some(mut ours), Some(theirs)) = (ours, theirs) else {
        assert_eq!(subject_name(der), None);
        assert_eq!(list_urls(der), None);
        assert!(!may_sign_lists(der));
        return false;
    };
    assert_eq!(subject_name(der), theirs.subject_name());
    assert_eq!(list_urls(der), theirs.list_urls());
    assert_eq!(may_sign_lists(der), theirs.may_sign_lists());
    let expected = theirs.in_words(der);
    // Names are compared as they stand there, as WebPKI does it; x509-cert sorts attributes.
    assert_eq!(ours.self_issued, ours.subject_der == ours.issuer_der);
    for name in [&mut ours.subject_der, &mut ours.issuer_der] {
        let sorted = TheirName::from_der(&sequence(name)).unwrap();
        *name = reference::name_der(&sorted);
    }
    ours.self_issued = ours.subject_der == ours.issuer_der;
    if !is_told_alike(theirs.subject()) {
        ours.subject.clone_from(&expected.subject);
    }
    if !is_told_alike(theirs.issuer()) {
        ours.issuer.clone_from(&expected.issuer);
    }
    assert_eq!(ours, expected);
    true
}

/// Compares what is read of an issuing distribution point.
fn compare_point(der: &[u8]) {
    assert_eq!(Scope::read(der), reference::scope(der));
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(
        (any::<usize>(), any::<u8>(), any::<u8>(), any::<u8>()),
        1..4,
    )
}

#[test]
fn samples_are_certificates_with_everything() {
    let read = |der: &Vec<u8>| Certificate::read(der).unwrap();
    let read: Vec<_> = samples::samples().iter().map(read).collect();
    for sample in samples::samples() {
        assert!(compare(&sample));
    }
    compare_point(&samples::point());
    assert_eq!(read[1].subject, "CN=a.example é");
    assert_eq!(read[1].names, ["a.example", "192.0.2.1"]);
    assert_eq!(read[1].uses, ["servers", "any use", "1.2.3"]);
    assert_eq!((read[1].is_ca, read[1].path_length), (true, Some(3)));
    assert_eq!(read[1].key_ids, (Some(vec![1, 2]), Some(vec![1, 2])));
    assert_eq!(
        read[2].subject,
        r"2.5.4.11=#9f81010178,EMAIL=@,2.5.4.10=#1e0400412603,OU=\#a \\b\ +OU=\ x\,\+é\7f+DC=a"
    );
    let constraint = "a.example only, but not 192.0.2.0/24";
    assert_eq!(read[3].constraint.as_deref(), Some(constraint));
    assert_eq!(read[3].unknown_critical, ["2.5.29.99"]);
    assert_eq!(read[4].subject, "(no name)");
    let urls = list_urls(&samples::samples()[1]);
    assert_eq!(urls.unwrap(), ["http://a.example/"]);
    let scope = Scope::read(&samples::point()).unwrap();
    assert_eq!(scope.urls, ["http://a.example/"]);
    assert!(scope.issuers_only && !scope.users_only);
}

#[test]
fn roots_are_named_as_x509_cert_names_them() {
    for root in webpki_roots::TLS_SERVER_ROOTS {
        let name = TheirName::from_der(&sequence(&root.subject)).unwrap();
        assert_eq!(name_of(&root.subject), reference::words(&name));
    }
}

#[test]
fn short_names_are_the_known_ones() {
    for last in 0..=u8::MAX {
        let oid = format!("2.5.4.{last}");
        let Ok(oid) = oid.parse::<x509_cert::der::oid::ObjectIdentifier>() else {
            continue;
        };
        let known = DB.find_names_for_oid(oid).map(str::to_ascii_uppercase);
        let shortest = known.min_by_key(String::len);
        // id-at-role, which no certificate has.
        if last != 72 {
            let ours = short_name(oid.as_bytes()).map(ToOwned::to_owned);
            assert_eq!(ours, shortest, "{oid}");
        }
    }
}

proptest! {
    // What fails becomes a named test. PROPTEST_CASES=250000 compares a million.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases * 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_certificates_are_read_as_x509_cert_reads_them(
        sample in any::<prop::sample::Index>(),
        changes in changes(),
        bytes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
    ) {
        thread_local! {
            static SAMPLES: Vec<Vec<u8>> = samples::samples();
        }
        let mut der = SAMPLES.with(|samples| sample.get(samples).clone());
        compare(&changes.iter().fold(der.clone(), |der, one| change(&der, *one)));
        for (at, value) in bytes {
            let at = at.index(der.len());
            der[at] = value;
            compare(&der);
        }
    }

    #[test]
    fn damaged_points_are_read_as_x509_cert_reads_them(changes in changes()) {
        compare_point(&changes.iter().fold(samples::point(), |der, one| change(&der, *one)));
    }

    #[test]
    fn times_are_read_as_x509_cert_reads_them(
        tag in 0x17_u8..=0x18,
        text in "([0-9][0-9])?[0-9]{2}(0[0-9]|1[0-3])([0-3][0-9])([0-2][0-9])([0-6][0-9]){2}Z?",
    ) {
        let der = samples::tlv(tag, &[text.as_bytes()]);
        prop_assert_eq!(time::seconds(&element(&der).unwrap()), reference::seconds(&der));
    }
}
