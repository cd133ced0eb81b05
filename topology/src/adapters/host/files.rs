//! The files of the system, read with a bound, and complained about once.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Files below a root.
pub(super) struct Files {
    root: PathBuf,
    complained: HashSet<String>,
}

/// So much of a file is read.
const LONGEST: u64 = 1 << 20;
/// A table of connections has a line of 150 bytes for each: enough for 400,000 of them.
const LONGEST_TABLE: u64 = 64 << 20;
/// So many files of a folder are looked at.
const MOST_FILES: usize = 4096;

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, complained: HashSet::new() }
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The beginning of a file; empty where there is none.
    pub(super) fn read(&mut self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(file) = self.open(path)
            && let Err(error) = file.take(LONGEST).read_to_end(&mut bytes)
        {
            self.complain(path, &error);
        }
        bytes
    }

    /// The same as text; what isn't UTF-8 is replaced, for one odd line must not hide the others.
    pub(super) fn text(&mut self, path: &str) -> String {
        String::from_utf8_lossy(&self.read(path)).into_owned()
    }

    /// Goes over the lines of a long file without keeping it.
    pub(super) fn lines(&mut self, path: &str, mut see: impl FnMut(&str)) {
        let Some(file) = self.open(path) else { return };
        let mut reader = BufReader::with_capacity(64 * 1024, file.take(LONGEST_TABLE));
        let mut line = Vec::new();
        loop {
            line.clear();
            // Every table's lines are far shorter; a longer one is cut to pieces that nothing is read from.
            match (&mut reader).take(4096).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => see(&String::from_utf8_lossy(&line)),
                Err(error) => return self.complain(path, &error),
            }
        }
    }

    /// The names of the plain files in a folder; none where there is no folder.
    pub(super) fn names(&mut self, folder: &str) -> Vec<String> {
        let entries = match self.root.join(folder).read_dir() {
            Ok(entries) => entries,
            Err(error) => {
                self.complain(folder, &error);
                return Vec::new();
            }
        };
        let plain = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        plain.filter_map(|entry| entry.file_name().into_string().ok()).take(MOST_FILES).collect()
    }

    /// Says once that something can't be read. That it isn't there is no complaint: not every system has all.
    pub(super) fn complain(&mut self, what: &str, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound && self.complained.insert(what.to_owned()) {
            tracing::warn!("can't read {what}, so addresses to protect may be missed: {error}");
        }
    }

    fn open(&mut self, path: &str) -> Option<File> {
        open_plain(&self.root.join(path)).map_err(|error| self.complain(path, &error)).ok()
    }
}

/// Opens a plain file, and doesn't wait for a writer where it is a pipe.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of open are an int");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no plain file")) }
}
