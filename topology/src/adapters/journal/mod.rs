//! The journal: all that happened, in order, on this machine's disk. It is what a restart goes on from, and the
//! spool of the database: whatever that one can't take yet simply stays here.
//!
//! A folder holds segments (`000000000001.journal` and on) of one entry a line, readable with `less`. An entry is
//! written before [`EventStore::append`] returns, so it survives the end of the process; a thread flushes what was
//! written to the disk, at once where a ban changed, else within a second, so that it survives a power cut too.
//! Each segment begins with a snapshot of a [`Fold`] of all entries before it, so old segments can go when the
//! database has them.
//!
//! A disk that refuses makes entries wait in memory, bounded, in order; what had to be dropped is counted and told.

mod backlog;
mod line;
mod lock;
mod reader;
mod segments;
mod syncer;
mod writer;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bolts::ports::{EventStore, Notifier};
use model::event::Entry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use reader::Reader;

use lock::Lock;
use writer::Writer;

/// What entries come to, taken in order: what a restart must know of all that ever happened.
pub trait Fold: Serialize + DeserializeOwned + Default + Clone + Send + 'static {
    /// Takes the next entry in.
    fn apply(&mut self, entry: &Entry);
}

/// How much the journal takes, and when it writes.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// A segment this long, in bytes, is followed by a new one. At most a quarter of `max_bytes` counts.
    pub segment_bytes: u64,
    /// All segments together may be this long, in bytes; beyond it frequency records are dropped.
    pub max_bytes: u64,
    /// How many bytes of entries may wait in memory for a disk that refuses; beyond it frequency records are
    /// dropped, oldest first.
    pub max_waiting_bytes: usize,
    /// How long an entry without a change of bans may wait to be flushed to the disk.
    pub sync_every: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            max_bytes: 4 << 30,
            max_waiting_bytes: 64 << 20,
            sync_every: Duration::from_secs(1),
        }
    }
}

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error(
        "the journal in {} is in use by process {pid}: stop that first, or give this one a folder of its own",
        dir.display()
    )]
    InUse {
        /// The journal's folder.
        dir: PathBuf,
        /// The process that holds it.
        pid: String,
    },
    /// The folder or a file in it can't be read or written.
    #[error("the journal at {} can't be opened: {source}; see its rights and the disk's free space", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What was there when a journal was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered<S> {
    /// What all entries come to.
    pub state: S,
    /// The number of the newest entry; 0 where there's none.
    pub last_seq: u64,
    /// Bytes of unfinished lines at the end, which were cut off: somebody was killed while writing.
    pub torn_bytes: u64,
    /// Lines in the middle that can't be read any more, and were passed by.
    pub broken_lines: u64,
    /// Whether the state is all there. Not so where no snapshot was readable: then it holds what the entries say
    /// that are left.
    pub complete: bool,
}

/// How a journal is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalStatus {
    /// The number of the newest entry.
    pub last_seq: u64,
    /// The number of the newest entry that a power cut leaves.
    pub durable_seq: u64,
    /// How many segments there are.
    pub segments: usize,
    /// How long they are together.
    pub bytes: u64,
    /// Entries that wait in memory for the disk.
    pub waiting_entries: usize,
    /// About how much memory they take.
    pub waiting_bytes: usize,
    /// Events that were dropped since the start.
    pub lost_events: u64,
    /// Broken lines that were met since the start.
    pub broken_lines: u64,
    /// Why the disk refuses, while it does.
    pub trouble: Option<String>,
}

/// A journal that is open. Dropping it writes and flushes what can be.
pub struct Journal<S: Fold> {
    shared: Arc<Shared<S>>,
    syncer: Mutex<Option<JoinHandle<()>>>,
    _lock: Lock,
}

/// What the journal, its thread and its readers share.
struct Shared<S> {
    dir: PathBuf,
    id: Uuid,
    writer: Mutex<Writer<S>>,
    /// Told when the syncer has something to do.
    work: Condvar,
    /// Told when there's more to read.
    readable: Condvar,
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Writer<S>> {
        // Somebody's panic leaves whole lines behind: every step ends in one.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_readable<'a>(
        &self,
        writer: MutexGuard<'a, Writer<S>>,
        timeout: Duration,
    ) -> MutexGuard<'a, Writer<S>> {
        self.readable.wait_timeout(writer, timeout).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl<S: Fold> Journal<S> {
    /// Opens the journal in `dir`, which is made where it isn't there, and tells what was in it.
    ///
    /// # Errors
    ///
    /// When another process has it open, or a file can't be read or written.
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        notifier: Arc<dyn Notifier>,
    ) -> Result<(Self, Recovered<S>), JournalError> {
        let failed = |source| JournalError::Io { path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = Lock::take(dir)?;
        let found = segments::recover::<S>(dir).map_err(failed)?;
        Self::begin(dir, lock, options, found, notifier)
    }

    /// Begins the journal in `dir` anew with `state`, as another journal: whatever was in it is superseded, and lies
    /// in `DIR.superseded` until that happens again.
    ///
    /// # Errors
    ///
    /// When another process has it open, or a file can't be read, moved or written.
    pub fn open_seeded(
        dir: &Path,
        options: JournalOptions,
        state: S,
        notifier: Arc<dyn Notifier>,
    ) -> Result<(Self, Recovered<S>), JournalError> {
        let failed = |source| JournalError::Io { path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let lock = Lock::take(dir)?;
        segments::move_aside(dir).map_err(failed)?;
        Self::begin(dir, lock, options, segments::Found::seeded(state), notifier)
    }

    fn begin(
        dir: &Path,
        lock: Lock,
        options: JournalOptions,
        found: segments::Found<S>,
        notifier: Arc<dyn Notifier>,
    ) -> Result<(Self, Recovered<S>), JournalError> {
        let failed = |source| JournalError::Io { path: dir.to_owned(), source };
        let recovered = Recovered {
            state: found.state.clone(),
            last_seq: found.last_seq,
            torn_bytes: found.torn,
            broken_lines: found.broken,
            complete: found.complete,
        };
        let options =
            JournalOptions { segment_bytes: options.segment_bytes.min(options.max_bytes / 4), ..options };
        let writer = Writer::new(dir, options, found).map_err(failed)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            id: writer.id,
            writer: Mutex::new(writer),
            work: Condvar::new(),
            readable: Condvar::new(),
        });
        let for_syncer = Arc::clone(&shared);
        let syncer = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || syncer::run(&for_syncer, &notifier))
            .map_err(failed)?;
        Ok((Self { shared, syncer: Mutex::new(Some(syncer)), _lock: lock }, recovered))
    }

    /// What makes this journal another than one that began anew in the same folder.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.shared.id
    }

    /// A reader of all entries with numbers above `after`.
    #[must_use]
    pub fn reader(&self, after: u64) -> Reader<S> {
        Reader::new(Arc::clone(&self.shared), after)
    }

    /// Makes readers look whether they are interrupted.
    pub fn wake_readers(&self) {
        // With the lock, nobody is between looking and waiting.
        let _writer = self.shared.lock();
        self.shared.readable.notify_all();
    }

    /// Lets those files go whose entries are all numbered below `seq`, as far as a restart doesn't need them.
    pub fn forget_below(&self, seq: u64) {
        let gone = self.shared.lock().take_forgotten(seq);
        for path in gone {
            if let Err(error) = fs::remove_file(&path) {
                // It is found again at the next start.
                tracing::warn!(path = %path.display(), %error, "a segment of the journal can't be removed");
            }
        }
        self.shared.work.notify_one();
    }

    /// Gives entries numbers above `seq` from now on: somebody else knows of entries up to there.
    pub fn start_above(&self, seq: u64) {
        self.shared.lock().start_above(seq);
        self.shared.work.notify_one();
    }

    /// Waits up to `wait` until all that was appended so far survives a power cut. Returns whether it does.
    pub fn sync(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let mut writer = self.shared.lock();
        let last = writer.last_seq;
        while writer.durable.seq < last {
            writer.hurry();
            self.shared.work.notify_one();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            writer = self.shared.wait_readable(writer, left);
        }
        true
    }

    /// How the journal is doing.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        self.shared.lock().status()
    }

    /// Writes and flushes what can be, and ends the journal's thread. What is appended later is only written.
    pub fn close(&self) {
        let syncer = self.syncer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        if syncer.is_some_and(|syncer| syncer.join().is_err()) {
            tracing::error!("the journal's thread panicked");
        }
    }
}

impl<S: Fold> EventStore for Journal<S> {
    fn append(&self, entry: Entry) {
        let mut writer = self.shared.lock();
        let due = writer.due();
        writer.append(entry);
        // Its first entry is told to the syncer, and what can't wait; all between are part of the same group.
        if writer.due() != due || !writer.alarms.is_empty() {
            self.shared.work.notify_one();
        }
    }
}

impl<S: Fold> Drop for Journal<S> {
    fn drop(&mut self) {
        self.close();
    }
}
