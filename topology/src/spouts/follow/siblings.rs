//! The files that rotation leaves beside the one that is followed: `access.log.1`, `access.log-20261122`, …
//!
//! They are told by their names (the log's, `.`, `-` or `_`, and then a digit) and by their times of change. What
//! is compressed isn't read, and neither is a copy: a file that begins as one of those that are known.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::mark::{FileId, Position};

use super::tail::{Tail, id_of, open};

/// At most so many rotated files are gone through after a restart, the newest.
pub(super) const MOST: usize = 100;

const COMPRESSED: [&str; 8] = ["gz", "zst", "xz", "bz2", "lz4", "Z", "zip", "tmp"];
const COMPRESSED_BEGIN: [&[u8]; 4] =
    [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, b'7', b'z', b'X', b'Z'], b"BZh"];
/// So much of two files is compared to tell whether one is a copy of the other.
const BEGINNING: usize = 256;

/// Finds the file that `position` is about, by its inode or else by what stands before the position, which finds
/// also what `copytruncate` has copied away.
pub(super) fn locate(path: &Path, position: &Position, batch_bytes: usize) -> Option<Tail> {
    let resumed = |file| Tail::resumed(file, position, batch_bytes).ok().flatten();
    let by_inode = fs::metadata(path)
        .is_ok_and(|known| id_of(&known) == position.file)
        .then(|| path.to_owned())
        .or_else(|| with_inode(path, position.file))
        .and_then(|path| open(&path).ok())
        .filter(|file| file.metadata().is_ok_and(|known| id_of(&known) == position.file))
        .and_then(resumed);
    by_inode.or_else(|| {
        if position.offset == 0 || position.check == 0 {
            return None;
        }
        let rotated = rotated(path).into_iter().rev().map(|sibling| sibling.path);
        std::iter::once(path.to_owned()).chain(rotated).filter_map(|path| open(&path).ok()).find_map(resumed)
    })
}

/// Rotated files between `than` and the one at the path: changed later than `than`. The oldest first.
pub(super) fn newer(path: &Path, than: &File, known: &[&File]) -> Vec<File> {
    let Ok(than) = than.metadata() else { return Vec::new() };
    let mut found = rotated(path);
    found.retain(|sibling| sibling.changed > changed(&than));
    found.drain(..found.len().saturating_sub(MOST));
    found.iter().filter_map(|sibling| unknown(&sibling.path, known)).collect()
}

/// The rotated file before `than`: the newest of those that weren't changed after it.
pub(super) fn before(path: &Path, than: &File, known: &[&File]) -> Option<File> {
    let than = changed(&than.metadata().ok()?);
    let older = rotated(path).into_iter().rev().filter(|sibling| sibling.changed <= than);
    older.take(MOST).find_map(|sibling| unknown(&sibling.path, known))
}

/// Opens a rotated file, if it is none of those that are known, nor a copy of one.
fn unknown(path: &Path, known: &[&File]) -> Option<File> {
    let file = open(path).ok()?;
    let id = id_of(&file.metadata().ok()?);
    let begins = beginning(&file).ok()?;
    let same = |other: &&File| {
        let Ok(other_begins) = beginning(other) else { return false };
        let common = begins.len().min(other_begins.len());
        let copied = common > 0 && begins[..common] == other_begins[..common];
        copied || other.metadata().is_ok_and(|other| id_of(&other) == id)
    };
    let compressed = COMPRESSED_BEGIN.iter().any(|magic| begins.starts_with(magic));
    (!compressed && !known.iter().any(same)).then_some(file)
}

fn beginning(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; BEGINNING];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

struct Sibling {
    path: PathBuf,
    changed: SystemTime,
}

fn changed(known: &Metadata) -> SystemTime {
    known.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The rotated files by their times of change.
fn rotated(path: &Path) -> Vec<Sibling> {
    let mut found = Vec::new();
    for (folder, name) in homes(path) {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !is_rotated(&entry.file_name(), &name) {
                continue;
            }
            let path = entry.path();
            if let Ok(known) = fs::metadata(&path)
                && known.is_file()
            {
                found.push(Sibling { path, changed: changed(&known) });
            }
        }
    }
    found.sort_by(|a, b| (a.changed, &a.path).cmp(&(b.changed, &b.path)));
    found
}

fn is_rotated(name: &OsStr, log: &OsStr) -> bool {
    let compressed =
        Path::new(name).extension().is_some_and(|end| COMPRESSED.iter().any(|known| end == *known));
    let suffix = name.as_bytes().strip_prefix(log.as_bytes());
    !compressed && matches!(suffix, Some([b'.' | b'-' | b'_', b'0'..=b'9', ..]))
}

fn with_inode(path: &Path, id: FileId) -> Option<PathBuf> {
    homes(path)
        .into_iter()
        .flat_map(|(folder, _)| fs::read_dir(folder))
        .flatten()
        .flatten()
        .filter(|entry| entry.ino() == id.inode)
        .map(|entry| entry.path())
        .find(|path| fs::metadata(path).is_ok_and(|known| id_of(&known) == id))
}

/// The folders in which the log may have been rotated, and its name there: where it is named, and where a symbolic
/// link leads to.
fn homes(path: &Path) -> BTreeSet<(PathBuf, OsString)> {
    let target = fs::canonicalize(path).ok();
    [Some(path), target.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(|path| {
            let folder = path.parent()?;
            let folder = if folder == Path::new("") { Path::new(".") } else { folder };
            let folder = fs::canonicalize(folder).ok()?;
            Some((folder, path.file_name()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files() {
        let check = |name: &str| is_rotated(OsStr::new(name), OsStr::new("access.log"));
        for name in ["access.log.1", "access.log-20261122", "access.log.2026-11-22", "access.log_1.old"] {
            assert!(check(name), "{name}");
        }
        for name in [
            "access.log",
            "access.log.1.gz",
            "access.log.static",
            "access.log2",
            "error.log.1",
            "access.log.",
        ] {
            assert!(!check(name), "{name}");
        }
    }
}
