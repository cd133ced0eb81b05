//! Messages and the positions that they come from, committed together.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::Handoff;
use crate::adapters::kafka::{KafkaConfig, Quiet};

/// A call that takes longer is called again.
const CALL: Duration = Duration::from_secs(5);
/// So long a transaction that had to be aborted is tried again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Before that.
const PAUSE: Duration = Duration::from_millis(100);
/// Before a call that failed is made again.
const BREATH: Duration = Duration::from_millis(20);
/// So long the broker may take to end a transaction that isn't tried again.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: Arc<str>,
    /// Which partition of it.
    pub partition: i32,
    /// What.
    pub payload: Vec<u8>,
}

/// What is committed together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// What to send.
    pub messages: Vec<Outgoing>,
    /// Up to where each partition of the topic that was read is dealt with, and what its next reader should know.
    pub positions: Vec<(i32, i64, String)>,
}

/// Why a parcel wasn't committed. Reading must begin again at what is.
#[derive(Debug, thiserror::Error)]
pub enum TransactionsFailed {
    /// The broker refuses for good: another process has our name, or the group has dropped us.
    #[error("Kafka refuses what this worker sends: {0}")]
    Refused(KafkaError),
    /// The group doesn't know us at the moment.
    #[error("the consumer group has dropped this worker, so what it read isn't committed")]
    NoMember,
    /// Partitions went to another worker before what was read of them was committed.
    #[error("partitions went to another worker before what was read of them was committed")]
    Moved,
    /// It has to end.
    #[error("this worker was told to end before what it read was committed")]
    Stopped,
}

/// Tells which member of the group commits, as the group knows it now.
pub type Member = Box<dyn Fn() -> Option<ConsumerGroupMetadata> + Send>;

type Sender = ThreadedProducer<Quiet>;

/// A producer of transactions.
pub struct Transactions {
    producer: Sender,
    read_topic: Arc<str>,
    member: Member,
    handoff: Arc<Handoff>,
    stop: Arc<AtomicBool>,
    ready: bool,
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").field("read_topic", &self.read_topic).finish_non_exhaustive()
    }
}

impl Transactions {
    /// A producer that nobody else may have the name of at the same time. It commits positions in `read_topic` for
    /// the `member`. Nothing is asked of the broker yet.
    ///
    /// # Errors
    /// Where librdkafka doesn't like the configuration.
    pub fn new(
        config: &KafkaConfig,
        name: &str,
        read_topic: Arc<str>,
        member: Member,
        handoff: Arc<Handoff>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, KafkaError> {
        // Nobody reads what comes behind a transaction that a dead worker left open until the broker gives it up. That
        // should be no later than the group gives up the worker; how often the broker looks is up to its
        // `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
        let timeout = config.session_timeout * 2 / 3;
        let producer = config
            .client()
            .set("transactional.id", name)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            .set("compression.type", "zstd")
            .create_with_context(Quiet)?;
        Ok(Self { producer, read_topic, member, handoff, stop, ready: false })
    }

    /// Makes ready, once: from then on whoever had the name before can commit nothing, and what it left open is aborted,
    /// so that nobody waits for it.
    ///
    /// # Errors
    /// Where the broker refuses for good, or it has to end.
    pub fn prepare(&mut self) -> Result<(), TransactionsFailed> {
        if !self.ready {
            self.retried(|producer| producer.init_transactions(CALL))?;
            self.ready = true;
        }
        Ok(())
    }

    /// Commits a parcel: returns when it is.
    ///
    /// # Errors
    /// Where it can't be known or won't be; nothing more may be sent then, and reading must begin again.
    pub fn send(&mut self, parcel: &Parcel) -> Result<(), TransactionsFailed> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(failure) = self.send_once(parcel)? else { return Ok(()) };
            if Instant::now() >= until || self.gives_up() || matches!(failure, TransactionsFailed::Moved) {
                return Err(failure);
            }
            tracing::debug!(%failure, "a transaction is tried again");
            thread::sleep(PAUSE);
        }
    }

    /// Tries to commit a parcel; within it, why that wasn't done, though it may be another time.
    ///
    /// # Errors
    /// As [`Transactions::send`].
    pub fn send_once(
        &mut self,
        parcel: &Parcel,
    ) -> Result<Result<(), TransactionsFailed>, TransactionsFailed> {
        self.prepare()?;
        let Err(failure) = self.attempt(parcel) else { return Ok(Ok(())) };
        let may_be_tried_again = match &failure {
            TransactionsFailed::NoMember | TransactionsFailed::Moved => true,
            TransactionsFailed::Refused(error) => requires_abort(error),
            TransactionsFailed::Stopped => false,
        };
        if may_be_tried_again && !self.gives_up() {
            self.retried(|producer| producer.abort_transaction(CALL))?;
            return Ok(Err(failure));
        }
        // Readers wait behind a transaction that is left open.
        if let Err(error) = self.producer.abort_transaction(LAST_CALL) {
            tracing::debug!(%error, "the broker ends the transaction by itself");
        }
        Err(failure)
    }

    fn attempt(&self, parcel: &Parcel) -> Result<(), TransactionsFailed> {
        self.producer.begin_transaction().map_err(TransactionsFailed::Refused)?;
        for message in &parcel.messages {
            self.produce(message).map_err(TransactionsFailed::Refused)?;
        }
        if !parcel.positions.is_empty() {
            let mut positions = TopicPartitionList::new();
            for (partition, next, metadata) in &parcel.positions {
                let mut position = positions.add_partition(&self.read_topic, *partition);
                position.set_offset(Offset::Offset(*next)).map_err(TransactionsFailed::Refused)?;
                position.set_metadata(metadata);
            }
            let member = (self.member)().ok_or(TransactionsFailed::NoMember)?;
            // In this order: partitions that are still ours now were so in the group's generation that was just asked
            // for, and the broker refuses it once they aren't.
            if self.gives_up()
                || !parcel.positions.iter().all(|&(partition, ..)| self.handoff.owns(partition))
            {
                return Err(TransactionsFailed::Moved);
            }
            self.retried(|producer| producer.send_offsets_to_transaction(&positions, &member, CALL))?;
        }
        self.retried(|producer| producer.commit_transaction(CALL))
    }

    fn produce(&self, message: &Outgoing) -> Result<(), KafkaError> {
        let mut record = BaseRecord::<(), [u8]>::to(&message.topic)
            .partition(message.partition)
            .payload(&message.payload[..]);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.flush(Duration::from_millis(100)).ok();
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Calls until it works, or fails for another reason than time.
    fn retried(&self, call: impl Fn(&Sender) -> Result<(), KafkaError>) -> Result<(), TransactionsFailed> {
        loop {
            match call(&self.producer) {
                Ok(()) => return Ok(()),
                Err(_) if self.stop.load(Ordering::Relaxed) => return Err(TransactionsFailed::Stopped),
                Err(error) if is_retriable(&error) && !self.gives_up() => thread::sleep(BREATH),
                Err(error) => return Err(TransactionsFailed::Refused(error)),
            }
        }
    }

    fn gives_up(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.handoff.failed().is_some()
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

fn requires_abort(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => !error.is_fatal() && error.txn_requires_abort(),
        KafkaError::MessageProduction(_) => true,
        _ => false,
    }
}
