//! Anchors: how the engine knows that all that came of a batch is done.
//!
//! Each attempt at a batch is one `Attempt`, shared by everything that still works on it. When the last
//! share goes, the spout task is told. Nothing counts as done by being thrown away: a frame that is dropped
//! before it was executed ([`Carried`]), and an anchor that dies with its bolt, fail the attempt.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;

use crate::spout::BatchId;

/// What a spout task is told when an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub batch: BatchId,
    pub seq: u64,
    pub failed: bool,
}

struct Attempt {
    batch: BatchId,
    seq: u64,
    failed: AtomicBool,
    spout: Sender<Done>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let done = Done { batch: self.batch, seq: self.seq, failed: *self.failed.get_mut() };
        // A spout task that is gone needs no news.
        let _ = self.spout.send(done);
    }
}

/// A share in an attempt, for the engine's own use.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Attempt>);

impl Guard {
    pub(crate) fn new(batch: BatchId, seq: u64, spout: Sender<Done>) -> Self {
        Guard(Arc::new(Attempt { batch, seq, failed: AtomicBool::new(false), spout }))
    }

    pub(crate) fn fail(&self) {
        // Relaxed is enough: dropping the last `Arc` orders this store before the read in `drop`.
        self.0.failed.store(true, Ordering::Relaxed);
    }
}

/// The share that a frame carries through a queue. Dropped there, it fails the attempt.
pub(crate) struct Carried(Option<Guard>);

impl Carried {
    pub(crate) fn new(guard: Option<Guard>) -> Self {
        Carried(guard)
    }

    /// Takes the share out, to execute the frame.
    pub(crate) fn take(mut self) -> Option<Guard> {
        self.0.take()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(guard) = &self.0 {
            guard.fail();
        }
    }
}

thread_local! {
    static DISCARDING: Cell<bool> = const { Cell::new(false) };
}

/// Drops a value whose anchors must not count as done, such as a bolt that has panicked.
pub(crate) fn drop_as_failed<T>(value: T) {
    let before = DISCARDING.replace(true);
    // A destructor may panic too; that must not take the task with it.
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(value)));
    DISCARDING.set(before);
    if dropped.is_err() {
        tracing::error!("a destructor panicked");
    }
}

/// A share in a batch, from [`Collector::anchor`](crate::Collector::anchor).
///
/// While a bolt (or whatever it hands the anchor to) holds it, the batch isn't acked. Drop it when the work
/// is done, or call [`Anchor::fail`] when it could not be done. An anchor that goes down with a panic, or
/// with a bolt that is thrown away after one, fails its batch.
#[derive(Clone)]
pub struct Anchor(Guard);

impl Anchor {
    pub(crate) fn new(guard: Guard) -> Self {
        Anchor(guard)
    }

    pub(crate) fn guard(&self) -> Guard {
        self.0.clone()
    }

    /// Fails the batch: it is replayed when the last share of it is gone.
    pub fn fail(self) {
        self.0.fail();
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if std::thread::panicking() || DISCARDING.get() {
            self.0.fail();
        }
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Anchor").field(&self.0.0.batch).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(work: impl FnOnce(Guard), failed: bool) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        work(Guard::new(BatchId(3), 5, sender));
        let expected = Done { batch: BatchId(3), seq: 5, failed };
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn last_share_tells_the_spout() {
        check(drop, false);
        check(|guard| drop(Anchor::new(guard.clone())), false);
        check(|guard| Anchor::new(guard.clone()).fail(), true);
        check(|guard| drop(Carried::new(Some(guard))), true);
        check(|guard| drop(Carried::new(Some(guard)).take()), false);
        check(|guard| drop_as_failed(Anchor::new(guard)), true);
    }
}
