//! Who plays: visitors and attackers, and the lines that nginx would write for them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bolts::ports::PlaceLookup;
use model::network::Network;
use model::time::Civil;
use model::units::Second;

use super::story::Story;

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
    path: &'static str,
    /// When its flood begins, after the start.
    begins: Duration,
    /// Requests a second.
    rate: u32,
}

const VISITORS: usize = 400;
const ATTACKERS: usize = 5;
/// A wave of attacks takes so long from its beginning to the last unban.
const WAVE: Duration = Duration::from_secs(13);

/// A small generator of numbers (`SplitMix64`): the demo needs no better luck than that.
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
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

/// Writes the log until `ends`, as nginx does it without a buffer: whole lines, as they come. Tells how many.
pub(super) fn write(
    story: &Story,
    mut log: File,
    rate: u32,
    ends: Instant,
    stop: &AtomicBool,
) -> io::Result<u64> {
    let cast = story.cast();
    let started = Instant::now();
    let mut luck = Luck(7);
    let mut lines = 0;
    let (mut of_visitors, mut of_attackers) = (0u64, vec![0u64; cast.attackers.len()]);
    let mut text = Vec::new();
    let mut wave = 0;
    while Instant::now() < ends && !stop.load(Ordering::Relaxed) {
        let elapsed = started.elapsed();
        let now = now();
        let due = elapsed.as_millis() as u64 * u64::from(rate) / 1_000;
        while of_visitors < due {
            of_visitors += 1;
            // In turn, so that nobody is quick enough for the rules however many lines are asked for; a visitor's
            // share of a great rate goes to further addresses of its kind.
            let visitor = visitor(cast, of_visitors, rate);
            line(&mut text, visitor, now, "/products/", luck.below(1_000));
            lines += 1;
        }
        // The next wave begins where the one before has been seen to its end, if there's time for it.
        let begun = WAVE * wave;
        if elapsed >= begun + WAVE && ends.saturating_duration_since(Instant::now()) > WAVE {
            wave += 1;
            of_attackers.fill(0);
            story.next_wave();
            continue;
        }
        for (number, attacker) in cast.attackers.iter().enumerate() {
            let since = elapsed.saturating_sub(begun + attacker.begins);
            let due = since.as_millis() as u64 * u64::from(attacker.rate) / 1_000;
            // Who is dropped doesn't reach nginx any more; and then these give up.
            while of_attackers[number] < due && !story.is_stopped(number) {
                of_attackers[number] += 1;
                line(&mut text, attacker.address, now, attacker.path, luck.below(1_000));
                lines += 1;
                if of_attackers[number] == super::story::FILLS_A_WINDOW {
                    log.write_all(&text)?;
                    text.clear();
                    story.window_filled(number);
                }
            }
        }
        log.write_all(&text)?;
        text.clear();
        thread::park_timeout(Duration::from_millis(5));
    }
    Ok(lines)
}

/// Visitors take turns; each makes at most four requests a second.
fn visitor(cast: &Cast, number: u64, rate: u32) -> IpAddr {
    let crowd = (u64::from(rate) / 4).max(cast.visitors.len() as u64);
    let turn = number % crowd;
    let visitor = cast.visitors[(turn % cast.visitors.len() as u64) as usize];
    let neighbour = turn / cast.visitors.len() as u64;
    match visitor {
        _ if neighbour == 0 => visitor,
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) ^ neighbour as u32).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) ^ (u128::from(neighbour) << 64)).into(),
    }
}

fn now() -> Second {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Second(since.as_secs() as i64)
}

fn line(text: &mut Vec<u8>, address: IpAddr, now: Second, path: &str, number: usize) {
    let time = Civil::of(now).time_local();
    writeln!(
        text,
        "{address} - - [{time}] \"GET {path}{number} HTTP/1.1\" 200 5120 \"-\" \"Mozilla/5.0 (demo)\""
    )
    .expect("writing to memory doesn't fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::maxmind::Countries;

    #[test]
    fn nobody_of_the_visitors_is_quick_enough_for_the_rules() {
        let cast = Cast::new(&Countries::default());
        for rate in [1, 2_000, 100_000] {
            let mut seen = std::collections::HashMap::new();
            // Within five seconds.
            for number in 0..u64::from(rate) * 5 {
                *seen.entry(visitor(&cast, number, rate)).or_insert(0) += 1;
            }
            assert!(seen.values().all(|&requests| requests <= 26), "{rate}: {:?}", seen.values().max());
            assert!(cast.attackers.iter().all(|attacker| !seen.contains_key(&attacker.address)));
        }
    }
}
