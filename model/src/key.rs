//! The keys that requests are counted by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::address::canonical;
use crate::network::Network;

/// What requests are counted, decided and banned by.
///
/// Today that is a client's address: an IPv4 address, or an IPv6 address cut to the prefix of the settings. It
/// is opaque to everything but [`KeyScheme`], which makes it and reads it back, so that other keys (an ASN, a
/// user agent) can come without touching what counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Key(u128);

impl Key {
    /// The bits, for hashing; keys that differ have different bits.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }

    /// A hash that is the same in every process: by it keys are dealt out to tasks. Tables use a seeded one.
    #[must_use]
    pub fn stable_hash(self) -> u64 {
        let folded = (self.0 as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9)
            ^ (self.0 >> 64) as u64;
        let product = u128::from(folded ^ 0x2545_f491_4f6c_dd1d) * 0x94d0_49bb_1331_11eb;
        product as u64 ^ (product >> 64) as u64
    }
}

/// How a client's address becomes a [`Key`] and back: IPv6 by prefix, IPv4 whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyScheme {
    ipv6_prefix: u8,
    mask: u128,
}

impl KeyScheme {
    /// Counts IPv6 by `/ipv6_prefix`; more than 128 counts as 128.
    #[must_use]
    pub fn new(ipv6_prefix: u8) -> Self {
        let ipv6_prefix = ipv6_prefix.min(128);
        let mask = u128::MAX.checked_shl(128 - u32::from(ipv6_prefix)).unwrap_or(0);
        Self { ipv6_prefix, mask }
    }

    /// The key of a client. IPv4 lives in the IPv4-mapped range, which no IPv6 client can have.
    #[must_use]
    pub fn key(&self, client: IpAddr) -> Key {
        match canonical(client) {
            IpAddr::V4(v4) => Key(MAPPED | u128::from(u32::from(v4))),
            IpAddr::V6(v6) => Key(u128::from(v6) & self.mask),
        }
    }

    /// The length of the prefixes that IPv6 clients are counted by.
    #[must_use]
    pub fn ipv6_prefix(&self) -> u8 {
        self.ipv6_prefix
    }

    /// The key that is counted for exactly this network; `None` where it is wider or narrower than a key.
    #[must_use]
    pub fn key_of(&self, network: &Network) -> Option<Key> {
        let key = self.key(network.first());
        (self.network(key) == *network).then_some(key)
    }

    /// The address or prefix that a key stands for: what a ban of it covers.
    #[must_use]
    pub fn network(&self, key: Key) -> Network {
        if key.0 >> 32 == MAPPED >> 32 {
            Network::host(IpAddr::V4(Ipv4Addr::from(key.0 as u32)))
        } else {
            Network::new(IpAddr::V6(Ipv6Addr::from(key.0)), self.ipv6_prefix)
        }
    }
}

const MAPPED: u128 = 0xffff_0000_0000;

impl fmt::Display for KeyScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv4 by address, IPv6 by /{}", self.ipv6_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_they_are_banned() {
        let shown = |prefix, literal: &str| {
            let scheme = KeyScheme::new(prefix);
            scheme.network(scheme.key(literal.parse().unwrap())).to_string()
        };
        assert_eq!(shown(64, "2001:db8:0:1:2::3"), "2001:db8:0:1::/64");
        assert_eq!(shown(56, "2001:db8:0:1ff::3"), "2001:db8:0:100::/56");
        assert_eq!(shown(128, "2001:db8::3"), "2001:db8::3/128");
        assert_eq!(shown(1, "ffff::3"), "8000::/1");
        assert_eq!(shown(64, "203.0.113.9"), "203.0.113.9");
        assert_eq!(shown(64, "::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(shown(64, "::1"), "::/64");
    }
}
