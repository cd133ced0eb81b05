//! Which batches are under way, and how far each partition is dealt with: up to the engine's low-water mark, and never
//! further.

use std::collections::{BTreeMap, VecDeque};

use engine::BatchId;

/// What is under way and what is dealt with.
#[derive(Debug, Default)]
pub(super) struct Progress {
    emitted: u64,
    under_way: VecDeque<Batch>,
    done: BTreeMap<i32, i64>,
    /// A batch was given up: nothing behind it may be committed, so that a restart reads it again.
    halted: bool,
}

#[derive(Debug)]
struct Batch {
    id: u64,
    partition: i32,
    /// Behind its last message; `None` for one that only fills windows again.
    next: Option<i64>,
}

impl Progress {
    /// The next batch goes out.
    pub(super) fn emit(&mut self, partition: i32, next: Option<i64>) {
        self.under_way.push_back(Batch { id: self.emitted, partition, next });
        self.emitted += 1;
    }

    /// All batches before that one are done.
    pub(super) fn done(&mut self, below: BatchId) {
        while self.under_way.front().is_some_and(|batch| batch.id < below.0) {
            let Some(Batch { partition, next, .. }) = self.under_way.pop_front() else { return };
            if let (Some(next), false) = (next, self.halted) {
                self.done.insert(partition, next);
            }
        }
    }

    /// A partition begins: what is known of it counts no more, but where it begins, where nobody has committed that.
    pub(super) fn begin(&mut self, partition: i32, at: Option<i64>) {
        for batch in self.under_way.iter_mut().filter(|batch| batch.partition == partition) {
            batch.next = None;
        }
        self.done.remove(&partition);
        self.done.extend(at.map(|at| (partition, at)));
    }

    /// A batch was given up.
    pub(super) fn halt(&mut self) {
        self.halted = true;
    }

    /// Whether a batch of these partitions is under way.
    pub(super) fn is_under_way(&self, partitions: &[i32]) -> bool {
        self.under_way.iter().any(|batch| partitions.contains(&batch.partition))
    }

    /// How far partitions are dealt with.
    pub(super) fn positions(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.done.iter().map(|(&partition, &next)| (partition, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_ahead_of_the_oldest_batch() {
        let mut progress = Progress::default();
        let at = |progress: &Progress| progress.positions().collect::<Vec<_>>();
        progress.begin(0, Some(5));
        progress.emit(0, None);
        progress.emit(0, Some(10));
        progress.emit(1, Some(20));
        progress.emit(0, Some(30));
        assert_eq!(at(&progress), [(0, 5)]);
        progress.done(BatchId(1));
        assert_eq!(at(&progress), [(0, 5)], "it filled windows");
        progress.done(BatchId(3));
        assert_eq!(at(&progress), [(0, 10), (1, 20)]);
        assert!(progress.is_under_way(&[0]) && !progress.is_under_way(&[1, 2]));
        progress.halt();
        progress.done(BatchId(4));
        assert_eq!(at(&progress), [(0, 10), (1, 20)]);
        assert!(!progress.is_under_way(&[0]));
        progress.begin(0, None);
        assert_eq!(at(&progress), [(1, 20)]);
    }
}
