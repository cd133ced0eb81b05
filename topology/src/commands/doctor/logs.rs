//! Is the log there, and what stands at its end?

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use model::units::Moment;

use super::finding::{Finding, size};

const CHECK: &str = "log";

/// What a look at a file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// In bytes.
    pub(super) size: u64,
    /// When it was last written.
    pub(super) written: Moment,
    /// Which file it is.
    pub(super) inode: u64,
}

/// Looks at a file.
pub(super) fn look(path: &Path) -> io::Result<Look> {
    let metadata = fs::metadata(path)?;
    let written = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    Ok(Look { size: metadata.len(), written: Moment(written), inode: metadata.ino() })
}

/// Whether there is a file that can be read.
pub(super) fn file(path: &Path) -> (Finding, Option<Look>) {
    let name = path.display();
    let bad = |found: String, mend: &str| (Finding::bad(CHECK, found, mend), None);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => bad(
            format!("there is no {name}"),
            "find where nginx logs: `nginx -T | grep access_log`, and name that with --log",
        ),
        io::ErrorKind::PermissionDenied => bad(
            format!("{name} may not be read"),
            "run as root, or put the user into the log's group (often adm): `usermod -aG adm USER`",
        ),
        _ => bad(format!("{name} can't be read: {error}"), "look at the disk and the path"),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(error),
    };
    if metadata.is_dir() {
        return bad(format!("{name} is a folder"), "name the log in it");
    }
    if !metadata.is_file() {
        return bad(
            format!("{name} isn't a file but a pipe or device"),
            "in containers it often leads to standard output: let nginx write to a file on a shared volume",
        );
    }
    match File::open(path).and_then(|_| look(path)) {
        Ok(look) => (Finding::ok(CHECK, format!("{name}, {}, can be read", size(look.size))), Some(look)),
        Err(error) => unreadable(error),
    }
}

/// So many lines of the end are looked at.
pub(super) const LINES: usize = 1000;
/// And so many bytes.
const BYTES: u64 = 4 << 20;

/// The last whole lines of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Whether the file begins before it, so that its first line may have lost its head.
    cut: bool,
}

impl Tail {
    /// At most [`LINES`] lines without their line feeds; what is still being written isn't among them.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let whole = memchr::memrchr(b'\n', &self.bytes).map_or(&[][..], |end| &self.bytes[..end]);
        let from = if self.cut { memchr::memchr(b'\n', whole).map_or(whole.len(), |end| end + 1) } else { 0 };
        let lines = &whole[from..];
        let skipped = memchr::memrchr_iter(b'\n', lines).nth(LINES - 1).map_or(0, |end| end + 1);
        let lines = &lines[skipped..];
        // Splitting nothing gives one empty line.
        let some = !(lines.is_empty() && (self.cut || memchr::memchr(b'\n', &self.bytes).is_none()));
        some.then(|| lines.split(|&byte| byte == b'\n')).into_iter().flatten()
    }

    /// Whether it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        !self.cut
            && (self.bytes.starts_with(&[0x1f, 0x8b]) || self.bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]))
    }

    /// Those bytes, whole.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, cut: false }
    }
}

/// Reads the end of a log.
pub(super) fn tail(path: &Path) -> io::Result<Tail> {
    let size = fs::metadata(path)?.len();
    let from = size.saturating_sub(BYTES);
    Ok(Tail { bytes: from_there(path, from)?, cut: from > 0 })
}

/// Reads what stands from there on, bounded.
pub(super) fn from_there(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn what_a_log_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, level, part: &str| {
            let (finding, look) = file(path);
            assert_eq!((finding.level, look.is_some()), (level, level == Level::Ok), "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(&folder.path().join("none"), Level::Bad, "there is no");
        check(folder.path(), Level::Bad, "folder");
        check(Path::new("/dev/null"), Level::Bad, "pipe or device");
        let log = folder.path().join("log");
        fs::write(&log, "x\n").unwrap();
        check(&log, Level::Ok, "2 B");
        check(&log.join("x"), Level::Bad, "can't be read");
    }

    #[test]
    fn the_last_whole_lines() {
        let check = |bytes: &[u8], cut, expect: &[&[u8]]| {
            let tail = Tail { bytes: bytes.to_vec(), cut };
            assert_eq!(tail.lines().collect::<Vec<_>>(), expect, "{bytes:?} {cut}");
        };
        check(b"", false, &[]);
        check(b"a", false, &[]);
        check(b"\n", false, &[b""]);
        check(b"a\nb\nc", false, &[b"a", b"b"]);
        check(b"a\nb\nc", true, &[b"b"]);
        check(b"a\n", true, &[]);
        let many = b"x\n".repeat(LINES + 5);
        assert_eq!(Tail::whole(many).lines().count(), LINES);
    }
}
