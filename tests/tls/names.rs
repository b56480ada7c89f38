//! Whom certificates are for.

use crate::certificates::Identity;
use crate::maker::{Behind, Ca};
use crate::nodes::HOST;
use crate::{Case, told};

const DNS: u8 = 0x82;
const MAIL: u8 = 0x81;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<Case> {
    let root = Ca::root("test root");
    let by_name = |host, names: &[&str], told: &str| named(&root, host, root.leaf(names), told);
    let by_bytes = |host, names: &[(u8, &[u8])], told: &str| {
        named(&root, host, root.leaf_with_san(names), told)
    };
    let not = |names: &str, host: &str| format!("tls.wrong_name - for {names}, not for {host}");
    let many = |count: usize, ours: &str| {
        let names = (0..count).map(|number| format!("{number}.example.net"));
        names.chain([ours.to_owned()]).collect::<Vec<_>>()
    };
    let (hundred, thousand) = (many(99, HOST), many(999, HOST));
    let borrowed = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        root.leaf(&names)
    };
    let nothing = format!("tls.wrong_name - for no name at all, not for {HOST}");
    vec![
        by_name(HOST, &[HOST], told::OK),
        by_name(HOST, &["a.example", HOST], told::OK),
        by_name(HOST, &["SITE.Example"], told::OK),
        by_name("SITE.EXAMPLE", &[HOST], told::OK),
        by_name("a.site.example", &["*.site.example"], told::OK),
        by_name("A.site.example", &["*.SITE.example"], told::OK),
        by_name(
            "under_score.site.example",
            &["under_score.site.example"],
            told::OK,
        ),
        by_name(
            "xn--bcher-kva.example",
            &["xn--bcher-kva.example"],
            told::OK,
        ),
        by_name("xn--bcher-kva.site.example", &["*.site.example"], told::OK),
        by_name("127.0.0.1", &["127.0.0.1"], told::OK),
        by_name("[::1]", &["::1"], told::OK),
        by_name("[0:0::1]", &["::1"], told::OK),
        named(&root, HOST, borrowed(&hundred), told::OK),
        named(&root, HOST, borrowed(&thousand), told::OK),
        by_name(HOST, &["a.example"], &not("a.example", HOST)),
        by_name(HOST, &["www.site.example"], &not("www.site.example", HOST)),
        by_name("www.site.example", &[HOST], &not(HOST, "www.site.example")),
        by_name(HOST, &["example"], &not("example", HOST)),
        by_name(HOST, &["site.example.net"], &not("site.example.net", HOST)),
        by_name(HOST, &["mysite.example"], &not("mysite.example", HOST)),
        by_name(HOST, &["*.site.example"], &not("*.site.example", HOST)),
        by_name(
            "a.b.site.example",
            &["*.site.example"],
            &not("*.site.example", "a.b.site.example"),
        ),
        by_name(HOST, &["*.example"], &not("*.example", HOST)),
        by_name(HOST, &["*"], &not("*", HOST)),
        by_name(
            "www.site.example",
            &["w*.site.example"],
            &not("w*.site.example", "www.site.example"),
        ),
        by_name(
            "www.site.example",
            &["*w.site.example"],
            &not("*w.site.example", "www.site.example"),
        ),
        by_name(
            "a.b.site.example",
            &["*.*.site.example"],
            &not("*.*.site.example", "a.b.site.example"),
        ),
        by_name(
            "a.b.site.example",
            &["a.*.site.example"],
            &not("a.*.site.example", "a.b.site.example"),
        ),
        by_name(HOST, &["site.example."], &not("site.example.", HOST)),
        by_name(HOST, &[" site.example"], &not(" site.example", HOST)),
        by_name(
            HOST,
            &["https://site.example"],
            &not("https://site.example", HOST),
        ),
        by_name(
            "xn--bcher-kva.example",
            &["bucher.example"],
            &not("bucher.example", "xn--bcher-kva.example"),
        ),
        by_name("127.0.0.1", &[HOST], &not(HOST, "127.0.0.1")),
        by_name("127.0.0.1", &["127.0.0.2"], &not("127.0.0.2", "127.0.0.1")),
        by_name(
            "127.0.0.1",
            &["::ffff:127.0.0.1"],
            &not("::ffff:127.0.0.1", "127.0.0.1"),
        ),
        by_name(
            "[::1]",
            &["127.0.0.1", "::2"],
            &not("127.0.0.1, ::2", "::1"),
        ),
        by_name(HOST, &["127.0.0.1"], &not("127.0.0.1", HOST)),
        by_bytes(
            "127.0.0.1",
            &[(DNS, b"127.0.0.1")],
            &not("127.0.0.1", "127.0.0.1"),
        ),
        by_bytes(
            "127.0.0.1",
            &[(ADDRESS, &[127, 0, 0])],
            "tls.wrong_name - for no name at all, not for 127.0.0.1",
        ),
        by_bytes(
            HOST,
            &[(DNS, b"site.example\0.evil.example")],
            &not("site.example?.evil.example", HOST),
        ),
        by_bytes(
            HOST,
            &[(DNS, b"site.example\0")],
            &not("site.example?", HOST),
        ),
        by_bytes(HOST, &[(DNS, b"")], &not("", HOST)),
        by_bytes(HOST, &[(MAIL, b"admin@site.example")], &nothing),
        by_bytes(HOST, &[(URI, b"https://site.example/")], &nothing),
        by_bytes(
            HOST,
            &[(MAIL, b"admin@site.example"), (DNS, b"site.example")],
            told::OK,
        ),
        by_bytes(
            "xn--bcher-kva.example",
            &[(DNS, "bücher.example".as_bytes())],
            "tls.wrong_name - for no name at all, not for xn--bcher-kva.example",
        ),
        // The common name is no name of a server any more (RFC 9110 §4.3.4), whatever it says.
        named(
            &root,
            HOST,
            root.leaf_with(&[HOST], |params| params.subject_alt_names.clear()),
            &nothing,
        ),
        by_bytes(HOST, &[], &nothing),
        named(
            &root,
            HOST,
            root.leaf_with(&["a.example"], |params| {
                let common = rcgen::DnType::CommonName;
                params.distinguished_name.remove(common.clone());
                params.distinguished_name.push(common, HOST);
            }),
            &not("a.example", HOST),
        ),
        named(
            &root,
            HOST,
            root.leaf_with(&[HOST], |params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
            }),
            told::OK,
        ),
        named(
            &root,
            HOST,
            borrowed(&many(99, "a.example")),
            "tls.wrong_name - for 0.example.net, 1.example.net, 2.example.net and 97 more, not for site.example",
        ),
    ]
}

fn named(root: &Ca, host: &'static str, identity: Identity, told: &str) -> Case {
    Case {
        host,
        ..Case::new("name", identity.and(&[root.der()]), root.pem(), told)
    }
}
