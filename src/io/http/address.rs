//! Which IP addresses belong to the public Internet.
//!
//! A host name that comes from a node must not lead into the gateway's own networks; this says
//! which addresses those are. Who is checked is decided by the connector.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns whether an address is globally reachable unicast (RFC 6890 and its registries).
///
/// An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4, Teredo) is never public: where
/// it ends is decided by a translator that may stand inside.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// IPv4 blocks that are not public, as (network, prefix length).
const PRIVATE_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !PRIVATE_V4.iter().any(|(network, length)| {
        let mask = u32::MAX << (32 - length);
        u32::from(address) & mask == u32::from(*network)
    })
}

/// Blocks within 2000::/3 that are not public.
const PRIVATE_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast is 2000::/3 and nothing else; that leaves out ::, ::1, mapped addresses,
    // NAT64 (64:ff9b::/96, 64:ff9b:1::/48), unique local, link-local and multicast.
    let within = |network: Ipv6Addr, length: u32| {
        let mask = u128::MAX << (128 - length);
        u128::from(address) & mask == u128::from(network)
    };
    within(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)
        && !PRIVATE_V6
            .iter()
            .any(|(network, length)| within(*network, *length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_is_public() {
        for (text, public, why) in [
            ("1.1.1.1", true, "public"),
            ("8.8.8.8", true, "public"),
            ("172.15.255.255", true, "just below 172.16/12"),
            ("172.32.0.0", true, "just above 172.16/12"),
            ("100.63.255.255", true, "just below carrier-grade NAT"),
            ("100.128.0.0", true, "just above carrier-grade NAT"),
            ("223.255.255.255", true, "last unicast"),
            ("0.0.0.0", false, "unspecified"),
            (
                "0.1.2.3",
                false,
                "this network reaches the host itself on Linux",
            ),
            ("10.0.0.1", false, "private"),
            ("100.64.0.1", false, "carrier-grade NAT"),
            ("127.0.0.1", false, "loopback"),
            ("127.255.255.254", false, "loopback"),
            ("169.254.169.254", false, "link-local: cloud metadata"),
            ("172.16.0.1", false, "private"),
            ("172.31.255.255", false, "private"),
            ("192.168.1.1", false, "private"),
            ("192.0.2.1", false, "documentation"),
            ("198.19.255.255", false, "benchmarking"),
            ("224.0.0.1", false, "multicast"),
            ("240.0.0.1", false, "reserved"),
            ("255.255.255.255", false, "broadcast"),
            ("2606:4700:4700::1111", true, "public"),
            ("2a00:1450::1", true, "public"),
            (
                "2001:4860:4860::8888",
                true,
                "public, above the protocol assignments",
            ),
            ("::", false, "unspecified"),
            ("::1", false, "loopback"),
            ("::ffff:10.0.0.1", false, "mapped private"),
            ("::ffff:1.1.1.1", false, "mapped: never from a resolver"),
            ("64:ff9b::a00:1", false, "NAT64"),
            ("64:ff9b:1::1", false, "local NAT64"),
            ("2001::1", false, "Teredo"),
            ("2001:db8::1", false, "documentation"),
            ("2002:a00:1::1", false, "6to4 of 10.0.0.1"),
            ("fc00::1", false, "unique local"),
            ("fd12:3456::1", false, "unique local"),
            ("fe80::1", false, "link-local"),
            ("fec0::1", false, "site-local"),
            ("ff02::1", false, "multicast"),
            ("4000::1", false, "not assigned"),
        ] {
            let address: IpAddr = text.parse().expect("address");
            assert_eq!(is_public(address), public, "{text}: {why}");
        }
    }
}
