//! What others may know of a file that is followed, while it is.

use std::sync::{Mutex, PoisonError};

use model::units::Moment;

/// A handle on it, for all threads.
#[derive(Debug, Default)]
pub struct FollowStatus(Mutex<Following>);

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// What it is doing.
    pub state: FollowState,
    /// Bytes that wait to be read, as of the last look at the file.
    pub behind: u64,
    /// When it last had new lines.
    pub grown_at: Option<Moment>,
    /// What is wrong now.
    pub problem: Option<String>,
    /// How often lines may have been lost, which nobody can know.
    pub possible_losses: u64,
    /// How, the last time.
    pub last_loss: Option<String>,
    /// How often another file took its place.
    pub rotations: u64,
    /// How often it was emptied or written anew.
    pub truncations: u64,
    /// Lines read live.
    pub lines: u64,
    /// Bytes read live.
    pub bytes: u64,
    /// Lines that were cut out because they were longer than a line may be.
    pub too_long: u64,
    /// Lines read again after a restart.
    pub rebuilt_lines: u64,
}

/// What a followed file's spout is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowState {
    /// The file isn't there yet, or can't be opened.
    #[default]
    Waiting,
    /// It reads again what was there before the restart.
    Rebuilding,
    /// It reads new lines.
    Live,
}

impl FollowStatus {
    /// How it goes now.
    #[must_use]
    pub fn now(&self) -> Following {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Following)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
