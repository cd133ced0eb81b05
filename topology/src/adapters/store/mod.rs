//! The tables: frequency records, what agents answered, totals, and every ban that there was; in SQLite or in MySQL
//! (MariaDB too).
//!
//! A thread of its own reads the journal and writes its entries' rows in batches, each in one transaction with the
//! journal's position, so that each row is there exactly once whoever is killed when. A database that is away, locked,
//! full or broken is told and tried again; the journal keeps everything meanwhile. What is common to both databases
//! is here, once: `task` (the thread), `rows`, `history`. `sqlite` and `mysql` have what differs, behind the traits of
//! `database`; `migrations` says what the tables are.
//!
//! Of several workers that share a MySQL database one at a time owns it ([`Fence`]), and keeps the desired state of
//! bans there for whoever follows: `shared`, and [`handover`] when that changes.

mod database;
pub mod handover;
mod history;
mod local_time;
mod mysql;
mod retention;
mod rows;
mod shared;
mod sqlite;
mod task;
mod told;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bolts::ports::Notifier;
use serde::Serialize;

pub use history::{AnswerRow, BanFilter, BanRow, Counts, History};
pub use retention::Retention;
pub use shared::{Claim, ClaimError, Owner, SharedLedger, SharedView};

use super::journal::{Fold, Journal};
use crate::config::Database as Place;
use local_time::LocalTime;
use task::Task;
use told::Told;

/// How the store works.
#[derive(Clone)]
pub struct StoreOptions {
    /// The IANA name of the time zone of the tables' times; `None` for the system's.
    pub time_zone: Option<String>,
    /// How long to wait for somebody who has an SQLite database locked before telling of it.
    pub busy_timeout: Duration,
    /// How long frequency records stay, asked whenever it's looked after.
    pub retention: Arc<dyn Fn() -> Retention + Send + Sync>,
    /// How often it's looked after.
    pub retention_every: Duration,
    /// Who writes, where several workers share a MySQL database; `None` where nobody else does.
    pub fence: Option<Fence>,
    /// When the desired state of bans that is shared is written down anew.
    pub renew: Renew,
}

/// Lets a store write only while it is the owner's.
#[derive(Clone)]
pub struct Fence {
    /// The owner's epoch, as it was claimed ([`SharedLedger::claim`]).
    pub epoch: i64,
    /// Called once, on the store's thread, when somebody claimed a newer one: the store has ended then.
    pub on_lost: Arc<dyn Fn() + Send + Sync>,
}

/// When the desired state of bans that is shared is written down anew, instead of one more entry behind it.
#[derive(Clone, Copy, Debug)]
pub struct Renew {
    /// After so many entries,
    pub entries: u64,
    /// or when they are so many times as long as it is,
    pub times: u64,
    /// but not for fewer bytes of entries than this.
    pub least_bytes: u64,
}

impl Default for Renew {
    fn default() -> Self {
        Self { entries: 5_000, times: 4, least_bytes: 1 << 20 }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            time_zone: None,
            busy_timeout: Duration::from_secs(1),
            retention: Arc::new(Retention::default),
            retention_every: Duration::from_secs(60),
            fence: None,
            renew: Renew::default(),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("time_zone", &self.time_zone)
            .field("busy_timeout", &self.busy_timeout)
            .field("retention", &(self.retention)())
            .field("retention_every", &self.retention_every)
            .field("epoch", &self.fence.as_ref().map(|fence| fence.epoch))
            .field("renew", &self.renew)
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
    /// An SQLite database is one process's.
    #[error("several workers can't share the SQLite database {0}: give them a MySQL one (`url` in [store])")]
    NotShared(String),
    /// The database can't be read.
    #[error("the database {name} can't be read: {source}; see that it is there, named right and may be read")]
    Read {
        /// Its path or URL.
        name: String,
        /// What it says.
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
    /// The worker that owns the database now, where that is another one: nothing is written any more.
    pub fenced_by: Option<String>,
}

/// A store that works. Dropping it stops it without waiting for what is in the journal.
pub struct Store {
    place: Place,
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

/// What becomes of the journal's events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// All become rows, and are shared where the database is.
    Everything,
    /// All become rows, and none is shared: what was written before anybody shared.
    Rows,
    /// What agents answered becomes rows, of a journal that another worker's followed.
    Answers,
}

impl Store {
    /// Starts to write `journal`'s entries into the database at `place`. Its tables are made where they aren't there,
    /// as the file of an SQLite one is. A database that doesn't work is no error: it's told to `notifier`, and tried
    /// again.
    ///
    /// # Errors
    ///
    /// When the time zone isn't known, the database can't be shared and should be, or there is no thread to be had.
    pub fn start<S: Fold>(
        place: &Place,
        journal: &Arc<Journal<S>>,
        options: StoreOptions,
        notifier: Arc<dyn Notifier>,
    ) -> Result<Self, StoreError> {
        Self::start_with(place, journal, options, Takes::Everything, notifier)
    }

    fn start_with<S: Fold>(
        place: &Place,
        journal: &Arc<Journal<S>>,
        options: StoreOptions,
        takes: Takes,
        notifier: Arc<dyn Notifier>,
    ) -> Result<Self, StoreError> {
        let time = LocalTime::new(options.time_zone.as_deref())?;
        let told = Arc::new(Told::default());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StoreError::Thread)?;
        let thread = thread::Builder::new().name("store".to_owned());
        let (told_too, journal_too) = (Arc::clone(&told), Arc::clone(journal));
        let thread = match place {
            Place::Sqlite(path) => {
                if options.fence.is_some() {
                    return Err(StoreError::NotShared(path.display().to_string()));
                }
                let database = sqlite::Sqlite { path: path.clone(), busy_timeout: options.busy_timeout };
                let task = Task::new(database, journal_too, options, takes, time, notifier, told_too);
                thread.spawn(move || runtime.block_on(task.run()))
            }
            Place::Mysql(server) => {
                let database = mysql::Mysql {
                    server: server.clone(),
                    epoch: options.fence.as_ref().map(|fence| fence.epoch),
                    renew: options.renew,
                };
                let task = Task::new(database, journal_too, options, takes, time, notifier, told_too);
                thread.spawn(move || runtime.block_on(task.run()))
            }
        };
        let thread = Some(thread.map_err(StoreError::Thread)?);
        let journal: Arc<dyn Spool> = Arc::<Journal<S>>::clone(journal);
        Ok(Self { place: place.clone(), told, journal, thread })
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let (newest, lost) = self.journal.newest();
        let status = self.told.status().clone();
        StoreStatus { entries_behind: newest.saturating_sub(status.position), events_lost: lost, ..status }
    }

    /// Waits up to `wait` until the journal's entry with the number `seq` is in the tables. Returns whether it is.
    #[must_use]
    pub fn position_reached(&self, seq: u64, wait: Duration) -> bool {
        self.told.position_reached(seq, wait)
    }

    /// Opens the tables to read them.
    ///
    /// # Errors
    ///
    /// When the database isn't there or can't be read.
    pub async fn history(&self) -> Result<History, StoreError> {
        History::open(&self.place).await
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

impl Drop for Store {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}
