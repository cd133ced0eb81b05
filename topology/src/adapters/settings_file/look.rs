//! One look at the settings' file: whether it says anything new, and what.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use model::settings::{Parsed, Settings};
use model::units::Moment;

use super::super::settings_in_force::Problem;
use super::super::whole_file::read;

/// So long after a change the file is read at every look, in milliseconds: its times are coarse, and a second
/// change within the same tick shows only in its bytes.
const SETTLES_WITHIN: i64 = 1000;

/// What the last look at the file saw.
#[derive(Default)]
pub(super) struct Look {
    stamp: Option<Stamp>,
    /// When the stamp or the bytes changed last.
    changed: Moment,
    pub(super) bytes: Option<Vec<u8>>,
}

/// What tells that a file has changed, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// What the file says, where that is news: since the last look its bytes changed, or whether they can be had.
    /// The result is boxed, for settings are large and news are rare.
    pub(super) fn at(&mut self, path: &Path, now: Moment) -> Option<Result<Box<Parsed>, Problem>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.lost(Problem::from(error), now),
        };
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        let settled = self.stamp == Some(stamp) && !(0..SETTLES_WITHIN).contains(&(now.0 - self.changed.0));
        if settled {
            return None;
        }
        if self.stamp != Some(stamp) {
            (self.stamp, self.changed) = (Some(stamp), now);
        }
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) => return self.lost(Problem::from(error), now),
        };
        if self.bytes.as_ref() == Some(&bytes) {
            return None;
        }
        self.changed = now;
        let parsed = Settings::parse(&bytes).map(Box::new).map_err(Problem::Invalid);
        self.bytes = Some(bytes);
        Some(parsed)
    }

    /// The file can't be had, and is tried anew at every look: not all that mends it changes its stamp.
    fn lost(&mut self, problem: Problem, now: Moment) -> Option<Result<Box<Parsed>, Problem>> {
        *self = Self { changed: now, ..Self::default() };
        Some(Err(problem))
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Self::Missing("the file isn't there; write {} in it where the defaults are meant")
            }
            _ => Self::Unreadable(error.to_string()),
        }
    }
}
