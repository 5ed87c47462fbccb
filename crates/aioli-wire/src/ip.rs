//! Which addresses belong to the public Internet (IANA special-purpose registries).
//!
//! A format question only; whether others are refused is policy, and a private
//! test network does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a router on the Internet could be reached here.
///
/// `198.18.0.0/15` is set aside for benchmarks and counts as not public, so a
/// simulated network that uses it must not apply this rule.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// Addresses that one hand usually has: an IPv4 /16 or an IPv6 /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subnet {
    /// A /16.
    V4([u8; 2]),
    /// A /32.
    V6([u8; 4]),
}

impl Subnet {
    /// That of an address. An IPv4 address in IPv6 form is one of IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                Self::V4([a, b])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// Whom an address speaks for, where all those that may be of one hand count once: its subnet, or itself if it is not
/// public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hand {
    /// Of a public address.
    Subnet(Subnet),
    /// Of any other.
    Private(IpAddr),
}

impl Hand {
    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if is_public(ip.to_canonical()) { Self::Subnet(Subnet::of(ip)) } else { Self::Private(ip) }
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        [0 | 10 | 127, ..] | [240..=255, ..] | [224..=239, ..] => true,
        [100, b, ..] => b & 0xc0 == 64,                // carrier-grade NAT
        [169, 254, ..] | [192, 168, ..] => true,       // link-local, private
        [172, b, ..] => b & 0xf0 == 16,                // private
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => true, // protocol assignments, documentation, 6to4 relays
        [198, b, ..] if b & 0xfe == 18 => true,        // benchmarks
        [198, 51, 100, _] | [203, 0, 113, _] => true,  // documentation
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    // Only 2000::/3 is given out; inside it some blocks are not for hosts.
    match ip.segments() {
        [0x2001, b, ..] if b < 0x200 => false, // Teredo, ORCHID, benchmarks, protocol assignments
        [0x2001, 0xdb8, ..] | [0x2002, ..] => false, // documentation, 6to4
        [0x3fff, b, ..] if b < 0x1000 => false, // documentation
        [a, ..] => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_of_one_hand_and_private_addresses_are_not() {
        let hand = |ip: &str| Hand::of(ip.parse().unwrap());
        assert_eq!(hand("8.8.1.2"), hand("8.8.200.3"));
        assert_eq!(hand("8.8.1.2"), hand("::ffff:8.8.4.4"));
        assert_ne!(hand("8.8.1.2"), hand("8.9.1.2"));
        assert_eq!(hand("2a00:1::1"), hand("2a00:1:9::1"));
        assert_ne!(hand("2a00:1::1"), hand("2a00:2::1"));
        assert_eq!(hand("10.0.0.1"), hand("10.0.0.1"));
        assert_ne!(hand("10.0.0.1"), hand("10.0.0.2"));
    }

    #[test]
    fn special_ranges_are_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.9",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2002::1",
            "2001::1",
            "64:ff9b::1",
            "3fff::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in
            ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2001:4860::8888", "2a00::1"]
        {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
