//! SQLite: a file that one process writes.

mod insert;
mod retention;

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::units::Moment;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqliteConnection};
use uuid::Uuid;

use super::database::{Batch, Database, Mode, Tables, Trouble};
use super::local_time::LocalTime;
use super::retention::Retention;
use crate::adapters::journal::Fold;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

pub(super) struct Sqlite {
    pub(super) path: PathBuf,
    pub(super) busy_timeout: Duration,
}

impl Database for Sqlite {
    type Tables = SqliteConnection;

    const MAY_HANG: bool = false;
    const LOOK_AT: &'static str = "who has it locked, its rights, and the disk's free space";

    fn name(&self) -> String {
        self.path.display().to_string()
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
            .busy_timeout(self.busy_timeout)
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
}

impl Tables for SqliteConnection {
    async fn position(&mut self, journal: Uuid) -> Result<u64, Trouble> {
        let position: Option<i64> = sqlx::query_scalar("SELECT seq FROM journal_position WHERE journal = ?")
            .bind(journal.to_string())
            .fetch_optional(self)
            .await?;
        Ok(u64::try_from(position.unwrap_or(0)).unwrap_or(0))
    }

    async fn write(&mut self, batch: &Batch) -> Result<u64, Trouble> {
        match insert::batch(self, batch, Mode::Fast).await {
            Err(error) if insert::row_is_bad(&error) => Ok(insert::batch(self, batch, Mode::Careful).await?),
            result => Ok(result?),
        }
    }

    async fn retire(&mut self, retention: Retention, now: Moment, time: &LocalTime) -> Result<bool, Trouble> {
        Ok(retention::step(self, retention, now, time).await?)
    }

    /// A checkpoint is what survives a power cut.
    async fn safe(&mut self, written: u64) -> Result<Option<u64>, Trouble> {
        let (_busy, frames, safe): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(self).await?;
        Ok((frames == safe).then_some(written))
    }

    async fn renew<S: Fold>(&mut self) -> Result<(), Trouble> {
        Ok(())
    }

    async fn close(self) -> Result<(), Trouble> {
        Ok(sqlx::Connection::close(self).await?)
    }
}

/// Connections that can't write; nothing is made where no database is.
pub(super) async fn readers(path: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await
}
