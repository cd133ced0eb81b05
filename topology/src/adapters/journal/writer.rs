//! Writing: the newest segment, what waits for the disk, and what is known to be safe.
//!
//! The state is folded when an entry is *written*, so a snapshot says exactly what the lines before it say.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolts::ports::Alarm;
use model::event::{Entry, Event};
use uuid::Uuid;

use super::backlog::Backlog;
use super::line::{self, Said, Snapshot};
use super::segments::{self, Found, Segment};
use super::{Fold, JournalOptions, JournalStatus};

/// After a failure the disk is asked again this often.
const RETRY: Duration = Duration::from_millis(100);
/// How much of the backlog is written at a time, in bytes.
const STEP: u64 = 1 << 20;

/// Up to where the journal survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Durable {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) seq: u64,
}

/// What must be flushed to the disk, and what is durable then.
pub(super) struct SyncJob {
    files: Vec<Arc<File>>,
    dir: Option<PathBuf>,
    pub(super) reaches: Durable,
}

/// What became of a part of the backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushed {
    /// Nothing waits any more.
    All,
    /// There's more, and the disk takes it.
    Some,
    /// The disk refuses it.
    Refused,
}

impl SyncJob {
    pub(super) fn run(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())?;
        // A new file is only there for good when its folder says so.
        self.dir.as_ref().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }
}

pub(super) struct Writer<S> {
    pub(super) id: Uuid,
    dir: PathBuf,
    options: JournalOptions,
    state: S,
    /// Never empty: the last one is being written.
    pub(super) segments: Vec<Segment>,
    file: Arc<File>,
    /// Whether there may be half a line at its end.
    ragged: bool,
    rotate_at: u64,
    total_bytes: u64,
    /// The number of the newest entry, written or waiting.
    pub(super) last_seq: u64,
    /// The number of the newest one that is written.
    written_seq: u64,
    buffer: Vec<u8>,
    backlog: Backlog,
    retry_at: Option<Instant>,
    unsynced: Vec<Arc<File>>,
    new_file: bool,
    dirty_since: Option<Instant>,
    urgent: bool,
    pub(super) durable: Durable,
    lost: u64,
    pub(super) broken: u64,
    full: bool,
    trouble: Option<String>,
    pub(super) alarms: Vec<Alarm>,
    pub(super) stop: bool,
}

impl<S: Fold> Writer<S> {
    /// Goes on where `found` ends, in a new segment if there is none.
    pub(super) fn new(dir: &Path, options: JournalOptions, found: Found<S>) -> io::Result<Self> {
        // The two newest may not be on the disk yet: the last process may have been killed right after writing.
        if let [.., before, _] = found.segments[..] {
            segments::open(&segments::path(dir, before.number), false)?.sync_data()?;
        }
        let newest = found.segments.last().copied();
        let number = newest.map_or(1, |newest| newest.number);
        let file = segments::open(&segments::path(dir, number), newest.is_none())?;
        let mut writer = Self {
            id: found.journal.map_or_else(random_id, Ok)?,
            dir: dir.to_owned(),
            options,
            state: found.state,
            total_bytes: found.segments.iter().map(|s| s.bytes).sum(),
            segments: found.segments,
            file: Arc::new(file),
            ragged: false,
            rotate_at: options.segment_bytes,
            last_seq: found.last_seq,
            written_seq: found.last_seq,
            buffer: Vec::new(),
            backlog: Backlog::new(options.max_waiting_bytes),
            retry_at: None,
            unsynced: Vec::new(),
            new_file: false,
            dirty_since: None,
            urgent: false,
            durable: Durable { segment: number, offset: 0, seq: found.last_seq },
            lost: 0,
            broken: found.broken,
            full: false,
            trouble: None,
            alarms: Vec::new(),
            stop: false,
        };
        if newest.is_none() {
            writer.encode_snapshot()?;
            (&*writer.file).write_all(&writer.buffer)?;
            writer.begin_segment(number);
        }
        writer.file.sync_all()?;
        File::open(dir)?.sync_all()?;
        writer.durable = writer.reaches();
        (writer.dirty_since, writer.new_file) = (None, false);
        Ok(writer)
    }

    /// Takes an entry in: written when this returns, or waiting where the disk refuses.
    pub(super) fn append(&mut self, mut entry: Entry) {
        self.notice_size();
        if self.full {
            let before = entry.events.len();
            entry.events.retain(|event| !matches!(event, Event::Record(_)));
            self.lost += (before - entry.events.len()) as u64;
            if entry.events.is_empty() && entry.mark.is_none() {
                return;
            }
        }
        self.last_seq += 1;
        let seq = self.last_seq;
        if self.backlog.is_empty() && self.write(seq, &entry).is_ok() {
            return;
        }
        self.lost += self.backlog.push(seq, entry);
        self.flush_backlog();
    }

    /// Writes some of what waits, oldest first.
    pub(super) fn flush_backlog(&mut self) -> Flushed {
        let until = self.total_bytes + STEP;
        while self.total_bytes < until {
            let Some((seq, entry)) = self.backlog.pop() else {
                self.retry_at = None;
                self.accepted();
                return Flushed::All;
            };
            if let Err(error) = self.write(seq, &entry) {
                self.backlog.put_back(seq, entry);
                self.refused(&error);
                self.retry_at = Some(Instant::now() + RETRY);
                return Flushed::Refused;
            }
        }
        self.retry_at = Some(Instant::now());
        Flushed::Some
    }

    fn write(&mut self, seq: u64, entry: &Entry) -> io::Result<()> {
        if self.segment().bytes >= self.rotate_at
            && let Err(error) = self.rotate()
        {
            // The old segment serves as well: later again.
            self.rotate_at = self.segment().bytes + self.options.segment_bytes / 8;
            tracing::warn!(%error, "the journal couldn't begin a new segment and goes on in the old one");
        }
        line::write(&mut self.buffer, seq, &Said::<S>::Entry(entry))?;
        self.write_buffer()?;
        self.written_seq = seq;
        self.state.apply(entry);
        self.urgent |= entry.events.iter().any(|event| matches!(event, Event::Change(_)));
        Ok(())
    }

    /// Writes the line, or nothing at all.
    fn write_buffer(&mut self) -> io::Result<()> {
        let whole = self.segment().bytes;
        if self.ragged {
            self.file.set_len(whole)?;
            self.ragged = false;
        }
        if let Err(error) = (&*self.file).write_all(&self.buffer) {
            self.ragged = self.file.set_len(whole).is_err();
            return Err(error);
        }
        self.count(self.buffer.len() as u64);
        Ok(())
    }

    fn count(&mut self, bytes: u64) {
        self.total_bytes += bytes;
        if let Some(segment) = self.segments.last_mut() {
            segment.bytes += bytes;
        }
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Begins a new segment with what all entries so far come to.
    fn rotate(&mut self) -> io::Result<()> {
        self.encode_snapshot()?;
        let number = self.segment().number + 1;
        let path = segments::path(&self.dir, number);
        let file = segments::open(&path, true)?;
        if let Err(error) = (&file).write_all(&self.buffer) {
            // An unfinished head would be cut off at the next start all the same.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let old = mem::replace(&mut self.file, Arc::new(file));
        self.unsynced.push(old);
        self.ragged = false;
        self.begin_segment(number);
        Ok(())
    }

    fn encode_snapshot(&mut self) -> io::Result<()> {
        let snapshot = Snapshot { journal: self.id, state: &self.state };
        Ok(line::write(&mut self.buffer, self.written_seq, &Said::Snapshot(snapshot))?)
    }

    /// The file with the snapshot in `buffer` is the newest segment now.
    fn begin_segment(&mut self, number: u64) {
        let snapshot = self.buffer.len() as u64;
        self.segments.push(Segment { number, base: self.written_seq, bytes: 0 });
        self.count(snapshot);
        self.new_file = true;
        // With many bans the snapshot is long: as much of entries must follow before it's worth another one.
        self.rotate_at = snapshot + self.options.segment_bytes.max(snapshot);
    }

    /// The segment that is being written.
    fn segment(&self) -> Segment {
        *self.segments.last().expect("a journal has a segment")
    }

    fn reaches(&self) -> Durable {
        let segment = self.segment();
        Durable { segment: segment.number, offset: segment.bytes, seq: self.written_seq }
    }

    /// When the syncer has to do something, if ever.
    pub(super) fn due(&self) -> Option<Instant> {
        let sync =
            self.dirty_since.map(|since| if self.urgent { since } else { since + self.options.sync_every });
        sync.into_iter().chain(self.retry_at).min()
    }

    /// Whether something waits for the disk, and it's time to ask that again.
    pub(super) fn retry_is_due(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at <= now)
    }

    /// What is to be flushed to the disk now.
    pub(super) fn sync_job(&mut self, now: Instant) -> Option<SyncJob> {
        let since = self.dirty_since?;
        if !self.urgent && !self.stop && since + self.options.sync_every > now {
            return None;
        }
        (self.dirty_since, self.urgent) = (None, false);
        let mut files = mem::take(&mut self.unsynced);
        files.push(Arc::clone(&self.file));
        let dir = mem::take(&mut self.new_file).then(|| self.dir.clone());
        Some(SyncJob { files, dir, reaches: self.reaches() })
    }

    /// What a job came to.
    pub(super) fn synced(&mut self, job: &SyncJob, result: io::Result<()>) {
        self.durable = job.reaches;
        if let Err(error) = result {
            // The kernel forgets what it couldn't write, and asking again would only seem to help. A new segment
            // says again what the bans are.
            self.refused(&error);
            self.rotate_at = 0;
            self.new_file = true;
        } else if self.backlog.is_empty() {
            self.accepted();
        }
    }

    /// Flushes soon, whatever was written.
    pub(super) fn hurry(&mut self) {
        self.urgent |= self.dirty_since.is_some();
    }

    fn refused(&mut self, error: &io::Error) {
        let text = error.to_string();
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        self.alarm(
            "journal_unwritable",
            format!(
                "The journal in {} can't be written: {text}. Events wait in memory, and go on to the disk as soon \
                 as it takes them. Free space there, or look at the disk.",
                self.dir.display()
            ),
            false,
        );
        self.trouble = Some(text);
    }

    fn accepted(&mut self) {
        if self.trouble.take().is_some() {
            let text = format!("The journal is written again. {} events were lost so far.", self.lost);
            self.alarm("journal_unwritable", text, true);
        }
    }

    fn notice_size(&mut self) {
        let full = self.total_bytes >= self.options.max_bytes;
        if full == mem::replace(&mut self.full, full) {
            return;
        }
        let text = if full {
            format!(
                "The journal in {} holds {} bytes, as many as it may, for the database doesn't take them. \
                 Frequency records are lost from now on; bans are not. See why the database is behind.",
                self.dir.display(),
                self.total_bytes
            )
        } else {
            format!("The journal has room again. {} events were lost so far.", self.lost)
        };
        self.alarm("journal_full", text, !full);
    }

    pub(super) fn alarm(&mut self, kind: &'static str, text: String, over: bool) {
        self.alarms.push(Alarm { kind, text, over });
    }

    /// Takes those segments off the list that nobody needs: all entries in them are below `seq`, and a newer
    /// snapshot is safe on the disk. The one before the newest is kept, should that one's snapshot rot.
    pub(super) fn take_forgotten(&mut self, seq: u64) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while let [first, next, _, ..] = self.segments[..]
            && next.base < seq
            && first.number < self.durable.segment
        {
            gone.push(segments::path(&self.dir, first.number));
            self.total_bytes -= first.bytes;
            self.segments.remove(0);
        }
        self.notice_size();
        gone
    }

    /// Gives entries numbers above `seq` from now on.
    pub(super) fn start_above(&mut self, seq: u64) {
        if seq <= self.last_seq {
            return;
        }
        self.last_seq = seq;
        if self.backlog.is_empty() {
            self.written_seq = seq;
            // The next flush says so to who waits for it.
            self.dirty_since.get_or_insert_with(Instant::now);
        }
    }

    /// Where a reader begins that knows all up to `after`.
    pub(super) fn segment_after(&self, after: u64) -> u64 {
        let known = self.segments.iter().rev().find(|segment| segment.base <= after);
        known.or(self.segments.first()).map_or(1, |segment| segment.number)
    }

    /// The segment behind one.
    pub(super) fn next_segment(&self, number: u64) -> Option<u64> {
        self.segments.iter().map(|segment| segment.number).find(|&other| other > number)
    }

    pub(super) fn status(&self) -> JournalStatus {
        JournalStatus {
            last_seq: self.last_seq,
            durable_seq: self.durable.seq,
            segments: self.segments.len(),
            bytes: self.total_bytes,
            waiting_entries: self.backlog.len(),
            waiting_bytes: self.backlog.bytes(),
            lost_events: self.lost,
            broken_lines: self.broken,
            trouble: self.trouble.clone(),
        }
    }
}

fn random_id() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(Uuid::from_bytes(bytes))
}
