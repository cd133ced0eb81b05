//! Requests in, hits out: finds each request's one rule, and combines requests of the same key, rule and second.
//!
//! Combining keeps each key's order, so it changes no result. It makes a flood cheaper to count, and above all
//! cheaper to send to the task that owns the key.

use ahash::RandomState;
use engine::{Bolt, Collector};
use model::key_state::Hit;

use crate::ports::SettingsPort;
use crate::tuples::{HitBatch, HitLines, Requests};

/// The bolt.
#[derive(Debug)]
pub struct Match {
    settings: SettingsPort,
    hasher: RandomState,
    /// For each slot of key hashes the last hit that was made for it in this batch.
    last_hits: Vec<u32>,
}

const SLOTS: usize = 4096;

impl Match {
    /// Matches against the settings that hold when a batch comes.
    #[must_use]
    pub fn new(settings: SettingsPort) -> Self {
        Self { settings, hasher: RandomState::new(), last_hits: vec![0; SLOTS] }
    }

    /// Adds a request to the last hit of its key, where rule and second are the same too. Tells which hit it
    /// is in now.
    fn combine(&mut self, hits: &mut Vec<Hit>, hit: Hit) -> usize {
        let slot = self.hasher.hash_one(hit.key.bits()) as usize % SLOTS;
        // What a slot says may be of another key, or of an earlier batch: the hit itself tells. But it never
        // points before a newer hit of the same key, for that one took the slot over.
        let last_hit = self.last_hits[slot] as usize;
        if let Some(last) = hits.get_mut(last_hit)
            && last.key == hit.key
            && last.second == hit.second
            && last.rule == hit.rule
        {
            last.requests += 1;
            return last_hit;
        }
        self.last_hits[slot] = hits.len() as u32;
        hits.push(hit);
        hits.len() - 1
    }
}

impl Bolt for Match {
    type In = Requests;
    type Out = HitBatch;

    fn execute(&mut self, Requests(batch): Requests, out: &mut Collector<'_, HitBatch>) {
        let held = self.settings.load();
        let settings = held.settings();
        let only = settings.rules.only();
        let mut hits = Vec::with_capacity(batch.requests.len());
        let mut starts = Vec::with_capacity(batch.line_starts.len());
        for (at, request) in batch.requests.iter().enumerate() {
            let rule = only.unwrap_or_else(|| {
                let parts = batch.url_parts(request);
                let url = parts.url(settings.default_host.as_deref());
                settings.rules.find(url.as_ref())
            });
            let hit = Hit { key: request.key, second: request.second, rule, requests: 1 };
            let hit = self.combine(&mut hits, hit);
            if let Some(&start) = batch.line_starts.get(at) {
                match starts.get_mut(hit) {
                    Some(last) => *last = start,
                    None => starts.push(start),
                }
            }
        }
        let mark = batch.lines.mark;
        if !hits.is_empty() || mark.is_some() {
            let lines = mark.is_some().then_some(HitLines { bytes: batch.lines.bytes, starts });
            out.emit(HitBatch { hits, lines, mark, ipv6_prefix: batch.ipv6_prefix, anew: None });
        }
    }
}
