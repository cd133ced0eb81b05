//! The end of an analysing worker: findings out, together with how far the topic of hits was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bolts::tuples::{FindingBatch, LivePart};
use engine::{Bolt, Collector, Timestamp};
use model::units::Moment;

use super::{FindingsMessage, Handoff, Outgoing, Parcel, Transactions};

/// So often the worker says how many established clients it knows, in milliseconds.
const TELL_EVERY: i64 = 1_000;
/// More bytes of lines than this are sent at once, and no message has more.
const FULL: usize = 512 * 1024;

/// The bolt. One task.
#[derive(Debug)]
pub struct SendFindings {
    transactions: Transactions,
    handoff: Arc<Handoff>,
    topic: Arc<str>,
    /// What the tasks of analysis said of a batch that not all have spoken of.
    parts: Vec<FindingBatch>,
    messages: Vec<FindingBatch>,
    positions: BTreeMap<i32, (i64, i64)>,
    bytes: usize,
    told_at: Moment,
}

impl SendFindings {
    /// Sends to the one partition of `topic`.
    #[must_use]
    pub fn new(transactions: Transactions, handoff: Arc<Handoff>, topic: Arc<str>) -> Self {
        Self {
            transactions,
            handoff,
            topic,
            parts: Vec::new(),
            messages: Vec::new(),
            positions: BTreeMap::new(),
            bytes: 0,
            told_at: Moment::default(),
        }
    }

    fn gather(&mut self, part: FindingBatch) {
        let Some(live) = &part.live else { return };
        let of = live.part.1;
        self.parts.push(part);
        if self.parts.len() < of {
            return;
        }
        let Some((batch, live)) = whole(std::mem::take(&mut self.parts)) else { return };
        let position = live.mark.next;
        let begin = live.mark.older.first().map_or(position.offset, |begin| begin.offset);
        self.positions.insert(position.file.inode as i32, (position.offset as i64, begin as i64));
        let now = live.mark.read_at;
        let nothing =
            batch.records.is_empty() && batch.decisions.is_empty() && batch.late + batch.while_banned == 0;
        if nothing && now.0 - self.told_at.0 < TELL_EVERY {
            return;
        }
        self.told_at = now;
        self.bytes += live.lines.iter().map(Vec::len).sum::<usize>();
        self.messages.extend(in_pieces(batch, live));
    }

    fn send(&mut self) {
        // Of partitions that went nothing is under way but how far windows were filled.
        self.positions.retain(|&partition, _| self.handoff.owns(partition));
        if self.positions.is_empty() || self.handoff.failed().is_some() {
            return;
        }
        let outgoing = |batch| {
            let payload = FindingsMessage(batch).encode();
            Outgoing { topic: self.topic.clone(), partition: 0, payload }
        };
        let messages = std::mem::take(&mut self.messages).into_iter().map(outgoing).collect();
        let positions = std::mem::take(&mut self.positions);
        let position =
            |(&partition, &(next, begin)): (&i32, &(i64, i64))| (partition, next, begin.to_string());
        let parcel = Parcel { messages, positions: positions.iter().map(position).collect() };
        self.bytes = 0;
        match self.transactions.send(&parcel) {
            Ok(()) => {
                for (partition, (next, _)) in positions {
                    self.handoff.committed(partition, next);
                }
            }
            Err(failed) => self.handoff.fail(failed.to_string()),
        }
    }
}

/// What all tasks found in a batch, as if it were one.
fn whole(parts: Vec<FindingBatch>) -> Option<(FindingBatch, LivePart)> {
    let mut parts = parts.into_iter();
    let mut all = parts.next()?;
    let mut live = all.live.take()?;
    live.part = (0, 1);
    for part in parts {
        all.decisions.extend(part.decisions);
        all.records.extend(part.records);
        all.late += part.late;
        all.while_banned += part.while_banned;
        if let Some(other) = part.live {
            live.established += other.established;
            live.lines.extend(other.lines);
        }
    }
    Some((all, live))
}

/// Findings in messages that the broker takes. A record stays with its decision and its line.
fn in_pieces(batch: FindingBatch, live: LivePart) -> Vec<FindingBatch> {
    let bytes: usize = live.lines.iter().map(Vec::len).sum();
    if bytes <= FULL && batch.records.len() <= 1_000 {
        return vec![FindingBatch { live: Some(live), ..batch }];
    }
    let mut pieces = Vec::new();
    let mut decisions = batch.decisions.into_iter();
    let mut lines = live.lines.into_iter();
    let mut piece =
        FindingBatch { late: batch.late, while_banned: batch.while_banned, ..FindingBatch::default() };
    let (mut piece_lines, mut size) = (Vec::new(), 0);
    let part = |lines| {
        let (mark, worker) = (live.mark.clone(), live.worker.clone());
        Some(LivePart { mark, part: (0, 1), established: live.established, lines, worker })
    };
    for record in batch.records {
        use model::verdict::Alert;
        if matches!(record.alert, Alert::Blocked | Alert::Warned) {
            piece.decisions.extend(decisions.next());
        }
        let line = lines.next().unwrap_or_default();
        size += line.len() + 200;
        piece_lines.push(line);
        piece.records.push(record);
        if size > FULL {
            piece.live = part(std::mem::take(&mut piece_lines));
            pieces.push(std::mem::take(&mut piece));
            size = 0;
        }
    }
    piece.decisions.extend(decisions);
    piece.live = part(piece_lines);
    pieces.push(piece);
    pieces
}

impl Bolt for SendFindings {
    type In = FindingBatch;
    type Out = ();

    fn execute(&mut self, batch: FindingBatch, _: &mut Collector<'_, ()>) {
        self.gather(batch);
        if self.bytes > FULL {
            self.send();
        }
    }

    fn tick(&mut self, _: Timestamp, _: &mut Collector<'_, ()>) {
        // Before anything is read: what this worker left open when it was killed holds up its own successor, too.
        match self.transactions.prepare() {
            Ok(()) => self.send(),
            Err(failed) => self.handoff.fail(failed.to_string()),
        }
    }

    fn cleanup(&mut self, _: &mut Collector<'_, ()>) {
        self.send();
    }
}
