//! Moments that outlive the process: when a ban ends, as the kernel keeps it for us in a comment.
//!
//! `1767225600000 3f2a9c01 123456789`: milliseconds of the Unix clock, the boot, and milliseconds of that boot's
//! monotonic clock. As long as the machine runs the last one counts, so that nobody who sets the clock changes how
//! long a ban lasts. Where rules were saved and restored over a boot, the first one does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// No ban is longer; later moments are none of ours.
const LONGEST_MS: u64 = 1000 * (1 << 33);

/// What the machine's clocks said in one moment.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    at: Instant,
    unix_ms: u64,
    monotonic_ms: u64,
    boot: String,
}

impl Clocks {
    /// Reads them.
    pub(super) fn now() -> Self {
        let monotonic = clock_gettime(ClockId::Monotonic);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(8).collect();
        Self {
            at: Instant::now(),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(0),
            monotonic_ms: u64::try_from(Duration::try_from(monotonic).unwrap_or_default().as_millis())
                .unwrap_or(0),
            boot: if boot.is_empty() { "0".to_owned() } else { boot },
        }
    }

    /// The moment as a text of digits, hexadecimal digits and spaces.
    pub(super) fn write(&self, moment: Instant) -> String {
        // Up to the next millisecond: nothing ends early.
        let ahead = moment.saturating_duration_since(self.at) + Duration::from_nanos(999_999);
        let ahead = u64::try_from(ahead.as_millis()).unwrap_or(u64::MAX);
        let unix = self.unix_ms.saturating_add(ahead);
        let monotonic = self.monotonic_ms.saturating_add(ahead);
        format!("{unix} {} {monotonic}", self.boot)
    }

    /// The moment that a text tells of; one that is over is now.
    pub(super) fn read(&self, text: &str) -> Option<Instant> {
        let mut parts = text.split(' ');
        let unix: u64 = parts.next()?.parse().ok()?;
        let boot = parts.next()?;
        let monotonic: u64 = parts.next()?.parse().ok()?;
        if parts.next().is_some() {
            return None;
        }
        let ahead = if boot == self.boot {
            monotonic.saturating_sub(self.monotonic_ms)
        } else {
            unix.saturating_sub(self.unix_ms)
        };
        (ahead <= LONGEST_MS).then(|| self.at + Duration::from_millis(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks() -> Clocks {
        Clocks {
            at: Instant::now(),
            unix_ms: 1_767_225_600_000,
            monotonic_ms: 5_000,
            boot: "3f2a9c01".to_owned(),
        }
    }

    #[test]
    fn a_moment_comes_back() {
        let clocks = clocks();
        let moment = clocks.at + Duration::from_micros(2_500_100);
        let text = clocks.write(moment);
        assert_eq!(text, "1767225602501 3f2a9c01 7501");
        assert_eq!(clocks.read(&text), Some(clocks.at + Duration::from_millis(2501)));
        // What is over doesn't begin anew.
        assert_eq!(clocks.read("1 3f2a9c01 1"), Some(clocks.at));
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_within_a_boot() {
        let before = clocks();
        let text = before.write(before.at + Duration::from_secs(60));
        let later = Clocks { unix_ms: 1, monotonic_ms: before.monotonic_ms + 20_000, ..before.clone() };
        assert_eq!(later.read(&text), Some(later.at + Duration::from_secs(40)));
        // After a boot the monotonic clock has begun anew.
        let booted =
            Clocks { unix_ms: before.unix_ms + 50_000, monotonic_ms: 7, boot: "b".to_owned(), ..before };
        assert_eq!(booted.read(&text), Some(booted.at + Duration::from_secs(10)));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        let clocks = clocks();
        for text in [
            "",
            "x",
            "1 2",
            "1 a -2",
            "1 a 2 3",
            "1  a 2",
            "99999999999999999999 a 1",
            "18446744073709551615 b 1",
        ] {
            assert_eq!(clocks.read(text), None, "{text}");
        }
        let real = Clocks::now();
        let moment = real.at + Duration::from_secs(1);
        assert!(Clocks::now().read(&real.write(moment)).unwrap() < moment + Duration::from_secs(1));
    }
}
