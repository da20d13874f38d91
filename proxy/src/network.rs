//! Networks: the unit by which clients are limited, and the lists of networks in the configuration.
//!
//! One address of IPv4 can be a whole office, one person has at least 2^64 of IPv6: so limits go by prefix. IPv4 addresses that are
//! written as IPv6 ones are IPv4 addresses here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use daemon::config::{ConfigValue, Item, Problem};

/// Numbers from here on are no networks: they would be 255.255.255.254 and 255.255.255.255, which nothing comes from.
const NUMBERS_END: u64 = u64::MAX - 1;
/// Where IPv4 networks lie: in the part of the IPv6 space that is multicast, which nothing comes from either.
const V4: u64 = 0xffff_ffff << 32;
/// As much of a network as may be said in a log: not the visitor's address.
const SAID_V4_BITS: u8 = 24;
/// The same for IPv6: what a provider gives a customer.
const SAID_V6_BITS: u8 = 48;

/// How much of an address makes a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefixes {
    /// Bits of an IPv4 address, 8 to 32.
    pub v4_bits: u8,
    /// Bits of an IPv6 address, 16 to 64.
    pub v6_bits: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Prefixes { v4_bits: 32, v6_bits: 64 }
    }
}

/// A network as limits count it, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(u64);

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr, prefixes: Prefixes) -> Network {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => V4 | u64::from(first_bits_v4(address, prefixes.v4_bits)),
            IpAddr::V6(address) => (first_bits_v6(address, prefixes.v6_bits) >> 64) as u64,
        };
        Network(number.min(NUMBERS_END - 1))
    }

    /// Its number, below `u64::MAX - 1`.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

/// What may be said of it in a log: `203.0.113.0/24`, `2001:db8:1::/48`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & V4 == V4 {
            let address = Ipv4Addr::from(first_bits_v4(Ipv4Addr::from(self.0 as u32), SAID_V4_BITS));
            write!(f, "{address}/{SAID_V4_BITS}")
        } else {
            let address = Ipv6Addr::from(u128::from(self.0) << 64);
            write!(f, "{}/{SAID_V6_BITS}", Ipv6Addr::from(first_bits_v6(address, SAID_V6_BITS)))
        }
    }
}

/// As [`Display`](fmt::Display): nothing more precise gets into a message by accident.
impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn first_bits_v4(address: Ipv4Addr, bits: u8) -> u32 {
    address.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn first_bits_v6(address: Ipv6Addr, bits: u8) -> u128 {
    address.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// A network as it is written in a configuration: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cidr {
    first: IpAddr,
    bits: u8,
}

impl Cidr {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => first.to_bits() == first_bits_v4(address, self.bits),
            (IpAddr::V6(first), IpAddr::V6(address)) => first.to_bits() == first_bits_v6(address, self.bits),
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = ();

    fn from_str(text: &str) -> Result<Cidr, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => (address, Some(bits)),
            Some(_) => return Err(()),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| ())?;
        let whole = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), str::parse).map_err(|_| ())?;
        let cidr = Cidr { first, bits };
        // Bits behind the prefix would be a slip of the pen: which of the two is meant?
        if bits <= whole && cidr.contains(first) { Ok(cidr) } else { Err(()) }
    }
}

/// A list of networks, as in `["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetworkList(Vec<Cidr>);

impl NetworkList {
    /// Says whether an address is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|cidr| cidr.contains(address))
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ConfigValue for NetworkList {
    const ALLOWED: &'static str = "a list of networks, such as [\"10.0.0.0/8\", \"2001:db8::/32\", \"192.0.2.1\"], \
                                   with nothing but zeros behind the prefix";

    fn read(item: &Item) -> Result<Self, Vec<Problem>> {
        let items = item.list().ok_or_else(|| vec![item.refused(Self::ALLOWED)])?;
        let mut list = NetworkList::default();
        let mut problems = Vec::new();
        for item in items {
            match item.text().and_then(|text| text.parse().ok()) {
                Some(cidr) => list.0.push(cidr),
                None => problems.push(item.refused(
                    "a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", with nothing but zeros behind the prefix",
                )),
            }
        }
        if problems.is_empty() { Ok(list) } else { Err(problems) }
    }

    fn placeholder() -> Self {
        NetworkList::default()
    }

    fn shown(&self) -> String {
        let shown: Vec<String> =
            self.0.iter().map(|cidr| format!("\"{}/{}\"", cidr.first, cidr.bits)).collect();
        format!("[{}]", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap(), Prefixes::default())
    }

    fn list(text: &str) -> Result<NetworkList, String> {
        let text = format!("networks = {text}");
        let read = |root: &mut daemon::config::Section| root.value("networks", NetworkList::default());
        daemon::config::parse("x", &text, read).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn an_ipv4_address_is_a_network_and_so_are_the_first_64_bits_of_an_ipv6_one() {
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        let shorter = Prefixes { v4_bits: 24, v6_bits: 48 };
        let of = |address: &str| Network::of(address.parse().unwrap(), shorter);
        assert_eq!(of("192.0.2.1"), of("192.0.2.255"));
        assert_eq!(of("2001:db8:1:ff::"), of("2001:db8:1::"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
    }

    #[test]
    fn no_network_has_one_of_the_two_numbers_that_are_none() {
        for address in ["255.255.255.255", "255.255.255.254", "::", "::1", "ffff:ffff:ffff:ffff::"] {
            assert!(network(address).number() < u64::MAX - 1, "{address}");
        }
    }

    #[test]
    fn a_log_gets_no_address() {
        assert_eq!(network("203.0.113.77").to_string(), "203.0.113.0/24");
        assert_eq!(format!("{:?}", network("2001:db8:1:2::3")), "2001:db8:1::/48");
    }

    #[test]
    fn lists_say_who_is_in_them() {
        let list = list("['10.0.0.0/8', '192.0.2.1', '2001:db8::/32', '0.0.0.0/32']").unwrap();
        for address in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8:ffff::1"] {
            assert!(list.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["11.0.0.0", "192.0.2.2", "2001:db9::", "::1"] {
            assert!(!list.contains(address.parse().unwrap()), "{address}");
        }
        assert_eq!(list.shown(), "[\"10.0.0.0/8\", \"192.0.2.1/32\", \"2001:db8::/32\", \"0.0.0.0/32\"]");
        let everybody = super::tests::list("['0.0.0.0/0', '::/0']").unwrap();
        assert!(everybody.contains("1.2.3.4".parse().unwrap()) && everybody.contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_place() {
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "ten", "10/8", ""] {
            let problem = list(&format!("['10.0.0.0/8', '{bad}']")).unwrap_err();
            assert!(problem.contains("networks[1]"), "{bad}: {problem}");
        }
        assert!(list("'10.0.0.0/8'").is_err());
    }
}
