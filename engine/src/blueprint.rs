//! What the builder keeps of each component and edge, with its types, so that a runtime can make the tasks.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bolt::Bolt;
use crate::bolt_task::BoltTask;
use crate::config::Config;
use crate::context::TaskContext;
use crate::edge::{Branch, LocalEdge, OutEdge, Outputs, Picked};
use crate::exchange::{Deal, ExchangeEdge, Inbox};
use crate::layout::Layout;
use crate::metrics::ComponentMetrics;
use crate::node::{Factory, Node};
use crate::pending::{Limits, Pending};
use crate::reorder::Reorder;
use crate::spout::{BatchId, Spout};
use crate::spout_task::SpoutTask;
use crate::stop::StopHandle;
use crate::task::Group;
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// Where a task is made: which one, of which topology, under which runtime.
pub(crate) struct Site<'a> {
    /// The head's task; its local bolts have the same index.
    pub task: usize,
    pub layout: &'a Layout,
    pub config: &'a Config,
    pub stop: &'a StopHandle,
    pub abort: &'a Arc<AtomicBool>,
    /// Whether tuples go through their wire format on edges between threads.
    pub through_wire: bool,
}

/// A component that heads task groups.
pub(crate) trait Head: Send {
    /// Opens the queues; without a capacity, unbounded ones.
    fn open(&self, tasks: usize, capacity: Option<usize>);

    /// Makes one task and all that is local downstream of it. All queues must be open.
    fn group(&self, site: &Site<'_>) -> Box<dyn Group>;

    /// Lets go of the queues, and of the components downstream.
    fn close(&self);
}

/// Makes an edge, for each upstream task.
pub(crate) trait Connect<T>: Send + Sync {
    fn connect(&self, site: &Site<'_>) -> Box<dyn OutEdge<T>>;
}

/// Makes a named stream's way out, for each upstream task.
pub(crate) trait ConnectBranch<T>: Send + Sync {
    fn connect(&self, site: &Site<'_>) -> Box<dyn Branch<T>>;
}

/// All that leaves a stream, as it is being declared.
pub(crate) struct Outlets<T> {
    edges: Mutex<Vec<Box<dyn Connect<T>>>>,
    branches: Mutex<Vec<Box<dyn ConnectBranch<T>>>>,
}

impl<T: Tuple> Outlets<T> {
    pub(crate) fn new() -> Self {
        Outlets { edges: Mutex::default(), branches: Mutex::default() }
    }

    pub(crate) fn add_edge(&self, edge: Box<dyn Connect<T>>) {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).push(edge);
    }

    pub(crate) fn add_branch(&self, branch: Box<dyn ConnectBranch<T>>) {
        self.branches.lock().unwrap_or_else(PoisonError::into_inner).push(branch);
    }

    fn clear(&self) {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.branches.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn connect(&self, site: &Site<'_>) -> Outputs<T> {
        let branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        let edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        Outputs {
            branches: branches.iter().map(|branch| branch.connect(site)).collect(),
            edges: edges.iter().map(|edge| edge.connect(site)).collect(),
        }
    }
}

/// A spout.
pub(crate) struct SpoutBlueprint<S: Spout> {
    pub component: usize,
    pub make: Factory<S>,
    pub outlets: Arc<Outlets<S::Out>>,
    pub metrics: Arc<ComponentMetrics>,
}

impl<S: Spout> Head for SpoutBlueprint<S> {
    fn open(&self, _tasks: usize, _capacity: Option<usize>) {}

    fn group(&self, site: &Site<'_>) -> Box<dyn Group> {
        let context = TaskContext::new(&self.metrics, site.task, site.layout.tasks[self.component]);
        let (done_sender, done) = crossbeam_channel::unbounded();
        Box::new(SpoutTask {
            id: (self.component, site.task),
            spout: (self.make)(&context),
            make: self.make.clone(),
            context,
            outputs: self.outlets.connect(site),
            origin: site.layout.first_origin[self.component] + site.task,
            pending: Pending::new(Limits {
                max_pending: site.config.max_spout_pending,
                max_replays: site.config.max_replays,
                timeout: site.config.message_timeout,
            }),
            done_sender,
            done,
            committed: BatchId(0),
            clock: site.config.clock.clone(),
            next_tick: Timestamp::MAX,
            looked: Timestamp::default(),
            idle_wait: site.config.idle_wait,
            stop: site.stop.clone(),
            ended: false,
            restarts: 0,
        })
    }

    fn close(&self) {
        self.outlets.clear();
    }
}

/// A bolt, local or with tasks of its own.
pub(crate) struct BoltBlueprint<B: Bolt> {
    pub component: usize,
    pub make: Factory<B>,
    pub outlets: Arc<Outlets<B::Out>>,
    pub metrics: Arc<ComponentMetrics>,
    pub inbox: Inbox<B::In>,
}

impl<B: Bolt> BoltBlueprint<B> {
    fn node(&self, site: &Site<'_>) -> Node<B> {
        let tasks = site.layout.tasks[self.component];
        let tick_every = site.layout.tick_every[self.component];
        Node::new(
            self.make.clone(),
            TaskContext::new(&self.metrics, site.task, tasks),
            self.outlets.connect(site),
            tick_every.unwrap_or(site.config.tick_interval),
        )
    }
}

impl<B: Bolt> Head for Arc<BoltBlueprint<B>> {
    fn open(&self, tasks: usize, capacity: Option<usize>) {
        self.inbox.open(tasks, capacity);
    }

    fn group(&self, site: &Site<'_>) -> Box<dyn Group> {
        let layout = site.layout;
        let feedback = layout.has_feedback[self.component];
        Box::new(BoltTask {
            id: (self.component, site.task),
            node: self.node(site),
            frames: self.inbox.receiver(site.task),
            feedback: feedback.then(|| self.inbox.feedback(site.task)),
            reorder: Reorder::new(&layout.awaits[self.component], site.task, layout.tasks[self.component]),
            clock: site.config.clock.clone(),
            next_tick: Timestamp::MAX,
            looked: Timestamp::default(),
            closed: false,
            abort: site.abort.clone(),
            metrics: self.metrics.clone(),
        })
    }

    fn close(&self) {
        self.inbox.close();
        self.outlets.clear();
    }
}

/// A local edge to a bolt.
pub(crate) struct ConnectLocal<B: Bolt>(pub Arc<BoltBlueprint<B>>);

impl<T, B: Bolt<In: From<T>>> Connect<T> for ConnectLocal<B> {
    fn connect(&self, site: &Site<'_>) -> Box<dyn OutEdge<T>> {
        Box::new(LocalEdge(self.0.node(site)))
    }
}

/// An edge between threads, to a bolt.
pub(crate) struct ConnectExchange<T, B: Bolt> {
    pub to: Arc<BoltBlueprint<B>>,
    /// Which of the bolt's inputs it is.
    pub input: usize,
    pub deal: Deal<T>,
    pub wire: fn(&T) -> T,
    pub feedback: bool,
}

impl<T: Tuple, B: Bolt<In: From<T>>> Connect<T> for ConnectExchange<T, B> {
    fn connect(&self, site: &Site<'_>) -> Box<dyn OutEdge<T>> {
        let first_slot = site.layout.slots[self.to.component][self.input];
        Box::new(ExchangeEdge::<T, B::In>::new(
            self.deal,
            site.through_wire.then_some(self.wire),
            first_slot + site.task as u32,
            (&self.to.inbox, self.feedback),
            site.abort.clone(),
            self.to.metrics.clone(),
        ))
    }
}

/// A named stream.
pub(crate) struct ConnectPicked<F, U> {
    pub pick: F,
    pub outlets: Arc<Outlets<U>>,
}

impl<T: Tuple, U: Tuple, F> ConnectBranch<T> for ConnectPicked<F, U>
where
    F: Fn(T) -> Result<U, T> + Clone + Send + Sync + 'static,
{
    fn connect(&self, site: &Site<'_>) -> Box<dyn Branch<T>> {
        Box::new(Picked { pick: self.pick.clone(), outputs: self.outlets.connect(site) })
    }
}
