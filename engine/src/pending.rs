//! A spout task's un-acked batches: which attempt of each is under way, what is to be replayed, and how far
//! everything is done.

use std::collections::VecDeque;
use std::time::Duration;

use crate::anchor::Done;
use crate::spout::BatchId;
use crate::time::Timestamp;
use crate::tuple::Tuple;

/// How far the newest batch may be ahead of the oldest un-acked one, in multiples of the batches allowed.
/// Bounds the ledger where one batch stays un-acked while others come and go.
const WINDOW: usize = 64;

pub(crate) struct Limits {
    pub max_pending: usize,
    pub max_replays: u32,
    pub timeout: Duration,
}

pub(crate) struct Pending<T> {
    limits: Limits,
    /// The id of `entries[0]`, which is the low-water mark.
    base: u64,
    entries: VecDeque<Option<Entry<T>>>,
    unacked: usize,
    /// Attempts that something still works on, failed ones included.
    alive: usize,
    next_seq: u64,
    deadlines: VecDeque<(Timestamp, BatchId, u64)>,
    replays: VecDeque<BatchId>,
}

struct Entry<T> {
    tuple: T,
    seq: u64,
    attempts: u32,
}

/// An attempt to send off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Departure<T> {
    pub batch: BatchId,
    pub seq: u64,
    pub tuple: T,
}

/// What the end of an attempt means for its batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Acked(BatchId, T),
    /// To be replayed.
    Failed,
    Abandoned(BatchId, T),
    /// News of an attempt that had been given up before.
    Stale,
}

impl<T: Tuple> Pending<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Pending {
            limits,
            base: 0,
            entries: VecDeque::new(),
            unacked: 0,
            alive: 0,
            next_seq: 0,
            deadlines: VecDeque::new(),
            replays: VecDeque::new(),
        }
    }

    pub(crate) fn unacked(&self) -> usize {
        self.unacked
    }

    /// Every batch below is acked or abandoned.
    pub(crate) fn low_water(&self) -> BatchId {
        BatchId(self.base)
    }

    /// Whether there is room for one more batch.
    pub(crate) fn has_room(&self) -> bool {
        let max = self.limits.max_pending.max(1);
        self.unacked < max && self.entries.len() < max * WINDOW && self.attempt_allowed()
    }

    /// An attempt that was given up may still sit in the queues. So that these can't grow without end, only
    /// so many attempts may be alive.
    fn attempt_allowed(&self) -> bool {
        let per_batch = self.limits.max_replays as usize + 1;
        self.alive < self.limits.max_pending.max(1) * per_batch
    }

    /// Takes a new batch in.
    pub(crate) fn begin(&mut self, tuple: T, now: Timestamp) -> Departure<T> {
        let batch = BatchId(self.base + self.entries.len() as u64);
        self.entries.push_back(Some(Entry { tuple, seq: 0, attempts: 0 }));
        self.unacked += 1;
        self.depart(batch, now).expect("the entry was just made")
    }

    /// The next failed batch, off again.
    pub(crate) fn replay(&mut self, now: Timestamp) -> Option<Departure<T>> {
        if !self.attempt_allowed() {
            return None;
        }
        let batch = self.replays.pop_front()?;
        self.depart(batch, now)
    }

    fn depart(&mut self, batch: BatchId, now: Timestamp) -> Option<Departure<T>> {
        let seq = self.next_seq;
        let entry = self.entry(batch)?;
        entry.seq = seq;
        entry.attempts += 1;
        let tuple = entry.tuple.clone();
        self.next_seq += 1;
        self.alive += 1;
        self.deadlines.push_back((now + self.limits.timeout, batch, seq));
        Some(Departure { batch, seq, tuple })
    }

    /// An attempt is over.
    pub(crate) fn settle(&mut self, done: Done) -> Outcome<T> {
        self.alive -= 1;
        match (self.is_current(done.batch, done.seq), done.failed) {
            (false, _) => Outcome::Stale,
            (true, true) => self.fail(done.batch),
            (true, false) => {
                let entry = self.remove(done.batch);
                Outcome::Acked(done.batch, entry.tuple)
            }
        }
    }

    /// The next attempt that has taken too long.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Option<Outcome<T>> {
        loop {
            let &(deadline, batch, seq) = self.deadlines.front()?;
            let current = self.is_current(batch, seq);
            if current && deadline > now {
                return None;
            }
            self.deadlines.pop_front();
            if current {
                return Some(self.fail(batch));
            }
        }
    }

    fn fail(&mut self, batch: BatchId) -> Outcome<T> {
        let max_attempts = self.limits.max_replays.saturating_add(1);
        let entry = self.entry(batch).expect("only a current attempt fails");
        if entry.attempts >= max_attempts {
            let entry = self.remove(batch);
            return Outcome::Abandoned(batch, entry.tuple);
        }
        // No attempt has this number, so late news of the failed one is stale.
        entry.seq = u64::MAX;
        self.replays.push_back(batch);
        Outcome::Failed
    }

    fn is_current(&mut self, batch: BatchId, seq: u64) -> bool {
        self.entry(batch).is_some_and(|entry| entry.seq == seq)
    }

    fn entry(&mut self, batch: BatchId) -> Option<&mut Entry<T>> {
        let index = batch.0.checked_sub(self.base)?;
        self.entries.get_mut(index as usize)?.as_mut()
    }

    fn remove(&mut self, batch: BatchId) -> Entry<T> {
        let index = (batch.0 - self.base) as usize;
        let entry = self.entries[index].take().expect("only a current attempt ends a batch");
        self.unacked -= 1;
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.base += 1;
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(max_replays: u32) -> Pending<Vec<u32>> {
        Pending::new(Limits { max_pending: 4, max_replays, timeout: Duration::from_secs(30) })
    }

    fn done(batch: u64, seq: u64, failed: bool) -> Done {
        Done { batch: BatchId(batch), seq, failed }
    }

    #[test]
    fn low_water_follows_the_oldest_open_batch() {
        let mut pending = pending(3);
        let now = Timestamp::from_secs(1);
        for i in 0..4 {
            pending.begin(vec![i], now);
        }
        assert!(!pending.has_room());
        for (batch, low_water) in [(2, 0), (0, 1), (1, 3), (3, 4)] {
            let outcome = pending.settle(done(batch, batch, false));
            assert_eq!(outcome, Outcome::Acked(BatchId(batch), vec![batch as u32]));
            assert_eq!(pending.low_water(), BatchId(low_water));
        }
        assert_eq!(pending.unacked(), 0);
    }

    #[test]
    fn a_failed_batch_keeps_its_id_and_gets_a_new_sequence_number() {
        let mut pending = pending(1);
        let now = Timestamp::from_secs(1);
        pending.begin(vec![7], now);
        assert_eq!(pending.settle(done(0, 0, true)), Outcome::Failed);
        let again = pending.replay(now).expect("it failed");
        assert_eq!((again.batch, again.seq), (BatchId(0), 1));
        assert_eq!(pending.settle(done(0, 1, true)), Outcome::Abandoned(BatchId(0), vec![7]));
        assert_eq!(pending.low_water(), BatchId(1));
    }

    #[test]
    fn late_news_of_a_timed_out_attempt_is_stale() {
        let mut pending = pending(3);
        pending.begin(vec![7], Timestamp::from_secs(1));
        assert_eq!(pending.expire(Timestamp::from_secs(30)), None);
        let late = Timestamp::from_secs(31);
        assert_eq!(pending.expire(late), Some(Outcome::Failed));
        assert_eq!(pending.expire(late), None);
        assert_eq!(pending.settle(done(0, 0, false)), Outcome::Stale);
        assert_eq!(pending.replay(late).map(|again| again.seq), Some(1));
        assert_eq!(pending.settle(done(0, 1, false)), Outcome::Acked(BatchId(0), vec![7]));
    }

    #[test]
    fn attempts_that_never_end_are_bounded() {
        let mut pending = pending(3);
        let mut now = Timestamp::from_secs(1);
        let mut departed = 0;
        for _ in 0..100 {
            while pending.has_room() {
                pending.begin(vec![], now);
                departed += 1;
            }
            now = now + Duration::from_secs(30);
            while pending.expire(now).is_some() {}
            while pending.replay(now).is_some() {
                departed += 1;
            }
        }
        assert_eq!(departed, 4 * 4);
    }
}
