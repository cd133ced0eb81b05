//! The ledger that several workers share: what a new owner of a MySQL database takes over, and what others may look
//! at. The store of the owner writes it ([`Fence`](super::Fence)).

use std::io;
use std::time::{Duration, Instant};

use model::event::{Entry, Event};
use serde::Serialize;
use sqlx::{Connection as _, Executor as _};
use uuid::Uuid;

use super::database::Trouble;
use super::mysql::shared::{OwnerRow, check, read, replace};
use super::mysql::{self, schema};
use crate::adapters::journal::Fold;
use crate::config::Mysql;

/// The ledger of a database that several workers share. Its functions wait for the server, up to about half a minute,
/// and must not be called within an async runtime.
#[derive(Clone, Debug)]
pub struct SharedLedger {
    server: Mysql,
}

/// Who owns it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Owner {
    /// Greater than that of every owner before.
    pub epoch: i64,
    /// The worker.
    pub name: String,
    /// Since when, by the server's clock and in its zone.
    pub since: String,
}

/// What a claim gave.
#[derive(Debug)]
pub struct Claim<S> {
    /// The epoch of the owner before, if ever there was one. After an answer that was lost it's this one's own.
    pub previous_epoch: Option<i64>,
    /// The journal that all came from so far: whoever has that one needn't take anything over.
    pub journal: Option<Uuid>,
    /// What all entries come to that were shared.
    pub kept: S,
}

/// Why it couldn't be claimed or read.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody else came later, and owns it.
    #[error("{name} owns the database with the newer epoch {epoch}: this worker isn't the owner any more")]
    Newer {
        /// The other's epoch.
        epoch: i64,
        /// Who it is.
        name: String,
    },
    /// It can't be reached, read or written.
    #[error("the database {url} can't be used: {what}; see that the server runs, and the user's rights")]
    Database {
        /// Where it is.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// What is to be seen of it.
#[derive(Clone, PartialEq, Debug)]
pub struct SharedView<S> {
    /// Who owns it.
    pub owner: Owner,
    /// What all entries come to.
    pub kept: S,
    /// How many entries there are since the last snapshot.
    pub entries: u64,
}

/// So long a claim may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl SharedLedger {
    /// The ledger in the database of `server`.
    #[must_use]
    pub fn new(server: Mysql) -> Self {
        Self { server }
    }

    /// Makes `name` the owner with `epoch`. From then on nothing is written by the owner before, also where it's
    /// paused in the middle of it. The same claim twice is like once.
    ///
    /// # Errors
    ///
    /// Where somebody has a newer epoch, or the database can't be used.
    pub fn claim<S: Fold>(&self, epoch: i64, name: &str) -> Result<Claim<S>, ClaimError> {
        self.block_on(async {
            let mut connection = mysql::connect(&self.server).await?;
            schema::bring_up_to_date(&mut connection).await?;
            if OwnerRow::read(&mut connection, false).await?.is_none() {
                connection.execute("INSERT IGNORE INTO shared_owner (one) VALUES (1)").await?;
            }
            connection.execute("SET SESSION innodb_lock_wait_timeout = 1").await?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                let mut tx = connection.begin().await?;
                match OwnerRow::read(&mut tx, true).await {
                    Ok(row) => {
                        let row = row.ok_or_else(|| Trouble::Shared("there is no owner's row".to_owned()))?;
                        return claim(tx, row, epoch, name).await;
                    }
                    Err(error) if Instant::now() < deadline && mysql::is_lock_wait(&error) => {
                        tx.rollback().await?;
                        let holder = OwnerRow::read(&mut connection, false).await?;
                        if let Some(holder) = holder.filter(|row| row.epoch.is_none_or(|old| old < epoch)) {
                            holder.end_its_connection(&mut connection).await;
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        })
    }

    /// What is shared, without changing anything; `None` where nobody ever owned it.
    ///
    /// # Errors
    ///
    /// Where the database can't be used.
    pub fn read<S: Fold>(&self) -> Result<Option<SharedView<S>>, ClaimError> {
        self.block_on(async {
            let mut connection = mysql::connect(&self.server).await?;
            let mut tx =
                connection.begin_with("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
            let row = match OwnerRow::read(&mut tx, false).await {
                Err(error) if mysql::is_without_table(&error) => None,
                row => row?,
            };
            let Some(OwnerRow { epoch: Some(epoch), name, since, .. }) = row else { return Ok(None) };
            let (kept, entries) = read::<S>(&mut tx).await?;
            tx.commit().await?;
            let owner = Owner { epoch, name: name.unwrap_or_default(), since: since.unwrap_or_default() };
            Ok(Some(SharedView { owner, kept, entries }))
        })
    }

    /// Begins to share the entries of `journal` under `epoch`: all of them that aren't in the tables yet come after
    /// `state`.
    pub(super) fn begin<S: Fold>(&self, epoch: i64, journal: Uuid, state: &S) -> Result<(), ClaimError> {
        self.block_on(async {
            let mut connection = mysql::connect(&self.server).await?;
            let mut tx = connection.begin().await?;
            check(&mut tx, epoch).await?;
            replace(&mut tx, state).await?;
            sqlx::query("UPDATE shared_owner SET journal = ? WHERE one = 1")
                .bind(journal.to_string())
                .execute(&mut *tx)
                .await?;
            Ok(tx.commit().await?)
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, ClaimError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.map_err(Trouble::Io).and_then(|runtime| {
            runtime.block_on(async {
                let done = tokio::time::timeout(PATIENCE * 2, work).await;
                done.map_err(|_| Trouble::Silent(PATIENCE * 2))?
            })
        });
        done.map_err(|trouble| match trouble {
            Trouble::Fenced { epoch, name } => ClaimError::Newer { epoch, name },
            other => ClaimError::Database { url: self.server.url.clone(), what: other.to_string() },
        })
    }
}

async fn claim<S: Fold>(
    mut tx: sqlx::Transaction<'_, sqlx::MySql>,
    row: OwnerRow,
    epoch: i64,
    name: &str,
) -> Result<Claim<S>, Trouble> {
    let others = row.name.as_deref() != Some(name);
    if row.epoch.is_some_and(|old| old > epoch || old == epoch && others) {
        let name = row.name.unwrap_or_default();
        return Err(Trouble::Fenced { epoch: row.epoch.unwrap_or_default(), name });
    }
    sqlx::query(
        "UPDATE shared_owner SET epoch = ?, name = LEFT(?, 255), since = NOW(), connection = NULL WHERE one = 1",
    )
    .bind(epoch)
    .bind(name)
    .execute(&mut *tx)
    .await?;
    let (kept, _) = read::<S>(&mut tx).await?;
    tx.commit().await?;
    let journal = row.journal.and_then(|journal| journal.parse().ok());
    Ok(Claim { previous_epoch: row.epoch, journal, kept })
}

/// Of so many events one row is made at most,
const EVENTS: usize = 500;
/// and of so many bytes of them, about.
const BYTES: usize = 256 << 10;

/// What other workers must know of an entry, as JSON; in several pieces where it is long, of which the last has the
/// mark. Frequency records and agents' words are the tables' alone.
pub(super) fn texts(entry: &Entry) -> io::Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    let empty = || Entry { at: entry.at, mark: None, events: Vec::new() };
    let (mut piece, mut bytes) = (empty(), 0);
    for event in &entry.events {
        let mut event = match event {
            Event::Record(_) => continue,
            event => event.clone(),
        };
        if let Event::Outcome(outcome) = &mut event {
            outcome.result.clear();
        }
        if let Event::Change(change) = &event {
            bytes += change.ban().note.as_ref().map_or(0, String::len);
        }
        piece.events.push(event);
        if piece.events.len() >= EVENTS || bytes >= BYTES {
            pieces.push(serde_json::to_vec(&std::mem::replace(&mut piece, empty()))?);
            bytes = 0;
        }
    }
    piece.mark.clone_from(&entry.mark);
    if piece.mark.is_some() || !piece.events.is_empty() {
        pieces.push(serde_json::to_vec(&piece)?);
    }
    Ok(pieces)
}
