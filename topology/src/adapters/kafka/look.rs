//! A look at Kafka, for whoever diagnoses: which topics there are, how far a group is, what stands at the end of a topic.
//!
//! Nothing is changed: no group is joined, no offset committed, no topic made. (Kafka makes its own `__consumer_offsets`
//! when it is asked for a group for the very first time.) What can't be reached is told as soon as librdkafka knows why,
//! and at the latest by the deadline.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::units::Moment;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::admin::members;
use super::config::KafkaConfig;
use super::consumer::Message;
use super::context::log;
use super::error::KafkaError;
use super::health::is_refusal;

/// Looks at a cluster. It belongs to the thread that asks.
pub struct Look {
    brokers: String,
    consumer: BaseConsumer<Listening>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// What librdkafka says of the connection.
    pub reason: String,
    /// Whether somebody answers there, and TLS or the login don't fit.
    pub refused: bool,
}

/// What a cluster is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// How many brokers.
    pub brokers: usize,
    /// The topics that we may see, Kafka's own among them.
    pub topics: Vec<TopicSeen>,
}

/// A topic of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSeen {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: usize,
    /// Partitions that nobody leads: they can't be read now.
    pub leaderless: usize,
    /// Partitions of which a copy is missing.
    pub incomplete: usize,
}

/// How far a partition goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Its number.
    pub partition: i32,
    /// The offset of the first message that there is.
    pub low: i64,
    /// That of the next one.
    pub high: i64,
}

/// A message that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// It.
    pub message: Message,
    /// By our clock, where it came while we looked.
    pub came: Option<Moment>,
}

/// Hears what librdkafka says of connections.
#[derive(Default)]
struct Listening {
    said: Mutex<Option<Away>>,
}

impl Listening {
    fn said(&self) -> Option<Away> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: Cause, reason: &str) {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let refused = matches!(code, Some(Code::Authentication | Code::SSL)) || is_refusal(reason);
        let of_connections =
            matches!(code, Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // A refusal says more than that the connection was lost then.
        if refused || (of_connections && !said.as_ref().is_some_and(|said| said.refused)) {
            *said = Some(Away { reason: reason.to_owned(), refused });
        }
    }
}

impl ConsumerContext for Listening {}

/// How long one question waits before it is looked at what librdkafka says meanwhile.
const STEP: Duration = Duration::from_millis(300);
/// So long it may go on after librdkafka has said what is wrong: another broker of the list may be better.
const AFTER_TROUBLE: Duration = Duration::from_millis(1500);
/// No more bytes of messages are kept.
const MOST_BYTES: usize = 4 << 20;
/// After the first message that comes while we look, others are waited for so long.
const MORE: Duration = Duration::from_millis(200);

impl Look {
    /// Connects when it is asked something; as `group`, where that matters.
    ///
    /// # Errors
    /// What librdkafka doesn't take of the configuration, files that it can't read among it.
    pub fn new(config: &KafkaConfig, group: &str) -> Result<Self, KafkaError> {
        let mut client = config.client();
        client.set("group.id", group);
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("enable.partition.eof", "true");
        client.set("isolation.level", "read_committed");
        client.set("auto.offset.reset", "earliest");
        config.by_default(&mut client, "fetch.wait.max.ms", "100");
        let consumer = client.create_with_context(Listening::default());
        let consumer = consumer.map_err(|cause| KafkaError::of(&cause, &config.brokers, ""))?;
        Ok(Self { brokers: config.brokers.clone(), consumer })
    }

    /// What librdkafka has to tell is told to whoever polls. There is nothing to read yet.
    fn listen(&self) {
        for _ in 0..100 {
            if self.consumer.poll(Duration::ZERO).is_none() {
                return;
            }
        }
    }

    /// What the cluster is.
    ///
    /// # Errors
    /// Where no broker answers within `patience`, or it is known sooner that none will.
    pub fn cluster(&self, patience: Duration) -> Result<Cluster, Away> {
        let end = Instant::now() + patience;
        let mut trouble: Option<Instant> = None;
        loop {
            let cause = match self.consumer.fetch_metadata(None, STEP) {
                Ok(metadata) => return Ok(cluster(&metadata)),
                Err(cause) => cause,
            };
            self.listen();
            let said = self.consumer.context().said();
            if said.is_some() {
                trouble.get_or_insert_with(Instant::now);
            }
            let enough = trouble.is_some_and(|since| since.elapsed() > AFTER_TROUBLE);
            if enough || Instant::now() >= end {
                return Err(said.unwrap_or_else(|| Away { reason: cause.to_string(), refused: false }));
            }
        }
    }

    /// How far the partitions of a topic go.
    ///
    /// # Errors
    /// Where there is no answer within `patience`, or it isn't allowed; with what librdkafka says of connections.
    pub fn ends(
        &self,
        topic: &str,
        partitions: usize,
        patience: Duration,
    ) -> Result<Vec<Ends>, (KafkaError, Option<Away>)> {
        let end = Instant::now() + patience;
        let of = |partition| {
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, left)?;
            Ok(Ends { partition, low, high })
        };
        let ends: Result<Vec<Ends>, Cause> = numbers(partitions).map(of).collect();
        ends.map_err(|cause| {
            self.listen();
            (KafkaError::of(&cause, &self.brokers, topic), self.consumer.context().said())
        })
    }

    /// Where the group is in each partition in which it has committed anything.
    ///
    /// # Errors
    /// Where there is no answer within `patience`, or it isn't allowed.
    pub fn committed(
        &self,
        topic: &str,
        partitions: usize,
        patience: Duration,
    ) -> Result<Vec<(i32, i64)>, KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in numbers(partitions) {
            list.add_partition(topic, partition);
        }
        let found = self.consumer.committed_offsets(list, patience);
        let found = found.map_err(|cause| KafkaError::of(&cause, &self.brokers, topic))?;
        let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            if let Offset::Offset(offset) = element.offset() {
                Some((element.partition(), offset))
            } else {
                None
            }
        };
        Ok(found.elements().into_iter().filter_map(offset).collect())
    }

    /// How many members the group has now.
    ///
    /// # Errors
    /// Where there is no answer within `patience`.
    pub fn members(&self, group: &str, patience: Duration) -> Result<usize, KafkaError> {
        members(&self.consumer, group, patience).map_err(|cause| KafkaError::of(&cause, &self.brokers, ""))
    }

    /// About the newest `most` messages, as many of each partition, and what comes meanwhile: for the latter it waits
    /// for `watch` where nothing comes. `clock` is ours.
    ///
    /// # Errors
    /// What librdkafka says where it can't read.
    pub fn newest(
        &self,
        topic: &str,
        ends: &[Ends],
        most: usize,
        patience: Duration,
        watch: Duration,
        clock: &dyn Fn() -> Moment,
    ) -> Result<Vec<Seen>, KafkaError> {
        let of = |cause: Cause| KafkaError::of(&cause, &self.brokers, topic);
        let each = i64::try_from((most / ends.len().max(1)).max(1)).unwrap_or(1);
        let mut list = TopicPartitionList::new();
        for Ends { partition, low, high } in ends {
            let from = high.saturating_sub(each).max(*low);
            list.add_partition_offset(topic, *partition, Offset::Offset(from)).map_err(of)?;
        }
        self.consumer.assign(&list).map_err(of)?;
        let end_of =
            |partition| ends.iter().find(|ends| ends.partition == partition).map_or(0, |ends| ends.high);
        let mut behind: HashSet<i32> = ends.iter().map(|ends| ends.partition).collect();
        let (mut seen, mut bytes) = (Vec::new(), 0);
        let mut end = Instant::now() + patience;
        let mut watching = false;
        let mut newer = false;
        while Instant::now() < end && bytes < MOST_BYTES && seen.len() < 2 * most {
            match self.consumer.poll(Duration::from_millis(50)) {
                None | Some(Err(Cause::MessageConsumption(_))) => {}
                Some(Ok(message)) => {
                    let is_new = message.offset() >= end_of(message.partition());
                    if message.offset() + 1 >= end_of(message.partition()) {
                        behind.remove(&message.partition());
                    }
                    if is_new && !newer {
                        newer = true;
                        end = end.min(Instant::now() + MORE);
                    }
                    bytes += message.payload_len();
                    seen.push(Seen { message: owned(&message), came: is_new.then(clock) });
                }
                Some(Err(Cause::PartitionEOF(partition))) => {
                    behind.remove(&partition);
                }
                Some(Err(cause)) => return Err(of(cause)),
            }
            if behind.is_empty() && !watching {
                watching = true;
                end = Instant::now() + if newer { MORE } else { watch };
            }
        }
        // Nothing is left that could be said of it.
        let _ = self.consumer.unassign();
        Ok(seen)
    }
}

fn numbers(partitions: usize) -> std::ops::Range<i32> {
    0..i32::try_from(partitions).unwrap_or(i32::MAX)
}

fn cluster(metadata: &rdkafka::metadata::Metadata) -> Cluster {
    let topic = |topic: &rdkafka::metadata::MetadataTopic| TopicSeen {
        name: topic.name().to_owned(),
        partitions: topic.partitions().len(),
        leaderless: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
        incomplete: topic.partitions().iter().filter(|of| of.isr().len() < of.replicas().len()).count(),
    };
    // One that was deleted may still be named for a while.
    let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
    Cluster { brokers: metadata.brokers().len(), topics: there.map(topic).collect() }
}

fn owned(message: &BorrowedMessage<'_>) -> Message {
    Message {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: None,
        payload: message.payload().map(<[u8]>::to_vec),
    }
}
