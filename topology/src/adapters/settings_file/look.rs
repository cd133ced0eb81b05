//! One look at the settings' file: whether it says anything new, and what.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use model::settings::{Finding, Parsed, Settings, SettingsErrors};
use model::units::Moment;
use rustix::fs::OFlags;

/// A longer file isn't read: 16 MiB are half a million addresses.
pub const LONGEST: u64 = 16 << 20;
/// So long after a change the file is read at every look, in milliseconds: its times are coarse, and a second
/// change within the same tick shows only in its bytes.
const SETTLES_WITHIN: i64 = 1000;
/// So many errors are told in an alarm; the status has them all.
const MOST_TOLD: usize = 50;

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

/// Why a file's content can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the file isn't there; write {{}} in it where the defaults are meant")]
    Missing,
    #[error("it can't be read: {0}")]
    Unreadable(String),
    #[error("it is longer than 16 MiB, so it is something else")]
    TooLong,
    #[error("{}", told(.0))]
    Invalid(SettingsErrors),
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
            Err(problem) => return self.lost(problem, now),
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

impl Problem {
    pub(super) fn findings(&self, path: &Path) -> Vec<Finding> {
        match self {
            Self::Invalid(errors) => errors.findings().to_vec(),
            other => vec![Finding { path: path.display().to_string(), message: other.to_string() }],
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

fn told(errors: &SettingsErrors) -> String {
    let findings = errors.findings();
    let noun = if findings.len() == 1 { "error" } else { "errors" };
    let mut text = format!("{} {noun}", findings.len());
    for finding in findings.iter().take(MOST_TOLD) {
        text.push_str(&format!("\n{finding}"));
    }
    if findings.len() > MOST_TOLD {
        text.push_str(&format!("\n… and {} more", findings.len() - MOST_TOLD));
    }
    text
}

/// A file's bytes. A pipe or a device is refused, for reading one could wait for ever.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of open are an int");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Problem::Unreadable("it is no plain file".to_owned()));
    }
    if metadata.len() > LONGEST {
        return Err(Problem::TooLong);
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST { Err(Problem::TooLong) } else { Ok(bytes) }
}

/// Writes a file whole or not at all, whenever the machine stops.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
