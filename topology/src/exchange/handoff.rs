//! What the spout that reads partitions and the bolt that commits them know of each other: how far each partition was
//! emitted, how far it is committed, and whose it is.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by a spout and the bolt at the other end.
#[derive(Debug, Default)]
pub struct Handoff {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    partitions: HashMap<i32, Progress>,
    failed: Option<String>,
    /// Nothing more is to be read.
    closing: bool,
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything before this offset was emitted.
    pub emitted: i64,
    /// Everything before this offset is committed.
    pub committed: i64,
    /// Whether nothing more was there to read.
    pub caught_up: bool,
}

impl Handoff {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition is ours, and goes on at `next`.
    pub fn assigned(&self, partition: i32, next: i64) {
        self.lock()
            .partitions
            .insert(partition, Progress { emitted: next, committed: next, caught_up: false });
    }

    /// Everything before `next` was emitted.
    pub fn emitted(&self, partition: i32, next: i64) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition) {
            progress.emitted = progress.emitted.max(next);
            progress.caught_up = false;
        }
    }

    /// Nothing more is there to read.
    pub fn caught_up(&self, partition: i32) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition) {
            progress.caught_up = true;
        }
    }

    /// Everything before `next` is committed.
    pub fn committed(&self, partition: i32, next: i64) {
        if let Some(progress) = self.lock().partitions.get_mut(&partition) {
            progress.committed = progress.committed.max(next);
        }
        self.changed.notify_all();
    }

    /// Whether a partition is ours.
    #[must_use]
    pub fn owns(&self, partition: i32) -> bool {
        self.lock().partitions.contains_key(&partition)
    }

    /// How far the partitions are that are ours, in their order.
    #[must_use]
    pub fn partitions(&self) -> Vec<(i32, Progress)> {
        let mut all: Vec<_> = self.lock().partitions.iter().map(|(&at, &progress)| (at, progress)).collect();
        all.sort_unstable_by_key(|&(partition, _)| partition);
        all
    }

    /// The partitions go to somebody else, once what was emitted of them is committed. Where that takes longer than
    /// `patience`, this worker has failed: it must not commit them any more.
    pub fn release(&self, partitions: &[i32], patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let open = partitions.iter().filter_map(|partition| state.partitions.get(partition));
            let done = open.into_iter().all(|progress| progress.committed >= progress.emitted);
            let left = until.saturating_duration_since(Instant::now());
            if done || state.failed.is_some() || left.is_zero() {
                if !done {
                    let why = "partitions went to another worker before what was read of them was committed";
                    state.failed.get_or_insert_with(|| why.to_owned());
                }
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// The partitions are somebody else's already: nothing of them may be committed any more.
    pub fn lost(&self, partitions: &[i32]) {
        let mut state = self.lock();
        let gone = |partition: &i32| state.partitions.get(partition).copied();
        let open = partitions.iter().filter_map(gone).any(|progress| progress.committed < progress.emitted);
        state.partitions.retain(|partition, _| !partitions.contains(partition));
        if open {
            let why = "the group gave our partitions to others, because it didn't hear of us";
            state.failed.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Nothing more is read. Waits until what was emitted is committed, so long at most.
    pub fn close(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        state.closing = true;
        while state.failed.is_none()
            && state.partitions.values().any(|progress| progress.committed < progress.emitted)
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether nothing more is to be read.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// It can't go on: reading must begin again at what is committed.
    pub fn fail(&self, why: String) {
        self.lock().failed.get_or_insert(why);
        self.changed.notify_all();
    }

    /// Why it can't go on, if so.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.lock().failed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_partition_goes_when_what_was_read_of_it_is_committed() {
        let handoff = Arc::new(Handoff::default());
        handoff.assigned(3, 10);
        handoff.assigned(4, 0);
        handoff.emitted(3, 20);
        let other = Arc::clone(&handoff);
        let committer = thread::spawn(move || other.committed(3, 20));
        handoff.release(&[3], Duration::from_secs(60));
        committer.join().unwrap();
        assert_eq!(handoff.failed(), None);
        assert_eq!(handoff.partitions().len(), 1);
        handoff.emitted(4, 5);
        handoff.release(&[4], Duration::ZERO);
        assert!(handoff.failed().is_some(), "what was read of it isn't committed");
    }

    #[test]
    fn what_is_lost_is_only_a_failure_where_something_was_under_way() {
        let handoff = Handoff::default();
        handoff.assigned(1, 7);
        handoff.caught_up(1);
        assert_eq!(handoff.partitions(), [(1, Progress { emitted: 7, committed: 7, caught_up: true })]);
        handoff.lost(&[1, 2]);
        assert_eq!(handoff.failed(), None);
        handoff.assigned(1, 7);
        handoff.emitted(1, 8);
        handoff.lost(&[1]);
        assert!(handoff.failed().is_some());
    }
}
