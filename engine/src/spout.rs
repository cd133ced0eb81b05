//! Spouts: where tuples come into a topology.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::context::TaskContext;
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// The number of a batch within its spout task: the k-th tuple that the task emitted, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a spout has to say when it is asked for the next tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// This tuple; it gets the task's next [`BatchId`].
    Emit(T),
    /// Nothing now; ask again soon.
    Idle,
    /// Nothing, ever again. The task ends when all its batches are acked or abandoned.
    End,
}

/// A source of tuples. Every method is called from the task's one thread.
///
/// The engine keeps a clone of each un-acked tuple and replays the failed ones itself; a spout only has to
/// remember which of its positions belongs to which [`BatchId`]. A replay has the id of the first attempt.
///
/// A spout that panics is made anew by its factory; the ids go on from where they were, and what was pending
/// stays pending. After ten restarts the task ends, and the drain report says so.
pub trait Spout: Send + 'static {
    /// What it emits.
    type Out: Tuple;

    /// Called once, on the task's thread, before anything else.
    fn open(&mut self, context: &TaskContext) {
        let _ = context;
    }

    /// The next tuple. It may wait for a few milliseconds for one, but not for long: acks, replays and the
    /// stop wait meanwhile. It isn't called while `max_spout_pending` batches are un-acked.
    fn next(&mut self, now: Timestamp) -> Next<Self::Out>;

    /// All that came of the batch is done. The engine's clone of the tuple comes back for reuse.
    fn ack(&mut self, id: BatchId, tuple: Self::Out) {
        let _ = (id, tuple);
    }

    /// The low-water mark has moved: every batch with an id below `below` is acked or abandoned, so
    /// positions up to there may be committed.
    fn commit(&mut self, below: BatchId) {
        let _ = below;
    }

    /// The batch failed more than `max_replays` times, and the engine gives up on it. It is counted as
    /// `abandoned`; whoever must not lose it keeps it here.
    fn abandon(&mut self, id: BatchId, tuple: Self::Out) {
        let _ = (id, tuple);
    }

    /// Called once, at the end, after the last ack and commit.
    fn close(&mut self) {}
}
