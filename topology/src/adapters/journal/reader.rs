//! Reading along: entries in order, from the files, no further than is safe on the disk. What a reader saw is never
//! taken back by a power cut.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::event::Entry;

use super::line::{self, ReadEntry};
use super::writer::Durable;
use super::{Fold, Shared, segments};

/// Reads a journal's entries while it is written.
pub struct Reader<S> {
    shared: Arc<Shared<S>>,
    /// The number of the newest entry that it gave, or passed by.
    after: u64,
    /// How far it may read, as it was last seen.
    durable: Durable,
    open: Option<Open>,
    line: Vec<u8>,
}

/// The segment that is being read.
struct Open {
    number: u64,
    file: BufReader<File>,
    offset: u64,
}

impl<S: Fold> Reader<S> {
    pub(super) fn new(shared: Arc<Shared<S>>, after: u64) -> Self {
        let durable = Durable { segment: 0, offset: 0, seq: 0 };
        Self { shared, after, durable, open: None, line: Vec::new() }
    }

    /// The next entry with its number. Waits for it up to `wait`, or until `interrupted` is set (and
    /// `Journal::wake_readers` called): `None` then.
    ///
    /// # Errors
    ///
    /// When a file can't be read. Broken lines are no error: they're counted, told, and passed by.
    pub fn next(&mut self, wait: Duration, interrupted: &AtomicBool) -> io::Result<Option<(u64, Entry)>> {
        let deadline = Instant::now() + wait;
        loop {
            if self.after >= self.durable.seq && !self.wait(deadline, interrupted)? {
                return Ok(None);
            }
            if let Some(found) = self.read_line()? {
                return Ok(Some(found));
            }
        }
    }

    /// Waits until there is more to read. Returns whether there is.
    fn wait(&mut self, deadline: Instant, interrupted: &AtomicBool) -> io::Result<bool> {
        let mut writer = self.shared.lock();
        while writer.durable.seq <= self.after {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || interrupted.load(Ordering::Acquire) {
                return Ok(false);
            }
            writer = self.shared.wait_readable(writer, left);
        }
        self.durable = writer.durable;
        drop(writer);
        // What was read ahead, beyond what was safe, may have been rolled back and written anew.
        if let Some(open) = &mut self.open {
            open.file.seek(SeekFrom::Start(open.offset))?;
        }
        Ok(true)
    }

    /// One line on: its entry, if it holds one that wasn't given yet.
    fn read_line(&mut self) -> io::Result<Option<(u64, Entry)>> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(first(&self.shared, self.after)?),
        };
        let end = if open.number == self.durable.segment { self.durable.offset } else { u64::MAX };
        self.line.clear();
        let length = if open.offset < end { open.file.read_until(b'\n', &mut self.line)? as u64 } else { 0 };
        if length == 0 {
            match self.shared.lock().next_segment(open.number).filter(|&next| next <= self.durable.segment) {
                Some(next) => self.open = Some(at(&self.shared, next)?),
                // The last lines were broken.
                None => self.after = self.durable.seq,
            }
            return Ok(None);
        }
        let first = open.offset == 0;
        open.offset = end.min(open.offset + length);
        let number = open.number;
        let Some((seq, json)) = line::read(&self.line) else {
            self.broken(number, "its checksum is wrong");
            return Ok(None);
        };
        if seq <= self.after {
            return Ok(None);
        }
        match serde_json::from_slice(json) {
            Ok(ReadEntry::Entry(entry)) => {
                self.after = seq;
                Ok(Some((seq, entry)))
            }
            Ok(ReadEntry::Snapshot(_)) if first => Ok(None),
            Ok(ReadEntry::Snapshot(_)) => {
                self.broken(number, "a snapshot doesn't belong there");
                Ok(None)
            }
            Err(error) => {
                self.broken(number, &error.to_string());
                Ok(None)
            }
        }
    }

    fn broken(&self, number: u64, why: &str) {
        let path = segments::path(&self.shared.dir, number);
        tracing::warn!(path = %path.display(), why, "a line of the journal can't be read and is passed by");
        let mut writer = self.shared.lock();
        writer.broken += 1;
        let text = format!(
            "A line of {} can't be read ({why}): what it said is missing in the tables. Look at the disk.",
            path.display()
        );
        writer.alarm("journal_damaged", text, false);
        drop(writer);
        self.shared.work.notify_one();
    }
}

fn first<S: Fold>(shared: &Shared<S>, after: u64) -> io::Result<Open> {
    let number = shared.lock().segment_after(after);
    at(shared, number)
}

fn at<S: Fold>(shared: &Shared<S>, number: u64) -> io::Result<Open> {
    let file = File::open(segments::path(&shared.dir, number))?;
    Ok(Open { number, file: BufReader::with_capacity(1 << 18, file), offset: 0 })
}
