//! One bolt in one task, with all that is local downstream of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::anchor::drop_as_failed;
use crate::bolt::{Bolt, Collector};
use crate::context::TaskContext;
use crate::edge::{Downstream, Outputs, Scope};
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// Makes the spout or bolt of a task, at the start and after a panic.
pub(crate) type Factory<C> = Arc<dyn Fn(&TaskContext) -> C + Send + Sync>;

/// Keeps a bolt's panics in: the batch fails, the bolt is replaced, the task goes on.
pub(crate) struct Node<B: Bolt> {
    /// Absent only while its factory panics too.
    bolt: Option<B>,
    make: Factory<B>,
    context: TaskContext,
    outputs: Outputs<B::Out>,
    tick_every: Duration,
    next_tick: Timestamp,
}

impl<B: Bolt> Node<B> {
    pub(crate) fn new(
        make: Factory<B>,
        context: TaskContext,
        outputs: Outputs<B::Out>,
        tick_every: Duration,
    ) -> Self {
        Node { bolt: Some(make(&context)), make, context, outputs, tick_every, next_tick: Timestamp::MAX }
    }

    pub(crate) fn prepare(&mut self, now: Timestamp) {
        self.next_tick = now + self.tick_every;
        if let Some(bolt) = &mut self.bolt {
            let prepared = catch_unwind(AssertUnwindSafe(|| bolt.prepare(&self.context)));
            if let Err(panic) = prepared {
                self.replace("prepare", panic);
            }
        }
        self.outputs.prepare(now);
    }

    pub(crate) fn execute(&mut self, scope: &Scope, input: B::In) {
        if scope.failed() {
            return;
        }
        let metrics = self.context.metrics().component();
        metrics.batches.add(1);
        metrics.records.add(input.records());
        let start = Instant::now();
        let before = scope.nanos.get();
        self.guarded("execute", scope, |bolt, out| bolt.execute(input, out));
        let elapsed = start.elapsed().as_nanos() as u64;
        let below = scope.nanos.get() - before;
        scope.nanos.set(before + elapsed);
        let metrics = self.context.metrics().component();
        metrics.execute_time.record(elapsed.saturating_sub(below));
    }

    pub(crate) fn flush(&mut self, scope: &Scope) {
        self.outputs.flush(scope);
    }

    pub(crate) fn tick(&mut self, now: Timestamp) -> Timestamp {
        // A clock that was set back must not hold ticks up until it is where it was.
        if now >= self.next_tick || self.next_tick.since(now) > self.tick_every {
            self.next_tick = now + self.tick_every;
            let scope = Scope::default();
            self.guarded("tick", &scope, |bolt, out| bolt.tick(now, out));
            self.flush(&scope);
        }
        self.outputs.tick(now).min(self.next_tick)
    }

    pub(crate) fn cleanup(&mut self) {
        let scope = Scope::default();
        self.guarded("cleanup", &scope, super::bolt::Bolt::cleanup);
        self.flush(&scope);
        self.outputs.cleanup();
    }

    /// Calls the bolt. If it panics, the batch fails and the bolt is replaced.
    fn guarded(
        &mut self,
        method: &'static str,
        scope: &Scope,
        call: impl FnOnce(&mut B, &mut Collector<'_, B::Out>),
    ) {
        if self.bolt.is_none() {
            self.remake();
        }
        let Some(bolt) = &mut self.bolt else {
            scope.fail();
            return;
        };
        let metrics = self.context.metrics().component();
        let mut out = Collector::new(&mut self.outputs, scope, metrics);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(bolt, &mut out))) {
            scope.fail();
            self.replace(method, panic);
        }
    }

    fn replace(&mut self, method: &'static str, panic: Box<dyn std::any::Any + Send>) {
        report_panic(&self.context, method, panic);
        drop_as_failed(self.bolt.take());
        self.remake();
    }

    fn remake(&mut self) {
        self.context.metrics().component().restarts.add(1);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut bolt = (self.make)(&self.context);
            bolt.prepare(&self.context);
            bolt
        }));
        match made {
            Ok(bolt) => self.bolt = Some(bolt),
            Err(panic) => report_panic(&self.context, "prepare", panic),
        }
    }
}

/// Counts and logs a panic.
pub(crate) fn report_panic(
    context: &TaskContext,
    method: &'static str,
    panic: Box<dyn std::any::Any + Send>,
) {
    context.metrics().error("panic", 1);
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(
        component = context.component(),
        task = context.task(),
        method,
        message,
        "panicked; the task goes on with a new instance"
    );
    drop_as_failed(panic);
}
