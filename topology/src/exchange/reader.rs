//! Reads the one partition of a topic from an offset on, as nobody's member.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use crate::adapters::kafka::{KafkaConfig, Quiet};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At an offset.
    Offset(i64),
    /// With what was written since then, in milliseconds since the epoch.
    Since(i64),
    /// At the first message there is.
    Beginning,
}

/// A reader. Messages of transactions come when they are committed.
pub struct Reader {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    from: Option<From>,
}

/// A message of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its offset.
    pub offset: i64,
    /// When it was written, in milliseconds since the epoch.
    pub at: i64,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// So long an offset is asked for.
const ANSWER: Duration = Duration::from_secs(2);

impl Reader {
    /// Opens it. Nothing is asked of the broker yet.
    ///
    /// # Errors
    /// Where librdkafka doesn't like the configuration.
    pub fn open(config: &KafkaConfig, topic: &str, from: From) -> Result<Self, KafkaError> {
        let consumer = config
            .client()
            // librdkafka wants one; nothing is committed.
            .set("group.id", "ccfirewall-reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            // What the owner says, and what it must hear, is there at once.
            .set("fetch.wait.max.ms", "100")
            .create_with_context(Quiet)?;
        Ok(Self { consumer, topic: topic.to_owned(), from: Some(from) })
    }

    /// What is next, if anything is there.
    pub fn poll(&mut self) -> Option<Read> {
        if let Some(from) = self.from
            && let Err(error) = self.begin(from)
        {
            tracing::debug!(topic = self.topic, %error, "where to begin isn't known yet");
            return None;
        }
        match self.consumer.poll(Duration::ZERO)? {
            Ok(message) => {
                let at = message.timestamp().to_millis().unwrap_or(0);
                let payload = message.payload().unwrap_or_default().to_vec();
                Some(Read { offset: message.offset(), at, payload })
            }
            Err(error) => {
                tracing::debug!(topic = self.topic, %error, "reading waits");
                None
            }
        }
    }

    fn begin(&mut self, from: From) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        let offset = match from {
            From::Offset(offset) => {
                let (low, high) = self.consumer.fetch_watermarks(&self.topic, 0, ANSWER)?;
                if !(low..=high).contains(&offset) {
                    let topic = &self.topic;
                    tracing::error!(topic, offset, low, high, "messages were deleted before they were read");
                }
                Offset::Offset(offset)
            }
            From::Beginning => Offset::Beginning,
            From::Since(millis) => {
                let mut times = TopicPartitionList::new();
                times.add_partition_offset(&self.topic, 0, Offset::Offset(millis.max(0)))?;
                let found = self.consumer.offsets_for_times(times, ANSWER)?;
                found.elements().first().map_or(Offset::End, TopicPartitionListElem::offset)
            }
        };
        list.add_partition_offset(&self.topic, 0, offset)?;
        self.consumer.assign(&list)?;
        self.from = None;
        Ok(())
    }
}
