//! The spout at the start of a test: it emits what it is fed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::context::TaskContext;
use crate::spout::{BatchId, Next, Spout};
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// Feeds a [`FeedSpout`], and tells what became of it. Clones feed the same.
///
/// With several tasks, whichever asks first gets the next tuple, and the ids of all tasks are noted alike.
pub struct Feed<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    queue: VecDeque<T>,
    ended: bool,
    acked: Vec<BatchId>,
    abandoned: Vec<BatchId>,
    committed: Vec<BatchId>,
    closed: usize,
}

/// A spout that emits what its [`Feed`] is fed.
pub struct FeedSpout<T>(Feed<T>);

impl<T: Tuple> Feed<T> {
    /// Nothing to emit yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The factory to declare the spout with: `t.spout("feed", 1, feed.spout())`.
    pub fn spout(&self) -> impl Fn(&TaskContext) -> FeedSpout<T> + Send + Sync + 'static {
        let feed = self.clone();
        move |_| FeedSpout(feed.clone())
    }

    /// Adds a tuple to emit.
    pub fn push(&self, tuple: T) {
        self.lock().queue.push_back(tuple);
    }

    /// After what was pushed, the spout ends.
    pub fn end(&self) {
        self.lock().ended = true;
    }

    /// How many tuples were pushed and not emitted yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().queue.len()
    }

    /// The batches that were acked, in the order of the acks.
    #[must_use]
    pub fn acked(&self) -> Vec<BatchId> {
        self.lock().acked.clone()
    }

    /// The batches that the engine gave up on.
    #[must_use]
    pub fn abandoned(&self) -> Vec<BatchId> {
        self.lock().abandoned.clone()
    }

    /// The low-water marks, in the order in which they were committed.
    #[must_use]
    pub fn committed(&self) -> Vec<BatchId> {
        self.lock().committed.clone()
    }

    /// How many tasks were closed.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Tuple> Spout for FeedSpout<T> {
    type Out = T;

    fn next(&mut self, _now: Timestamp) -> Next<T> {
        let mut state = self.0.lock();
        match state.queue.pop_front() {
            Some(tuple) => Next::Emit(tuple),
            None if state.ended => Next::End,
            None => Next::Idle,
        }
    }

    fn ack(&mut self, id: BatchId, _tuple: T) {
        self.0.lock().acked.push(id);
    }

    fn commit(&mut self, below: BatchId) {
        self.0.lock().committed.push(below);
    }

    fn abandon(&mut self, id: BatchId, _tuple: T) {
        self.0.lock().abandoned.push(id);
    }

    fn close(&mut self) {
        self.0.lock().closed += 1;
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Feed(self.0.clone())
    }
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Feed(Arc::new(Mutex::new(State {
            queue: VecDeque::new(),
            ended: false,
            acked: Vec::new(),
            abandoned: Vec::new(),
            committed: Vec::new(),
            closed: 0,
        })))
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for FeedSpout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSpout").finish_non_exhaustive()
    }
}
