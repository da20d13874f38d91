//! Which hosts are somebody's own machine or network: by the address that a target names, never by what a name resolves to, which may
//! be another address in the next moment. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::Host;

/// Says whether a host is an address that only some can reach, or that means something else for everybody: loopback, private, link-local,
/// carrier-grade NAT, multicast, reserved (RFC 6890), also inside an IPv6 address; or `localhost` (RFC 6761). Addresses for documentation
/// are fine: they lead nowhere.
pub(super) fn is_private(host: &str) -> bool {
    if let Some(literal) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return literal.parse().is_ok_and(|address| is_private_v6(&address));
    }
    // Hosts of schemes other than http are taken as they are: 127.1 and 0x7f000001 are addresses all the same.
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => is_private_v4(address),
        Ok(Host::Ipv6(address)) => is_private_v6(&address),
        Ok(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(&name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Err(_) => false,
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        [0 | 10 | 127, ..] => true,
        [100, 64..=127, ..] => true,
        [169, 254, ..] => true,
        [172, 16..=31, ..] => true,
        [192, 0, 0, _] => true,
        [192, 168, ..] => true,
        [198, 18 | 19, ..] => true,
        [first, ..] => first >= 224,
    }
}

fn is_private_v6(address: &Ipv6Addr) -> bool {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return true;
    }
    // Unique local (fc00::/7), link-local (fe80::/10) and what used to be site-local (fec0::/10).
    let first = address.segments()[0];
    if first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 {
        return true;
    }
    inside(address).is_some_and(is_private_v4)
}

/// The IPv4 address that an IPv6 address leads to: mapped and compatible (RFC 4291 §2.5.5), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn inside(address: &Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let (high, low) = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => (g, h),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebodys_own_addresses_are_told_from_everybodys() {
        for host in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fd00::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[::ffff:10.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::a00:1]",
            "[2002:c0a8:101::1]",
            "localhost",
            "localhost.",
            "a.localhost",
        ] {
            assert!(is_private(host), "{host}");
        }
        for host in [
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "[2001:db8::1]",
            "[2606:4700::1111]",
            "[64:ff9b::808:808]",
            "[::ffff:8.8.8.8]",
            "example.com",
            "localhost.example",
            "10.example",
            "intranet",
        ] {
            assert!(!is_private(host), "{host}");
        }
    }
}
