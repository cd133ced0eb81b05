//! Puts the frames of a task's upstreams back into the order in which the spout emitted.
//!
//! A task knows beforehand how many frames each batch brings it, and which batches. It keeps what comes too
//! early; `max_spout_pending` bounds how much that can be.

use std::collections::VecDeque;

use crate::anchor::Guard;
use crate::edge::Stamp;
use crate::exchange::Frame;

/// Which batches of an origin a task handles, and how many frames make one complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Await {
    /// Frames that every batch brings to every task.
    pub always: u32,
    /// Frames that a batch brings to the one task whose turn it is.
    pub on_turn: u32,
}

/// A complete batch.
pub(crate) struct Ready<T> {
    pub stamp: Stamp,
    pub anchor: Option<Guard>,
    pub tuples: Vec<T>,
}

pub(crate) struct Reorder<T> {
    /// By origin; `None` where nothing of that origin comes here.
    origins: Vec<Option<Origin<T>>>,
}

struct Origin<T> {
    awaits: Await,
    task: u64,
    tasks: u64,
    /// The next batch to execute.
    next: u64,
    step: u64,
    /// `window[i]` is the batch `next + i * step`.
    window: VecDeque<Partial<T>>,
}

struct Partial<T> {
    frames: u32,
    anchor: Option<Guard>,
    parts: Vec<(u32, Vec<T>)>,
}

impl<T> Reorder<T> {
    pub(crate) fn new(awaits: &[Option<Await>], task: usize, tasks: usize) -> Self {
        let (task, tasks) = (task as u64, tasks as u64);
        let origin = |awaits: Await| Origin {
            awaits,
            task,
            tasks,
            next: if awaits.always == 0 { task } else { 0 },
            step: if awaits.always == 0 { tasks } else { 1 },
            window: VecDeque::new(),
        };
        Reorder { origins: awaits.iter().map(|awaits| awaits.map(origin)).collect() }
    }

    /// Takes a frame of a batch.
    pub(crate) fn push(&mut self, frame: Frame<T>, stamp: Stamp) {
        let origin = self.origins[stamp.origin]
            .as_mut()
            .expect("frames come only from origins that the layout connects");
        debug_assert!(stamp.seq >= origin.next, "a batch is executed once it is complete");
        let index = (stamp.seq.saturating_sub(origin.next) / origin.step) as usize;
        while origin.window.len() <= index {
            origin.window.push_back(Partial { frames: 0, anchor: None, parts: Vec::new() });
        }
        let partial = &mut origin.window[index];
        partial.frames += 1;
        partial.anchor = frame.anchor.take();
        if !frame.tuples.is_empty() {
            partial.parts.push((frame.slot, frame.tuples));
        }
    }

    /// The origin's next batch in order, if it is complete.
    pub(crate) fn pop(&mut self, origin_index: usize) -> Option<Ready<T>> {
        let origin = self.origins[origin_index].as_mut()?;
        if origin.window.front()?.frames < origin.expected() {
            return None;
        }
        let partial = origin.window.pop_front()?;
        let stamp = Stamp { origin: origin_index, seq: origin.next };
        origin.next += origin.step;
        Some(Ready { stamp, anchor: partial.anchor, tuples: in_slot_order(partial.parts) })
    }

    /// How many batches are here in part.
    pub(crate) fn len(&self) -> usize {
        let windows = self.origins.iter().flatten().flat_map(|origin| &origin.window);
        windows.filter(|partial| partial.frames > 0).count()
    }

    /// Throws away what is incomplete, and fails it.
    pub(crate) fn discard(&mut self) {
        for origin in self.origins.iter_mut().flatten() {
            for partial in origin.window.drain(..) {
                if let Some(anchor) = partial.anchor {
                    anchor.fail();
                }
            }
        }
    }
}

impl<T> Drop for Reorder<T> {
    fn drop(&mut self) {
        self.discard();
    }
}

impl<T> Origin<T> {
    fn expected(&self) -> u32 {
        let on_turn = self.next % self.tasks == self.task;
        self.awaits.always + if on_turn { self.awaits.on_turn } else { 0 }
    }
}

/// Within a batch the upstream tasks' parts come in the order of their slots, not of their arrival.
fn in_slot_order<T>(mut parts: Vec<(u32, Vec<T>)>) -> Vec<T> {
    match parts.len() {
        0 => Vec::new(),
        1 => parts.swap_remove(0).1,
        _ => {
            parts.sort_by_key(|(slot, _)| *slot);
            parts.into_iter().flat_map(|(_, tuples)| tuples).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::Carried;

    /// Pushes frames (slot, seq) into task 1 of 2; expects the batches in this order.
    fn check(awaits: Await, frames: &[(u32, u64)], expect: &[(u64, &[u32])]) {
        let mut reorder = Reorder::new(&[Some(awaits)], 1, 2);
        let mut seen = Vec::new();
        for &(slot, seq) in frames {
            let stamp = Stamp { origin: 0, seq };
            let frame = Frame { slot, stamp: Some(stamp), anchor: Carried::new(None), tuples: vec![slot] };
            reorder.push(frame, stamp);
            while let Some(ready) = reorder.pop(0) {
                seen.push((ready.stamp.seq, ready.tuples));
            }
        }
        let expect: Vec<_> = expect.iter().map(|(seq, slots)| (*seq, slots.to_vec())).collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn batches_come_out_in_order_and_whole() {
        let turns = Await { always: 0, on_turn: 1 };
        check(turns, &[(0, 3), (0, 1), (0, 5)], &[(1, &[0]), (3, &[0]), (5, &[0])]);

        let everyone = Await { always: 2, on_turn: 0 };
        check(everyone, &[(1, 0), (0, 1), (1, 1), (0, 0)], &[(0, &[0, 1]), (1, &[0, 1])]);

        let mixed = Await { always: 1, on_turn: 1 };
        check(mixed, &[(0, 0), (0, 1), (1, 1)], &[(0, &[0]), (1, &[0, 1])]);
    }
}
