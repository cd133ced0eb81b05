//! Who plays: visitors and attackers.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bolts::ports::PlaceLookup;
use model::network::Network;

/// Addresses, chosen anew with the same luck each time.
pub(super) struct Cast {
    pub(super) visitors: Vec<IpAddr>,
    pub(super) attackers: Vec<Attacker>,
}

/// One of the attackers.
pub(super) struct Attacker {
    pub(super) address: IpAddr,
    /// What is banned for it.
    pub(super) target: Network,
    /// What it asks for.
    pub(super) path: &'static str,
    /// When its flood begins, after the start.
    pub(super) begins: Duration,
    /// Requests a second.
    pub(super) rate: u32,
}

const VISITORS: usize = 400;
const ATTACKERS: usize = 5;

/// A small generator of numbers (`SplitMix64`): the demo needs no better luck than that.
pub(super) struct Luck(pub(super) u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn address(&mut self) -> IpAddr {
        let bits = self.next();
        if bits.is_multiple_of(8) {
            // A third of the world's IPv6 stands in 2000::/3, and most of it in 2a00::/12 and 2600::/12.
            let head = if bits & 8 == 0 { 0x2a00 } else { 0x2600 };
            Ipv6Addr::new(head + (bits >> 60) as u16, (bits >> 16) as u16, 1, (bits >> 40) as u16, 0, 0, 0, 1)
                .into()
        } else {
            Ipv4Addr::from((bits >> 32) as u32).into()
        }
    }
}

impl Cast {
    pub(super) fn new(places: &dyn PlaceLookup) -> Self {
        let mut luck = Luck(2016);
        let country = |address| places.place(address).and_then(|place| place.country);
        let mut visitors = HashSet::new();
        while visitors.len() < VISITORS {
            let address = luck.address();
            if country(address).is_some() {
                visitors.insert(address);
            }
        }
        let mut attackers: Vec<Attacker> = Vec::new();
        let mut from = HashSet::new();
        while attackers.len() < ATTACKERS {
            let number = attackers.len();
            let address = luck.address();
            // One of them has IPv6, and each comes from another country.
            let wanted = address.is_ipv6() == (number == 2) && !visitors.contains(&address);
            if wanted && country(address).is_some_and(|country| from.insert(country)) {
                attackers.push(Attacker {
                    address,
                    target: match address {
                        IpAddr::V4(_) => Network::host(address),
                        IpAddr::V6(_) => Network::new(address, 64),
                    },
                    path: if number.is_multiple_of(2) { "/search?q=" } else { "/login?user=" },
                    begins: Duration::from_millis(1_000 + 700 * number as u64),
                    rate: 80,
                });
            }
        }
        let mut visitors: Vec<IpAddr> = visitors.into_iter().collect();
        visitors.sort();
        Self { visitors, attackers }
    }
}
