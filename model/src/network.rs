//! Networks in CIDR notation, and sets of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::address::canonical;

/// An address with a prefix length: `10.0.0.0/8`, `2001:db8::/32`, or one address. Host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text isn't a network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// The part before the slash is no bare IP literal.
    #[error("`{0}` is not an IP address (write 203.0.113.9, 2001:db8::1 or a prefix like 10.0.0.0/8)")]
    Address(String),
    /// The part behind the slash is no length that the family has.
    #[error("`{0}` is not a prefix length (0 to {1})")]
    Prefix(String, u8),
}

impl Network {
    /// One address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        let address = canonical(address);
        Self { first: address, prefix: width(address) }
    }

    /// The network of `address` with a prefix length in bits; longer than the family's width counts as one
    /// address. Host bits of `address` are cut.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        let first = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        };
        Self { first, prefix }
    }

    /// The lowest address of it.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Its prefix length in bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The lowest and the highest address as numbers of their family.
    fn range(&self) -> (u128, u128) {
        match self.first {
            IpAddr::V4(v4) => {
                let first = u32::from(v4);
                let hosts = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                (u128::from(first), u128::from(first | hosts))
            }
            IpAddr::V6(v6) => {
                let first = u128::from(v6);
                let hosts = u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
                (first, first | hosts)
            }
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (literal, prefix) = text.split_once('/').map_or((text, None), |(l, p)| (l, Some(p)));
        let address: IpAddr = literal.parse().map_err(|_| NetworkError::Address(text.to_owned()))?;
        let Some(prefix) = prefix else {
            return Ok(Self::host(address));
        };
        let width = width(address);
        let bits = Some(prefix)
            .filter(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|p| p.parse::<u8>().ok())
            .filter(|&bits| bits <= width)
            .ok_or_else(|| NetworkError::Prefix(prefix.to_owned(), width))?;
        match (address, canonical(address)) {
            // `::ffff:10.0.0.0/104` is 10.0.0.0/8, for such clients are counted as IPv4.
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if bits >= 96 => Ok(Self::new(v4, bits - 96)),
            _ => Ok(Self::new(address, bits)),
        }
    }
}

impl fmt::Display for Network {
    /// An IPv4 address stands alone; everything else carries its prefix length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(v4) if self.prefix == 32 => write!(f, "{v4}"),
            first => write!(f, "{first}/{}", self.prefix),
        }
    }
}

/// A set of networks, asked whether it overlaps one. Look-ups are a binary search, whatever was put in.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NetworkSet {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl NetworkSet {
    /// Whether any address of `network` is in the set.
    #[must_use]
    pub fn overlaps(&self, network: &Network) -> bool {
        let (first, last) = network.range();
        let ranges = if network.first.is_ipv4() { &self.v4 } else { &self.v6 };
        let at = ranges.partition_point(|&(_, end)| end < first);
        ranges.get(at).is_some_and(|&(start, _)| start <= last)
    }

    /// Whether an address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.overlaps(&Network::host(address))
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: &Self) {
        self.v4.extend(&other.v4);
        self.v6.extend(&other.v6);
        merge(&mut self.v4);
        merge(&mut self.v6);
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let mut set = Self::default();
        set.extend(networks);
        set
    }
}

impl Extend<Network> for NetworkSet {
    fn extend<I: IntoIterator<Item = Network>>(&mut self, networks: I) {
        for network in networks {
            if network.first.is_ipv4() {
                self.v4.push(network.range());
            } else {
                self.v6.push(network.range());
            }
        }
        merge(&mut self.v4);
        merge(&mut self.v6);
    }
}

/// Sorts ranges and joins those that overlap, so that both ends rise from one to the next.
fn merge(ranges: &mut Vec<(u128, u128)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.0 <= kept.1;
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(networks: &[&str]) -> NetworkSet {
        networks.iter().map(|n| n.parse::<Network>().unwrap()).collect()
    }

    #[test]
    fn reads_and_prints() {
        for (text, expect) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/48", "2001:db8::/48"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(text.parse::<Network>().map(|n| n.to_string()).as_deref(), Ok(expect), "{text}");
        }
        for bad in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "010.0.0.1", "example.com", "::1%lo"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn families_never_mix() {
        assert!(!set(&["::/0"]).contains("203.0.113.1".parse().unwrap()));
        assert!(!set(&["0.0.0.0/0"]).contains("2001:db8::1".parse().unwrap()));
    }

    fn network() -> impl Strategy<Value = Network> {
        // A small world, so that networks meet often.
        prop_oneof![
            (0u32..64, 24u8..=32)
                .prop_map(|(low, bits)| Network::new(Ipv4Addr::from(0x0a00_0000 + low).into(), bits)),
            (0u128..64, 120u8..=128).prop_map(|(low, bits)| Network::new(Ipv6Addr::from(low).into(), bits)),
        ]
    }

    proptest! {
        #[test]
        fn overlap_equals_asking_each(members in proptest::collection::vec(network(), 0..12), asked in network()) {
            let (first, last) = asked.range();
            let slow = members.iter().any(|m| {
                let (start, end) = m.range();
                m.first().is_ipv4() == asked.first().is_ipv4() && start <= last && end >= first
            });
            let set: NetworkSet = members.iter().copied().collect();
            prop_assert_eq!(set.overlaps(&asked), slow);
            let mut grown = NetworkSet::default();
            members.into_iter().for_each(|member| grown.extend([member]));
            prop_assert_eq!(grown, set);
        }
    }
}
