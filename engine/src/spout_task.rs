//! The task group of a spout: emits, replays, commits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::anchor::{Done, Guard, drop_as_failed};
use crate::context::TaskContext;
use crate::edge::{Downstream, Outputs, Scope, Stamp};
use crate::metrics::ComponentMetrics;
use crate::node::{Factory, report_panic};
use crate::pending::{Departure, Outcome, Pending};
use crate::spout::{BatchId, Next, Spout};
use crate::stop::StopHandle;
use crate::task::{Ending, Group, Progress};
use crate::time::{Clock, Timestamp};
use crate::tuple::Tuple;

/// A spout that panics more often than this is beyond help.
const MAX_RESTARTS: u32 = 10;

pub(crate) struct SpoutTask<S: Spout> {
    pub id: (usize, usize),
    pub spout: S,
    pub make: Factory<S>,
    pub context: TaskContext,
    pub outputs: Outputs<S::Out>,
    pub origin: usize,
    pub pending: Pending<S::Out>,
    pub done_sender: Sender<Done>,
    pub done: Receiver<Done>,
    pub committed: BatchId,
    pub clock: Arc<dyn Clock>,
    pub next_tick: Timestamp,
    /// When it was last looked whether a tick is due.
    pub looked: Timestamp,
    pub idle_wait: Duration,
    pub stop: StopHandle,
    /// The spout will emit no more.
    pub ended: bool,
    pub restarts: u32,
}

impl<S: Spout> SpoutTask<S> {
    fn metrics(&self) -> &ComponentMetrics {
        self.context.metrics().component()
    }

    /// Calls the spout. If it panics, it is made anew, a bounded number of times.
    fn guarded<R>(&mut self, method: &'static str, call: impl FnOnce(&mut S) -> R) -> Option<R> {
        let spout = &mut self.spout;
        match catch_unwind(AssertUnwindSafe(|| call(spout))) {
            Ok(value) => Some(value),
            Err(panic) => {
                report_panic(&self.context, method, panic);
                self.remake();
                None
            }
        }
    }

    fn remake(&mut self) {
        while self.restarts < MAX_RESTARTS {
            self.restarts += 1;
            self.metrics().restarts.add(1);
            let made = catch_unwind(AssertUnwindSafe(|| {
                let mut spout = (self.make)(&self.context);
                spout.open(&self.context);
                spout
            }));
            match made {
                Ok(spout) => {
                    drop_as_failed(std::mem::replace(&mut self.spout, spout));
                    return;
                }
                Err(panic) => report_panic(&self.context, "open", panic),
            }
        }
        self.restarts += 1;
        self.ended = true;
    }

    fn gave_up(&self) -> bool {
        self.restarts > MAX_RESTARTS
    }

    fn settle(&mut self, outcome: Outcome<S::Out>) {
        match outcome {
            Outcome::Stale => {}
            Outcome::Failed => self.metrics().failed.add(1),
            Outcome::Acked(id, tuple) => {
                self.metrics().acked.add(1);
                self.metrics().pending.sub(1);
                self.guarded("ack", |spout| spout.ack(id, tuple));
            }
            Outcome::Abandoned(id, tuple) => {
                self.metrics().failed.add(1);
                self.metrics().abandoned.add(1);
                self.metrics().pending.sub(1);
                tracing::error!(
                    component = self.context.component(),
                    task = self.context.task(),
                    batch = id.0,
                    "a batch failed too often and is abandoned"
                );
                self.guarded("abandon", |spout| spout.abandon(id, tuple));
            }
        }
    }

    fn settle_all(&mut self, now: Timestamp) -> bool {
        let mut worked = false;
        while let Ok(done) = self.done.try_recv() {
            let outcome = self.pending.settle(done);
            self.settle(outcome);
            worked = true;
        }
        while let Some(outcome) = self.pending.expire(now) {
            self.settle(outcome);
            worked = true;
        }
        let low_water = self.pending.low_water();
        if low_water > self.committed {
            self.committed = low_water;
            self.guarded("commit", |spout| spout.commit(low_water));
        }
        worked
    }

    fn send(&mut self, departure: Departure<S::Out>) {
        let Departure { batch, seq, tuple } = departure;
        let guard = Guard::new(batch, seq, self.done_sender.clone());
        let stamp = Stamp { origin: self.origin, seq };
        let scope = Scope::batch(stamp, Some(guard));
        // What panics here is a tuple's own code, such as `Partition`; bolts keep their panics in.
        let outputs = &mut self.outputs;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| outputs.emit(&scope, tuple))) {
            scope.fail();
            report_panic(&self.context, "emit", panic);
        }
        self.outputs.flush(&scope);
    }

    /// Sends a replay or a new batch off, if there is one.
    fn emit(&mut self, now: Timestamp) -> bool {
        if let Some(again) = self.pending.replay(now) {
            self.metrics().replayed.add(1);
            self.send(again);
            return true;
        }
        if self.ended || self.stop.is_stopped() || !self.pending.has_room() {
            return false;
        }
        match self.guarded("next", |spout| spout.next(now)) {
            Some(Next::Emit(tuple)) => {
                self.metrics().emitted_batches.add(1);
                self.metrics().emitted_records.add(tuple.records());
                self.metrics().pending.add(1);
                let departure = self.pending.begin(tuple, now);
                self.send(departure);
                true
            }
            Some(Next::Idle) => false,
            Some(Next::End) => {
                self.ended = true;
                true
            }
            // It has panicked, and there is a new one.
            None => true,
        }
    }
}

impl<S: Spout> Group for SpoutTask<S> {
    fn id(&self) -> (usize, usize) {
        self.id
    }

    fn is_spout(&self) -> bool {
        true
    }

    fn prepare(&mut self) {
        let now = self.clock.now();
        let context = self.context.clone();
        self.guarded("open", |spout| spout.open(&context));
        self.outputs.prepare(now);
        self.next_tick = now;
    }

    fn poll(&mut self) -> Progress {
        let now = self.clock.now();
        let mut worked = self.settle_all(now);
        if now >= self.next_tick || now < self.looked {
            let due = self.outputs.tick(now);
            // The first look only asks when the first tick is.
            worked |= due > self.next_tick && due != Timestamp::MAX;
            self.next_tick = due;
        }
        self.looked = now;
        if self.emit(now) {
            return Progress::More;
        }
        if (self.ended || self.stop.is_stopped()) && self.pending.unacked() == 0 {
            return Progress::Done;
        }
        if worked { Progress::Worked } else { Progress::Idle }
    }

    fn wait(&mut self, at_most: Duration) {
        // Anything that may end the wait other than an ack (new input, a stop, a tick, a timeout) is looked
        // for again after `idle_wait`.
        let limit = self.idle_wait.min(at_most);
        if let Ok(done) = self.done.recv_timeout(limit) {
            let outcome = self.pending.settle(done);
            self.settle(outcome);
        }
    }

    fn finish(mut self: Box<Self>, drained: bool) -> Ending {
        if drained {
            self.outputs.cleanup();
        }
        self.guarded("close", Spout::close);
        let ending = Ending { left: self.pending.unacked(), gave_up: self.gave_up() };
        drop_as_failed(self);
        ending
    }
}
