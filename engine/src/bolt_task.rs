//! The task group of a bolt: takes frames, puts them in order, executes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, select};

use crate::anchor::drop_as_failed;
use crate::bolt::Bolt;
use crate::edge::Scope;
use crate::exchange::{Frame, Queue};
use crate::metrics::ComponentMetrics;
use crate::node::Node;
use crate::reorder::Reorder;
use crate::task::{Ending, Group, Progress};
use crate::time::{Clock, Timestamp};

/// After so many frames a poll comes back, so that ticks and stops aren't held up.
const FRAMES_PER_POLL: usize = 64;

pub(crate) struct BoltTask<B: Bolt> {
    pub id: (usize, usize),
    pub node: Node<B>,
    pub frames: Receiver<Frame<B::In>>,
    /// `None` if no feedback comes here. The sender keeps the queue connected.
    pub feedback: Option<Queue<B::In>>,
    pub reorder: Reorder<B::In>,
    pub clock: Arc<dyn Clock>,
    pub next_tick: Timestamp,
    /// When it was last looked whether a tick is due.
    pub looked: Timestamp,
    /// All upstreams are gone.
    pub closed: bool,
    /// The topology was given up: whatever isn't executed yet never will be.
    pub abort: Arc<AtomicBool>,
    pub metrics: Arc<ComponentMetrics>,
}

impl<B: Bolt> BoltTask<B> {
    fn accept(&mut self, frame: Frame<B::In>) {
        self.metrics.queue_depth.sub(1);
        let Some(stamp) = frame.stamp else {
            let scope = Scope::loose(frame.anchor.take());
            self.run(&scope, frame.tuples);
            return;
        };
        self.reorder.push(frame, stamp);
        while !self.is_aborted()
            && let Some(ready) = self.reorder.pop(stamp.origin)
        {
            let scope = Scope::batch(ready.stamp, ready.anchor);
            self.run(&scope, ready.tuples);
        }
    }

    fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }

    fn run(&mut self, scope: &Scope, tuples: Vec<B::In>) {
        for tuple in tuples {
            self.node.execute(scope, tuple);
        }
        self.node.flush(scope);
    }

    fn take_feedback(&mut self) -> bool {
        let mut worked = false;
        while !self.is_aborted()
            && let Some(frame) = self.feedback.as_ref().and_then(|(_, queue)| queue.try_recv().ok())
        {
            self.accept(frame);
            worked = true;
        }
        worked
    }
}

impl<B: Bolt> Group for BoltTask<B> {
    fn id(&self) -> (usize, usize) {
        self.id
    }

    fn is_spout(&self) -> bool {
        false
    }

    fn prepare(&mut self) {
        let now = self.clock.now();
        self.node.prepare(now);
        self.next_tick = now;
    }

    fn poll(&mut self) -> Progress {
        let mut worked = false;
        let mut emptied = false;
        for _ in 0..FRAMES_PER_POLL {
            if self.is_aborted() {
                return Progress::Worked;
            }
            worked |= self.take_feedback();
            match self.frames.try_recv() {
                Ok(frame) => {
                    self.accept(frame);
                    worked = true;
                }
                Err(empty) => {
                    self.closed |= empty == TryRecvError::Disconnected;
                    emptied = true;
                    break;
                }
            }
        }
        let now = self.clock.now();
        if now >= self.next_tick || now < self.looked {
            let due = self.node.tick(now);
            // The first look only asks when the first tick is.
            worked |= due > self.next_tick;
            self.next_tick = due;
        }
        self.looked = now;
        match (emptied, worked) {
            (true, _) if self.closed => Progress::Done,
            (false, _) => Progress::More,
            (true, true) => Progress::Worked,
            (true, false) => Progress::Idle,
        }
    }

    fn wait(&mut self, at_most: Duration) {
        let limit = self.next_tick.since(self.clock.now()).min(at_most);
        let received = match &self.feedback {
            None => self.frames.recv_timeout(limit),
            Some((_, feedback)) => select! {
                recv(feedback) -> frame => frame.map_err(|_| RecvTimeoutError::Timeout),
                recv(self.frames) -> frame => frame.map_err(|_| RecvTimeoutError::Disconnected),
                default(limit) => Err(RecvTimeoutError::Timeout),
            },
        };
        match received {
            Ok(frame) => self.accept(frame),
            Err(RecvTimeoutError::Disconnected) => self.closed = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn finish(mut self: Box<Self>, drained: bool) -> Ending {
        let left = self.reorder.len() + self.frames.len();
        if drained {
            self.take_feedback();
            self.node.cleanup();
        }
        drop_as_failed(self);
        Ending { left, gave_up: false }
    }
}
