//! From hits to findings.

use std::sync::Arc;

use engine::{Partition, Tuple, task_for};
use model::distinct::KeyCount;
use model::key_state::Hit;
use model::mark::Mark;
use model::verdict::{Decision, Record};
use serde::{Deserialize, Serialize};

use super::KeyBans;

/// Requests of the same key, rule and second, combined; each key's order is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitBatch {
    /// In order.
    pub hits: Vec<Hit>,
    /// The lines that they were made of, with live sources.
    pub lines: Option<HitLines>,
    /// Where they came from, with live sources.
    pub mark: Option<Arc<Mark>>,
    /// By what length of IPv6 prefixes their keys were made, with live sources.
    pub ipv6_prefix: Option<u8>,
    /// Windows begin anew with this batch, knowing these bans: its receiver was given other keys.
    #[serde(default)]
    pub anew: Option<KeyBans>,
}

/// The last line of each hit, for the records that it may complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitLines {
    /// The lines of the batch.
    pub bytes: Arc<Vec<u8>>,
    /// For each hit where its line begins.
    pub starts: Vec<u32>,
}

impl HitLines {
    /// The line of the hit at that place.
    #[must_use]
    pub fn line(&self, hit: usize) -> &[u8] {
        let start = self.starts.get(hit).map_or(self.bytes.len(), |&start| start as usize);
        let rest = self.bytes.get(start..).unwrap_or_default();
        &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
    }
}

impl Tuple for HitBatch {
    fn records(&self) -> u64 {
        // A mark goes to every task, even where there is no hit for it.
        (self.hits.len() as u64).max(u64::from(self.mark.is_some() || self.anew.is_some()))
    }
}

impl Partition for HitBatch {
    fn partition(self, tasks: usize) -> Vec<Self> {
        let room = self.hits.len() / tasks + self.hits.len() / 8;
        let part = |_| Self {
            hits: Vec::with_capacity(room),
            lines: self
                .lines
                .as_ref()
                .map(|lines| HitLines { bytes: lines.bytes.clone(), starts: Vec::new() }),
            mark: self.mark.clone(),
            ipv6_prefix: self.ipv6_prefix,
            anew: None,
        };
        let mut parts: Vec<Self> = (0..tasks).map(part).collect();
        if let Some(bans) = self.anew {
            for (part, bans) in parts.iter_mut().zip(bans.partition(tasks)) {
                part.anew = Some(bans);
            }
        }
        for (at, hit) in self.hits.into_iter().enumerate() {
            let part = &mut parts[task_for(hit.key.stable_hash(), tasks)];
            part.hits.push(hit);
            if let (Some(to), Some(from)) = (&mut part.lines, &self.lines) {
                to.starts.push(from.starts[at]);
            }
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
    /// With live sources, where it came from.
    pub live: Option<LivePart>,
}

/// What a task of analysis adds to its findings with live sources. Every task says it for every batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LivePart {
    /// The batch.
    pub mark: Arc<Mark>,
    /// Which task it is, of how many.
    pub part: (usize, usize),
    /// How many established keys of the task are active.
    pub established: u64,
    /// For each record the line that completed it.
    pub lines: Vec<Vec<u8>>,
    /// Which worker it is; `None` where there is only one.
    pub worker: Option<Arc<str>>,
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
