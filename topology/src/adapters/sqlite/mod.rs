//! The tables, in SQLite: frequency records, what agents answered, totals, and every ban that there was.
//!
//! A thread of its own reads the journal and writes its entries' rows in batches, each in one transaction with the
//! journal's position, so that each row is there exactly once whoever is killed when. A database that is locked,
//! full or broken is told and tried again; the journal keeps everything meanwhile. `migrations/sqlite` says what
//! the tables are.

mod history;
mod insert;
mod local_time;
mod retention;
mod rows;
mod task;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bolts::ports::Notifier;
use serde::Serialize;

pub use history::{AnswerRow, BanFilter, BanRow, Counts, History};
pub use retention::Retention;

use super::journal::{Fold, Journal};
use local_time::LocalTime;
use task::Task;

/// How the store works.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The IANA name of the time zone of the tables' times; `None` for the system's.
    pub time_zone: Option<String>,
    /// How long to wait for somebody who has the database locked before telling of it.
    pub busy_timeout: Duration,
    /// How long frequency records stay, asked whenever it's looked after.
    pub retention: Arc<dyn Fn() -> Retention + Send + Sync>,
    /// How often it's looked after.
    pub retention_every: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            time_zone: None,
            busy_timeout: Duration::from_secs(1),
            retention: Arc::new(Retention::default),
            retention_every: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("time_zone", &self.time_zone)
            .field("busy_timeout", &self.busy_timeout)
            .field("retention", &(self.retention)())
            .field("retention_every", &self.retention_every)
            .finish()
    }
}

/// Why a store can't be started or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such zone is known here.
    #[error(
        "the time zone `{0}` isn't known: give an IANA name like Europe/Berlin, and see that tzdata is there"
    )]
    TimeZone(String),
    /// The system gives no thread or runtime.
    #[error("the store's thread can't be started: {0}")]
    Thread(io::Error),
    /// The database can't be read.
    #[error("the database {} can't be read: {source}; see that the path is right and may be read", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
}

/// How a store is doing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct StoreStatus {
    /// Rows that were written since the start.
    pub rows_written: u64,
    /// Rows that no database would take, passed by since the start.
    pub rows_skipped: u64,
    /// The number of the newest entry that is in the tables.
    pub position: u64,
    /// How many numbers the journal is ahead of that.
    pub entries_behind: u64,
    /// Events that the journal had to drop since the start.
    pub events_lost: u64,
    /// What went wrong last, if ever.
    pub last_error: Option<String>,
}

/// A store that works. Dropping it stops it without waiting for what is in the journal.
pub struct SqliteStore {
    path: PathBuf,
    told: Arc<Told>,
    journal: Arc<dyn Spool>,
    thread: Option<JoinHandle<()>>,
}

/// What the store needs of the journal, whatever that folds.
trait Spool: Send + Sync {
    fn sync(&self, wait: Duration) -> bool;
    fn wake(&self);
    /// The number of its newest entry, and how many events it lost.
    fn newest(&self) -> (u64, u64);
}

impl<S: Fold> Spool for Journal<S> {
    fn sync(&self, wait: Duration) -> bool {
        self.sync(wait)
    }

    fn wake(&self) {
        self.wake_readers();
    }

    fn newest(&self) -> (u64, u64) {
        let status = self.status();
        (status.last_seq, status.lost_events)
    }
}

/// What a store and its thread tell each other.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// When it must have stopped.
    deadline: Mutex<Option<Instant>>,
    stopped: Condvar,
    status: Mutex<StoreStatus>,
}

impl Told {
    fn status(&self) -> MutexGuard<'_, StoreStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut StoreStatus)) {
        change(&mut self.status());
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, deadline: Instant) {
        *self.deadline() = Some(deadline);
        self.stop.store(true, Ordering::Release);
        self.stopped.notify_all();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether the time to stop is over.
    fn give_up(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits before the next try; not for long once it is to stop.
    fn pause(&self, pause: Duration) {
        const WHILE_STOPPING: Duration = Duration::from_millis(50);
        let deadline = self.deadline();
        if deadline.is_some() {
            drop(deadline);
            thread::sleep(pause.min(WHILE_STOPPING));
        } else {
            drop(self.stopped.wait_timeout(deadline, pause));
        }
    }
}

impl SqliteStore {
    /// Starts to write `journal`'s entries into the database at `path`, which is made where it isn't there. A
    /// database that doesn't work is no error: it's told to `notifier`, and tried again.
    ///
    /// # Errors
    ///
    /// When the time zone isn't known, or there is no thread to be had.
    pub fn start<S: Fold>(
        path: &Path,
        journal: &Arc<Journal<S>>,
        options: SqliteOptions,
        notifier: Arc<dyn Notifier>,
    ) -> Result<Self, StoreError> {
        let time = LocalTime::new(options.time_zone.as_deref())?;
        let told = Arc::new(Told::default());
        let task = Task {
            path: path.to_owned(),
            journal: Arc::clone(journal),
            options,
            time,
            notifier,
            told: Arc::clone(&told),
            trouble: None,
            pause: task::FIRST_PAUSE,
            retention_due: Instant::now(),
            forget_due: Instant::now(),
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
        let thread = thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || runtime.block_on(task.run()))
            .map_err(StoreError::Thread)?;
        let journal: Arc<dyn Spool> = Arc::<Journal<S>>::clone(journal);
        Ok(Self { path: path.to_owned(), told, journal, thread: Some(thread) })
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let (newest, lost) = self.journal.newest();
        let status = self.told.status().clone();
        StoreStatus { entries_behind: newest.saturating_sub(status.position), events_lost: lost, ..status }
    }

    /// Opens the tables to read them.
    ///
    /// # Errors
    ///
    /// When the database isn't there or can't be read.
    pub async fn history(&self) -> Result<History, StoreError> {
        History::open(&self.path).await
    }

    /// Writes all that is in the journal and closes the database, within `wait`. Returns how it was left: what it
    /// is behind with comes at the next start.
    #[must_use]
    pub fn stop(mut self, wait: Duration) -> StoreStatus {
        let deadline = Instant::now() + wait;
        self.journal.sync(wait);
        self.end(deadline);
        self.status()
    }

    fn end(&mut self, deadline: Instant) {
        self.told.stop(deadline);
        self.journal.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}
