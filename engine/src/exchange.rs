//! Edges between threads: frames, the inboxes they go to, and the edges that send them.
//!
//! For every batch, an edge sends exactly one frame to each task that handles the batch, an empty one where
//! there is nothing to say. So a task knows when it has all of a batch, and can execute batches in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded, unbounded};

use crate::anchor::Carried;
use crate::edge::{Downstream, OutEdge, Scope, Stamp};
use crate::metrics::ComponentMetrics;
use crate::tuple::Tuple;

/// How long a task waits for room downstream before it looks whether the topology was given up.
const SEND_WAIT: Duration = Duration::from_millis(20);

/// What crosses an edge between threads.
pub(crate) struct Frame<T> {
    /// Which upstream task it is from, among all upstream tasks of the component.
    pub slot: u32,
    /// Absent for what belongs to no batch, and for feedback: that is executed on arrival.
    pub stamp: Option<Stamp>,
    pub anchor: Carried,
    pub tuples: Vec<T>,
}

/// Both ends of the queue before a task.
pub(crate) type Queue<T> = (Sender<Frame<T>>, Receiver<Frame<T>>);

/// The queues before the tasks of one component. Open only while a topology is put together.
pub(crate) struct Inbox<T> {
    ports: Mutex<Ports<T>>,
}

struct Ports<T> {
    frames: Vec<Queue<T>>,
    feedback: Vec<Queue<T>>,
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Inbox { ports: Mutex::new(Ports { frames: Vec::new(), feedback: Vec::new() }) }
    }

    /// Makes the queues; without a capacity they are unbounded, for a runtime with one thread.
    pub(crate) fn open(&self, tasks: usize, capacity: Option<usize>) {
        let mut ports = self.ports();
        let queue = || capacity.map_or_else(unbounded, |capacity| bounded(capacity.max(1)));
        ports.frames = (0..tasks).map(|_| queue()).collect();
        ports.feedback = (0..tasks).map(|_| unbounded()).collect();
    }

    /// Lets go of the queues, so that a task notices when the last of its upstreams is gone.
    pub(crate) fn close(&self) {
        let mut ports = self.ports();
        ports.frames.clear();
        ports.feedback.clear();
    }

    pub(crate) fn receiver(&self, task: usize) -> Receiver<Frame<T>> {
        self.ports().frames[task].1.clone()
    }

    /// The feedback queue, both ends: the task holds a sender too, because its end is not told by feedback.
    pub(crate) fn feedback(&self, task: usize) -> Queue<T> {
        self.ports().feedback[task].clone()
    }

    fn senders(&self, feedback: bool) -> Vec<Sender<Frame<T>>> {
        let ports = self.ports();
        let queues = if feedback { &ports.feedback } else { &ports.frames };
        queues.iter().map(|(sender, _)| sender.clone()).collect()
    }

    fn ports(&self) -> MutexGuard<'_, Ports<T>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How tuples of `T` are dealt out to tasks.
pub(crate) enum Deal<T> {
    Shuffle,
    Fields(fn(T, usize) -> Vec<T>),
    All,
}

impl<T> Clone for Deal<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Deal<T> {}

/// An edge between threads, from one upstream task to all tasks of a component that takes `I`.
pub(crate) struct ExchangeEdge<T, I> {
    deal: Deal<T>,
    /// Takes the tuple through its wire format and back, where that is asked for.
    wire: Option<fn(&T) -> T>,
    slot: u32,
    feedback: bool,
    outboxes: Vec<Outbox<I>>,
    /// Whose turn it is with what belongs to no batch.
    turn: usize,
    abort: Arc<AtomicBool>,
    target: Arc<ComponentMetrics>,
}

struct Outbox<I> {
    sender: Sender<Frame<I>>,
    /// What the current batch emitted.
    of_batch: Vec<I>,
    /// What belongs to no batch, or to one of which the order doesn't matter.
    loose: Vec<I>,
}

impl<I> Outbox<I> {
    fn tuples(&mut self, scope: &Scope) -> &mut Vec<I> {
        match scope.stamp {
            Some(_) => &mut self.of_batch,
            None => &mut self.loose,
        }
    }
}

impl<T: Tuple, I: From<T> + Tuple> ExchangeEdge<T, I> {
    pub(crate) fn new(
        deal: Deal<T>,
        wire: Option<fn(&T) -> T>,
        slot: u32,
        (inbox, feedback): (&Inbox<I>, bool),
        abort: Arc<AtomicBool>,
        target: Arc<ComponentMetrics>,
    ) -> Self {
        let outboxes = inbox.senders(feedback).into_iter().map(|sender| Outbox {
            sender,
            of_batch: Vec::new(),
            loose: Vec::new(),
        });
        ExchangeEdge { deal, wire, slot, feedback, outboxes: outboxes.collect(), turn: 0, abort, target }
    }

    fn shuffled(&self, scope: &Scope) -> usize {
        match scope.stamp {
            Some(stamp) => (stamp.seq % self.outboxes.len() as u64) as usize,
            None => self.turn,
        }
    }

    fn send(&mut self, task: usize, stamp: Option<Stamp>, scope: &Scope) {
        let outbox = &mut self.outboxes[task];
        let frame = Frame {
            slot: self.slot,
            stamp,
            anchor: Carried::new(scope.anchor.clone()),
            tuples: std::mem::take(outbox.tuples(scope)),
        };
        self.target.queue_depth.add(1);
        let lost = match outbox.sender.try_send(frame) {
            Ok(()) => None,
            Err(TrySendError::Full(frame)) => send_patiently(&outbox.sender, frame, &self.abort),
            Err(TrySendError::Disconnected(frame)) => Some(frame),
        };
        // A frame that nobody takes fails its batch, by its drop.
        if let Some(frame) = lost {
            self.target.queue_depth.sub(1);
            if self.feedback {
                self.target.error("feedback_after_drain", frame.tuples.len() as u64);
            }
        }
    }
}

fn send_patiently<I>(sender: &Sender<Frame<I>>, mut frame: Frame<I>, abort: &AtomicBool) -> Option<Frame<I>> {
    loop {
        frame = match sender.send_timeout(frame, SEND_WAIT) {
            Ok(()) => return None,
            Err(SendTimeoutError::Disconnected(frame)) => return Some(frame),
            Err(SendTimeoutError::Timeout(frame)) => frame,
        };
        if abort.load(Ordering::Relaxed) {
            return Some(frame);
        }
    }
}

impl<T: Tuple, I: From<T> + Tuple> OutEdge<T> for ExchangeEdge<T, I> {
    fn emit(&mut self, scope: &Scope, tuple: T) {
        let tuple = match self.wire {
            Some(wire) => wire(&tuple),
            None => tuple,
        };
        match self.deal {
            Deal::Shuffle => {
                let task = self.shuffled(scope);
                self.outboxes[task].tuples(scope).push(tuple.into());
            }
            Deal::Fields(partition) if self.outboxes.len() > 1 => {
                let parts = partition(tuple, self.outboxes.len());
                assert_eq!(
                    parts.len(),
                    self.outboxes.len(),
                    "Partition::partition must return a part for each task"
                );
                for (outbox, part) in self.outboxes.iter_mut().zip(parts) {
                    if part.records() > 0 {
                        outbox.tuples(scope).push(part.into());
                    }
                }
            }
            // With one task there is nothing to deal out, but an empty tuple isn't sent either.
            Deal::Fields(_) if tuple.records() == 0 => {}
            Deal::Fields(_) | Deal::All => {
                let (last, others) =
                    self.outboxes.split_last_mut().expect("build refuses a bolt without tasks");
                for outbox in others {
                    outbox.tuples(scope).push(tuple.clone().into());
                }
                last.tuples(scope).push(tuple.into());
            }
        }
    }
}

impl<T: Tuple, I: From<T> + Tuple> Downstream for ExchangeEdge<T, I> {
    fn flush(&mut self, scope: &Scope) {
        if scope.failed() {
            self.outboxes.iter_mut().for_each(|outbox| outbox.tuples(scope).clear());
        }
        match (scope.stamp, &self.deal) {
            (Some(_), Deal::Shuffle) if !self.feedback => {
                self.send(self.shuffled(scope), scope.stamp, scope);
            }
            (Some(_), _) if !self.feedback => {
                (0..self.outboxes.len()).for_each(|task| self.send(task, scope.stamp, scope));
            }
            _ => {
                for task in 0..self.outboxes.len() {
                    if !self.outboxes[task].tuples(scope).is_empty() {
                        self.send(task, None, scope);
                    }
                }
                self.turn = (self.turn + 1) % self.outboxes.len();
            }
        }
    }
}
