//! Durations, sizes and addresses as people write them.
//!
//! Decides what is a duration, a size or an address, not which ones are sensible where.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZES: [(&str, usize); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Parses `200ms`, `5s`, `2m`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*factor)?))
}

/// Writes a duration in its largest whole unit, as [`duration`] reads it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, factor) = UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis > 0 && millis.is_multiple_of(*factor))
        .unwrap_or(&UNITS[0]);
    format!("{}{unit}", millis / factor)
}

/// Parses `512B`, `64KiB`, `1MiB` or `1GiB`.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text)?;
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    usize::try_from(number).ok()?.checked_mul(*factor)
}

/// Writes a size in its largest whole unit, as [`size`] reads it.
pub(crate) fn show_size(bytes: usize) -> String {
    let (unit, factor) = SIZES
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .unwrap_or(&SIZES[3]);
    format!("{}{unit}", bytes / factor)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// Parses a listener's address; the error is `what; remedy`.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // Without brackets the port of an IPv6 address reads as the last group of it.
    if let Some((host, port)) = text.rsplit_once(':')
        && host.parse::<Ipv6Addr>().is_ok()
        && port.len() >= 4
        && port.parse::<u16>().is_ok()
    {
        return Err(format!(
            "listens on `{text}`, in which the port is not told from the address; write \
             `[{host}]:{port}`"
        ));
    }
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        let address = SocketAddr::new(ip, 1883);
        return Err(format!(
            "listens on `{text}`, which has no port; write `{address}`"
        ));
    }
    let port = text.strip_prefix("*:").or_else(|| text.strip_prefix(':'));
    if let Some(port) = port.filter(|port| port.parse::<u16>().is_ok()) {
        return Err(format!(
            "listens on `{text}`, expected an IP address and port; write `0.0.0.0:{port}`"
        ));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && host.contains(|c: char| c.is_ascii_alphabetic())
        && !host.contains(':')
    {
        return Err(format!(
            "listens on the host name `{host}`, expected an IP address; \
             write `127.0.0.1:{port}` for this machine alone or `0.0.0.0:{port}` for the network"
        ));
    }
    Err(format!(
        "listens on `{}`, expected an IP address and port; write them as in `127.0.0.1:1883`",
        text.escape_debug()
    ))
}

/// Says why an address cannot be listened on beside others, as `what; remedy`.
pub(crate) fn listen_collision(address: SocketAddr, others: &[SocketAddr]) -> Option<String> {
    let rivals = others.iter().filter(|other| {
        other.port() == address.port() && other.is_ipv4() == address.is_ipv4() && other.port() != 0
    });
    rivals.copied().find_map(|other| {
        let (all, one) = if address.ip().is_unspecified() {
            (address, other)
        } else {
            (other, address)
        };
        if address == other {
            Some(format!("listens on `{address}` twice; remove one"))
        } else if all.ip().is_unspecified() {
            Some(format!(
                "listens on `{all}`, which includes `{one}`; remove one"
            ))
        } else {
            None
        }
    })
}

/// Returns whether an address is one that other machines can reach.
pub(crate) fn is_network(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let cases = [
            ("200ms", Some(200)),
            ("5s", Some(5_000)),
            ("2m", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("0s", Some(0)),
            ("5", None),
            ("s", None),
            ("", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 s", None),
            ("5S", None),
            ("é5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (text, millis) in cases {
            assert_eq!(
                duration(text),
                millis.map(Duration::from_millis),
                "{text:?}"
            );
        }
    }

    #[test]
    fn sizes_have_a_number_and_a_binary_unit() {
        let cases = [
            ("512B", Some(512)),
            ("64KiB", Some(65_536)),
            ("1MiB", Some(1_048_576)),
            ("1GiB", Some(1_073_741_824)),
            ("64", None),
            ("64kb", None),
            ("KiB", None),
            ("99999999999999999999GiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn values_are_shown_as_they_are_read() {
        for text in ["0ms", "200ms", "5s", "90s", "2m", "36h", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "100B", "64KiB", "3MiB", "1GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn listeners_are_ip_addresses_with_ports() {
        let cases = [
            ("127.0.0.1:1883", Ok("127.0.0.1:1883")),
            ("[::1]:0", Ok("[::1]:0")),
            (
                "127.0.0.1",
                Err("listens on `127.0.0.1`, which has no port; write `127.0.0.1:1883`"),
            ),
            (
                "::1",
                Err("listens on `::1`, which has no port; write `[::1]:1883`"),
            ),
            (
                "[fd00::1]",
                Err("listens on `[fd00::1]`, which has no port; write `[fd00::1]:1883`"),
            ),
            (
                "::1:1883",
                Err(
                    "listens on `::1:1883`, in which the port is not told from the address; \
                     write `[::1]:1883`",
                ),
            ),
            (
                "fd00::1:18850",
                Err(
                    "listens on `fd00::1:18850`, in which the port is not told from the address; \
                     write `[fd00::1]:18850`",
                ),
            ),
            (
                ":1883",
                Err("listens on `:1883`, expected an IP address and port; write `0.0.0.0:1883`"),
            ),
            (
                "localhost:1883",
                Err(
                    "listens on the host name `localhost`, expected an IP address; \
                     write `127.0.0.1:1883` for this machine alone or `0.0.0.0:1883` for the network",
                ),
            ),
            (
                "1883",
                Err("listens on `1883`, expected an IP address and port; \
                     write them as in `127.0.0.1:1883`"),
            ),
        ];
        for (text, expected) in cases {
            let address = expected.map(|a| a.parse().unwrap()).map_err(String::from);
            assert_eq!(listen_address(text), address, "{text}");
        }
    }

    #[test]
    fn addresses_that_get_into_each_others_way_are_found() {
        let twice = "listens on `127.0.0.1:1883` twice; remove one";
        let includes = "listens on `0.0.0.0:1883`, which includes `127.0.0.1:1883`; remove one";
        let cases = [
            ("127.0.0.1:1883", "127.0.0.1:1883", Some(twice)),
            ("127.0.0.1:1883", "0.0.0.0:1883", Some(includes)),
            ("0.0.0.0:1883", "127.0.0.1:1883", Some(includes)),
            ("127.0.0.1:1883", "127.0.0.2:1883", None),
            ("0.0.0.0:1883", "127.0.0.1:1884", None),
            // Each takes a free port of its own.
            ("127.0.0.1:0", "127.0.0.1:0", None),
            // IPv6 listeners are for IPv6 alone.
            ("0.0.0.0:1883", "[::]:1883", None),
        ];
        for (address, other, expected) in cases {
            let collision = listen_collision(address.parse().unwrap(), &[other.parse().unwrap()]);
            assert_eq!(collision.as_deref(), expected, "{address} beside {other}");
        }
    }

    #[test]
    fn only_loopback_is_out_of_the_networks_reach() {
        let cases = [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.168.1.1:1", true),
            ("[fe80::1]:1", true),
        ];
        for (address, network) in cases {
            assert_eq!(is_network(address.parse().unwrap()), network, "{address}");
        }
    }
}
