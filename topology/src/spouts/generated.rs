//! Made-up lines without end, at a given rate: for trying things out, and for load. Marked batches of whole lines out;
//! a line's time is when it was due, so that a source which is held back falls behind as a file would, and never
//! makes a flood of what waited.

use bolts::tuples::LineBatch;
use engine::{Next, Spout, Timestamp};
use model::mark::{Mark, Position};
use model::synthetic::{self, Traffic};
use model::units::Second;

use super::moment;

/// A batch has at most so many lines.
const MOST_LINES: u64 = 2_000;

/// The spout.
#[derive(Debug)]
pub struct Generated {
    lines: synthetic::Lines,
    per_second: u64,
    /// When the first line was due.
    started: Option<Timestamp>,
    offset: u64,
    batches: u64,
}

impl Generated {
    /// Makes `per_second` lines a second of `traffic`, beginning when it is first asked; what `traffic` says of its
    /// start doesn't matter. The rate is shared between visitors and attackers as in `traffic`.
    #[must_use]
    pub fn new(traffic: Traffic, per_second: u32) -> Self {
        let per_second = u64::from(per_second);
        Self { lines: traffic.lines(), per_second, started: None, offset: 0, batches: 0 }
    }

    /// When the line with that number is due; line 0 at the start.
    fn due(&self, started: Timestamp, number: u64) -> Second {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.per_second.max(1));
        let due = u128::from(started.as_nanos()) + nanos;
        Second(i64::try_from(due / 1_000_000_000).unwrap_or(i64::MAX))
    }
}

impl Spout for Generated {
    type Out = LineBatch;

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        let started = *self.started.get_or_insert(now);
        let elapsed = now.since(started).as_nanos();
        let due = u64::try_from(elapsed * u128::from(self.per_second) / 1_000_000_000).unwrap_or(u64::MAX);
        let made = self.lines.made();
        let count = due.saturating_sub(made).min(MOST_LINES);
        if count == 0 {
            return Next::Idle;
        }
        let mut bytes = Vec::with_capacity(count as usize * 256);
        for number in made..made + count {
            let second = self.due(started, number);
            self.lines.append_at(second, &mut bytes);
        }
        self.offset += bytes.len() as u64;
        let mark = Mark {
            source: "generator".into(),
            batch: self.batches,
            next: Position { offset: self.offset, ..Position::default() },
            older: Vec::new(),
            read_at: moment(now),
            rebuild: false,
            caught_up: made + count == due,
        };
        self.batches += 1;
        Next::Emit(LineBatch::new(bytes).marked(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Tuple as _;
    use model::line::{LineParser, LogFormat};

    const START: u64 = 1_795_000_000_000;

    fn spout(seed: u64, per_second: u32) -> Generated {
        Generated::new(Traffic { clients: 100, attackers: 1, start: Second(0), seed }, per_second)
    }

    fn all(spout: &mut Generated, millis: u64) -> Vec<LineBatch> {
        let mut batches = Vec::new();
        while let Next::Emit(batch) = spout.next(Timestamp::from_millis(START + millis)) {
            batches.push(batch);
        }
        batches
    }

    #[test]
    fn the_rate_is_kept_and_times_follow_the_clock() {
        let mut spout = spout(1, 1_000);
        let mut parser = LineParser::new(LogFormat::combined());
        let mut lines = 0;
        for millis in (0..=5_000).step_by(7) {
            for batch in all(&mut spout, millis) {
                lines += batch.records();
                for line in batch.bytes.strip_suffix(b"\n").unwrap().split(|&byte| byte == b'\n') {
                    let second = parser.parse(line).unwrap().second;
                    let clock = (START + millis) as i64 / 1000;
                    assert!((clock - 1..=clock).contains(&second.0), "{second:?} at {clock}");
                }
            }
            assert_eq!(lines, millis, "a line a millisecond");
        }
    }

    #[test]
    fn held_back_it_falls_behind_and_a_clock_set_back_stops_it() {
        let mut spout = spout(2, 10_000);
        assert_eq!(all(&mut spout, 0), []);
        let batches = all(&mut spout, 1_000);
        assert_eq!(batches.iter().map(LineBatch::records).collect::<Vec<_>>(), [MOST_LINES; 5]);
        let caught_up: Vec<bool> =
            batches.iter().map(|batch| batch.mark.as_ref().unwrap().caught_up).collect();
        assert_eq!(caught_up, [false, false, false, false, true]);
        let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        assert_eq!(batches[4].mark.as_ref().unwrap().next.offset, bytes as u64);
        assert_eq!(all(&mut spout, 500), []);
        assert_eq!(all(&mut self::spout(2, 0), 1_000), [], "no rate, no lines");
    }

    #[test]
    fn the_seed_decides() {
        let made = |seed| {
            let mut spout = spout(seed, 500);
            let _ = all(&mut spout, 0);
            all(&mut spout, 3_000)
        };
        assert_eq!(made(3), made(3));
        assert_ne!(made(3), made(4));
    }
}
