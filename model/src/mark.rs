//! Where in its source a batch of lines ends: what a restart needs to go on right behind it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::units::Moment;

/// A file, whatever it is called at the moment: rotation changes its name and not this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// The device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// A place in a source. Sources without files (standard input, a generator) count bytes from their start in
/// file 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which file.
    pub file: FileId,
    /// Bytes before the place.
    pub offset: u64,
    /// The CRC-32 of the last bytes before the place (up to [`Position::CHECKED`]), by which a file is told that
    /// was emptied and filled again, or got the inode of one that is gone; 0 where nothing is known.
    #[serde(default)]
    pub check: u32,
}

impl Position {
    /// How many bytes `check` is of, where there are as many.
    pub const CHECKED: usize = 64;
}

/// What a batch of a live source carries down to the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The source's name: its path, `-`, or `generator`.
    pub source: Arc<str>,
    /// The batch's number among its source's since the start, from 0, without gaps.
    pub batch: u64,
    /// Where the source goes on: behind what was read of its newest file.
    pub next: Position,
    /// Files before that one that may still have lines, the oldest first, each from its position on: nginx goes
    /// on writing to a rotated file until it has reopened its logs.
    #[serde(default)]
    pub older: Vec<Position>,
    /// The clock when the batch was read.
    pub read_at: Moment,
    /// Whether its lines were decided on before the last restart: then they only fill windows again.
    pub rebuild: bool,
    /// Whether nothing more was there to read.
    pub caught_up: bool,
}
