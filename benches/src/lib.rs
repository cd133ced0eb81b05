//! What the benchmarks measure on: the same every time, made from fixed seeds.

use model::synthetic::Traffic;
use model::units::Second;

/// The traffic of all benchmarks: 100,000 visitors, of whom a few come often and most rarely, and 5 attackers.
pub const TRAFFIC: Traffic =
    Traffic { clients: 100_000, attackers: 5, start: Second(1_767_225_600), seed: 1 };

/// So many lines of it, in `combined`, each with its line feed.
#[must_use]
pub fn log(lines: usize) -> Vec<u8> {
    let mut made = TRAFFIC.lines();
    let mut log = Vec::with_capacity(lines * 200);
    for _ in 0..lines {
        made.append(&mut log);
    }
    log
}

/// The lines of a log, without their line feeds.
pub fn lines(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    log.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}
