//! Hits in, findings out: owns the state of its keys and counts them through their windows.

use ahash::RandomState;
use engine::{Bolt, Collector};
use model::distinct::DistinctKeys;
use model::key::Key;
use model::key_state::{Findings, KeyState};
use model::table::{EntryId, KeyTable};
use model::units::Second;
use model::verdict::{Decision, Record};

use crate::ports::SettingsPort;
use crate::tuples::{FindingBatch, HitBatch, TableTotals};

/// The bolt. Each task owns the keys that fields grouping sends it.
#[derive(Debug)]
pub struct Analysis {
    settings: SettingsPort,
    table: KeyTable<KeyState>,
    distinct: DistinctKeys,
    newest: Second,
}

/// Hits are counted in blocks: first the index is read for all of them, then a little of all their entries, then
/// they are counted. So the cache misses of a block overlap.
const BLOCK: usize = 32;

impl Analysis {
    /// A task that may hold `max_bytes` of state and count `exact_to` keys exactly.
    #[must_use]
    pub fn new(settings: SettingsPort, max_bytes: usize, exact_to: usize) -> Self {
        Self {
            settings,
            table: KeyTable::new(max_bytes, RandomState::new()),
            distinct: DistinctKeys::new(exact_to),
            newest: Second::NEVER,
        }
    }

    fn insert(&mut self, key: Key, hash: u64) -> EntryId {
        let now = self.newest;
        let id = self.evicting(|table, evicted| table.insert(key, hash, now, evicted));
        self.distinct.inserted(hash);
        id
    }

    /// Lets the table do what may evict keys, which still count as seen.
    fn evicting<R>(&mut self, change: impl FnOnce(&mut KeyTable<KeyState>, &mut dyn FnMut(Key)) -> R) -> R {
        let (distinct, hasher) = (&mut self.distinct, self.table.hasher());
        let mut in_table = self.table.len();
        change(&mut self.table, &mut |gone| {
            in_table -= 1;
            distinct.evicted(hasher.hash_one(gone.bits()), in_table);
        })
    }
}

impl Bolt for Analysis {
    type In = HitBatch;
    type Out = FindingBatch;

    fn execute(&mut self, batch: HitBatch, out: &mut Collector<'_, FindingBatch>) {
        let held = self.settings.load();
        let mut findings = FindingBatch::default();
        let mut guesses = [(0u64, None::<EntryId>); BLOCK];
        for block in batch.hits.chunks(BLOCK) {
            for (hit, guess) in block.iter().zip(&mut guesses) {
                let hash = self.table.hash(hit.key);
                *guess = (hash, self.table.guess(hash));
            }
            let touched =
                guesses[..block.len()].iter().filter_map(|guess| guess.1).map(|id| self.table.touch(id));
            std::hint::black_box(touched.fold(0, u64::wrapping_add));
            for (hit, &(hash, guess)) in block.iter().zip(&guesses) {
                self.newest = self.newest.max(hit.second);
                // Another key may have the same hash; an insert before this hit may have brought its key, or
                // evicted what was guessed.
                let found = guess
                    .filter(|&id| self.table.holds(id, hit.key))
                    .or_else(|| self.table.find(hit.key, hash));
                let id = found.unwrap_or_else(|| self.insert(hit.key, hash));
                self.table.update(id, |state| state.observe(*hit, held.version(), &mut findings));
                if self.table.is_over() {
                    let now = self.newest;
                    self.evicting(|table, evicted| table.trim(id, now, evicted));
                }
            }
        }
        if findings != FindingBatch::default() {
            out.emit(findings);
        }
    }

    fn cleanup(&mut self, out: &mut Collector<'_, FindingBatch>) {
        let clients = self.distinct.count(self.table.len());
        let table = Some(TableTotals { clients, evicted: self.table.evicted() });
        out.emit(FindingBatch { table, ..FindingBatch::default() });
    }
}

impl Findings for FindingBatch {
    fn decision(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    fn record(&mut self, record: Record) {
        self.records.push(record);
    }

    fn late(&mut self, requests: u32) {
        self.late += u64::from(requests);
    }

    fn while_banned(&mut self, requests: u32) {
        self.while_banned += u64::from(requests);
    }
}
