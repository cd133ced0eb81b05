//! From hits to findings.

use engine::{Partition, Tuple, task_for};
use model::distinct::KeyCount;
use model::key_state::Hit;
use model::verdict::{Decision, Record};
use serde::{Deserialize, Serialize};

/// Requests of the same key, rule and second, combined; each key's order is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitBatch {
    /// In order.
    pub hits: Vec<Hit>,
}

impl Tuple for HitBatch {
    fn records(&self) -> u64 {
        self.hits.len() as u64
    }
}

impl Partition for HitBatch {
    fn partition(self, tasks: usize) -> Vec<Self> {
        let room = self.hits.len() / tasks + self.hits.len() / 8;
        let mut parts: Vec<Self> = (0..tasks).map(|_| Self { hits: Vec::with_capacity(room) }).collect();
        for hit in self.hits {
            parts[task_for(hit.key.stable_hash(), tasks)].hits.push(hit);
        }
        parts
    }
}

/// What analysis found in a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FindingBatch {
    /// Decisions, each key's in order.
    pub decisions: Vec<Decision>,
    /// Frequency records, each key's in order.
    pub records: Vec<Record>,
    /// Requests that came too late to count.
    pub late: u64,
    /// Requests whose address was banned when they came.
    pub while_banned: u64,
    /// At the end: what the task's table came to.
    pub table: Option<TableTotals>,
}

/// What a table of keys came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTotals {
    /// How many different keys came.
    pub clients: KeyCount,
    /// How many were evicted.
    pub evicted: u64,
}

impl Tuple for FindingBatch {
    fn records(&self) -> u64 {
        (self.decisions.len() + self.records.len()) as u64
    }
}
