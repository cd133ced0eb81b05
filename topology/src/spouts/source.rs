//! Any live source of lines, as the configuration names it.

use bolts::tuples::LineBatch;
use engine::{BatchId, Next, Spout, TaskContext, Timestamp};

use super::follow::Follow;
use super::gated::Fills;
use super::generated::Generated;
use super::kafka::KafkaLines;
use super::piped::Piped;

/// A live source.
pub enum Source {
    /// A log that grows.
    Follow(Box<Follow>),
    /// Standard input.
    Piped(Box<Piped>),
    /// Made-up traffic.
    Generated(Box<Generated>),
    /// A Kafka topic.
    Kafka(Box<KafkaLines>),
    /// One that couldn't be opened.
    Nothing,
}

/// Does the same with whichever source it is.
macro_rules! each {
    ($source:expr, $spout:ident => $does:expr, $nothing:expr) => {
        match $source {
            Source::Follow($spout) => $does,
            Source::Piped($spout) => $does,
            Source::Generated($spout) => $does,
            Source::Kafka($spout) => $does,
            Source::Nothing => $nothing,
        }
    };
}

impl Fills for Source {
    fn is_filling(&self) -> bool {
        matches!(self, Self::Kafka(lines) if lines.is_filling())
    }
}

impl Spout for Source {
    type Out = LineBatch;

    fn open(&mut self, context: &TaskContext) {
        each!(self, spout => spout.open(context), ());
    }

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        each!(self, spout => spout.next(now), Next::End)
    }

    fn ack(&mut self, id: BatchId, batch: LineBatch) {
        each!(self, spout => spout.ack(id, batch), ());
    }

    fn commit(&mut self, below: BatchId) {
        each!(self, spout => spout.commit(below), ());
    }

    fn abandon(&mut self, id: BatchId, batch: LineBatch) {
        each!(self, spout => spout.abandon(id, batch), ());
    }

    fn close(&mut self) {
        each!(self, spout => spout.close(), ());
    }
}
