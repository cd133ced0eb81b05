//! Does the log's clock agree with ours?

use std::path::{Path, PathBuf};

use model::units::{Moment, Second, Seconds};

use super::finding::{Finding, ago};
use super::growth::Growth;
use super::logs;

const CHECK: &str = "clock";

/// A file that was written longer ago may have been copied, and tells nothing of clocks.
const LATELY: u64 = 600;
/// Less than this is the rounding of log lines and the time that writing takes.
const SMALL: i64 = 2;

/// Compares the newest line with when the file was written. `too_old` is the settings' `max_event_age`.
pub(super) fn clock(newest: Option<Second>, growth: &Growth, too_old: Seconds) -> Finding {
    let Some(newest) = newest else {
        return Finding::skipped(CHECK, "no line tells the time");
    };
    let written = growth.written();
    if written.until(growth.now).as_secs() > LATELY {
        return Finding::skipped(CHECK, "nothing was written lately, so it can't be told");
    }
    // The line was written at some time within its second.
    let written = written.second().0;
    let ahead = newest.0 - written;
    let behind = written - newest.0;
    if ahead < SMALL && behind <= SMALL {
        return Finding::ok(CHECK, "the newest line is as old as the file says");
    }
    let off = ahead.unsigned_abs();
    let zone = is_zone(off);
    if ahead >= SMALL {
        let found = format!("the newest line is {} ahead of this machine's clock", ago(off));
        let mend = if zone {
            "that looks like a wrong time zone: see $time_local's offset, and the zone of who writes the log"
        } else {
            "set both clocks by NTP (`timedatectl`); lines more than a minute ahead don't count"
        };
        return if off > 60 { Finding::bad(CHECK, found, mend) } else { Finding::warn(CHECK, found, mend) };
    }
    let found = format!("the newest line was {} old when it was written", ago(off));
    let mend = if zone {
        "that looks like a wrong time zone: see $time_local's offset, and the zone of who writes the log"
            .to_owned()
    } else {
        format!(
            "set both clocks by NTP (`timedatectl`), and write lines at once (see buffering); decisions on lines \
             older than {too_old} aren't enforced (max_event_age)"
        )
    };
    if behind >= i64::from(too_old.0) {
        Finding::bad(CHECK, found, mend)
    } else {
        Finding::warn(CHECK, found, mend)
    }
}

/// Whether it is about a multiple of half an hour.
pub(super) fn is_zone(off: u64) -> bool {
    let from_half_an_hour = (off + 60) % 1800;
    off > 1000 && off <= 15 * 3600 && from_half_an_hour <= 120
}

/// What rotation has left beside a log: `access.log.1` or `access.log-20261122`, the newest, with when it was
/// written.
pub(super) fn rotated(log: &Path) -> Option<(PathBuf, Moment)> {
    let name = log.file_name()?.to_str()?;
    let siblings =
        std::fs::read_dir(log.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")));
    let is_rotated = |other: &str| {
        let rest = other.strip_prefix(name).and_then(|rest| rest.strip_prefix(['.', '-']));
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let others = siblings.ok()?.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_rotated));
    let written = others.filter_map(|entry| Some((entry.path(), logs::look(&entry.path()).ok()?.written)));
    written.max_by_key(|(_, written)| *written)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::finding::Level;
    use super::super::lines::Read;
    use super::super::logs::Look;
    use super::*;

    fn check(newest: Option<i64>, written: i64, level: Level, part: &str) {
        let growth = Growth {
            first: Look { size: 1, written: Moment(written * 1000 + 999), inode: 1 },
            second: None,
            now: Moment(1_000_000_000),
            waited: Duration::ZERO,
            lines: Read::default(),
        };
        let finding = clock(newest.map(Second), &growth, Seconds(300));
        assert_eq!(finding.level, level, "{finding:?}");
        let text = format!("{} {}", finding.found, finding.mend.unwrap_or_default());
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn clocks_that_agree_and_not() {
        check(None, 1_000_000, Level::Skipped, "no line");
        check(Some(1_000_000), 1_000_000, Level::Ok, "");
        check(Some(1_000_001), 1_000_000, Level::Ok, "");
        check(Some(999_998), 1_000_000, Level::Ok, "");
        check(Some(1_000_010), 1_000_000, Level::Warn, "10 s ahead");
        check(Some(1_000_100), 1_000_000, Level::Bad, "NTP");
        check(Some(1_007_200), 1_000_000, Level::Bad, "time zone");
        check(Some(999_990), 1_000_000, Level::Warn, "10 s old");
        check(Some(999_000), 1_000_000, Level::Bad, "max_event_age");
        check(Some(996_400), 1_000_000, Level::Bad, "time zone");
        check(Some(1), 1, Level::Skipped, "lately");
    }

    #[test]
    fn what_rotation_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        for name in ["access.log", "access.log.1.gz", "access.log.bak", "other.log.1"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(rotated(&log), None);
        std::fs::write(folder.path().join("access.log.1"), "").unwrap();
        assert_eq!(rotated(&log).unwrap().0, folder.path().join("access.log.1"));
    }
}
