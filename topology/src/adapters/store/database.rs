//! What the store asks of a database, whichever it is.

use std::io;
use std::time::Duration;

use model::units::Moment;
use sqlx::migrate::MigrateError;
use uuid::Uuid;

use super::local_time::LocalTime;
use super::retention::Retention;
use super::rows::Rows;
use crate::adapters::journal::Fold;

/// So long a database may take for a batch before it counts as one that doesn't answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of database, and where it is.
pub(super) trait Database: Send + 'static {
    type Tables: Tables;

    /// Whether a call may never come back: then each has a time limit, and stopping doesn't wait for it.
    const MAY_HANG: bool;

    /// What to look at when it doesn't work.
    const LOOK_AT: &'static str;

    /// Where it is, in messages.
    fn name(&self) -> String;

    /// Connects, and brings the tables to what this version of the program needs.
    async fn connect(&self) -> Result<Self::Tables, Trouble>;
}

/// A connection to a database whose tables are as they should be. After an error it's of no more use.
pub(super) trait Tables {
    /// Up to which entry `journal` is in the tables. Whatever another connection was about with it is over then.
    async fn position(&mut self, journal: Uuid) -> Result<u64, Trouble>;

    /// Writes a batch and its position, all or nothing. Returns how many rows can't ever be inserted, and were passed
    /// by.
    async fn write(&mut self, batch: &Batch) -> Result<u64, Trouble>;

    /// Moves some rows whose time is over. Returns whether more are left to move.
    async fn retire(&mut self, retention: Retention, now: Moment, time: &LocalTime) -> Result<bool, Trouble>;

    /// Up to which entry the tables survive a power cut, where all up to `written` are in them; `None` where that
    /// isn't known now.
    async fn safe(&mut self, written: u64) -> Result<Option<u64>, Trouble>;

    /// Writes the shared state of bans down anew, where it's time and it is shared.
    async fn renew<S: Fold>(&mut self) -> Result<(), Trouble>;

    /// Ends in order.
    async fn close(self) -> Result<(), Trouble>;
}

/// Entries that are written together.
pub(super) struct Batch {
    pub(super) journal: Uuid,
    pub(super) rows: Rows,
    /// What other workers must know of them.
    pub(super) shared: Vec<Vec<u8>>,
    /// Where the tables are before it,
    pub(super) after: u64,
    /// and then.
    pub(super) seq: u64,
    pub(super) entries: u64,
}

/// How a batch is inserted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Many rows a statement; one bad row fails the batch.
    Fast,
    /// One row a statement; a bad row is passed by.
    Careful,
}

/// What can go wrong with a database.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}; was the database made by another version of ccfirewall?")]
    Migrate(#[from] MigrateError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it hasn't answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// The position isn't where this thread left it.
    #[error(
        "somebody else writes this journal's entries; is a second program running on a copy of its folder?"
    )]
    Overtaken,
    /// Somebody has the tables under change.
    #[error("another program is changing the tables")]
    Changing,
    /// A shared entry or snapshot isn't what it should be.
    #[error("the shared state of bans can't be read: {0}")]
    Shared(String),
    /// Somebody claimed a newer epoch: there's nothing more to do here.
    #[error("{name} owns the database now (epoch {epoch})")]
    Fenced { epoch: i64, name: String },
    /// The time to stop is over.
    #[error("stopped")]
    GivenUp,
}
