//! The database's own thread: reads the journal in order and writes its rows, batch by batch. Whatever goes wrong
//! with the database, it begins anew with a connection and the position that the database itself remembers, so
//! there is one way to start and to go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bolts::ports::{Alarm, Notifier};
use model::event::{Entry, Event};
use model::units::Moment;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::insert::{self, Mode};
use super::local_time::LocalTime;
use super::retention;
use super::rows::Rows;
use super::{SqliteOptions, Told};
use crate::adapters::journal::{Fold, Journal, Reader};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

const MAX_ROWS: usize = 2_000;
const MAX_TEXT: usize = 16 << 20;
const FORGET_EVERY: Duration = Duration::from_secs(10);
const GATHER: Duration = Duration::from_millis(200);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Task<S: Fold> {
    pub(super) path: PathBuf,
    pub(super) journal: Arc<Journal<S>>,
    pub(super) options: SqliteOptions,
    pub(super) time: LocalTime,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) told: Arc<Told>,
    /// What the alarm says that is up.
    pub(super) trouble: Option<String>,
    pub(super) pause: Duration,
    pub(super) retention_due: Instant,
    pub(super) forget_due: Instant,
}

/// What can go wrong with a database.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}; was the database made by another version of ccfirewall?")]
    Migrate(#[from] MigrateError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Entries that are written together.
struct Batch {
    rows: Rows,
    seq: u64,
    entries: u64,
}

impl<S: Fold> Task<S> {
    /// Works until it is stopped.
    pub(super) async fn run(mut self) {
        loop {
            match self.connected().await {
                Ok(()) => return,
                Err(trouble) => self.failed(&trouble),
            }
            self.told.pause(self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if self.told.give_up() {
                return;
            }
        }
    }

    /// Works with one connection until it is stopped, or fails.
    async fn connected(&mut self) -> Result<(), Trouble> {
        let mut connection = self.connect().await?;
        let position: Option<i64> = sqlx::query_scalar("SELECT seq FROM journal_position WHERE journal = ?")
            .bind(self.journal.id().to_string())
            .fetch_optional(&mut connection)
            .await?;
        let position = u64::try_from(position.unwrap_or(0)).unwrap_or(0);
        // An older copy of the journal was put back: its numbers were used for other entries already.
        self.journal.start_above(position);
        self.told.update(|status| status.position = position);
        let mut reader = self.journal.reader(position);
        loop {
            let batch = self.gather(&mut reader)?;
            if batch.entries > 0 {
                self.write(&mut connection, &batch).await?;
                if self.forget_due <= Instant::now() {
                    self.forget(&mut connection).await?;
                    self.forget_due = Instant::now() + FORGET_EVERY;
                }
            }
            self.recovered();
            if self.told.give_up() || (self.told.stopping() && batch.entries == 0) {
                break;
            }
            if self.retention_due <= Instant::now() {
                let more = self.retire(&mut connection).await?;
                if !more {
                    self.retention_due = Instant::now() + self.options.retention_every;
                }
            }
        }
        self.forget(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    async fn connect(&self) -> Result<SqliteConnection, Trouble> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let mut connection = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(self.options.busy_timeout)
            // Pages are written once for many batches, and what the indexes touch stays at hand: 32 and 64 MiB.
            .pragma("wal_autocheckpoint", "8192")
            .pragma("cache_size", "-65536")
            // The few ids that retention chooses; a full disk must not hold that up.
            .pragma("temp_store", "memory")
            .disable_statement_logging()
            .connect()
            .await?;
        MIGRATIONS.run(&mut connection).await?;
        Ok(connection)
    }

    /// Takes what is there, up to a batch. Waits only where nothing is.
    fn gather(&self, reader: &mut Reader<S>) -> Result<Batch, std::io::Error> {
        let mut batch = Batch { rows: Rows::default(), seq: 0, entries: 0 };
        let until = Instant::now() + GATHER;
        let mut wait = self.retention_due.saturating_duration_since(Instant::now());
        let mut text = 0;
        while let Some((seq, entry)) = reader.next(wait, &self.told.stop)? {
            text += text_bytes(&entry);
            batch.rows.add(self.journal.id(), seq, entry, &self.time);
            (batch.seq, batch.entries) = (seq, batch.entries + 1);
            if batch.rows.len() >= MAX_ROWS || text >= MAX_TEXT || Instant::now() >= until {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(batch)
    }

    async fn write(&mut self, connection: &mut SqliteConnection, batch: &Batch) -> Result<(), sqlx::Error> {
        let journal = self.journal.id();
        let skipped = match insert::batch(connection, &batch.rows, journal, batch.seq, Mode::Fast).await {
            Err(error) if insert::row_is_bad(&error) => {
                insert::batch(connection, &batch.rows, journal, batch.seq, Mode::Careful).await?
            }
            result => result?,
        };
        self.told.update(|status| {
            status.position = batch.seq;
            status.rows_written += batch.rows.len() as u64 - skipped;
            status.rows_skipped += skipped;
        });
        self.pause = FIRST_PAUSE;
        Ok(())
    }

    /// Lets go of the journal's files that are in the tables for good: a commit alone may not survive a power cut,
    /// a checkpoint does.
    async fn forget(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let position = self.told.status().position;
        let (_busy, frames, safe): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
        if frames == safe {
            self.journal.forget_below(position.saturating_add(1));
        }
        Ok(())
    }

    async fn retire(&self, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        retention::step(connection, (self.options.retention)(), now(), &self.time).await
    }

    fn failed(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        self.told.update(|status| status.last_error = Some(text.clone()));
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        let told = format!(
            "The database {} can't be written: {text}. Everything is kept in the journal and follows as soon as \
             it can be: see who has it locked, its rights, and the disk's free space.",
            self.path.display()
        );
        self.notifier.notify(Alarm { kind: "store_behind", text: told, over: false });
        self.trouble = Some(text);
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            let text = format!("The database {} is written again; what waited follows.", self.path.display());
            self.notifier.notify(Alarm { kind: "store_behind", text, over: true });
        }
    }
}

/// How long the texts of an entry are that clients and agents wrote.
fn text_bytes(entry: &Entry) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes = entry.events.iter().map(|event| match event {
        Event::Record(stored) => text(&stored.detail) + text(&stored.proxy_detail),
        Event::Outcome(outcome) => outcome.result.len(),
        Event::Change(change) => text(&change.ban().note),
        Event::AgentTotal { .. } | Event::RuleTotal { .. } => 0,
    });
    bytes.sum()
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
