//! The hits of the partitions that a worker owns, in the order of their seconds; see [`exchange`](crate::exchange).
//!
//! Where partitions come, windows begin anew: the hits of all partitions that are ours are read once more, from where
//! the last windows began, and marked as decided on up to where the group is. From there on they are live. What goes
//! to others is committed before it goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bolts::ports::SettingsPort;
use bolts::tuples::{HitBatch, HitLines};
use engine::{Next, Spout, Timestamp};
use model::mark::{FileId, Mark, Position};
use model::units::Moment;

use super::moment;
use crate::adapters::kafka::{Assigned, Fetched, Message, Partitions};
use crate::exchange::{Handoff, HitsMessage, KeyBansView, Merge, Released};

/// At most so many messages are gathered for a batch.
const GATHER: usize = 256;
/// So long what was read may take to be committed when its partition goes to another worker.
const RELEASE: Duration = Duration::from_secs(10);
/// Windows are filled again from so many seconds of hits, where no window is longer: longer than a client needs to be
/// established.
const HORIZON: i64 = 900;

/// The spout. One task.
pub struct Hits {
    partitions: Partitions,
    handoff: Arc<Handoff>,
    settings: SettingsPort,
    bans: Arc<KeyBansView>,
    topic: Arc<str>,
    lanes: BTreeMap<i32, Lane>,
    filling: bool,
    ready: VecDeque<HitBatch>,
    /// What waits until what came before it is emitted.
    event: Option<Fetched>,
    told: bool,
}

/// A partition.
#[derive(Debug, Default)]
struct Lane {
    merge: Merge,
    /// Everything before is decided on.
    live_from: i64,
    /// What comes next.
    next: i64,
    /// Whether it is read up to `live_from`.
    filled: bool,
    caught_up: bool,
    batches: u64,
    /// What came while other partitions were still filling windows.
    early: VecDeque<Message>,
    gathered: Vec<Released>,
    read: bool,
}

impl Hits {
    /// Reads `partitions` of `topic`.
    #[must_use]
    pub fn new(
        partitions: Partitions,
        topic: Arc<str>,
        handoff: Arc<Handoff>,
        settings: SettingsPort,
        bans: Arc<KeyBansView>,
    ) -> Self {
        let (lanes, ready) = (BTreeMap::new(), VecDeque::new());
        Self {
            partitions,
            handoff,
            settings,
            bans,
            topic,
            lanes,
            filling: false,
            ready,
            event: None,
            told: false,
        }
    }

    fn assigned(&mut self, new: &[Assigned]) {
        let horizon = horizon(&self.settings);
        for (&partition, lane) in &mut self.lanes {
            let begin = lane.merge.begin_for(horizon, lane.next);
            *lane = Lane { live_from: lane.next, next: begin, batches: lane.batches, ..Lane::default() };
            self.partitions.rewind(partition, begin);
        }
        for Assigned { partition, committed, low, high, .. } in new {
            let live_from = committed.as_ref().map_or(*low, |committed| committed.offset.max(*low));
            let begin = committed.as_ref().and_then(|committed| committed.metadata.parse().ok());
            let begin = begin.unwrap_or(live_from).clamp(*low, live_from);
            let wanted = if live_from > *high { live_from } else { begin };
            let begin = self.partitions.start(*partition, wanted);
            // A topic that was made anew begins anew.
            let live_from = if begin < wanted { begin } else { live_from };
            self.handoff.assigned(*partition, live_from);
            self.lanes.insert(*partition, Lane { live_from, next: begin, ..Lane::default() });
        }
        for lane in self.lanes.values_mut() {
            lane.filled = lane.next >= lane.live_from;
        }
        self.filling = true;
        self.told = false;
        self.ready.push_back(HitBatch { anew: Some(self.bans.all()), ..HitBatch::default() });
        self.go_live_where_filled();
    }

    fn gone(&mut self, partitions: &[i32]) {
        partitions.iter().for_each(|partition| drop(self.lanes.remove(partition)));
        self.go_live_where_filled();
    }

    /// Once all partitions are through, they go on together.
    fn go_live_where_filled(&mut self) {
        if !self.filling || !self.lanes.values().all(|lane| lane.filled) {
            return;
        }
        self.filling = false;
        let numbers: Vec<i32> = self.lanes.keys().copied().collect();
        for &partition in &numbers {
            self.partitions.resume(partition);
            let early = self.lanes.get_mut(&partition).map(|lane| std::mem::take(&mut lane.early));
            early.into_iter().flatten().for_each(|message| self.take(message));
        }
        if !self.told {
            self.told = true;
            tracing::info!(topic = %self.topic, partitions = ?numbers, "windows are filled, hits are live");
        }
    }

    fn fetched(&mut self, fetched: Fetched) {
        match fetched {
            Fetched::Assigned(new) => self.assigned(&new),
            Fetched::Revoked(partitions) => {
                self.handoff.release(&partitions, RELEASE);
                self.gone(&partitions);
            }
            Fetched::Lost(partitions) => {
                self.handoff.lost(&partitions);
                self.gone(&partitions);
            }
            Fetched::Message(message) => self.message(message),
            Fetched::CaughtUp { partition, .. } => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.caught_up = true;
                    lane.filled = true;
                }
                self.handoff.caught_up(partition);
                self.go_live_where_filled();
            }
            Fetched::Idle => {}
        }
    }

    fn message(&mut self, message: Message) {
        let Some(lane) = self.lanes.get_mut(&message.partition) else { return };
        lane.caught_up = false;
        if self.filling && message.offset >= lane.live_from {
            lane.filled = true;
            self.partitions.pause(message.partition);
            lane.early.push_back(message);
            return self.go_live_where_filled();
        }
        self.take(message);
    }

    fn take(&mut self, Message { partition, offset, timestamp, payload, .. }: Message) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        if offset < lane.next {
            // The topic was made anew while it was read.
            *lane = Lane { live_from: offset, filled: true, batches: lane.batches, ..Lane::default() };
            self.handoff.assigned(partition, offset);
        }
        // The first live one ends a batch that only fills windows.
        if lane.read && lane.next <= lane.live_from && offset >= lane.live_from {
            let (at, horizon) = (Moment(timestamp.unwrap_or(0)), horizon(&self.settings));
            let batch = lane.batch(&self.topic, partition, at, horizon);
            self.ready.push_back(batch);
        }
        lane.read = true;
        lane.next = offset + 1;
        let mut message = match HitsMessage::decode(payload.as_deref().unwrap_or_default()) {
            Ok(message) => message,
            Err(error) => {
                return tracing::error!(topic = %self.topic, partition, offset, %error, "a message is passed over");
            }
        };
        let held = self.settings.load();
        let settings = held.settings();
        if message.ipv6_prefix != settings.keys.ipv6_prefix() {
            // Its keys were made just before the settings changed, or just after.
            message.parts.iter_mut().for_each(|part| part.hits.clear());
        }
        let at = Moment(timestamp.unwrap_or(0));
        lane.merge.take(offset, at, message, |name| settings.rules.named(name), &mut lane.gathered);
    }

    /// Makes batches of what was gathered.
    fn batches(&mut self, now: Moment) {
        let horizon = horizon(&self.settings);
        for (&partition, lane) in &mut self.lanes {
            if lane.read {
                self.ready.push_back(lane.batch(&self.topic, partition, now, horizon));
            }
        }
    }
}

/// How far back windows are filled again.
fn horizon(settings: &SettingsPort) -> i64 {
    let held = settings.load();
    let settings = held.settings();
    let rules = settings.rules.iter().map(|(_, rule)| rule.block_within.max(rule.warn_within));
    let longest = rules.max().unwrap_or_default().0;
    HORIZON.max(i64::from(longest) + i64::from(settings.max_lateness.0))
}

impl Lane {
    fn batch(&mut self, topic: &str, partition: i32, now: Moment, horizon: i64) -> HitBatch {
        self.read = false;
        let released = std::mem::take(&mut self.gathered);
        let mut bytes = Vec::with_capacity(released.iter().map(|released| released.line.len() + 1).sum());
        let (mut hits, mut starts) = (Vec::with_capacity(released.len()), Vec::with_capacity(released.len()));
        for Released { hit, line } in released {
            starts.push(bytes.len() as u32);
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
            hits.push(hit);
        }
        let file = FileId { device: 0, inode: u64::from(partition.unsigned_abs()) };
        let position = |offset: i64| Position { file, offset: offset.unsigned_abs(), check: 0 };
        let begin = self.merge.begin_for(horizon, self.next);
        let mark = Mark {
            source: format!("kafka:{topic}#{partition}").into(),
            batch: self.batches,
            next: position(self.next),
            older: vec![position(begin)],
            read_at: now,
            rebuild: self.next <= self.live_from,
            caught_up: self.caught_up,
        };
        self.batches += 1;
        let lines = Some(HitLines { bytes: Arc::new(bytes), starts });
        HitBatch { hits, lines, mark: Some(Arc::new(mark)), ipv6_prefix: None, anew: None }
    }
}

impl Spout for Hits {
    type Out = HitBatch;

    fn next(&mut self, now: Timestamp) -> Next<HitBatch> {
        if self.handoff.is_closing() {
            return Next::Idle;
        }
        if self.ready.is_empty() {
            if let Some(event) = self.event.take() {
                self.fetched(event);
            }
            for _ in 0..GATHER {
                match self.partitions.poll() {
                    Fetched::Idle => break,
                    event @ (Fetched::Assigned(_) | Fetched::Revoked(_) | Fetched::Lost(_)) => {
                        self.event = Some(event);
                        break;
                    }
                    fetched => self.fetched(fetched),
                }
            }
            self.batches(moment(now));
        }
        let Some(batch) = self.ready.pop_front() else { return Next::Idle };
        if let Some(mark) = batch.mark.as_ref().filter(|mark| !mark.rebuild) {
            self.handoff.emitted(mark.next.file.inode as i32, mark.next.offset as i64);
        }
        Next::Emit(batch)
    }
}
