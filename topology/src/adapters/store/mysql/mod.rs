//! MySQL and MariaDB: a server that others write to as well, that may be far away, and that can be away.
//!
//! Exactly one row each, though a connection may break between a COMMIT and its answer: a batch begins by moving the
//! journal's position from where this thread knows it to be. The position's row is locked by that until the end of
//! the transaction, so who comes later waits, sees where it is, and never writes the same entries again.

mod insert;
mod retention;
pub(super) mod schema;
pub(super) mod shared;
mod text;

use std::str::FromStr as _;
use std::time::Duration;

use model::units::Moment;
use sqlx::mysql::{
    MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlPool, MySqlPoolOptions, MySqlSslMode,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use uuid::Uuid;

use super::Renew;
use super::database::{Batch, Database, Mode, PATIENCE, Tables, Trouble};
use super::local_time::LocalTime;
use super::retention::Retention;
use crate::adapters::journal::Fold;
use crate::config::{self, Tls};
use shared::Ownership;

/// Whether a server is there shows within this.
const CONNECT: Duration = Duration::from_secs(10);

/// A deadlock goes away by itself. So often it's tried again before it is told.
const DEADLOCKS: u32 = 5;

pub(super) struct Mysql {
    pub(super) server: config::Mysql,
    /// The owner's epoch, where the database is shared.
    pub(super) epoch: Option<i64>,
    pub(super) renew: Renew,
}

/// A connection to a server that writes.
pub(super) struct MysqlTables {
    connection: MySqlConnection,
    limits: text::Limits,
    /// Whether each commit is on the disk.
    durable: bool,
    /// Up to which entry the tables were when it was asked last.
    before: u64,
    ownership: Option<Ownership>,
}

impl Database for Mysql {
    type Tables = MysqlTables;

    const MAY_HANG: bool = true;
    const LOOK_AT: &'static str =
        "that the server runs and can be reached, the user's rights, and the free space of its disk";

    fn name(&self) -> String {
        self.server.url.clone()
    }

    async fn connect(&self) -> Result<MysqlTables, Trouble> {
        let mut connection = connect(&self.server).await?;
        schema::bring_up_to_date(&mut connection).await?;
        let rest = async {
            let (packet, flush): (u64, i64) = sqlx::query_as(
                "SELECT CAST(@@max_allowed_packet AS UNSIGNED), CAST(@@innodb_flush_log_at_trx_commit AS SIGNED)",
            )
            .fetch_one(&mut connection)
            .await?;
            let ownership = match self.epoch {
                None => None,
                Some(epoch) => Some(Ownership::join(&mut connection, epoch, self.renew).await?),
            };
            Ok((packet, flush, ownership))
        };
        let (packet, flush, ownership) = within(PATIENCE, rest).await?;
        let limits = text::Limits::of_packets(packet);
        Ok(MysqlTables { connection, limits, durable: flush == 1, before: 0, ownership })
    }
}

impl Tables for MysqlTables {
    async fn position(&mut self, journal: Uuid) -> Result<u64, Trouble> {
        let name = journal.to_string();
        sqlx::query("INSERT IGNORE INTO journal_position (journal, seq) VALUES (?, 0)")
            .bind(&name)
            .execute(&mut self.connection)
            .await?;
        // Locked, and so behind whatever a connection before was about.
        let mut tx = self.connection.begin().await?;
        let position: u64 =
            sqlx::query_scalar("SELECT seq FROM journal_position WHERE journal = ? FOR UPDATE")
                .bind(&name)
                .fetch_one(&mut *tx)
                .await?;
        tx.commit().await?;
        match &mut self.ownership {
            Some(ownership) => ownership.with_journal(&mut self.connection, journal).await?,
            None => shared::written_without(&mut self.connection, journal).await?,
        }
        self.before = position;
        Ok(position)
    }

    async fn write(&mut self, batch: &Batch) -> Result<u64, Trouble> {
        let (mut mode, mut deadlocks) = (Mode::Fast, 0);
        loop {
            match self.try_write(batch, mode).await {
                Err(Trouble::Sql(error)) if mode == Mode::Fast && insert::row_is_bad(&error) => {
                    mode = Mode::Careful;
                }
                Err(Trouble::Sql(error)) if deadlocks < DEADLOCKS && number(&error) == Some(DEADLOCK) => {
                    deadlocks += 1;
                }
                result => return result,
            }
        }
    }

    async fn retire(&mut self, retention: Retention, now: Moment, time: &LocalTime) -> Result<bool, Trouble> {
        let mut tx = self.connection.begin().await?;
        if let Some(ownership) = &self.ownership {
            ownership.check(&mut tx).await?;
        }
        let more = retention::step(&mut tx, retention, now, time).await?;
        tx.commit().await?;
        Ok(more)
    }

    /// A server that doesn't flush each commit does so every second or so; the next time it's asked is later than
    /// that.
    async fn safe(&mut self, written: u64) -> Result<Option<u64>, Trouble> {
        let before = std::mem::replace(&mut self.before, written);
        Ok(Some(if self.durable { written } else { before }))
    }

    async fn renew<S: Fold>(&mut self) -> Result<(), Trouble> {
        match &mut self.ownership {
            Some(ownership) => ownership.renew::<S>(&mut self.connection).await,
            None => Ok(()),
        }
    }

    async fn close(self) -> Result<(), Trouble> {
        Ok(self.connection.close().await?)
    }
}

impl MysqlTables {
    async fn try_write(&mut self, batch: &Batch, mode: Mode) -> Result<u64, Trouble> {
        let mut tx = self.connection.begin().await?;
        if let Some(ownership) = &self.ownership {
            ownership.check(&mut tx).await?;
        }
        let moved = sqlx::query("UPDATE journal_position SET seq = ? WHERE journal = ? AND seq = ?")
            .bind(batch.seq)
            .bind(batch.journal.to_string())
            .bind(batch.after)
            .execute(&mut *tx)
            .await?;
        if moved.rows_affected() != 1 {
            return Err(Trouble::Overtaken);
        }
        let skipped = insert::batch(&mut tx, &batch.rows, mode, self.limits).await?;
        let added = match &self.ownership {
            Some(ownership) => ownership.append(&mut tx, &batch.shared).await?,
            None => shared::Size::default(),
        };
        tx.commit().await?;
        if let Some(ownership) = &mut self.ownership {
            ownership.entries += added;
        }
        Ok(skipped)
    }
}

const DEADLOCK: u16 = 1213;
const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// The server's number of an error.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// A connection of the kind that writes.
pub(super) async fn connect(server: &config::Mysql) -> Result<MySqlConnection, Trouble> {
    let options = options(server)?;
    let connecting = async {
        let mut connection = options.connect().await?;
        connection.execute(SESSION).await?;
        Ok(connection)
    };
    within(CONNECT, connecting).await
}

/// Waits for a server no longer than it makes sense.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    tokio::time::timeout(limit, work).await.map_err(|_| Trouble::Silent(limit))?
}

/// What a text is too long for is an error, though the server may be set to cut it. Locks are waited for less long than
/// a call may take; and a connection that is lost without a word ends at the server too, with its locks.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', \
                       innodb_lock_wait_timeout = 10, lock_wait_timeout = 30, wait_timeout = 600";

fn options(server: &config::Mysql) -> Result<MySqlConnectOptions, sqlx::Error> {
    let mut options = MySqlConnectOptions::from_str(&server.url)?
        // DATETIMEs are local times, whatever the server's zone is.
        .timezone(None)
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .ssl_mode(match server.tls {
            Tls::Off => MySqlSslMode::Disabled,
            Tls::Preferred => MySqlSslMode::Preferred,
            Tls::Required => MySqlSslMode::Required,
            Tls::Verified => MySqlSslMode::VerifyIdentity,
        })
        .disable_statement_logging();
    if let Some(ca) = &server.ca {
        options = options.ssl_ca(ca);
    }
    if let Some(password) = &server.password {
        options = options.password(&password.read_as("password").map_err(sqlx::Error::config)?);
    }
    Ok(options)
}

/// Connections that can't write.
pub(super) async fn readers(server: &config::Mysql) -> Result<MySqlPool, sqlx::Error> {
    let pool =
        MySqlPoolOptions::new().max_connections(4).acquire_timeout(CONNECT).after_connect(|connection, _| {
            Box::pin(async move {
                connection.execute("SET SESSION TRANSACTION READ ONLY").await?;
                Ok(())
            })
        });
    pool.connect_with(options(server)?).await
}

/// Whether somebody else held a row for too long.
pub(super) fn is_lock_wait(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(LOCK_WAIT_TIMEOUT | DEADLOCK))
}

/// Whether a table isn't there.
pub(super) fn is_without_table(error: &sqlx::Error) -> bool {
    number(error) == Some(1146)
}
