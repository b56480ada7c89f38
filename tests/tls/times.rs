//! When certificates are valid.

use crate::certificates::Identity;
use crate::maker::{Behind, Ca, contents, first, tlv, today, valid, valid_around_now};
use crate::nodes::HOST;
use crate::{Case, told};

const UTC: u8 = 0x17;
const GENERALIZED: u8 = 0x18;
const MALFORMED: &str = "tls.bad_certificate - malformed certificate";

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let root = Ca::root("test root");
    let ca = root.ca("test ca");
    let past = root.ca_with("old ca", |params| valid(params, 2010, 2016));
    let future = root.ca_with("next ca", |params| valid(params, 2080, 2090));
    let case = |why, identity: Identity, told: &str| Case::new(why, identity, root.pem(), told);
    let leaf = |from, until| {
        let leaf = ca.leaf_with(&[HOST], |params| valid(params, from, until));
        leaf.and(&[ca.der()])
    };
    let around_now = |from, until| {
        let leaf = ca.leaf_with(&[HOST], |params| valid_around_now(params, from, until));
        leaf.and(&[ca.der()])
    };
    let renewed = {
        // The same CA with an old certificate and a good one: either may come first.
        let old = root.ca_with("renewed ca", |params| valid(params, 2010, 2016));
        let leaf = old.leaf(&[HOST]);
        (leaf, old)
    };
    let fresh = renewed
        .1
        .renewed_by(&root, |params| valid(params, 2020, 2090));
    let (leaf_of_renewed, old) = renewed;
    let again = |first, second| leaf_of_renewed.clone().and(&[first, second]);
    let ended = format!("tls.expired - expired {}", today());
    let aged = |why, from, until, told: &str| {
        let root = Ca::root_with("aged root", |params| valid(params, from, until));
        let ca = root.ca("aged ca");
        Case::new(why, ca.leaf(&[HOST]).and(&[ca.der()]), root.pem(), told)
    };
    let replaced = {
        // The owner trusts the old root and its successor.
        let old = Ca::root_with("kept root", |params| valid(params, 2010, 2016));
        let leaf = old.leaf(&[HOST]);
        let new = old.renewed_by(&old, |params| valid(params, 2015, 2090));
        let new = Identity {
            chain: vec![new],
            ..leaf.clone()
        };
        Case::new(
            "a root that was renewed",
            leaf,
            old.pem() + &new.leaf_pem(),
            told::OK,
        )
    };
    // The end of a good certificate, written in another way.
    let written = |tag: u8, end: &[u8]| {
        root.changed_leaf(&[HOST], |fields| {
            let (version, rest) = first(fields);
            let (serial, rest) = first(rest);
            let (algorithm, rest) = first(rest);
            let (issuer, rest) = first(rest);
            let (validity, rest) = first(rest);
            let (begin, _) = first(contents(validity));
            let validity = tlv(0x30, &[begin, &tlv(tag, end)].concat());
            *fields = [version, serial, algorithm, issuer, &validity, rest].concat();
        })
    };
    vec![
        aged(
            "expired root",
            2010,
            2016,
            "tls.expired - root CN=aged root expired 2016-01-01",
        ),
        aged(
            "root not yet valid",
            2080,
            2090,
            "tls.not_yet_valid - root CN=aged root not valid before 2080-01-01",
        ),
        Case {
            roots: past_root().pem() + &root.pem(),
            ..case("another root has expired", leaf(2020, 2090), told::OK)
        },
        replaced,
        case("expired", leaf(2014, 2015), told::EXPIRED_2015),
        case(
            "expired intermediate",
            past.leaf(&[HOST]).and(&[past.der()]),
            "tls.expired - issuer CN=old ca expired 2016-01-01",
        ),
        case(
            "expired, like its intermediate: the leaf counts",
            past.leaf_with(&[HOST], |params| valid(params, 2014, 2015))
                .and(&[past.der()]),
            told::EXPIRED_2015,
        ),
        case(
            "not yet valid",
            leaf(2080, 2090),
            "tls.not_yet_valid - not valid before 2080-01-01",
        ),
        case(
            "intermediate not yet valid",
            future.leaf(&[HOST]).and(&[future.der()]),
            "tls.not_yet_valid - issuer CN=next ca not valid before 2080-01-01",
        ),
        case("ended two seconds ago", around_now(-100, -2), &ended),
        case("ends in an hour", around_now(-100, 3600), told::OK),
        case("began two seconds ago", around_now(-2, 3600), told::OK),
        case(
            "begins in two days",
            around_now(2 * 86_400, 3 * 86_400),
            &format!("tls.not_yet_valid - not valid before {}", {
                let days = std::time::Duration::from_secs(2 * 86_400);
                crate::maker::date_after(days)
            }),
        ),
        case(
            "ends before it begins",
            leaf(2085, 2015),
            "tls.bad_certificate - valid from 2085-01-01 until 2015-01-01, which is never",
        ),
        case("began long ago", leaf(1975, 2090), told::OK),
        case("has no end (RFC 5280 §4.1.2.5)", leaf(2020, 9999), told::OK),
        case("dates beyond 2038 and 2050", leaf(2020, 2060), told::OK),
        case(
            "an old certificate of the intermediate beside its new one",
            again(old.der(), &fresh),
            told::OK,
        ),
        case(
            "the same, the new one first",
            again(&fresh, old.der()),
            told::OK,
        ),
        case(
            "expired and for another name",
            ca.leaf_with(&["a.example"], |params| valid(params, 2014, 2015))
                .and(&[ca.der()]),
            told::EXPIRED_2015,
        ),
        case(
            "expired and of an unknown issuer",
            Ca::root("other root").leaf_with(&[HOST], |params| valid(params, 2014, 2015)),
            told::EXPIRED_2015,
        ),
        case(
            "expired and for clients",
            ca.leaf_with(&[HOST], |params| {
                valid(params, 2014, 2015);
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
            })
            .and(&[ca.der()]),
            told::EXPIRED_2015,
        ),
        // RFC 5280 §4.1.2.5 has one way to write each time; the other type is all that passes.
        case("UTCTime", written(UTC, b"491231235959Z"), told::OK),
        case(
            "two digits of 1950",
            written(UTC, b"500101000000Z"),
            MALFORMED,
        ),
        case(
            "GeneralizedTime before 2050",
            written(GENERALIZED, b"20490101000000Z"),
            told::OK,
        ),
        case("9999", written(GENERALIZED, b"99991231235959Z"), told::OK),
        case("no seconds", written(UTC, b"4901010000Z"), MALFORMED),
        case("an offset", written(UTC, b"490101000000+0100"), MALFORMED),
        case("no time zone", written(UTC, b"490101000000"), MALFORMED),
        case(
            "part of a second",
            written(GENERALIZED, b"20900101000000.5Z"),
            MALFORMED,
        ),
        case(
            "the 30th of February",
            written(GENERALIZED, b"20900230000000Z"),
            MALFORMED,
        ),
        case(
            "month 13",
            written(GENERALIZED, b"20901301000000Z"),
            MALFORMED,
        ),
        case(
            "hour 24",
            written(GENERALIZED, b"20900101240000Z"),
            MALFORMED,
        ),
        case(
            "a leap second",
            written(GENERALIZED, b"20901231235960Z"),
            MALFORMED,
        ),
        case("letters", written(UTC, b"49a101000000Z"), MALFORMED),
        case("a number instead", written(0x02, b"1"), MALFORMED),
        case("no bytes", written(UTC, b""), MALFORMED),
    ]
}

fn past_root() -> Ca {
    Ca::root_with("past root", |params| valid(params, 2010, 2016))
}
