//! How many different keys were seen: exact to 16 million, estimated from there on.

use ahash::RandomState;
use cardinality_estimator::CardinalityEstimator;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

/// Counts the keys that a table held, including those that it evicted and met again.
///
/// What the table holds is told apart by the table; here only the evicted ones are remembered, by 64 bits of
/// hash (of 16 million two are mistaken for one with a chance of 7 in a million).
#[derive(Debug)]
pub struct DistinctKeys {
    evicted: HashSet<u64, RandomState>,
    exact_to: usize,
    exact: bool,
    estimator: CardinalityEstimator<u64, std::hash::DefaultHasher, 14, 6>,
}

/// A number of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct KeyCount {
    /// How many.
    pub keys: u64,
    /// Whether that is an estimate (within about 2 %).
    pub estimated: bool,
}

/// Up to so many keys are counted exactly.
pub const EXACT_TO: usize = 16_000_000;

impl DistinctKeys {
    /// Counts exactly up to so many keys.
    #[must_use]
    pub fn new(exact_to: usize) -> Self {
        Self { evicted: HashSet::default(), exact_to, exact: true, estimator: CardinalityEstimator::new() }
    }

    /// A key came into the table.
    pub fn inserted(&mut self, hash: u64) {
        self.estimator.insert_hash(hash);
        if !self.evicted.is_empty() {
            self.evicted.remove(&hash);
        }
    }

    /// A key left the table, which holds `in_table` now.
    pub fn evicted(&mut self, hash: u64, in_table: usize) {
        if !self.exact {
            return;
        }
        self.evicted.insert(hash);
        if self.evicted.len() + in_table > self.exact_to {
            self.exact = false;
            self.evicted = HashSet::default();
        }
    }

    /// How many different keys came, where the table holds `in_table` now.
    #[must_use]
    pub fn count(&self, in_table: usize) -> KeyCount {
        if self.exact {
            KeyCount { keys: (self.evicted.len() + in_table) as u64, estimated: false }
        } else {
            KeyCount { keys: self.estimator.estimate() as u64, estimated: true }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(exact_to: usize, keys: u64, capacity: usize) -> KeyCount {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let mut distinct = DistinctKeys::new(exact_to);
        let mut table = std::collections::VecDeque::new();
        // Every key comes twice, the second time after it was evicted.
        for key in (0..keys).chain(0..keys) {
            if table.contains(&key) {
                continue;
            }
            if table.len() == capacity {
                let oldest = table.pop_front().unwrap();
                distinct.evicted(hasher.hash_one(oldest), table.len());
            }
            table.push_back(key);
            distinct.inserted(hasher.hash_one(key));
        }
        distinct.count(table.len())
    }

    #[test]
    fn exact_over_evictions() {
        assert_eq!(run(EXACT_TO, 3_000, 100), KeyCount { keys: 3_000, estimated: false });
        assert_eq!(run(EXACT_TO, 50, 100), KeyCount { keys: 50, estimated: false });
    }

    #[test]
    fn estimated_past_the_limit_and_said_so() {
        let count = run(5_000, 20_000, 100);
        assert!(count.estimated);
        assert!((19_400..=20_600).contains(&count.keys), "{count:?}");
    }
}
