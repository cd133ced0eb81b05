//! The way out of a task: its streams, their edges, and the local bolts that hang on them.
//!
//! `Outputs` is a tree. A local edge owns the bolt behind it, so emitting is a plain call; an edge between
//! threads gathers what goes to each task and sends it when the batch is through.

use std::cell::Cell;

use crate::anchor::Guard;
use crate::bolt::Bolt;
use crate::node::Node;
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// Which batch it is: the spout task, and the number of the attempt among all of that task's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub origin: usize,
    pub seq: u64,
}

/// On whose behalf a task works just now.
#[derive(Default)]
pub(crate) struct Scope {
    /// Absent for what belongs to no batch (ticks, cleanup), and for what came back by feedback.
    pub stamp: Option<Stamp>,
    pub anchor: Option<Guard>,
    /// Time spent in bolts so far, so that a bolt's time can be told from that of the local bolts below it.
    pub nanos: Cell<u64>,
    failed: Cell<bool>,
}

impl Scope {
    pub(crate) fn batch(stamp: Stamp, anchor: Option<Guard>) -> Self {
        Scope { stamp: Some(stamp), anchor, ..Scope::default() }
    }

    pub(crate) fn loose(anchor: Option<Guard>) -> Self {
        Scope { anchor, ..Scope::default() }
    }

    pub(crate) fn fail(&self) {
        if let Some(anchor) = &self.anchor {
            anchor.fail();
            self.failed.set(true);
        }
    }

    /// Whether the batch has failed in this task: then the rest of it is skipped, and nothing is sent on.
    pub(crate) fn failed(&self) -> bool {
        self.failed.get()
    }
}

/// Whatever hangs below a task's head, as far as its life is concerned.
pub(crate) trait Downstream: Send {
    fn prepare(&mut self, _now: Timestamp) {}

    /// The batch (or tick) is through: sends what was gathered.
    fn flush(&mut self, scope: &Scope);

    /// Ticks what is due, and says when the next tick is.
    fn tick(&mut self, _now: Timestamp) -> Timestamp {
        Timestamp::MAX
    }

    fn cleanup(&mut self) {}
}

/// An edge that carries tuples of type `T`.
pub(crate) trait OutEdge<T>: Downstream {
    fn emit(&mut self, scope: &Scope, tuple: T);
}

/// A named stream: takes some of the tuples and gives back the others.
pub(crate) trait Branch<T>: Downstream {
    fn offer(&mut self, scope: &Scope, tuple: T) -> Option<T>;
}

/// All streams of one component, in one task.
pub(crate) struct Outputs<T> {
    pub branches: Vec<Box<dyn Branch<T>>>,
    pub edges: Vec<Box<dyn OutEdge<T>>>,
}

impl<T: Tuple> Outputs<T> {
    pub(crate) fn emit(&mut self, scope: &Scope, tuple: T) {
        let mut tuple = tuple;
        for branch in &mut self.branches {
            match branch.offer(scope, tuple) {
                Some(refused) => tuple = refused,
                None => return,
            }
        }
        if let Some((last, others)) = self.edges.split_last_mut() {
            for edge in others {
                edge.emit(scope, tuple.clone());
            }
            last.emit(scope, tuple);
        }
    }
}

impl<T: Tuple> Downstream for Outputs<T> {
    fn prepare(&mut self, now: Timestamp) {
        self.branches.iter_mut().for_each(|branch| branch.prepare(now));
        self.edges.iter_mut().for_each(|edge| edge.prepare(now));
    }

    fn flush(&mut self, scope: &Scope) {
        self.branches.iter_mut().for_each(|branch| branch.flush(scope));
        self.edges.iter_mut().for_each(|edge| edge.flush(scope));
    }

    fn tick(&mut self, now: Timestamp) -> Timestamp {
        let branches = self.branches.iter_mut().map(|branch| branch.tick(now));
        let edges = self.edges.iter_mut().map(|edge| edge.tick(now));
        branches.chain(edges).min().unwrap_or(Timestamp::MAX)
    }

    fn cleanup(&mut self) {
        self.branches.iter_mut().for_each(|branch| branch.cleanup());
        self.edges.iter_mut().for_each(|edge| edge.cleanup());
    }
}

/// A named stream of `U` that is picked out of a stream of `T`.
pub(crate) struct Picked<F, U> {
    pub pick: F,
    pub outputs: Outputs<U>,
}

impl<F: Send, U: Tuple> Downstream for Picked<F, U> {
    fn prepare(&mut self, now: Timestamp) {
        self.outputs.prepare(now);
    }

    fn flush(&mut self, scope: &Scope) {
        self.outputs.flush(scope);
    }

    fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.outputs.tick(now)
    }

    fn cleanup(&mut self) {
        self.outputs.cleanup();
    }
}

impl<T, U: Tuple, F: Fn(T) -> Result<U, T> + Send> Branch<T> for Picked<F, U> {
    fn offer(&mut self, scope: &Scope, tuple: T) -> Option<T> {
        match (self.pick)(tuple) {
            Ok(picked) => {
                self.outputs.emit(scope, picked);
                None
            }
            Err(refused) => Some(refused),
        }
    }
}

/// A local edge: it owns the bolt behind it.
pub(crate) struct LocalEdge<B: Bolt>(pub Node<B>);

impl<B: Bolt> Downstream for LocalEdge<B> {
    fn prepare(&mut self, now: Timestamp) {
        self.0.prepare(now);
    }

    fn flush(&mut self, scope: &Scope) {
        self.0.flush(scope);
    }

    fn tick(&mut self, now: Timestamp) -> Timestamp {
        self.0.tick(now)
    }

    fn cleanup(&mut self) {
        self.0.cleanup();
    }
}

impl<T, B: Bolt<In: From<T>>> OutEdge<T> for LocalEdge<B> {
    fn emit(&mut self, scope: &Scope, tuple: T) {
        self.0.execute(scope, tuple.into());
    }
}
