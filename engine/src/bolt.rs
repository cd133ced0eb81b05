//! Bolts: what is done to tuples on their way.

use crate::anchor::Anchor;
use crate::context::TaskContext;
use crate::edge::{Downstream, Outputs, Scope};
use crate::metrics::ComponentMetrics;
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// A step of a topology. Each task has a bolt of its own, and calls it from one thread only.
///
/// A bolt that panics fails its batch and is thrown away; the task goes on with a new one from the factory.
pub trait Bolt: Send + 'static {
    /// What it executes. With several upstreams it needs a `From` of what each of them emits.
    type In: Tuple;
    /// What it emits; `()` if nothing.
    type Out: Tuple;

    /// Called once, on the task's thread, before anything else.
    fn prepare(&mut self, context: &TaskContext) {
        let _ = context;
    }

    /// Does the work for one tuple.
    fn execute(&mut self, input: Self::In, out: &mut Collector<'_, Self::Out>);

    /// Called about every tick interval. What it emits belongs to no batch: it is neither ordered among the
    /// batches nor replayed. (For replays, see [`Collector::emit_anchored`].)
    fn tick(&mut self, now: Timestamp, out: &mut Collector<'_, Self::Out>) {
        let _ = (now, out);
    }

    /// Called once, at drain, after the last tuple. What it emits still reaches the bolts downstream, before
    /// their own cleanup. Not called when a stop ran into its deadline.
    fn cleanup(&mut self, out: &mut Collector<'_, Self::Out>) {
        let _ = out;
    }
}

/// Takes what a bolt emits, and what it has to say about the batch.
pub struct Collector<'a, T> {
    outputs: &'a mut Outputs<T>,
    scope: &'a Scope,
    metrics: &'a ComponentMetrics,
}

impl<'a, T: Tuple> Collector<'a, T> {
    pub(crate) fn new(outputs: &'a mut Outputs<T>, scope: &'a Scope, metrics: &'a ComponentMetrics) -> Self {
        Collector { outputs, scope, metrics }
    }

    /// Emits a tuple, anchored to the current batch. Local bolts execute it at once; others get it when the
    /// batch is through.
    pub fn emit(&mut self, tuple: T) {
        self.metrics.emitted_batches.add(1);
        self.metrics.emitted_records.add(tuple.records());
        self.outputs.emit(self.scope, tuple);
    }

    /// Emits a tuple, anchored to the batch of `anchor` rather than to the current one: for what comes of a
    /// batch later, in a tick for instance. It goes on at once, in no order among the batches.
    pub fn emit_anchored(&mut self, tuple: T, anchor: &Anchor) {
        self.metrics.emitted_batches.add(1);
        self.metrics.emitted_records.add(tuple.records());
        let scope = Scope::loose(Some(anchor.guard()));
        self.outputs.emit(&scope, tuple);
        self.outputs.flush(&scope);
        self.scope.nanos.set(self.scope.nanos.get() + scope.nanos.get());
    }

    /// Fails the current batch, so that the spout replays it. What is left of it is skipped in this task,
    /// and nothing that the task emitted for it is sent on; the replay does it all again. Without a current
    /// batch (in `tick` and `cleanup`) it does nothing.
    pub fn fail(&mut self) {
        self.scope.fail();
    }

    /// Counts `n` errors of a kind in the component's metrics.
    pub fn error(&mut self, kind: &'static str, n: u64) {
        self.metrics.error(kind, n);
    }

    /// A share in the current batch: hold it to delay the ack beyond `execute`, for instance until an
    /// asynchronous write is through. `None` where there is no current batch (in `tick` and `cleanup`).
    #[must_use]
    pub fn anchor(&self) -> Option<Anchor> {
        self.scope.anchor.clone().map(Anchor::new)
    }
}
