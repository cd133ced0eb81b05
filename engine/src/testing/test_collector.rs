//! A collector for trying one bolt without a topology.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::anchor::Guard;
use crate::bolt::Collector;
use crate::context::TaskContext;
use crate::edge::{Downstream, OutEdge, Outputs, Scope, Stamp};
use crate::spout::BatchId;
use crate::tuple::Tuple;

/// Collects what a bolt emits when a test calls it directly.
///
/// ```
/// use engine::testing::TestCollector;
/// use engine::{Bolt, Collector};
///
/// struct Double;
///
/// impl Bolt for Double {
///     type In = Vec<u64>;
///     type Out = Vec<u64>;
///
///     fn execute(&mut self, input: Vec<u64>, out: &mut Collector<'_, Vec<u64>>) {
///         out.emit(input.into_iter().map(|n| 2 * n).collect());
///     }
/// }
///
/// let mut out = TestCollector::new();
/// Double.execute(vec![1, 2], &mut out.collector());
/// assert_eq!(out.take(), [[2, 4]]);
/// ```
pub struct TestCollector<T> {
    outputs: Outputs<T>,
    scope: Scope,
    emitted: Arc<Mutex<Vec<T>>>,
    context: TaskContext,
}

struct Keep<T>(Arc<Mutex<Vec<T>>>);

impl<T: Tuple> Downstream for Keep<T> {
    fn flush(&mut self, _scope: &Scope) {}
}

impl<T: Tuple> OutEdge<T> for Keep<T> {
    fn emit(&mut self, _scope: &Scope, tuple: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tuple);
    }
}

impl<T: Tuple> TestCollector<T> {
    /// A collector within a batch.
    #[must_use]
    pub fn new() -> Self {
        let emitted = Arc::new(Mutex::new(Vec::new()));
        // Nobody waits for this batch to be done.
        let (sender, _) = crossbeam_channel::unbounded();
        let stamp = Stamp { origin: 0, seq: 0 };
        TestCollector {
            outputs: Outputs { branches: Vec::new(), edges: vec![Box::new(Keep(emitted.clone()))] },
            scope: Scope::batch(stamp, Some(Guard::new(BatchId(0), 0, sender))),
            emitted,
            context: TaskContext::standalone("test"),
        }
    }

    /// What to hand to the bolt.
    pub fn collector(&mut self) -> Collector<'_, T> {
        let metrics = self.context.metrics().component();
        Collector::new(&mut self.outputs, &self.scope, metrics)
    }

    /// Takes what was emitted since the last `take`.
    #[must_use]
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut *self.emitted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the bolt failed the batch.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.scope.failed()
    }

    /// How many errors of a kind the bolt counted.
    #[must_use]
    pub fn errors(&self, kind: &str) -> u64 {
        self.context.metrics().errors_of(kind)
    }
}

impl<T: Tuple> Default for TestCollector<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for TestCollector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestCollector").finish_non_exhaustive()
    }
}
