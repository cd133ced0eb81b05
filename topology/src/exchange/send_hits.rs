//! The end of a match worker: hits out, to the partitions of the topic that own their keys, together with how far each
//! partition of the access log was read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bolts::ports::SettingsPort;
use bolts::tuples::HitBatch;
use engine::{Bolt, Collector, Timestamp, task_for};
use model::rule::RuleId;
use model::units::{Moment, Second};

use super::hits::{HitsMessage, NO_RULE, SentHit, SourcePart};
use super::{Handoff, Outgoing, Parcel, Transactions};

/// More bytes of hits than this are sent at once, and no message has more.
const FULL: usize = 512 * 1024;
/// How far partitions were read is told so often where nothing comes, in milliseconds.
const HEARTBEAT: i64 = 500;
/// A line that is longer is cut: it's only kept for people to read.
const MAX_LINE: usize = 16 * 1024;

/// The bolt. One task.
#[derive(Debug)]
pub struct SendHits {
    settings: SettingsPort,
    transactions: Transactions,
    handoff: Arc<Handoff>,
    topic: Arc<str>,
    /// How many partitions the topic has, and how many the access log.
    partitions: usize,
    sources: u32,
    reading: BTreeMap<i32, Reading>,
    gathered: Gathered,
    sent_at: Moment,
}

/// What isn't sent yet.
#[derive(Debug, Default)]
struct Gathered {
    /// For each partition of the topic, by source.
    hits: Vec<BTreeMap<i32, Vec<SentHit>>>,
    rules: HashMap<RuleId, u32>,
    names: Vec<String>,
    positions: BTreeMap<i32, i64>,
    ipv6_prefix: Option<u8>,
    bytes: usize,
}

/// How far a partition of the access log was read.
#[derive(Debug)]
struct Reading {
    next: i64,
    newest: Second,
    came_at: Moment,
    shipping: Shipping,
    /// Whether nothing more was there to read. Only what comes then tells how long lines take to come, for what was
    /// there already may have waited for us.
    at_end: bool,
    upto: Second,
}

impl SendHits {
    /// Sends to the `partitions` of `topic` what comes of the `sources` partitions of the access log.
    #[must_use]
    pub fn new(
        settings: SettingsPort,
        transactions: Transactions,
        handoff: Arc<Handoff>,
        topic: Arc<str>,
        partitions: usize,
        sources: u32,
    ) -> Self {
        let gathered = Gathered::of(partitions);
        let (reading, sent_at) = (BTreeMap::new(), Moment::default());
        Self { settings, transactions, handoff, topic, partitions, sources, reading, gathered, sent_at }
    }

    fn gather(&mut self, batch: &HitBatch) {
        let Some(mark) = &batch.mark else { return };
        let source = mark.next.file.inode as i32;
        let next = mark.next.offset as i64;
        let newest = batch.hits.iter().map(|hit| hit.second).max();
        let reading = self.reading.entry(source).or_insert_with(Reading::new);
        reading.came(next, newest, mark.read_at, mark.caught_up);
        self.gathered.positions.insert(source, next);
        self.gathered.ipv6_prefix = batch.ipv6_prefix;
        let held = self.settings.load();
        let rules = &held.settings().rules;
        for (at, hit) in batch.hits.iter().enumerate() {
            let rule = self.gathered.rule(hit.rule, |id| rules.get(id).map(|rule| rule.name.to_string()));
            let line = batch.lines.as_ref().map_or(&b""[..], |lines| lines.line(at));
            let line = line[..line.len().min(MAX_LINE)].to_owned();
            self.gathered.bytes += line.len() + 32;
            let sent = SentHit { key: hit.key, second: hit.second, rule, requests: hit.requests, line };
            let to = task_for(hit.key.stable_hash(), self.partitions);
            self.gathered.hits[to].entry(source).or_default().push(sent);
        }
    }

    fn send(&mut self, now: Moment) {
        if self.handoff.failed().is_some() {
            return;
        }
        self.sent_at = now;
        let owned = self.handoff.partitions();
        self.reading.retain(|source, _| owned.iter().any(|(ours, _)| ours == source));
        let before: BTreeMap<i32, Second> =
            self.reading.iter().map(|(&source, reading)| (source, reading.upto)).collect();
        for &(source, progress) in &owned {
            let reading = self.reading.entry(source).or_insert_with(Reading::new);
            let all_came = progress.caught_up && reading.next.max(progress.committed) >= progress.emitted;
            reading.look(all_came.then_some(now));
        }
        let gathered = std::mem::replace(&mut self.gathered, Gathered::of(self.partitions));
        let ipv6_prefix =
            gathered.ipv6_prefix.unwrap_or_else(|| self.settings.load().settings().keys.ipv6_prefix());
        let mut parcel = Parcel::default();
        for (to, mut hits) in gathered.hits.into_iter().enumerate() {
            let message = |parts| HitsMessage {
                sources: self.sources,
                ipv6_prefix,
                rules: gathered.names.clone(),
                parts,
            };
            let mut send = |parts| {
                let (topic, payload) = (self.topic.clone(), message(parts).encode());
                parcel.messages.push(Outgoing { topic, partition: to as i32, payload });
            };
            // What doesn't fit one message goes first, and doesn't say yet how far the source was read.
            for (&source, hits) in &mut hits {
                let upto = before.get(&source).copied().unwrap_or(Second::NEVER);
                while let Some(fit) = split(hits) {
                    send(vec![SourcePart { source: source as u32, upto, hits: fit }]);
                }
            }
            let part = |(&source, reading): (&i32, &Reading)| SourcePart {
                source: source as u32,
                upto: reading.upto,
                hits: hits.remove(&source).unwrap_or_default(),
            };
            let known = self.reading.iter().filter(|(_, reading)| reading.upto != Second::NEVER);
            send(known.map(part).collect());
        }
        let position = |(source, next)| (source, next, String::new());
        if gathered.positions.is_empty() {
            // How far partitions were read is only for their owner to say: with their positions the broker can tell.
            // What it refuses is said anew the next time.
            parcel.positions =
                owned.into_iter().map(|(source, at)| position((source, at.committed))).collect();
            return match self.transactions.send_once(&parcel) {
                Ok(Ok(())) => {}
                Ok(Err(refused)) => tracing::debug!(%refused, "how far partitions were read isn't told"),
                Err(failed) => self.handoff.fail(failed.to_string()),
            };
        }
        parcel.positions = gathered.positions.clone().into_iter().map(position).collect();
        match self.transactions.send(&parcel) {
            Ok(()) => {
                gathered
                    .positions
                    .into_iter()
                    .for_each(|(source, next)| self.handoff.committed(source, next));
            }
            Err(failed) => self.handoff.fail(failed.to_string()),
        }
    }
}

/// Takes from the front what fills a message, where there is more.
fn split(hits: &mut Vec<SentHit>) -> Option<Vec<SentHit>> {
    let mut bytes = 0;
    let fit = hits.iter().position(|hit| {
        bytes += hit.line.len() + 32;
        bytes > FULL
    })?;
    let rest = hits.split_off(fit.max(1));
    Some(std::mem::replace(hits, rest))
}

impl Gathered {
    fn of(partitions: usize) -> Self {
        Self { hits: vec![BTreeMap::new(); partitions], ..Self::default() }
    }

    fn rule(&mut self, id: RuleId, name: impl FnOnce(RuleId) -> Option<String>) -> u32 {
        if let Some(&known) = self.rules.get(&id) {
            return known;
        }
        let number = match name(id) {
            None => NO_RULE,
            Some(name) => {
                self.names.push(name);
                self.names.len() as u32 - 1
            }
        };
        self.rules.insert(id, number);
        number
    }
}

impl Reading {
    fn new() -> Self {
        let (shipping, at_end) = (Shipping::default(), false);
        Self {
            next: 0,
            newest: Second::NEVER,
            came_at: Moment::default(),
            shipping,
            at_end,
            upto: Second::NEVER,
        }
    }

    fn came(&mut self, next: i64, newest: Option<Second>, at: Moment, at_end: bool) {
        self.next = next;
        let was_at_end = std::mem::replace(&mut self.at_end, at_end);
        let Some(newest) = newest else { return };
        self.newest = self.newest.max(newest);
        self.came_at = at;
        if was_at_end {
            self.shipping.seen(at.second(), at.second().0 - newest.0);
        }
    }

    /// Where nothing more is there to read at `now`, the source is as far as the clock, less the time that its lines
    /// take to come.
    fn look(&mut self, nothing_more: Option<Moment>) {
        self.upto = self.upto.max(self.newest);
        if let Some(now) = nothing_more {
            self.at_end = true;
            let idle = now.0 - self.came_at.0 > IDLE_AFTER;
            let takes = if idle { 1 } else { self.shipping.takes().clamp(1, LONGEST_SHIPPING) };
            self.upto = self.upto.max(Second(now.second().0 - takes));
        }
    }
}

/// A source without lines for so many milliseconds is idle, and nobody waits for it.
const IDLE_AFTER: i64 = 10_000;
/// No source is waited for longer than so many seconds.
const LONGEST_SHIPPING: i64 = 60;

/// How many seconds lines take to come, at most in the last half minute or so.
#[derive(Debug, Default)]
struct Shipping {
    spans: [(i64, i64); 2],
}

impl Shipping {
    fn seen(&mut self, now: Second, took: i64) {
        let span = now.0.div_euclid(30);
        let [_, last] = self.spans;
        match last {
            (at, longest) if at == span => self.spans[1] = (at, longest.max(took)),
            _ => self.spans = [last, (span, took)],
        }
    }

    fn takes(&self) -> i64 {
        self.spans.iter().map(|&(_, took)| took).max().unwrap_or(0)
    }
}

impl Bolt for SendHits {
    type In = HitBatch;
    type Out = ();

    fn execute(&mut self, batch: HitBatch, _: &mut Collector<'_, ()>) {
        let at = batch.mark.as_ref().map_or(self.sent_at, |mark| mark.read_at);
        self.gather(&batch);
        if self.gathered.bytes > FULL {
            self.send(at);
        }
    }

    fn tick(&mut self, now: Timestamp, _: &mut Collector<'_, ()>) {
        let now = Moment(now.as_millis() as i64);
        if let Err(failed) = self.transactions.prepare() {
            return self.handoff.fail(failed.to_string());
        }
        if !self.gathered.positions.is_empty() || now.0 - self.sent_at.0 >= HEARTBEAT {
            self.send(now);
        }
    }

    fn cleanup(&mut self, _: &mut Collector<'_, ()>) {
        if !self.gathered.positions.is_empty() {
            self.send(self.sent_at);
        }
    }
}
