//! What several workers share: who owns the database, and the desired state of bans as a snapshot with the entries
//! that came after it.
//!
//! Whoever writes locks the owner's row first and looks whether it is still its own. So between a new owner's claim
//! and the end of all that the one before had begun there is an order: nothing of an old owner comes after a claim.

use model::event::Entry;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, QueryBuilder};
use uuid::Uuid;

use super::super::Renew;
use super::super::database::Trouble;
use crate::adapters::journal::Fold;

/// A part of the snapshot, in bytes: every server takes packets of that length.
const PART: usize = 512 << 10;
/// Entries of one statement, and how long they may be together: at least one is.
const CHUNK: usize = 200;
const CHUNK_BYTES: usize = 512 << 10;
/// As strong as is quick.
const LEVEL: i32 = 3;
/// A snapshot is at most as long, unpacked: what says otherwise is broken.
const LONGEST: usize = 4 << 30;

/// How much there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in super::super) struct Size {
    pub(in super::super) rows: u64,
    pub(in super::super) bytes: u64,
}

impl std::ops::AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// What an owner's connection knows.
pub(super) struct Ownership {
    epoch: i64,
    renew: Renew,
    /// Whether its journal is the one that what is shared comes from.
    shares: bool,
    /// Entries since the snapshot,
    pub(super) entries: Size,
    /// and that itself.
    snapshot: Size,
}

/// The owner's row.
#[derive(sqlx::FromRow)]
pub(in super::super) struct OwnerRow {
    pub(in super::super) epoch: Option<i64>,
    pub(in super::super) name: Option<String>,
    pub(in super::super) since: Option<String>,
    pub(in super::super) journal: Option<String>,
    pub(in super::super) connection: Option<u64>,
}

impl OwnerRow {
    pub(in super::super) async fn read(
        connection: &mut MySqlConnection,
        lock: bool,
    ) -> Result<Option<Self>, sqlx::Error> {
        let query = if lock {
            "SELECT epoch, name, CAST(since AS CHAR) AS since, journal, connection FROM shared_owner \
             WHERE one = 1 FOR UPDATE"
        } else {
            "SELECT epoch, name, CAST(since AS CHAR) AS since, journal, connection FROM shared_owner \
             WHERE one = 1"
        };
        sqlx::query_as(query).fetch_optional(connection).await
    }

    /// What a former owner, or a former connection of this one, was about may hold the row: it's ended.
    pub(in super::super) async fn end_its_connection(&self, connection: &mut MySqlConnection) {
        // A server that was started anew counts from the beginning.
        let own: Result<u64, _> =
            sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut *connection).await;
        if let Some(number) = self.connection
            && own.is_ok_and(|own| own != number)
            // It may be gone already.
            && let Err(error) = connection.execute(AssertSqlSafe(format!("KILL CONNECTION {number}"))).await
        {
            tracing::debug!(%error, number, "no such connection to end");
        }
    }
}

/// Holds the owner's row to the end of the transaction, and looks whether it is `epoch`'s.
pub(in super::super) async fn check(connection: &mut MySqlConnection, epoch: i64) -> Result<(), Trouble> {
    match OwnerRow::read(connection, true).await? {
        Some(row) if row.epoch == Some(epoch) => Ok(()),
        row => {
            let (epoch, name) = row.map(|row| (row.epoch, row.name)).unwrap_or_default();
            let name = name.unwrap_or_else(|| "nobody".to_owned());
            Err(Trouble::Fenced { epoch: epoch.unwrap_or_default(), name })
        }
    }
}

/// Whoever writes entries of the shared journal without sharing them makes what is shared worth nothing: the next owner
/// begins anew with that journal.
pub(super) async fn written_without(connection: &mut MySqlConnection, journal: Uuid) -> Result<(), Trouble> {
    let journal = journal.to_string();
    if OwnerRow::read(connection, false).await?.is_some_and(|row| row.journal.as_deref() == Some(&journal)) {
        sqlx::query("UPDATE shared_owner SET journal = NULL WHERE one = 1 AND journal = ?")
            .bind(journal)
            .execute(connection)
            .await?;
    }
    Ok(())
}

impl Ownership {
    pub(super) async fn join(
        connection: &mut MySqlConnection,
        epoch: i64,
        renew: Renew,
    ) -> Result<Self, Trouble> {
        if let Some(row) = OwnerRow::read(connection, false).await?
            && row.epoch == Some(epoch)
        {
            row.end_its_connection(connection).await;
        }
        let mut tx = connection.begin().await?;
        check(&mut tx, epoch).await?;
        sqlx::query("UPDATE shared_owner SET connection = CONNECTION_ID() WHERE one = 1")
            .execute(&mut *tx)
            .await?;
        let entries = size(&mut tx, "shared_entry", "entry").await?;
        let snapshot = size(&mut tx, "shared_snapshot", "bytes").await?;
        tx.commit().await?;
        Ok(Self { epoch, renew, shares: false, entries, snapshot })
    }

    pub(super) async fn with_journal(
        &mut self,
        connection: &mut MySqlConnection,
        journal: Uuid,
    ) -> Result<(), Trouble> {
        let row = OwnerRow::read(connection, false).await?;
        self.shares = row.is_some_and(|row| row.journal.as_deref() == Some(&journal.to_string()));
        Ok(())
    }

    pub(super) async fn check(&self, connection: &mut MySqlConnection) -> Result<(), Trouble> {
        check(connection, self.epoch).await
    }

    /// Adds entries behind the others.
    pub(super) async fn append(
        &self,
        connection: &mut MySqlConnection,
        shared: &[Vec<u8>],
    ) -> Result<Size, Trouble> {
        let mut size = Size::default();
        if shared.is_empty() {
            return Ok(size);
        }
        if !self.shares {
            return Err(Trouble::Shared("this journal isn't the owner's; it must be handed over".to_owned()));
        }
        let mut rest = shared;
        while !rest.is_empty() {
            let mut bytes = 0;
            let mut fits = |text: &&Vec<u8>| {
                bytes += text.len();
                bytes <= CHUNK_BYTES
            };
            let count = rest.iter().take(CHUNK).take_while(|text| fits(text)).count().max(1);
            let (chunk, others) = rest.split_at(count);
            let mut query = QueryBuilder::new("INSERT INTO shared_entry (entry) ");
            query.push_values(chunk, |mut values, text| {
                values.push_bind(text.as_slice());
            });
            query.build().persistent(count == CHUNK || count == 1).execute(&mut *connection).await?;
            size +=
                Size { rows: chunk.len() as u64, bytes: chunk.iter().map(|text| text.len() as u64).sum() };
            rest = others;
        }
        Ok(size)
    }

    /// Writes the snapshot anew and drops the entries that it covers, where there are many.
    pub(super) async fn renew<S: Fold>(&mut self, connection: &mut MySqlConnection) -> Result<(), Trouble> {
        let Renew { entries, times, least_bytes } = self.renew;
        let long = self.entries.bytes > (self.snapshot.bytes * times).max(least_bytes);
        if !self.shares || self.entries.rows <= entries && !long {
            return Ok(());
        }
        let mut tx = connection.begin().await?;
        self.check(&mut tx).await?;
        let (state, _) = read::<S>(&mut tx).await?;
        let snapshot = replace(&mut tx, &state).await?;
        tx.commit().await?;
        (self.entries, self.snapshot) = (Size::default(), snapshot);
        Ok(())
    }
}

async fn size(
    connection: &mut MySqlConnection,
    table: &'static str,
    column: &'static str,
) -> Result<Size, sqlx::Error> {
    let query = format!("SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH({column})), 0) AS SIGNED) FROM {table}");
    let (rows, bytes): (i64, i64) = sqlx::query_as(AssertSqlSafe(query)).fetch_one(connection).await?;
    Ok(Size { rows: rows.unsigned_abs(), bytes: bytes.unsigned_abs() })
}

/// What snapshot and entries come to, and how many entries there are. In one transaction, for both must be of one
/// time.
pub(in super::super) async fn read<S: Fold>(connection: &mut MySqlConnection) -> Result<(S, u64), Trouble> {
    let parts: Vec<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM shared_snapshot ORDER BY part")
        .fetch_all(&mut *connection)
        .await?;
    let mut state = if parts.is_empty() { S::default() } else { unpacked(&parts.concat())? };
    let (mut last, mut count) = (0, 0);
    loop {
        let entries: Vec<(u64, Vec<u8>)> =
            sqlx::query_as("SELECT id, entry FROM shared_entry WHERE id > ? ORDER BY id LIMIT 1000")
                .bind(last)
                .fetch_all(&mut *connection)
                .await?;
        let Some((id, _)) = entries.last() else { return Ok((state, count)) };
        last = *id;
        count += entries.len() as u64;
        for (id, text) in &entries {
            let entry: Entry = serde_json::from_slice(text).map_err(|error| {
                Trouble::Shared(format!("entry {id}: {error}; was it a newer version's?"))
            })?;
            state.apply(&entry);
        }
    }
}

/// Makes `state` the snapshot, with no entries behind it.
pub(in super::super) async fn replace<S: Fold>(
    connection: &mut MySqlConnection,
    state: &S,
) -> Result<Size, Trouble> {
    let packed = packed(state)?;
    sqlx::query("DELETE FROM shared_entry").execute(&mut *connection).await?;
    sqlx::query("DELETE FROM shared_snapshot").execute(&mut *connection).await?;
    for (number, part) in (0u32..).zip(packed.chunks(PART)) {
        sqlx::query("INSERT INTO shared_snapshot (part, bytes) VALUES (?, ?)")
            .bind(number)
            .bind(part)
            .execute(&mut *connection)
            .await?;
    }
    Ok(Size { rows: packed.len().div_ceil(PART) as u64, bytes: packed.len() as u64 })
}

fn packed<S: Fold>(state: &S) -> Result<Vec<u8>, Trouble> {
    let broken = |error: &dyn std::fmt::Display| Trouble::Shared(error.to_string());
    let mut packer = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|error| broken(&error))?;
    packer.include_checksum(true).map_err(|error| broken(&error))?;
    serde_json::to_writer(&mut packer, state).map_err(|error| broken(&error))?;
    packer.finish().map_err(|error| broken(&error))
}

fn unpacked<S: Fold>(bytes: &[u8]) -> Result<S, Trouble> {
    use std::io::Read as _;
    let broken = |error: &dyn std::fmt::Display| Trouble::Shared(format!("its snapshot: {error}"));
    let unpacker = zstd::Decoder::new(bytes).map_err(|error| broken(&error))?;
    let mut text = Vec::new();
    unpacker.take(LONGEST as u64).read_to_end(&mut text).map_err(|error| broken(&error))?;
    serde_json::from_slice(&text).map_err(|error| broken(&error))
}

#[cfg(test)]
mod tests {
    use real_servers::Servers;
    use sqlx::ConnectOptions as _;
    use sqlx::mysql::MySqlConnectOptions;

    use super::*;

    #[tokio::test]
    async fn a_connection_never_ends_itself() {
        let Some(servers) = Servers::shared() else { return };
        let options: MySqlConnectOptions = servers.up("mariadb").parse().unwrap();
        let (mut one, mut other) = (options.connect().await.unwrap(), options.connect().await.unwrap());
        let row = |connection| OwnerRow { epoch: None, name: None, since: None, journal: None, connection };
        let number: u64 = sqlx::query_scalar("SELECT CONNECTION_ID()").fetch_one(&mut one).await.unwrap();
        row(Some(number)).end_its_connection(&mut one).await;
        one.execute("DO 1").await.unwrap();
        row(Some(number)).end_its_connection(&mut other).await;
        assert!(one.execute("DO 1").await.is_err());
    }
}
