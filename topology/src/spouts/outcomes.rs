//! What agents answered in, outcomes out: at most 1,000 in a batch.
//!
//! Lanes of agents put outcomes in a queue that never holds them up and loses nothing; how long it is can be asked.
//! What the spout hasn't emitted when a topology stops stays in the queue, and whoever owns the queue takes it from
//! there. An abandoned batch comes back to the front of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bolts::tuples;
use engine::{BatchId, Next, Spout, Timestamp};
use model::ban::Outcome;

/// The most outcomes in a batch.
pub const BATCH: usize = 1_000;

/// Outcomes on their way to the store. Its clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct OutcomeQueue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    outcomes: VecDeque<Outcome>,
    finished: bool,
}

impl OutcomeQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts outcomes behind those that wait.
    pub fn push(&self, outcomes: impl IntoIterator<Item = Outcome>) {
        self.lock().outcomes.extend(outcomes);
    }

    /// Takes the oldest, at most so many.
    #[must_use]
    pub fn take(&self, at_most: usize) -> Vec<Outcome> {
        let mut waiting = self.lock();
        let count = at_most.min(waiting.outcomes.len());
        waiting.outcomes.drain(..count).collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().outcomes.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing more comes: the spout ends when the queue is empty.
    pub fn finish(&self) {
        self.lock().finished = true;
    }
}

/// The spout. One task.
#[derive(Debug)]
pub struct Outcomes {
    queue: OutcomeQueue,
}

impl Outcomes {
    /// Emits what comes to `queue`.
    #[must_use]
    pub fn new(queue: OutcomeQueue) -> Self {
        Self { queue }
    }
}

impl Spout for Outcomes {
    type Out = tuples::Outcomes;

    fn next(&mut self, _: Timestamp) -> Next<tuples::Outcomes> {
        // Asked first, for what was put in before the end must still be found.
        let finished = self.queue.lock().finished;
        match self.queue.take(BATCH) {
            outcomes if !outcomes.is_empty() => Next::Emit(tuples::Outcomes(outcomes)),
            _ if finished => Next::End,
            _ => Next::Idle,
        }
    }

    fn abandon(&mut self, _: BatchId, tuple: tuples::Outcomes) {
        let mut waiting = self.queue.lock();
        for outcome in tuple.0.into_iter().rev() {
            waiting.outcomes.push_front(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use model::ban::{Ban, BanId, Order, Reason};
    use model::network::Network;
    use model::units::{Moment, Second, Seconds};

    use super::*;

    fn outcome(number: u32) -> Outcome {
        let target = Network::host(Ipv4Addr::from(number).into());
        let ban = Ban {
            id: BanId::new("global", &target, Second(0), 0),
            target,
            rule: "global".into(),
            reason: Reason::Global,
            decided: Second(0),
            start: Moment(0),
            end: Moment(1_000),
            count: 1,
            during: Seconds(1),
            established: false,
            place: None,
            note: None,
        };
        let result = number.to_string();
        Outcome { agent: "a".into(), order: Order::Block, ban, at: Moment(0), flag: 1, result }
    }

    fn emitted(spout: &mut Outcomes) -> Option<Vec<String>> {
        match spout.next(Timestamp::default()) {
            Next::Emit(batch) => Some(batch.0.into_iter().map(|outcome| outcome.result).collect()),
            Next::Idle => None,
            Next::End => Some(Vec::new()),
        }
    }

    #[test]
    fn emits_all_in_order_and_ends_when_it_is_told() {
        let queue = OutcomeQueue::new();
        let mut spout = Outcomes::new(queue.clone());
        assert_eq!(emitted(&mut spout), None);
        queue.push((0..2_500).map(outcome));
        queue.finish();
        let sizes: Vec<usize> = (0..4).map(|_| emitted(&mut spout).unwrap().len()).collect();
        assert_eq!(sizes, [1_000, 1_000, 500, 0]);
    }

    #[test]
    fn what_is_abandoned_or_left_isnt_lost() {
        let queue = OutcomeQueue::new();
        let mut spout = Outcomes::new(queue.clone());
        queue.push((0..2).map(outcome));
        let Next::Emit(batch) = spout.next(Timestamp::default()) else { panic!("nothing came") };
        queue.push([outcome(2)]);
        spout.abandon(BatchId(0), batch);
        spout.close();
        drop(spout);
        let left: Vec<String> = queue.take(usize::MAX).into_iter().map(|outcome| outcome.result).collect();
        assert_eq!(left, ["0", "1", "2"]);
    }
}
