//! Holds live lines back until every source has filled its windows again, so that no decision is made on some of
//! what was known before a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bolts::tuples::LineBatch;
use engine::{BatchId, Next, Spout, TaskContext, Timestamp};

/// How many sources still fill windows, and how many haven't ended.
#[derive(Debug)]
pub struct Gate {
    filling: AtomicUsize,
    going_on: AtomicUsize,
}

impl Gate {
    /// A gate before that many sources.
    #[must_use]
    pub fn new(sources: usize) -> Arc<Self> {
        Arc::new(Self { filling: AtomicUsize::new(sources), going_on: AtomicUsize::new(sources) })
    }

    /// Whether all of them are through.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.filling.load(Ordering::Acquire) == 0
    }

    /// Whether nothing more comes from any of them, and all that came is done.
    #[must_use]
    pub fn have_all_ended(&self) -> bool {
        self.going_on.load(Ordering::Acquire) == 0
    }
}

/// A source that can say whether it still has to fill windows.
pub trait Fills: Spout<Out = LineBatch> {
    /// Whether it has, though it has nothing to say at the moment. Those that never pause over it needn't say so.
    fn is_filling(&self) -> bool {
        false
    }
}

/// A source behind a gate.
pub struct Gated<S> {
    source: S,
    gate: Arc<Gate>,
    arrived: bool,
    /// Batches that fill windows and aren't through yet.
    rebuilding: usize,
    /// The first live batch, until the gate opens.
    held: Option<LineBatch>,
}

impl<S: Fills> Gated<S> {
    /// Puts a source behind a gate.
    #[must_use]
    pub fn new(source: S, gate: Arc<Gate>) -> Self {
        Self { source, gate, arrived: false, rebuilding: 0, held: None }
    }

    fn arrive(&mut self) {
        if !self.arrived && self.rebuilding == 0 {
            self.arrived = true;
            self.gate.filling.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn is_through(&mut self, batch: &LineBatch) {
        if batch.mark.as_ref().is_some_and(|mark| mark.rebuild) {
            self.rebuilding = self.rebuilding.saturating_sub(1);
        }
    }
}

impl<S: Fills> Spout for Gated<S> {
    type Out = LineBatch;

    fn open(&mut self, context: &TaskContext) {
        self.source.open(context);
    }

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        if self.held.is_none() {
            match self.source.next(now) {
                Next::Emit(batch) if batch.mark.as_ref().is_some_and(|mark| mark.rebuild) => {
                    self.rebuilding += 1;
                    return Next::Emit(batch);
                }
                Next::Emit(batch) if self.gate.is_open() => return Next::Emit(batch),
                Next::Emit(batch) => self.held = Some(batch),
                Next::Idle if self.source.is_filling() => return Next::Idle,
                Next::Idle => {}
                Next::End => {
                    self.arrive();
                    return Next::End;
                }
            }
        }
        self.arrive();
        if !self.gate.is_open() {
            return Next::Idle;
        }
        self.held.take().map_or(Next::Idle, Next::Emit)
    }

    fn ack(&mut self, id: BatchId, batch: LineBatch) {
        self.is_through(&batch);
        self.source.ack(id, batch);
    }

    fn commit(&mut self, below: BatchId) {
        self.source.commit(below);
    }

    fn abandon(&mut self, id: BatchId, batch: LineBatch) {
        self.is_through(&batch);
        self.source.abandon(id, batch);
    }

    fn close(&mut self) {
        self.arrive();
        self.gate.going_on.fetch_sub(1, Ordering::AcqRel);
        self.source.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mark::{Mark, Position};
    use model::units::Moment;

    struct Script(Vec<Next<LineBatch>>);

    impl Spout for Script {
        type Out = LineBatch;
        fn next(&mut self, _: Timestamp) -> Next<LineBatch> {
            if self.0.is_empty() { Next::Idle } else { self.0.remove(0) }
        }
    }

    impl Fills for Script {}

    fn batch(batch: u64, rebuild: bool) -> LineBatch {
        LineBatch::new(b"line\n".to_vec()).marked(mark(batch, rebuild))
    }

    fn mark(batch: u64, rebuild: bool) -> Mark {
        let (source, next, older, read_at) = ("log".into(), Position::default(), Vec::new(), Moment(0));
        Mark { source, batch, next, older, read_at, rebuild, caught_up: false }
    }

    fn number(next: &Next<LineBatch>) -> Option<u64> {
        match next {
            Next::Emit(batch) => batch.mark.as_ref().map(|mark| mark.batch),
            _ => None,
        }
    }

    #[test]
    fn nobody_goes_live_before_all_are_through() {
        let gate = Gate::new(2);
        let emit = |n, rebuild| Next::Emit(batch(n, rebuild));
        let mut fast = Gated::new(Script(vec![emit(0, false), emit(1, false)]), gate.clone());
        let mut slow = Gated::new(Script(vec![emit(0, true), emit(1, true), emit(2, false)]), gate.clone());
        let now = Timestamp::default();
        assert_eq!(fast.next(now), Next::Idle);
        assert_eq!((number(&slow.next(now)), number(&slow.next(now))), (Some(0), Some(1)));
        assert_eq!(slow.next(now), Next::Idle, "its windows aren't filled yet");
        slow.ack(BatchId(1), batch(1, true));
        assert_eq!((slow.next(now), fast.next(now)), (Next::Idle, Next::Idle));
        slow.ack(BatchId(0), batch(0, true));
        assert_eq!(number(&slow.next(now)), Some(2));
        assert_eq!((number(&fast.next(now)), number(&fast.next(now))), (Some(0), Some(1)), "in order");
        assert!(gate.is_open());
    }

    #[test]
    fn who_ends_or_has_nothing_holds_up_nobody() {
        let gate = Gate::new(3);
        let mut ended = Gated::new(Script(vec![Next::End]), gate.clone());
        let mut quiet = Gated::new(Script(vec![]), gate.clone());
        let mut live = Gated::new(Script(vec![Next::Emit(batch(0, false))]), gate.clone());
        let now = Timestamp::default();
        assert_eq!(live.next(now), Next::Idle);
        assert_eq!((ended.next(now), quiet.next(now)), (Next::End, Next::Idle));
        assert_eq!(number(&live.next(now)), Some(0));
    }
}
