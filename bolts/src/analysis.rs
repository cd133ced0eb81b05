//! Hits in, findings out: owns the state of its keys and counts them through their windows. What becomes of bans
//! comes back from block, so that a ban that is lifted or not enforced isn't taken for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;
use engine::{Bolt, Collector, TaskContext, task_for};
use model::caps::ACTIVE_FOR;
use model::distinct::DistinctKeys;
use model::key::{Key, KeyScheme};
use model::key_state::{Bounds, ESTABLISHED_AFTER, Findings, KeyState};
use model::table::{EntryId, KeyTable};
use model::units::Second;
use model::verdict::{Decision, Record};

use crate::format::MAX_AHEAD;
use crate::ports::SettingsPort;
use crate::tuples::{
    Analysed, BanNow, FindingBatch, HitBatch, HitLines, KeyBan, KeyBans, LivePart, TableTotals,
};

/// The bolt. Each task owns the keys that fields grouping sends it.
#[derive(Debug)]
pub struct Analysis {
    settings: SettingsPort,
    table: KeyTable<KeyState>,
    distinct: DistinctKeys,
    newest: Second,
    max_bytes: usize,
    /// How keys were made when the table was filled.
    keys: KeyScheme,
    /// With live sources: which task it is, of how many.
    part: (usize, usize),
    /// Of which worker, where there are several.
    worker: Option<Arc<str>>,
    active: ActiveKeys,
    /// How bans are, until the first live batch: what rebuilds windows may find again what was lifted since.
    bans: Vec<KeyBan>,
    rebuilding: bool,
}

/// Hits are counted in blocks: first the index is read for all of them, then a little of all their entries, then
/// they are counted. So the cache misses of a block overlap.
const BLOCK: usize = 32;

impl Analysis {
    /// A task that may hold `max_bytes` of state and count `exact_to` keys exactly.
    #[must_use]
    pub fn new(settings: SettingsPort, max_bytes: usize, exact_to: usize) -> Self {
        let keys = settings.load().settings().keys;
        Self {
            settings,
            table: KeyTable::new(max_bytes, RandomState::new()),
            distinct: DistinctKeys::new(exact_to),
            newest: Second::NEVER,
            max_bytes,
            keys,
            part: (0, 1),
            worker: None,
            active: ActiveKeys::default(),
            bans: Vec::new(),
            rebuilding: true,
        }
    }

    /// The same, knowing what was banned or unbanned before the start.
    #[must_use]
    pub fn knowing(self, bans: &[KeyBan]) -> Self {
        Self { bans: bans.to_vec(), ..self }
    }

    /// The same, as a part of that worker.
    #[must_use]
    pub fn of_worker(self, worker: Arc<str>) -> Self {
        Self { worker: Some(worker), ..self }
    }

    /// Forgets all keys: others are about to come, and of those that stay the lines come once more.
    fn begin_anew(&mut self, bans: KeyBans) {
        self.table = KeyTable::new(self.max_bytes, RandomState::new());
        self.active = ActiveKeys::default();
        self.newest = Second::NEVER;
        self.rebuilding = true;
        self.bans = bans.0;
        self.take_bans();
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

    fn count(&mut self, batch: &HitBatch, found: &mut Found<'_>) {
        let held = self.settings.load();
        if held.settings().keys != self.keys {
            // What was counted by other keys would count for the wrong clients.
            self.keys = held.settings().keys;
            self.table = KeyTable::new(self.max_bytes, RandomState::new());
        }
        let max_age = i64::from(held.settings().max_event_age.0);
        if batch.ipv6_prefix.is_some_and(|prefix| prefix != self.keys.ipv6_prefix()) {
            // Its keys were made just before the settings changed.
            return;
        }
        let bounds = batch.mark.as_ref().map_or(Bounds::NONE, |mark| {
            let now = mark.read_at.second();
            let decide_from = match (mark.rebuild, self.rebuilding) {
                (false, _) => Second(now.0 - max_age),
                (true, true) => Second::NEVER,
                // A log that came late: what was decided on its lines stands in the ledger already.
                (true, false) => Second(i64::MAX),
            };
            Bounds { decide_from, latest: now.plus(MAX_AHEAD) }
        });
        let mut guesses = [(0u64, None::<EntryId>); BLOCK];
        for (block, hits) in batch.hits.chunks(BLOCK).enumerate() {
            for (hit, guess) in hits.iter().zip(&mut guesses) {
                let hash = self.table.hash(hit.key);
                *guess = (hash, self.table.guess(hash));
            }
            let touched =
                guesses[..hits.len()].iter().filter_map(|guess| guess.1).map(|id| self.table.touch(id));
            std::hint::black_box(touched.fold(0, u64::wrapping_add));
            for (at, (hit, &(hash, guess))) in hits.iter().zip(&guesses).enumerate() {
                self.newest = self.newest.max(hit.second);
                // Another key may have the same hash; an insert before this hit may have brought its key, or
                // evicted what was guessed.
                let id = guess.filter(|&id| self.table.holds(id, hit.key));
                let id = id.unwrap_or_else(|| self.entry(hit.key, hash));
                found.hit = block * BLOCK + at;
                let seen = self.table.update(id, |state| {
                    let before = state.newest();
                    state.observe(*hit, held.version(), bounds, found);
                    (state.first_seen(), before, state.newest())
                });
                if batch.mark.is_some() {
                    self.active.seen(seen);
                }
                if self.table.is_over() {
                    let now = self.newest;
                    self.evicting(|table, evicted| table.trim(id, now, evicted));
                }
            }
        }
    }

    fn entry(&mut self, key: Key, hash: u64) -> EntryId {
        self.table.find(key, hash).unwrap_or_else(|| self.insert(key, hash))
    }

    fn take_bans(&mut self) {
        for ban in std::mem::take(&mut self.bans) {
            self.take_ban(&ban);
            self.bans.push(ban);
        }
    }

    /// From here on decisions count: what rebuilding found of bans gives way to how they are. Bans that are over have
    /// done their work: requests of their time weren't counted.
    ///
    /// With several workers the owner may not have ruled yet on what was found last, so there only its own words count:
    /// taking a ban that it didn't speak of for none would find the same once more.
    fn go_live(&mut self, now: Second) {
        self.rebuilding = false;
        let all_are_known = self.worker.is_none();
        if all_are_known {
            self.table.for_each(KeyState::not_enforced);
        }
        self.bans.retain(|ban| match ban.now {
            BanNow::Until(end) => end >= now,
            BanNow::Lifted(_) | BanNow::NotEnforced => !all_are_known,
        });
        self.take_bans();
        self.bans = Vec::new();
    }

    fn take_ban(&mut self, ban: &KeyBan) {
        let hash = self.table.hash(ban.key);
        let id = self.entry(ban.key, hash);
        self.table.update(id, |state| match ban.now {
            BanNow::Until(second) => state.banned(second),
            BanNow::Lifted(second) => state.unbanned(second),
            BanNow::NotEnforced => state.not_enforced(),
        });
    }
}

impl Bolt for Analysis {
    type In = Analysed;
    type Out = FindingBatch;

    fn prepare(&mut self, context: &TaskContext) {
        self.part = (context.task(), context.tasks());
        self.bans.retain(|ban| task_for(ban.key.stable_hash(), context.tasks()) == context.task());
        self.take_bans();
    }

    fn execute(&mut self, input: Analysed, out: &mut Collector<'_, FindingBatch>) {
        let batch = match input {
            Analysed::Hits(batch) => batch,
            Analysed::Bans(KeyBans(bans)) => {
                bans.iter().for_each(|ban| self.take_ban(ban));
                if self.rebuilding {
                    self.bans.extend(bans);
                }
                return;
            }
        };
        let mut batch = batch;
        if let Some(bans) = batch.anew.take() {
            self.begin_anew(bans);
        }
        if let Some(mark) = batch.mark.as_ref().filter(|mark| self.rebuilding && !mark.rebuild) {
            self.go_live(mark.read_at.second());
        }
        let from = batch.lines.as_ref();
        let mut found = Found { batch: FindingBatch::default(), from, hit: 0, lines: Vec::new() };
        self.count(&batch, &mut found);
        let Found { batch: mut findings, lines, .. } = found;
        match batch.mark {
            None if findings == FindingBatch::default() => {}
            None => out.emit(findings),
            // It was decided on before the restart.
            Some(mark) if mark.rebuild => {}
            Some(mark) => {
                let established = self.active.count(self.newest);
                findings.live =
                    Some(LivePart { mark, part: self.part, established, lines, worker: self.worker.clone() });
                out.emit(findings);
            }
        }
    }

    fn cleanup(&mut self, out: &mut Collector<'_, FindingBatch>) {
        let clients = self.distinct.count(self.table.len());
        let table = Some(TableTotals { clients, evicted: self.table.evicted() });
        out.emit(FindingBatch { table, ..FindingBatch::default() });
    }
}

/// Takes findings, and with live sources the lines of their records.
struct Found<'a> {
    batch: FindingBatch,
    from: Option<&'a HitLines>,
    hit: usize,
    lines: Vec<Vec<u8>>,
}

impl Findings for Found<'_> {
    fn decision(&mut self, decision: Decision) {
        self.batch.decisions.push(decision);
    }

    fn record(&mut self, record: Record) {
        self.batch.records.push(record);
        if let Some(from) = self.from {
            let line = from.line(self.hit);
            self.lines.push(line[..line.len().min(MAX_DETAIL)].to_owned());
        }
    }

    fn late(&mut self, requests: u32) {
        self.batch.late += u64::from(requests);
    }

    fn while_banned(&mut self, requests: u32) {
        self.batch.while_banned += u64::from(requests);
    }
}

/// So much of a line is kept with its record.
const MAX_DETAIL: usize = 64 * 1024;

/// How many established keys were active in which minute, each in the newest of its minutes.
///
/// Evicted keys stay counted until their minute is over.
#[derive(Debug, Default)]
struct ActiveKeys {
    minutes: BTreeMap<i64, u64>,
}

impl ActiveKeys {
    /// A key was seen: when first, when before this, and when now.
    fn seen(&mut self, (first, before, now): (Second, Second, Second)) {
        let established = |second| first.behind(second) >= i64::from(ESTABLISHED_AFTER.0);
        let minute = |second: Second| second.0.div_euclid(60);
        if !established(now) || established(before) && minute(before) == minute(now) {
            return;
        }
        if established(before)
            && let Some(keys) = self.minutes.get_mut(&minute(before))
        {
            *keys = keys.saturating_sub(1);
        }
        *self.minutes.entry(minute(now)).or_default() += 1;
    }

    fn count(&mut self, now: Second) -> u64 {
        let oldest = (now.0 - i64::from(ACTIVE_FOR.0)).div_euclid(60);
        self.minutes = self.minutes.split_off(&oldest);
        self.minutes.values().sum()
    }
}
