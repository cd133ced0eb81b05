//! Lines that are committed at the other end of the topology, in a transaction: tells the bolt there how far each
//! partition was emitted, and lets a partition go when that is committed.

use std::sync::Arc;
use std::time::Duration;

use bolts::tuples::LineBatch;
use engine::{BatchId, Next, Spout, TaskContext, Timestamp};

use super::kafka::{GroupChange, KafkaLines, TellChange};
use crate::exchange::Handoff;

/// So long what was read may take to be committed when its partition goes to another worker.
const RELEASE: Duration = Duration::from_secs(10);

/// The spout.
pub struct Handed {
    lines: KafkaLines,
    handoff: Arc<Handoff>,
}

impl Handed {
    /// What [`KafkaLines`] needs to be told to do.
    #[must_use]
    pub fn changes(handoff: Arc<Handoff>) -> TellChange {
        Box::new(move |change| match change {
            GroupChange::Came(partitions) => {
                partitions.iter().for_each(|&(partition, from)| handoff.assigned(partition, from));
            }
            GroupChange::CaughtUp(partition) => handoff.caught_up(partition),
            GroupChange::Going(partitions) => handoff.release(partitions, RELEASE),
            GroupChange::Lost(partitions) => handoff.lost(partitions),
        })
    }

    /// Reads on with `lines`, which tells its changes to the same `handoff`.
    #[must_use]
    pub fn new(lines: KafkaLines, handoff: Arc<Handoff>) -> Self {
        Self { lines, handoff }
    }
}

impl Spout for Handed {
    type Out = LineBatch;

    fn open(&mut self, context: &TaskContext) {
        self.lines.open(context);
    }

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        if self.handoff.is_closing() {
            return Next::Idle;
        }
        let next = self.lines.next(now);
        if let Next::Emit(LineBatch { mark: Some(mark), .. }) = &next {
            let partition = mark.next.file.inode as i32;
            self.handoff.emitted(partition, mark.next.offset as i64);
            if mark.caught_up {
                self.handoff.caught_up(partition);
            }
        }
        next
    }

    fn ack(&mut self, id: BatchId, batch: LineBatch) {
        self.lines.ack(id, batch);
    }

    fn commit(&mut self, below: BatchId) {
        self.lines.commit(below);
    }

    fn abandon(&mut self, id: BatchId, batch: LineBatch) {
        self.lines.abandon(id, batch);
    }

    fn close(&mut self) {
        self.lines.close();
    }
}
