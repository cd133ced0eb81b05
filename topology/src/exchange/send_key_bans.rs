//! The owner's word on bans, to all analysing workers.

use std::sync::Arc;

use bolts::tuples::KeyBans;
use engine::{Bolt, Collector, Timestamp};
use model::units::Moment;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use std::time::Duration;

use super::{KeyBansMessage, KeyBansView};
use crate::adapters::kafka::{KafkaConfig, Quiet};

/// So often all bans are sent, in milliseconds. A worker that starts reads at least so much of the topic.
pub const ALL_EVERY: i64 = 30_000;
/// Bans of one message.
const CHUNK: usize = 10_000;

/// The bolt. One task.
pub struct SendKeyBans {
    producer: ThreadedProducer<Quiet>,
    topic: Arc<str>,
    epoch: u64,
    view: KeyBansView,
    all_sent_at: Option<Moment>,
    now: Moment,
}

impl SendKeyBans {
    /// Sends to the one partition of `topic`, beginning with `bans`.
    ///
    /// # Errors
    /// Where librdkafka doesn't like the configuration.
    pub fn new(
        config: &KafkaConfig,
        topic: Arc<str>,
        epoch: u64,
        bans: KeyBans,
        now: Moment,
    ) -> Result<Self, KafkaError> {
        let mut client = config.client();
        client.set("enable.idempotence", "true").set("linger.ms", "0");
        let producer = client.create_with_context(Quiet)?;
        let view = KeyBansView::default();
        view.take(KeyBansMessage { epoch, part: None, bans }, now.second());
        Ok(Self { producer, topic, epoch, view, all_sent_at: None, now })
    }

    fn send(&self, part: Option<(u32, u32)>, bans: KeyBans) {
        let payload = KeyBansMessage { epoch: self.epoch, part, bans }.encode();
        let mut record = BaseRecord::<(), [u8]>::to(&self.topic).partition(0).payload(&payload[..]);
        loop {
            match self.producer.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.flush(Duration::from_millis(100)).ok();
                }
                Err((error, _)) => {
                    // All of them are sent again soon.
                    return tracing::warn!(%error, "what became of bans can't be sent to the workers");
                }
            }
        }
    }

    fn send_all(&self) {
        let all = self.view.all().0;
        let chunks: Vec<&[_]> = if all.is_empty() { vec![&[]] } else { all.chunks(CHUNK).collect() };
        let of = chunks.len() as u32;
        for (part, bans) in (0..).zip(chunks) {
            self.send(Some((part, of)), KeyBans(bans.to_vec()));
        }
        self.view.take(
            KeyBansMessage { epoch: self.epoch, part: Some((0, 1)), bans: KeyBans::default() },
            self.now.second(),
        );
    }
}

impl Bolt for SendKeyBans {
    type In = KeyBans;
    type Out = ();

    fn execute(&mut self, bans: KeyBans, _: &mut Collector<'_, ()>) {
        let message = KeyBansMessage { epoch: self.epoch, part: None, bans: bans.clone() };
        self.view.take(message, self.now.second());
        if self.all_sent_at.is_some() {
            self.send(None, bans);
        }
    }

    fn tick(&mut self, now: Timestamp, _: &mut Collector<'_, ()>) {
        self.now = Moment(now.as_millis() as i64);
        if self.all_sent_at.is_none_or(|at| self.now.0 - at.0 >= ALL_EVERY) {
            self.all_sent_at = Some(self.now);
            self.send_all();
        }
    }

    fn cleanup(&mut self, _: &mut Collector<'_, ()>) {
        self.producer.flush(Duration::from_secs(2)).ok();
    }
}
