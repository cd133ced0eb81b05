//! A histogram of durations in powers of two, cheap enough for every batch.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Bucket 39 begins at 2^39 ns, about nine minutes: no `execute` should last longer.
const BUCKETS: usize = 40;

#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, nanos: u64) {
        let bucket = (nanos | 1).ilog2() as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// A histogram of durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramSnapshot {
    /// `buckets[i]` counts durations of at least 2^i and less than 2^(i+1) ns. The first holds 0 too, and
    /// the last everything longer.
    pub buckets: Vec<u64>,
    /// The sum of all durations, in ns.
    pub sum: u64,
}

impl HistogramSnapshot {
    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean in ns; 0 if nothing was recorded.
    #[must_use]
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }

    /// An upper bound, in ns, of the given share (0.0 to 1.0) of the durations; 0 if nothing was recorded.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (i, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return 1 << (i + 1);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_powers_of_two() {
        let histogram = Histogram::new();
        for nanos in [0, 1, 2, 3, 1000, u64::MAX / 2] {
            histogram.record(nanos);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..3], [2, 2, 0]);
        assert_eq!(snapshot.buckets[9], 1);
        assert_eq!(snapshot.buckets[BUCKETS - 1], 1);
        assert_eq!(snapshot.count(), 6);
        assert_eq!(snapshot.quantile(0.5), 4);
        assert_eq!(HistogramSnapshot::default().quantile(0.5), 0);
    }
}
