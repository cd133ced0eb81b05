//! The same numbers for every component, under the same names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::histogram::{Histogram, HistogramSnapshot};

/// A counter or gauge. Relaxed everywhere: the numbers don't order anything.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One component's numbers, shared by its tasks.
#[derive(Debug)]
pub(crate) struct ComponentMetrics {
    name: Arc<str>,
    pub batches: Number,
    pub records: Number,
    pub emitted_batches: Number,
    pub emitted_records: Number,
    pub restarts: Number,
    pub queue_depth: Number,
    pub execute_time: Histogram,
    pub acked: Number,
    pub failed: Number,
    pub replayed: Number,
    pub abandoned: Number,
    pub pending: Number,
    errors: Mutex<BTreeMap<&'static str, u64>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    gauges: Mutex<BTreeMap<(&'static str, usize), u64>>,
}

impl ComponentMetrics {
    pub(crate) fn new(name: &str) -> Self {
        ComponentMetrics {
            name: name.into(),
            batches: Number::default(),
            records: Number::default(),
            emitted_batches: Number::default(),
            emitted_records: Number::default(),
            restarts: Number::default(),
            queue_depth: Number::default(),
            execute_time: Histogram::new(),
            acked: Number::default(),
            failed: Number::default(),
            replayed: Number::default(),
            abandoned: Number::default(),
            pending: Number::default(),
            errors: Mutex::default(),
            counts: Mutex::default(),
            gauges: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn error(&self, kind: &'static str, n: u64) {
        *lock(&self.errors).entry(kind).or_default() += n;
    }

    fn snapshot(&self, kind: ComponentKind, tasks: usize) -> ComponentSnapshot {
        let mut gauges = BTreeMap::new();
        for (&(name, _), value) in lock(&self.gauges).iter() {
            *gauges.entry(name.to_owned()).or_default() += value;
        }
        ComponentSnapshot {
            name: self.name.to_string(),
            kind,
            tasks,
            batches: self.batches.get(),
            records: self.records.get(),
            emitted_batches: self.emitted_batches.get(),
            emitted_records: self.emitted_records.get(),
            errors: owned(&self.errors),
            counts: owned(&self.counts),
            gauges,
            restarts: self.restarts.get(),
            queue_depth: self.queue_depth.get(),
            execute_time: self.execute_time.snapshot(),
            spout: (kind == ComponentKind::Spout).then(|| SpoutSnapshot {
                emitted: self.emitted_batches.get(),
                acked: self.acked.get(),
                failed: self.failed.get(),
                replayed: self.replayed.get(),
                abandoned: self.abandoned.get(),
                pending: self.pending.get(),
            }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A map of numbers is usable whatever panicked while it was locked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(numbers: &Mutex<BTreeMap<&'static str, u64>>) -> BTreeMap<String, u64> {
    lock(numbers).iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

/// A task's handle to its component's numbers. May be cloned and handed to other threads.
#[derive(Clone, Debug)]
pub struct TaskMetrics {
    component: Arc<ComponentMetrics>,
    task: usize,
}

impl TaskMetrics {
    pub(crate) fn new(component: Arc<ComponentMetrics>, task: usize) -> Self {
        TaskMetrics { component, task }
    }

    pub(crate) fn component(&self) -> &Arc<ComponentMetrics> {
        &self.component
    }

    pub(crate) fn errors_of(&self, kind: &str) -> u64 {
        lock(&self.component.errors).get(kind).copied().unwrap_or(0)
    }

    /// Counts `n` errors of a kind.
    pub fn error(&self, kind: &'static str, n: u64) {
        self.component.error(kind, n);
    }

    /// Adds `n` to a counter of the component's own.
    pub fn count(&self, name: &'static str, n: u64) {
        *lock(&self.component.counts).entry(name).or_default() += n;
    }

    /// Sets a gauge of the component's own. A snapshot shows the sum over the tasks.
    pub fn gauge(&self, name: &'static str, value: u64) {
        lock(&self.component.gauges).insert((name, self.task), value);
    }
}

/// The numbers of all components of a topology. Clones show the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    topology: Arc<str>,
    components: Arc<[(Arc<ComponentMetrics>, ComponentKind, usize)]>,
}

impl Metrics {
    pub(crate) fn new(
        topology: &str,
        components: Vec<(Arc<ComponentMetrics>, ComponentKind, usize)>,
    ) -> Self {
        Metrics { topology: topology.into(), components: components.into() }
    }

    /// The numbers as they are now.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        let components = self.components.iter();
        MetricsSnapshot {
            topology: self.topology.to_string(),
            components: components.map(|(metrics, kind, tasks)| metrics.snapshot(*kind, *tasks)).collect(),
        }
    }
}

/// What kind of component it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// A source of tuples.
    Spout,
    /// A bolt with tasks, and threads, of its own.
    Bolt,
    /// A bolt that runs on its upstream's threads.
    LocalBolt,
}

/// The numbers of a topology at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsSnapshot {
    /// The topology's name.
    pub topology: String,
    /// One for each component, upstream before downstream.
    pub components: Vec<ComponentSnapshot>,
}

impl MetricsSnapshot {
    /// The component of that name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentSnapshot> {
        self.components.iter().find(|component| component.name == name)
    }
}

/// The numbers of a component at one moment, summed over its tasks, since the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSnapshot {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: ComponentKind,
    /// How many tasks it has.
    pub tasks: usize,
    /// Tuples executed.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Tuples emitted; for a spout without the replays.
    pub emitted_batches: u64,
    /// Records in them.
    pub emitted_records: u64,
    /// Errors by kind. The engine itself counts `panic`, and `feedback_after_drain` for tuples that came
    /// back to a bolt that had already drained.
    pub errors: BTreeMap<String, u64>,
    /// The component's own counters.
    pub counts: BTreeMap<String, u64>,
    /// The component's own gauges, summed over its tasks.
    pub gauges: BTreeMap<String, u64>,
    /// How often one of its tasks was given a new bolt or spout after a panic.
    pub restarts: u64,
    /// Frames that wait before its tasks.
    pub queue_depth: u64,
    /// How long `execute` took, in ns, without the local bolts downstream of it.
    pub execute_time: HistogramSnapshot,
    /// More about a spout.
    pub spout: Option<SpoutSnapshot>,
}

/// The numbers that only a spout has. All count batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoutSnapshot {
    /// Emitted, without replays.
    pub emitted: u64,
    /// Acked.
    pub acked: u64,
    /// Failed attempts, timeouts among them.
    pub failed: u64,
    /// Attempts after the first.
    pub replayed: u64,
    /// Given up after too many attempts.
    pub abandoned: u64,
    /// Neither acked nor abandoned yet.
    pub pending: u64,
}
