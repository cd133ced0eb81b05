//! What analysing workers found, for the owner: each message once, in the order of the topic.

use std::sync::Arc;

use bolts::tuples::FindingBatch;
use engine::{Next, Spout, Timestamp};
use model::mark::{Mark, Position};

use super::moment;
use crate::exchange::{FindingsMessage, Reader};

/// The spout. One task. Its marks are offsets of the topic.
pub struct Findings {
    reader: Reader,
    source: Arc<str>,
    batches: u64,
}

impl Findings {
    /// Reads on with `reader`; `source` is its name in marks.
    #[must_use]
    pub fn new(reader: Reader, source: Arc<str>) -> Self {
        Self { reader, source, batches: 0 }
    }
}

impl Spout for Findings {
    type Out = FindingBatch;

    fn next(&mut self, now: Timestamp) -> Next<FindingBatch> {
        let Some(read) = self.reader.poll() else { return Next::Idle };
        let batch = match FindingsMessage::decode(&read.payload) {
            Ok(FindingsMessage(batch)) => batch,
            Err(error) => {
                tracing::error!(source = %self.source, offset = read.offset, %error, "a message is passed over");
                return Next::Idle;
            }
        };
        let Some(mut live) = batch.live else { return Next::Idle };
        live.mark = Arc::new(Mark {
            source: self.source.clone(),
            batch: self.batches,
            next: Position { offset: (read.offset + 1).unsigned_abs(), ..Position::default() },
            older: Vec::new(),
            read_at: moment(now),
            rebuild: false,
            caught_up: false,
        });
        self.batches += 1;
        Next::Emit(FindingBatch { live: Some(live), ..batch })
    }
}
