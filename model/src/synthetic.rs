//! A synthetic access log: visitors who come and go, and attackers who flood, reproducible from a seed.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::time::Civil;
use crate::units::Second;

/// What log to make.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Traffic {
    /// How many visitors; a few of them come much more often than most.
    pub clients: u32,
    /// How many attackers, each [`Traffic::ATTACK_RATE`] requests a second, all the time.
    pub attackers: u32,
    /// The first line's second.
    pub start: Second,
    /// The same seed makes the same log.
    pub seed: u64,
}

impl Traffic {
    /// Requests a second of one attacker.
    pub const ATTACK_RATE: f64 = 50.0;
    /// Requests a second of the busiest visitor: far from the default threshold of 200 in 10 s.
    const BUSIEST_VISITOR: f64 = 4.0;
    /// Requests a second of all visitors at most.
    const MAX_VISITORS: f64 = 2_000.0;

    /// Requests a second of all visitors together.
    #[must_use]
    pub fn visitor_rate(&self) -> f64 {
        // A visitor's number is drawn as n·u², so that number 0 has a share of 1/√n.
        (Self::BUSIEST_VISITOR * f64::from(self.clients).sqrt()).min(Self::MAX_VISITORS)
    }

    /// An endless log of it.
    #[must_use]
    pub fn lines(self) -> Lines {
        let attack_rate = f64::from(self.attackers) * Self::ATTACK_RATE;
        let visitor_rate = if self.clients == 0 { 0.0 } else { self.visitor_rate() };
        let total = (visitor_rate + attack_rate).max(1.0);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let salt = random.next_u64();
        let mut lines = Lines {
            traffic: self,
            random,
            salt,
            attack_share: attack_rate / total,
            per_second: total,
            made: 0,
            second: self.start,
            time: String::new(),
        };
        lines.time = Civil::of(self.start).time_local();
        lines
    }

    /// The address of an attacker.
    #[must_use]
    pub fn attacker(&self, number: u32) -> IpAddr {
        let salt = Xoshiro256PlusPlus::seed_from_u64(self.seed).next_u64();
        address(salt, u64::from(number) | ATTACKER)
    }
}

const ATTACKER: u64 = 1 << 40;
/// Of 256 addresses so many are IPv6.
const IPV6_SHARE: u64 = 51;

/// Well-filled networks of big providers in several countries: the upper half of the address, and its prefix.
const IPV6_NETWORKS: [(u64, u32); 10] = [
    (0x2003_0000_0000_0000, 19),
    (0x2601_0000_0000_0000, 20),
    (0x2600_1700_0000_0000, 28),
    (0x240e_0000_0000_0000, 20),
    (0x2409_8000_0000_0000, 20),
    (0x2405_0200_0000_0000, 29),
    (0x2804_0000_0000_0000, 20),
    (0x2a01_0e00_0000_0000, 26),
    (0x2a00_2380_0000_0000, 25),
    (0x2400_2000_0000_0000, 20),
];

const PAGES: [&str; 12] = [
    "/",
    "/index.html",
    "/login",
    "/search?q=shoes&page=2",
    "/static/app.js",
    "/static/site.css",
    "/img/logo.png",
    "/api/v1/items/4711",
    "/api/v1/cart",
    "/products/red-shoes?utm_source=mail",
    "/captcha/create/",
    "/favicon.ico",
];
const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "curl/8.5.0",
    "-",
];

/// Makes lines in `combined`, one after the other.
#[derive(Clone, Debug)]
pub struct Lines {
    traffic: Traffic,
    random: Xoshiro256PlusPlus,
    salt: u64,
    attack_share: f64,
    per_second: f64,
    made: u64,
    second: Second,
    time: String,
}

impl Lines {
    /// Appends the next line with its LF. Times only move forward.
    pub fn append(&mut self, log: &mut Vec<u8>) {
        self.append_at(Second(self.traffic.start.0 + (self.made as f64 / self.per_second) as i64), log);
    }

    /// The same with a time of the caller's.
    pub fn append_at(&mut self, second: Second, log: &mut Vec<u8>) {
        self.made += 1;
        if second != self.second {
            self.second = second;
            self.time = Civil::of(second).time_local();
        }
        let random = self.random.next_u64();
        let pick = self.random.next_u64();
        let attack = unit(random) < self.attack_share;
        let (who, page) = if attack {
            (ATTACKER | (pick % u64::from(self.traffic.attackers)), 2)
        } else {
            let u = unit(pick);
            let visitor = (f64::from(self.traffic.clients) * u * u) as u64;
            (visitor, (random % PAGES.len() as u64) as usize)
        };
        let client = address(self.salt, who);
        let method = if page == 2 { "POST" } else { "GET" };
        let status = if random & 0xf00 == 0 { 404 } else { 200 };
        let bytes = pick % 60_000;
        // A client keeps its browser.
        let agent = AGENTS[(mix(self.salt ^ who) % AGENTS.len() as u64) as usize];
        let (time, page) = (&self.time, PAGES[page]);
        writeln!(
            log,
            "{client} - - [{time}] \"{method} {page} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""
        )
        .expect("writing to memory doesn't fail");
    }

    /// How many lines were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }
}

/// A number from 0 up to 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

/// A public unicast address, the same for the same numbers.
fn address(salt: u64, who: u64) -> IpAddr {
    let mut random = mix(salt ^ who);
    if random % 256 < IPV6_SHARE {
        let (base, bits) = IPV6_NETWORKS[(random >> 8) as usize % IPV6_NETWORKS.len()];
        let site = mix(random) >> bits;
        return IpAddr::V6(Ipv6Addr::from(
            u128::from(base | site) << 64 | u128::from(mix(random ^ 1) & 0xffff),
        ));
    }
    loop {
        let v4 = Ipv4Addr::from((random >> 16) as u32);
        let [a, b, ..] = v4.octets();
        let special = a == 0
            || a >= 224
            || v4.is_private()
            || v4.is_loopback()
            || v4.is_link_local()
            || v4.is_documentation()
            || (a == 100 && (64..128).contains(&b))
            || (a == 198 && (18..20).contains(&b));
        if !special {
            return IpAddr::V4(v4);
        }
        random = mix(random);
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the number.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{LineParser, LogFormat};

    fn log(traffic: Traffic, lines: usize) -> Vec<u8> {
        let (mut log, mut made) = (Vec::new(), traffic.lines());
        for _ in 0..lines {
            made.append(&mut log);
        }
        log
    }

    #[test]
    fn every_line_parses_and_the_seed_decides() {
        let traffic = Traffic { clients: 1_000, attackers: 3, start: Second(1_795_000_000), seed: 7 };
        let made = log(traffic, 2_000);
        assert_eq!(made, log(traffic, 2_000));
        assert_ne!(made, log(Traffic { seed: 8, ..traffic }, 2_000));
        let mut parser = LineParser::new(LogFormat::combined());
        let attackers: Vec<IpAddr> = (0..3).map(|number| traffic.attacker(number)).collect();
        let mut attacks = 0;
        for line in made.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n') {
            let parsed = parser.parse(line).unwrap();
            attacks += u32::from(attackers.contains(&parsed.remote));
        }
        let share = 150.0 / (150.0 + traffic.visitor_rate()) * 2_000.0;
        assert!((f64::from(attacks) - share).abs() < 150.0, "{attacks} attacks, about {share} expected");
    }
}
