//! Writes the lines that nginx would write for who plays.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::time::Civil;
use model::units::Second;

use super::FILLS_A_WINDOW;
use super::cast::{Cast, Luck};
use super::story::Story;

/// A wave of attacks takes so long from its beginning to the last unban.
const WAVE: Duration = Duration::from_secs(13);

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
                if of_attackers[number] == FILLS_A_WINDOW {
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
