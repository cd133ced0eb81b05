//! One file that is followed: where its next line begins, and what was read behind that. Every read reads the last
//! few bytes before its place again, so that it notices at once when the file was emptied or written anew.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bolts::tuples::MAX_LINE;
use engine::Timestamp;
use model::mark::{FileId, Position};
use rustix::fs::OFlags;
use rustix::io::{preadv, retry_on_intr};

use crate::spouts::line_buffer::{Cut, LastBytes, LineBuffer};

/// So much is read at one time where no line feed is found; then other things get their turn.
const MOST_AT_ONCE: usize = 4 * 1024 * 1024;

/// A file and how far it was read.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) file: File,
    pub(super) id: FileId,
    offset: u64,
    check: u32,
    lines: LineBuffer,
    /// Nothing from here on is read.
    until: u64,
    /// Whether the last read came to the end.
    pub(super) at_end: bool,
    /// When it last grew, or became an older file.
    pub(super) quiet_since: Timestamp,
}

/// What a read found.
#[derive(Debug)]
pub(super) enum Found {
    /// Lines.
    Lines(Cut),
    /// A long line that doesn't end yet; there is more to read.
    More,
    /// Nothing more that is whole.
    End,
    /// Not the file's bytes from before: it was emptied, and maybe filled again.
    Replaced,
}

impl Tail {
    /// Reads the file from `offset` on, which is the beginning of a line.
    ///
    /// # Errors
    /// What is in front of `offset` can't be read.
    pub(super) fn new(file: File, offset: u64, batch_bytes: usize) -> io::Result<Self> {
        let id = id_of(&file.metadata()?);
        let before = last_bytes(&file, offset)?;
        let check = if offset == 0 { 0 } else { before.check() };
        let lines = LineBuffer::new(batch_bytes, before);
        let (until, at_end, quiet_since) = (u64::MAX, false, Timestamp::default());
        Ok(Self { file, id, offset, check, lines, until, at_end, quiet_since })
    }

    /// Reads the file from behind its last whole line on.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn at_end(file: File, batch_bytes: usize) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut buffer = vec![0; 64 * 1024];
        let mut to = length;
        while to > 0 && length - to <= MAX_LINE as u64 {
            let from = to.saturating_sub(buffer.len() as u64);
            let part = &mut buffer[..(to - from) as usize];
            file.read_exact_at(part, from)?;
            if let Some(at) = memchr::memrchr(b'\n', part) {
                return Self::new(file, from + at as u64 + 1, batch_bytes);
            }
            to = from;
        }
        if to == 0 {
            return Self::new(file, 0, batch_bytes);
        }
        let tail = Self::new(file, length, batch_bytes)?;
        Ok(Self { lines: tail.lines.in_too_long(), ..tail })
    }

    /// Reads the file from `position` on, if it is the one that the position is about.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn resumed(file: File, position: &Position, batch_bytes: usize) -> io::Result<Option<Self>> {
        if file.metadata()?.len() < position.offset {
            return Ok(None);
        }
        let tail = Self::new(file, position.offset, batch_bytes)?;
        Ok((position.check == 0 || position.check == tail.check).then_some(tail))
    }

    /// The same, up to there.
    pub(super) fn until(self, until: u64) -> Self {
        Self { until, ..self }
    }

    /// Behind the last line that was read of it.
    pub(super) fn position(&self) -> Position {
        Position { file: self.id, offset: self.offset, check: self.check }
    }

    /// How many bytes there are behind its position.
    pub(super) fn behind(&self) -> u64 {
        self.file.metadata().map_or(0, |known| known.len().saturating_sub(self.offset))
    }

    /// Reads what is there, up to about a batch.
    ///
    /// # Errors
    /// It can't be read; another time it may.
    pub(super) fn read(&mut self, now: Timestamp, spare: &mut Vec<Vec<u8>>) -> io::Result<Found> {
        let mut read = 0;
        while read < MOST_AT_ONCE {
            if let Some(cut) = self.lines.cut(spare) {
                self.count(&cut);
                return Ok(Found::Lines(cut));
            }
            let from = self.offset + self.lines.held();
            let expected = self.lines.last_filled();
            // Read again into here, in front of what is new.
            let mut again = expected.blank();
            let before = again.as_slice().len();
            let room = self.lines.room();
            let most = usize::try_from(self.until.saturating_sub(from)).unwrap_or(usize::MAX);
            let wanted = room.len().min(most);
            let parts = &mut [IoSliceMut::new(again.as_mut_slice()), IoSliceMut::new(&mut room[..wanted])];
            let count = retry_on_intr(|| preadv(&self.file, parts, from - before as u64))?;
            if count < before || again != expected {
                return Ok(Found::Replaced);
            }
            let count = count - before;
            self.at_end = count < wanted || wanted == 0;
            if count == 0 {
                return Ok(Found::End);
            }
            self.quiet_since = now;
            self.lines.fill(count);
            read += count;
        }
        Ok(Found::More)
    }

    /// The last line, which has no line feed and won't get one.
    pub(super) fn rest(&mut self) -> Option<Cut> {
        let cut = self.lines.rest()?;
        self.count(&cut);
        Some(cut)
    }

    fn count(&mut self, cut: &Cut) {
        self.offset += cut.length;
        self.check = self.lines.last_cut().check();
    }
}

/// Which file that is.
pub(super) fn id_of(known: &Metadata) -> FileId {
    FileId { device: known.dev(), inode: known.ino() }
}

/// Opens a file, and nothing that isn't one: a FIFO would block, and a device might do anything.
///
/// # Errors
/// It isn't there, isn't a regular file, or may not be read.
pub(super) fn open(path: &Path) -> io::Result<File> {
    regular(&fs::metadata(path)?)?;
    // Something else may have taken its place since.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(known: &Metadata) -> io::Result<()> {
    if known.is_file() { Ok(()) } else { Err(io::Error::other("it isn't a regular file")) }
}

fn last_bytes(file: &File, offset: u64) -> io::Result<LastBytes> {
    let from = offset.saturating_sub(Position::CHECKED as u64);
    let mut bytes = vec![0; (offset - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(LastBytes::of(&bytes))
}
