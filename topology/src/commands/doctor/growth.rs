//! Is the log written to?

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::line::LogFormat;
use model::units::Moment;

use super::finding::{Finding, ago};
use super::lines::{self, Read};
use super::logs::{self, Look, Tail};

const CHECK: &str = "growth";

/// What two looks at a log show.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    pub(super) first: Look,
    /// `None` where it is gone.
    pub(super) second: Option<Look>,
    /// The clock at the second look.
    pub(super) now: Moment,
    /// From the first to the second.
    pub(super) waited: Duration,
    /// What was written meanwhile.
    pub(super) lines: Read,
}

/// Looks again until it has grown, at most for `patience`.
pub(super) fn watch(path: &Path, first: &Look, format: &LogFormat, patience: Duration) -> Growth {
    let began = Instant::now();
    let grown = |look: &Look| look.size != first.size || look.inode != first.inode;
    let mut second = logs::look(path).ok();
    while began.elapsed() < patience && second.as_ref().is_some_and(|look| !grown(look)) {
        std::thread::sleep(Duration::from_millis(50));
        second = logs::look(path).ok();
    }
    let now = super::now();
    let written = match &second {
        Some(look) if look.inode == first.inode && look.size > first.size => {
            logs::from_there(path, first.size).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let lines = lines::read(&Tail::whole(written), format);
    Growth { first: first.clone(), second, now, waited: began.elapsed(), lines }
}

impl Growth {
    /// When it was last written.
    pub(super) fn written(&self) -> Moment {
        self.second.as_ref().unwrap_or(&self.first).written
    }
}

/// A site that is quiet for longer is told.
const QUIET: u64 = 300;

/// Whether it is. `rotated` is the newest of what rotation has left beside it.
pub(super) fn judge(growth: &Growth, rotated: Option<&(PathBuf, Moment)>) -> Finding {
    let Some(second) = &growth.second else {
        return Finding::warn(
            CHECK,
            "it went away just now",
            "look again: it may have been rotated this moment",
        );
    };
    if second.inode != growth.first.inode {
        return Finding::ok(CHECK, "it was rotated just now");
    }
    if second.size < growth.first.size {
        return Finding::warn(
            CHECK,
            "it was cut just now, which can lose lines",
            "let logrotate rename it: `create` instead of `copytruncate`, and `nginx -s reopen` after it",
        );
    }
    if let Some(bytes) = second.size.checked_sub(growth.first.size).filter(|&bytes| bytes > 0) {
        let waited = growth.waited.as_secs_f64();
        return Finding::ok(CHECK, format!("{bytes} bytes were written within {waited:.1} s"));
    }
    let newer = rotated.filter(|(_, written)| second.written.until(*written) > Duration::from_secs(60));
    if let Some((other, _)) = newer {
        return Finding::bad(
            CHECK,
            format!("{} was written to later: nginx still writes to the rotated log", other.display()),
            "tell nginx to open its logs anew: `nginx -s reopen`, in logrotate's postrotate",
        );
    }
    let age = second.written.until(growth.now).as_secs();
    if second.size == 0 {
        return Finding::warn(
            CHECK,
            format!("it has been empty for {}", ago(age)),
            "request a page and look again; `nginx -T | grep access_log` tells where nginx logs",
        );
    }
    if age <= QUIET {
        return Finding::ok(CHECK, format!("it was last written to {} ago", ago(age)));
    }
    Finding::warn(
        CHECK,
        format!("nothing was written to it for {}: a quiet site, or nginx logs elsewhere", ago(age)),
        "request a page and look again; `nginx -T | grep access_log` tells where nginx logs",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn seen(first: (u64, i64, u64), second: Option<(u64, i64, u64)>) -> Growth {
        let look = |(size, written, inode)| Look { size, written: Moment(written * 1000), inode };
        Growth {
            first: look(first),
            second: second.map(look),
            now: Moment(10_000_000),
            waited: Duration::from_secs(2),
            lines: Read::default(),
        }
    }

    fn check(growth: &Growth, rotated: Option<i64>, level: Level, part: &str) {
        let rotated = rotated.map(|written| (PathBuf::from("access.log.1"), Moment(written * 1000)));
        let finding = judge(growth, rotated.as_ref());
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
    }

    #[test]
    fn growing_and_not() {
        let same = |size, written| seen((size, written, 1), Some((size, written, 1)));
        check(&seen((5, 9_999, 1), Some((9, 10_000, 1))), None, Level::Ok, "4 bytes");
        check(&same(5, 9_990), None, Level::Ok, "10 s ago");
        check(&same(5, 1), None, Level::Warn, "2 h 46 min");
        check(&same(5, 11_000), None, Level::Ok, "0 s ago");
        check(&same(0, 9_990), None, Level::Warn, "empty");
        check(&same(5, 1), Some(9_999), Level::Bad, "access.log.1");
        check(&same(5, 9_990), Some(9_000), Level::Ok, "10 s ago");
        check(&seen((5, 1, 1), Some((5, 1, 2))), None, Level::Ok, "rotated");
        check(&seen((5, 1, 1), Some((4, 2, 1))), None, Level::Warn, "cut");
        check(&seen((5, 1, 1), None), None, Level::Warn, "away");
    }

    #[test]
    fn what_is_written_meanwhile_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let line = "192.0.2.7 - - [22/Nov/2026:10:09:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n";
        std::fs::write(&log, line).unwrap();
        let first = logs::look(&log).unwrap();
        std::fs::write(&log, line.repeat(3)).unwrap();
        let growth = watch(&log, &first, &LogFormat::combined(), Duration::ZERO);
        assert_eq!((growth.lines.lines, growth.lines.parsed), (2, 2));
        check(&growth, None, Level::Ok, "bytes were written");
    }
}
