//! Certificates with all that is read of them, and how they are damaged.

use crate::io::http::support::certificates::{Authority, self_signed};
use crate::io::tls::der::element;

/// An element of any tag.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    Node::Leaf { tag, contents }.encode(false)
}

/// Samples, small and whole.
pub(super) fn samples() -> Vec<Vec<u8>> {
    let authority = Authority::new("test");
    let url = "http://a.example/1.crl";
    let mut samples = vec![
        certificate(&[], &plain_name(), b"\x17\x0d200101000000Z"),
        certificate(&extensions(), &plain_name(), b"\x18\x0f20500228235959Z"),
        certificate(&extensions(), &odd_name(), b"\x17\x0d491231235959Z"),
        certificate(&constraints(), &odd_name(), b"\x18\x0f99991231235959Z"),
        certificate(&constraints(), &tlv(0x30, &[]), b"\x17\x0d000229000000Z"),
        authority.listed_at(&["a.example"], url).chain[0].to_vec(),
        authority.critical_extension(&["192.0.2.1"]).chain[0].to_vec(),
        self_signed(&["a.example", "2001:db8::1"], true).chain[0].to_vec(),
    ];
    samples.push(authority.root().to_vec());
    samples
}

fn certificate(extensions: &[u8], name: &[u8], end: &[u8]) -> Vec<u8> {
    let version = match extensions {
        [] => Vec::new(),
        _ => tlv(0xA0, &[&[2, 1, 2]]),
    };
    let ecdsa = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    let key = b"\x30\x19\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
                \x03\x01\x07\x03\x02\x00\x04";
    let validity = tlv(0x30, &[b"\x17\x0d200229235959Z", end]);
    let extensions = match extensions {
        [] => Vec::new(),
        _ => [
            tlv(0x81, &[&[0, 1]]),
            tlv(0x82, &[&[3, 8]]),
            tlv(0xA3, &[&tlv(0x30, &[extensions])]),
        ]
        .concat(),
    };
    let serial = &[2, 2, 0, 0x80];
    let body: [&[u8]; 8] = [
        &version,
        serial,
        ecdsa,
        name,
        &validity,
        name,
        key,
        &extensions,
    ];
    tlv(0x30, &[&tlv(0x30, &body), ecdsa, &[3, 2, 0, 7]])
}

fn attribute(kind: u8, tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&[6, 3, 0x55, 4, kind], &tlv(tag, &[value])])
}

fn plain_name() -> Vec<u8> {
    let country = attribute(6, 0x13, b"NL");
    let common = attribute(3, 0x0C, "a.example é".as_bytes());
    tlv(0x30, &[&tlv(0x31, &[&country]), &tlv(0x31, &[&common])])
}

fn odd_name() -> Vec<u8> {
    let several = [
        attribute(11, 0x14, b"#a \\b "),
        attribute(11, 0x0C, " x,+é\u{7f}".as_bytes()),
        tlv(
            0x30,
            &[
                b"\x06\x0a\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19",
                b"\x16\x01a",
            ],
        ),
    ];
    let several = several.concat();
    let unit = attribute(10, 0x1E, &[0, 0x41, 0x26, 3]);
    let email = b"\x30\x0e\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01\x16\x01@";
    let long_tag = b"\x30\x0a\x06\x03\x55\x04\x0b\x9f\x81\x01\x01x";
    let parts = [&several[..], &unit, email, long_tag];
    tlv(
        0x30,
        &parts
            .map(|part| tlv(0x31, &[part]))
            .each_ref()
            .map(Vec::as_slice),
    )
}

fn general_names() -> Vec<u8> {
    [
        tlv(0xA0, &[&[6, 2, 0x2A, 3], &tlv(0xA0, &[b"\x0c\x01x"])]),
        tlv(0x81, &[b"a@a.example"]),
        tlv(0x82, &[b"a.example"]),
        tlv(0xA4, &[&odd_name()]),
        tlv(0xA5, &[b"\xa0\x03\x13\x01a", b"\xa1\x04\x1e\x02\x26\x03"]),
        tlv(0x86, &[b"http://a.example/"]),
        tlv(0x87, &[&[192, 0, 2, 1]]),
        tlv(0x88, &[&[0x2A, 3]]),
    ]
    .concat()
}

fn extension(last: u8, critical: &[u8], value: &[u8]) -> Vec<u8> {
    tlv(
        0x30,
        &[&[6, 3, 0x55, 0x1D, last], critical, &tlv(4, &[value])],
    )
}

fn extensions() -> Vec<u8> {
    let uses = [
        &b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01"[..],
        b"\x06\x04\x55\x1d\x25\x00\x06\x02\x2a\x03",
    ];
    let authority = [
        tlv(0x80, &[&[1, 2]]),
        tlv(0xA1, &[&general_names()]),
        tlv(0x82, &[&[0x7F; 21]]),
    ];
    let names = tlv(0xA0, &[&general_names()]);
    let relative = tlv(0xA1, &[&attribute(3, 0x0C, b"x")]);
    let points = [
        tlv(0x30, &[&tlv(0xA0, &[&names])]),
        tlv(0x30, &[&tlv(0xA0, &[&relative])]),
        tlv(0x30, &[&tlv(0xA0, &[&names]), &[0x81, 2, 1, 6]]),
        tlv(
            0x30,
            &[&tlv(0xA0, &[&names]), &tlv(0xA2, &[&general_names()])],
        ),
        tlv(0x30, &[]),
    ];
    [
        extension(14, &[], &[4, 2, 1, 2]),
        extension(15, &[1, 1, 0xFF], &[3, 2, 5, 0xA0]),
        extension(17, &[1, 1, 0], &tlv(0x30, &[&general_names()])),
        extension(19, &[1, 1, 0xFF], &tlv(0x30, &[&[1, 1, 0xFF, 2, 1, 3]])),
        extension(35, &[], &tlv(0x30, &[&authority.concat()])),
        extension(37, &[], &tlv(0x30, &uses)),
        extension(31, &[], &tlv(0x30, &[&points.concat()])),
    ]
    .concat()
}

fn constraints() -> Vec<u8> {
    let subtrees = [
        tlv(
            0x30,
            &[b"\x82\x09a.example", &[0x80, 1, 0], &[0x81, 2, 0, 0x80]],
        ),
        tlv(0x30, &[&[0x87, 8, 192, 0, 2, 0, 255, 255, 255, 0]]),
        tlv(0x30, &[&tlv(0xA4, &[&plain_name()])]),
    ];
    let both = [
        tlv(0xA0, &[&subtrees[0], &subtrees[2]]),
        tlv(0xA1, &[&subtrees[1]]),
    ];
    [
        extension(30, &[1, 1, 0xFF], &tlv(0x30, &[&both.concat()])),
        extension(19, &[], &tlv(0x30, &[])),
        extension(99, &[1, 1, 0xFF], &[5, 0]),
    ]
    .concat()
}

/// An issuing distribution point.
pub(super) fn point() -> Vec<u8> {
    let names = tlv(0xA0, &[&tlv(0xA0, &[&general_names()])]);
    let flags = &[
        0x81, 1, 0, 0x82, 1, 0xFF, 0x83, 2, 6, 0x40, 0x84, 1, 0, 0x85, 1, 0,
    ];
    tlv(0x30, &[&names, flags])
}

/// An element, taken apart as far as it goes.
enum Node {
    Leaf {
        tag: u8,
        contents: Vec<u8>,
    },
    Branch {
        tag: u8,
        children: Vec<(Self, bool)>,
    },
}

impl Node {
    fn read_all(bytes: &[u8]) -> Option<Vec<(Self, bool)>> {
        let (mut rest, mut nodes) = (bytes, Vec::new());
        while !rest.is_empty() {
            let found = element(rest)?;
            let (tag, contents) = (found.tag, found.contents);
            let may_branch = tag & 0x20 != 0 || (tag == 4 && !contents.is_empty());
            let children = may_branch.then(|| Self::read_all(contents)).flatten();
            let node = match children {
                Some(children) => Self::Branch { tag, children },
                None => Self::Leaf {
                    tag,
                    contents: contents.to_vec(),
                },
            };
            nodes.push((node, false));
            rest = found.rest;
        }
        Some(nodes)
    }

    fn contents(&self) -> Vec<u8> {
        match self {
            Self::Leaf { contents, .. } => contents.clone(),
            Self::Branch { children, .. } => encode_all(children),
        }
    }

    /// `long`: with a length that could be shorter.
    fn encode(&self, long: bool) -> Vec<u8> {
        let (Self::Leaf { tag, .. } | Self::Branch { tag, .. }) = self;
        let contents = self.contents();
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        let length = match (length, long) {
            ([0, low], false) if low < 0x80 => vec![low],
            ([0, low], false) => vec![0x81, low],
            ([0, low], true) if low < 0x80 => vec![0x81, low],
            ([high, low], false) => vec![0x82, high, low],
            ([0, low], true) => vec![0x82, 0, low],
            ([high, low], true) => vec![0x83, 0, high, low],
        };
        [&[*tag], &length[..], &contents].concat()
    }
}

fn encode_all(nodes: &[(Node, bool)]) -> Vec<u8> {
    let encoded: Vec<_> = nodes
        .iter()
        .map(|(node, long)| node.encode(*long))
        .collect();
    encoded.concat()
}

/// What is done to an element: where, what, and with what.
pub(super) type Change = (usize, u8, u8, u8);

/// Tags that mean something somewhere.
const TAGS: [u8; 32] = [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1E, 0x30, 0x31, 0x80,
    0x81, 0x82, 0x83, 0x84, 0x86, 0x87, 0x88, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0x1F, 0x9F,
];

/// Changes an element, and the lengths around it.
pub(super) fn change(der: &[u8], change: Change) -> Vec<u8> {
    let Some(mut nodes) = Node::read_all(der) else {
        return der.to_vec();
    };
    let at = change.0 % count(&nodes).max(1);
    change_in(&mut nodes, at, change);
    encode_all(&nodes)
}

fn count(nodes: &[(Node, bool)]) -> usize {
    let below = |node: &(Node, bool)| match &node.0 {
        Node::Leaf { .. } => 1,
        Node::Branch { children, .. } => 1 + count(children),
    };
    nodes.iter().map(below).sum()
}

fn change_in(nodes: &mut Vec<(Node, bool)>, mut at: usize, change: Change) {
    for index in 0..nodes.len() {
        if at == 0 {
            return change_at(nodes, index, change);
        }
        at -= 1;
        if let Node::Branch { children, .. } = &mut nodes[index].0 {
            let below = count(children);
            if at < below {
                return change_in(children, at, change);
            }
            at -= below;
        }
    }
}

fn change_at(nodes: &mut Vec<(Node, bool)>, index: usize, (_, kind, place, value): Change) {
    let (Node::Leaf { tag, .. } | Node::Branch { tag, .. }) = &mut nodes[index].0;
    let stray = |tag| {
        let contents = vec![value; usize::from(place % 4)];
        (Node::Leaf { tag, contents }, false)
    };
    let tag_given = TAGS[usize::from(value) % TAGS.len()];
    match kind % 12 {
        0 => *tag = tag_given,
        1 => *tag = value,
        2 => *tag ^= 0x20,
        3 => nodes[index].1 = true,
        4 => drop(nodes.remove(index)),
        5 => {
            let encoded = nodes[index].0.encode(false);
            nodes.insert(index, Node::read_all(&encoded).unwrap().remove(0));
        }
        6 => {
            let other = usize::from(place) % nodes.len();
            nodes.swap(index, other);
        }
        7 => nodes.insert(index + usize::from(value & 1), stray(tag_given)),
        kind => {
            let (tag, mut contents) = (*tag, nodes[index].0.contents());
            let at = usize::from(place) % (contents.len() + 1);
            match (kind, contents.get_mut(at)) {
                (8, Some(byte)) => *byte ^= 1 << (value % 8),
                (9, Some(byte)) => *byte = value,
                (10, Some(_)) => drop(contents.remove(at)),
                (11, _) if value % 4 == 0 => contents.truncate(at),
                _ => contents.insert(at, value),
            }
            nodes[index].0 = Node::Leaf { tag, contents };
        }
    }
}
