//! A topology that was built, and the report on how it ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::blueprint::{Head, Site};
use crate::config::Config;
use crate::layout::{Layout, Shape};
use crate::metrics::{ComponentKind, ComponentMetrics, Metrics, MetricsSnapshot};
use crate::stop::StopHandle;
use crate::task::{Ending, Group};

/// A topology, ready to run once.
pub struct Topology {
    name: String,
    layout: Layout,
    shapes: Vec<Shape>,
    heads: Vec<Option<Box<dyn Head>>>,
    metrics: Metrics,
    stop: StopHandle,
}

type Parts = Vec<(Shape, Arc<ComponentMetrics>, Option<Box<dyn Head>>)>;

impl Topology {
    pub(crate) fn new(name: &str, layout: Layout, parts: Parts) -> Self {
        let numbers = layout.order.iter().map(|&c| {
            let (shape, metrics, _) = &parts[c];
            (metrics.clone(), shape.kind, layout.tasks[c])
        });
        let metrics = Metrics::new(name, numbers.collect());
        let mut shapes = Vec::new();
        let mut heads = Vec::new();
        for (shape, _, head) in parts {
            shapes.push(shape);
            heads.push(head);
        }
        Topology { name: name.to_owned(), layout, shapes, heads, metrics, stop: StopHandle::default() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of its components.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Asks the spouts to stop, from any thread, whatever runs the topology.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Makes all task groups, upstream before downstream.
    pub(crate) fn assemble(
        self,
        config: &Config,
        capacity: Option<usize>,
        abort: &Arc<AtomicBool>,
        through_wire: bool,
    ) -> Assembly {
        let heads = || self.layout.order.iter().filter_map(|&c| Some((c, self.heads[c].as_ref()?)));
        heads().for_each(|(c, head)| head.open(self.layout.tasks[c], capacity));
        let mut groups = Vec::new();
        for (c, head) in heads() {
            for task in 0..self.layout.tasks[c] {
                groups.push(head.group(&Site {
                    task,
                    layout: &self.layout,
                    config,
                    stop: &self.stop,
                    abort,
                    through_wire,
                }));
            }
        }
        Assembly {
            groups,
            endings: Endings::new(&self),
            has_feedback: self.layout.has_feedback.contains(&true),
        }
    }
}

/// The tasks of a topology, ready to be driven.
pub(crate) struct Assembly {
    pub(crate) groups: Vec<Box<dyn Group>>,
    pub(crate) endings: Endings,
    pub(crate) has_feedback: bool,
}

/// From here on only the tasks hold each other's queues, so that they notice when the last is gone. And components that
/// feed each other let go of each other, so that what their factories hold is freed with the last task.
impl Drop for Topology {
    fn drop(&mut self) {
        self.heads.iter().flatten().for_each(|head| head.close());
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let components: Vec<&String> = self.shapes.iter().map(|shape| &shape.name).collect();
        f.debug_struct("Topology")
            .field("name", &self.name)
            .field("components", &components)
            .finish_non_exhaustive()
    }
}

/// Remembers which tasks have ended, and how.
#[derive(Debug)]
pub(crate) struct Endings {
    components: Vec<ComponentDrain>,
    /// Where in `components` each component is.
    position: Vec<usize>,
    metrics: Metrics,
}

impl Endings {
    fn new(topology: &Topology) -> Self {
        let layout = &topology.layout;
        let mut position = vec![0; topology.shapes.len()];
        let heads = layout.order.iter().filter(|&&c| topology.heads[c].is_some());
        let components = heads.enumerate().map(|(i, &c)| {
            position[c] = i;
            ComponentDrain {
                component: topology.shapes[c].name.clone(),
                kind: topology.shapes[c].kind,
                tasks: layout.tasks[c],
                undrained_tasks: (0..layout.tasks[c]).collect(),
                queued: 0,
                pending: 0,
                gave_up: Vec::new(),
            }
        });
        Endings { components: components.collect(), position, metrics: topology.metrics() }
    }

    pub(crate) fn name(&self, component: usize) -> &str {
        &self.components[self.position[component]].component
    }

    pub(crate) fn ended(&mut self, (component, task): (usize, usize), drained: bool, ending: Ending) {
        let component = &mut self.components[self.position[component]];
        if drained && ending.left == 0 {
            component.undrained_tasks.retain(|&undrained| undrained != task);
        }
        if ending.gave_up {
            component.gave_up.push(task);
        }
    }

    pub(crate) fn report(mut self) -> DrainReport {
        let metrics = self.metrics.snapshot();
        for drain in &mut self.components {
            if let Some(numbers) = metrics.component(&drain.component) {
                drain.queued = numbers.queue_depth;
                drain.pending = numbers.spout.map_or(0, |spout| spout.pending);
            }
        }
        DrainReport { components: self.components, metrics }
    }
}

/// How a topology ended: what was drained, and what wasn't.
#[derive(Clone, Debug, Serialize)]
pub struct DrainReport {
    /// Each spout, and each bolt with tasks of its own, upstream before downstream. A local bolt drains with
    /// its upstream.
    pub components: Vec<ComponentDrain>,
    /// The numbers at the end.
    pub metrics: MetricsSnapshot,
}

/// How one component ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentDrain {
    /// Its name.
    pub component: String,
    /// Its kind.
    pub kind: ComponentKind,
    /// How many tasks it had.
    pub tasks: usize,
    /// The tasks that had not finished, or had something left.
    pub undrained_tasks: Vec<usize>,
    /// Frames that were still waiting before its tasks.
    pub queued: u64,
    /// A spout's batches that were neither acked nor abandoned.
    pub pending: u64,
    /// A spout's tasks that panicked too often and ended before their time.
    pub gave_up: Vec<usize>,
}

impl ComponentDrain {
    /// Whether all of its tasks finished what they had.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.undrained_tasks.is_empty()
    }
}

impl DrainReport {
    /// Whether everything that the spouts emitted was finished: acked, or abandoned after all replays.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.components.iter().all(ComponentDrain::is_drained)
    }

    /// Whether it was drained, nothing was abandoned, and no spout gave up.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let abandoned = |drain: &ComponentDrain| {
            let numbers = self.metrics.component(&drain.component);
            numbers.and_then(|n| n.spout).is_some_and(|spout| spout.abandoned > 0)
        };
        self.is_drained() && self.components.iter().all(|drain| drain.gave_up.is_empty() && !abandoned(drain))
    }

    /// The component of that name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentDrain> {
        self.components.iter().find(|drain| drain.component == name)
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if self.is_drained() {
            lines.push("everything was drained".to_owned());
        }
        for drain in &self.components {
            let name = &drain.component;
            if !drain.is_drained() {
                lines.push(format!(
                    "{name}: tasks {:?} not drained, {} frames queued, {} batches pending",
                    drain.undrained_tasks, drain.queued, drain.pending
                ));
            }
            if !drain.gave_up.is_empty() {
                lines.push(format!("{name}: tasks {:?} gave up after panics", drain.gave_up));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}
