//! The builder: declares spouts, bolts and streams, and reads like the diagram of the topology.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::blueprint::{
    BoltBlueprint, ConnectExchange, ConnectLocal, ConnectPicked, Head, Outlets, SpoutBlueprint,
};
use crate::bolt::Bolt;
use crate::context::TaskContext;
use crate::exchange::{Deal, Inbox};
use crate::layout::{BuildError, BuildErrors, Grouping, Input, Layout, Shape};
use crate::metrics::{ComponentKind, ComponentMetrics};
use crate::spout::Spout;
use crate::topology::Topology;
use crate::tuple::{Partition, Tuple, Wire};

/// What has been declared so far; shared by the builder and its handles.
#[derive(Default)]
struct Plan {
    components: Vec<Component>,
    errors: Vec<BuildError>,
    streams: Vec<(usize, String)>,
}

struct Component {
    shape: Shape,
    metrics: Arc<ComponentMetrics>,
    /// Absent for local bolts, which their upstream makes.
    head: Option<Box<dyn Head>>,
}

type SharedPlan = Arc<Mutex<Plan>>;

fn lock(plan: &SharedPlan) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Declares a topology, then [builds](TopologyBuilder::build) it.
pub struct TopologyBuilder {
    name: String,
    plan: SharedPlan,
}

/// A stream of tuples that bolts can be connected to.
///
/// A spout and a local bolt are declared as their default stream, and a [`BoltHandle`] can be used as its.
pub struct Stream<T> {
    component: usize,
    outlets: Arc<Outlets<T>>,
    plan: SharedPlan,
}

/// A bolt with tasks of its own, to be connected to its inputs. Used as a [`Stream`] it is the bolt's
/// default stream.
pub struct BoltHandle<B: Bolt> {
    blueprint: Arc<BoltBlueprint<B>>,
    output: Stream<B::Out>,
}

impl TopologyBuilder {
    /// A topology of that name, still empty.
    #[must_use]
    pub fn new(name: &str) -> Self {
        TopologyBuilder { name: name.to_owned(), plan: SharedPlan::default() }
    }

    /// Declares a spout with so many tasks. `make` makes the spout of each task, and makes it anew after a
    /// panic.
    pub fn spout<S: Spout>(
        &mut self,
        name: &str,
        tasks: usize,
        make: impl Fn(&TaskContext) -> S + Send + Sync + 'static,
    ) -> Stream<S::Out> {
        let mut plan = lock(&self.plan);
        let metrics = plan.declare(name, ComponentKind::Spout, tasks);
        let component = plan.components.len() - 1;
        let outlets = Arc::new(Outlets::new());
        plan.components[component].head = Some(Box::new(SpoutBlueprint {
            component,
            make: Arc::new(make),
            outlets: outlets.clone(),
            metrics,
        }));
        self.stream(component, outlets)
    }

    /// Declares a bolt with so many tasks, each with a thread of its own where the runtime has threads.
    /// `make` makes the bolt of each task, and makes it anew after a panic. Connect it to its inputs with
    /// the handle's methods.
    pub fn bolt<B: Bolt>(
        &mut self,
        name: &str,
        tasks: usize,
        make: impl Fn(&TaskContext) -> B + Send + Sync + 'static,
    ) -> BoltHandle<B> {
        let blueprint = self.blueprint(name, ComponentKind::Bolt, tasks, make);
        let component = blueprint.component;
        lock(&self.plan).components[component].head = Some(Box::new(blueprint.clone()));
        BoltHandle { output: self.stream(component, blueprint.outlets.clone()), blueprint }
    }

    /// Declares a bolt that runs on the threads of what emits `input`, one for each of its tasks: a tuple
    /// gets there by a plain call, in the middle of `emit`.
    pub fn local_bolt<T, B>(
        &mut self,
        name: &str,
        input: &Stream<T>,
        make: impl Fn(&TaskContext) -> B + Send + Sync + 'static,
    ) -> Stream<B::Out>
    where
        T: Tuple,
        B: Bolt<In: From<T>>,
    {
        let blueprint = self.blueprint(name, ComponentKind::LocalBolt, 0, make);
        let component = blueprint.component;
        let output = self.stream(component, blueprint.outlets.clone());
        if output.add_input(input, Grouping::Local, false).is_some() {
            input.outlets.add_edge(Box::new(ConnectLocal(blueprint)));
        }
        output
    }

    /// Lets a stream flow back to a bolt upstream of it, dealt out by key. The one way to close a circle.
    ///
    /// What comes back is executed before anything else that waits there, in no order among the batches. It
    /// is anchored to the batch that it came of, and doesn't keep a task from draining: what a tick or a
    /// cleanup sends back at drain may come too late, and is counted as `feedback_after_drain`. The way back
    /// has no bound of its own, so that it can't hold up the way forth: `max_spout_pending` bounds it, but for
    /// what ticks send back.
    pub fn feedback_fields<T: Partition, B: Bolt<In: From<T>>>(
        &mut self,
        from: &Stream<T>,
        to: &BoltHandle<B>,
    ) {
        to.connect(from, Deal::Fields(T::partition), Grouping::Everyone, true);
    }

    /// Like [`feedback_fields`](Self::feedback_fields), with a clone for each task.
    pub fn feedback_all<T: Wire, B: Bolt<In: From<T>>>(&mut self, from: &Stream<T>, to: &BoltHandle<B>) {
        to.connect(from, Deal::All, Grouping::Everyone, true);
    }

    /// Checks what was declared, and makes a topology of it.
    ///
    /// # Errors
    /// All that is wrong, at once.
    pub fn build(self) -> Result<Topology, BuildErrors> {
        let plan = std::mem::take(&mut *lock(&self.plan));
        let shapes: Vec<Shape> = plan.components.iter().map(|c| c.shape.clone()).collect();
        let layout = Layout::new(&shapes, plan.errors)?;
        let components = plan.components.into_iter();
        let parts = components.map(|c| (c.shape, c.metrics, c.head)).collect();
        Ok(Topology::new(&self.name, layout, parts))
    }

    fn stream<T>(&self, component: usize, outlets: Arc<Outlets<T>>) -> Stream<T> {
        Stream { component, outlets, plan: self.plan.clone() }
    }

    fn blueprint<B: Bolt>(
        &self,
        name: &str,
        kind: ComponentKind,
        tasks: usize,
        make: impl Fn(&TaskContext) -> B + Send + Sync + 'static,
    ) -> Arc<BoltBlueprint<B>> {
        let mut plan = lock(&self.plan);
        let metrics = plan.declare(name, kind, tasks);
        Arc::new(BoltBlueprint {
            component: plan.components.len() - 1,
            make: Arc::new(make),
            outlets: Arc::new(Outlets::new()),
            metrics,
            inbox: Inbox::new(),
        })
    }
}

impl Plan {
    fn declare(&mut self, name: &str, kind: ComponentKind, tasks: usize) -> Arc<ComponentMetrics> {
        let metrics = Arc::new(ComponentMetrics::new(name));
        self.components.push(Component {
            shape: Shape { name: name.to_owned(), kind, tasks, inputs: Vec::new(), tick_every: None },
            metrics: metrics.clone(),
            head: None,
        });
        metrics
    }
}

impl<T: Tuple> Stream<T> {
    /// A named stream of the same component: it takes what `pick` returns as `Ok`, and what `pick` gives back
    /// goes on to the streams declared after it, and at last to the default stream. So each tuple is in
    /// exactly one stream.
    pub fn stream<U: Tuple>(
        &self,
        name: &str,
        pick: impl Fn(T) -> Result<U, T> + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        let mut plan = lock(&self.plan);
        let full_name = (self.component, name.to_owned());
        if plan.streams.contains(&full_name) {
            plan.errors.push(BuildError::DuplicateName(full_name.1));
        } else {
            plan.streams.push(full_name);
        }
        let outlets = Arc::new(Outlets::new());
        self.outlets.add_branch(Box::new(ConnectPicked { pick, outlets: outlets.clone() }));
        Stream { component: self.component, outlets, plan: self.plan.clone() }
    }

    /// How often the component that emits this stream is ticked, instead of every `Config::tick_interval`.
    /// Means nothing for a spout.
    #[must_use]
    pub fn tick_every(self, interval: Duration) -> Self {
        self.set_tick(interval);
        self
    }

    fn set_tick(&self, interval: Duration) {
        if let Some(component) = lock(&self.plan).components.get_mut(self.component) {
            component.shape.tick_every = Some(interval);
        }
    }

    /// Notes an input of this stream's component, and returns its index.
    fn add_input<U>(&self, from: &Stream<U>, grouping: Grouping, feedback: bool) -> Option<usize> {
        let mut plan = lock(&self.plan);
        // Handles outlive the builder; connecting them then changes nothing.
        let shape = &plan.components.get(self.component)?.shape;
        if !Arc::ptr_eq(&self.plan, &from.plan) {
            let name = shape.name.clone();
            plan.errors.push(BuildError::ForeignStream(name));
            return None;
        }
        let inputs = &mut plan.components[self.component].shape.inputs;
        inputs.push(Input { from: from.component, grouping, feedback });
        Some(inputs.len() - 1)
    }
}

impl<B: Bolt> BoltHandle<B> {
    /// Whole tuples, to the tasks in turn.
    #[must_use]
    pub fn shuffle<T: Wire>(self, from: &Stream<T>) -> Self
    where
        B::In: From<T>,
    {
        self.connect(from, Deal::Shuffle, Grouping::Shuffle, false);
        self
    }

    /// Records dealt out by key: equal keys go to the same task.
    #[must_use]
    pub fn fields<T: Partition>(self, from: &Stream<T>) -> Self
    where
        B::In: From<T>,
    {
        self.connect(from, Deal::Fields(T::partition), Grouping::Everyone, false);
        self
    }

    /// A clone of each tuple to each task.
    #[must_use]
    pub fn all<T: Wire>(self, from: &Stream<T>) -> Self
    where
        B::In: From<T>,
    {
        self.connect(from, Deal::All, Grouping::Everyone, false);
        self
    }

    /// How often this bolt is ticked, instead of every `Config::tick_interval`.
    #[must_use]
    pub fn tick_every(self, interval: Duration) -> Self {
        self.output.set_tick(interval);
        self
    }

    fn connect<T: Wire>(&self, from: &Stream<T>, deal: Deal<T>, grouping: Grouping, feedback: bool)
    where
        B::In: From<T>,
    {
        if let Some(input) = self.output.add_input(from, grouping, feedback) {
            from.outlets.add_edge(Box::new(ConnectExchange {
                to: self.blueprint.clone(),
                input,
                deal,
                wire: through_wire::<T>,
                feedback,
            }));
        }
    }
}

/// Writes a tuple out and reads it back, as an edge between machines would.
fn through_wire<T: Wire>(tuple: &T) -> T {
    let written = serde_json::to_vec(tuple).expect("a tuple on an edge can be written as JSON");
    serde_json::from_slice(&written).expect("a tuple on an edge can be read back from JSON")
}

impl<B: Bolt> Deref for BoltHandle<B> {
    type Target = Stream<B::Out>;

    fn deref(&self) -> &Self::Target {
        &self.output
    }
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream { component: self.component, outlets: self.outlets.clone(), plan: self.plan.clone() }
    }
}

impl fmt::Debug for TopologyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("component", &self.component).finish_non_exhaustive()
    }
}

impl<B: Bolt> fmt::Debug for BoltHandle<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BoltHandle").field(&self.output).finish()
    }
}
