//! A member of a group that reads a topic; see [`Partitions`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError as Cause, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};

use super::committer::Committer;
use super::config::KafkaConfig;
use super::context::{Change, Context};
use super::error::{KafkaError, missing_topic};
use super::health::KafkaHealth;

/// A member of a group that reads a topic. It belongs to the thread that polls it.
///
/// - Partitions come and go cooperatively: those that stay are read on meanwhile.
/// - After [`Fetched::Assigned`], [`Partitions::start`] says for each where to begin; reading begins at the next
///   [`Partitions::poll`].
/// - After [`Fetched::Revoked`] the partitions are still ours, and nobody else's, until the next
///   [`Partitions::poll`]: what came of them can be finished and committed. Whoever takes longer than
///   `max.poll.interval.ms` (5 minutes) over that loses them.
/// - A broker that goes away, a topic that isn't there: librdkafka tries again for ever, [`KafkaHealth`] says so, and
///   `poll` has nothing.
/// - Where messages are deleted before they are read, reading goes on with the first that there is, and
///   [`KafkaHealth`] says what may be lost.
///
/// Dropping it leaves the group, or, under a name of its own ([`KafkaConfig::instance`]), waits there for whoever comes
/// again; what isn't committed is read again.
pub struct Partitions {
    consumer: Arc<BaseConsumer<Context>>,
    brokers: String,
    topic: String,
    /// Of the partitions that are ours, what comes next.
    next: HashMap<i32, i64>,
    paused: HashSet<i32>,
    changes: VecDeque<UnderWay>,
    committer: Committer,
    /// Whether something was told to be wrong that the next message puts right.
    troubled: bool,
}

/// What [`Partitions::poll`] has.
#[derive(Debug)]
pub enum Fetched {
    /// These partitions are to be read from now on; say where each begins.
    Assigned(Vec<Assigned>),
    /// A message.
    Message(Message),
    /// Nothing more is there at the moment.
    CaughtUp {
        /// Where.
        partition: i32,
        /// The offset of what comes next.
        next: i64,
    },
    /// These go to another member; they are ours until the next poll.
    Revoked(Vec<i32>),
    /// These went to another member some time ago: nothing can be committed any more, and nothing that isn't committed
    /// may be used.
    Lost(Vec<i32>),
    /// Nothing now.
    Idle,
}

/// A partition that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its number.
    pub partition: i32,
    /// Where the group is in it.
    pub committed: Option<Committed>,
    /// The offset of the first message that there is.
    pub low: i64,
    /// The offset of the message that comes next.
    pub high: i64,
    /// Whether the group has committed anything in the topic: if so, a partition without a commit is a new one.
    pub group_is_known: bool,
}

/// Where a group is in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset of the first message that isn't dealt with.
    pub offset: i64,
    /// What was committed with it.
    pub metadata: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
    /// When it was made or kept, in milliseconds since the Unix epoch, where that is known.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None`: a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// Which messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Those that aren't part of a transaction, or of one that is committed. Committed offsets are asked for only
    /// once no transaction is about to change them.
    Committed,
    /// All.
    Uncommitted,
}

/// What other threads may ask of a reader. It is of no use once the reader is gone.
#[derive(Clone)]
pub struct Handle(Weak<BaseConsumer<Context>>);

/// A change of the group that was handed out, or is about to be.
enum UnderWay {
    Come {
        partitions: Vec<i32>,
        told: bool,
        starts: HashMap<i32, i64>,
        defaults: Vec<Assigned>,
        again: Instant,
    },
    Go {
        partitions: Vec<i32>,
        lost: bool,
        told: bool,
    },
}

/// So long a broker may take to say where the group is in partitions that come.
const ANSWER: Duration = Duration::from_secs(2);
/// And so long we wait then before it is asked again.
const PAUSE: Duration = Duration::from_millis(500);

impl Partitions {
    /// Joins a group. Returns at once, whether or not Kafka can be reached.
    ///
    /// # Errors
    /// What librdkafka doesn't take of the configuration, files that it can't read among it.
    pub fn subscribe(
        config: &KafkaConfig,
        topic: &str,
        group: &str,
        isolation: Isolation,
        health: Arc<KafkaHealth>,
    ) -> Result<Self, KafkaError> {
        let of = |cause: &Cause| KafkaError::of(cause, &config.brokers, topic);
        let session = config.session_timeout.as_millis();
        let mut client = config.client();
        // How soon it is noticed that nothing more is there.
        config.by_default(&mut client, "fetch.wait.max.ms", "100");
        // Windows are filled again at full speed.
        config.by_default(&mut client, "fetch.queue.backoff.ms", "50");
        client.set("group.id", group);
        if let Some(instance) = &config.instance {
            client.set("group.instance.id", instance);
        }
        client.set("session.timeout.ms", session.to_string());
        client.set("heartbeat.interval.ms", (session / 12).max(1).to_string());
        client.set("partition.assignment.strategy", "cooperative-sticky");
        client.set("group.protocol", "classic");
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("enable.partition.eof", "true");
        client.set("auto.offset.reset", "earliest");
        client.set("statistics.interval.ms", "1000");
        client.set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
        let consumer: BaseConsumer<Context> =
            client.create_with_context(Context::new(topic, health)).map_err(|cause| of(&cause))?;
        consumer.subscribe(&[topic]).map_err(|cause| of(&cause))?;
        let consumer = Arc::new(consumer);
        let committer = Committer::start(Arc::downgrade(&consumer))?;
        Ok(Self {
            consumer,
            committer,
            brokers: config.brokers.clone(),
            topic: topic.to_owned(),
            next: HashMap::new(),
            paused: HashSet::new(),
            changes: VecDeque::new(),
            troubled: false,
        })
    }

    fn context(&self) -> &Context {
        self.consumer.context()
    }

    /// What is next. It doesn't wait, but for the broker's word where partitions come (2 s at most).
    pub fn poll(&mut self) -> Fetched {
        if let Some(fetched) = self.change() {
            return fetched;
        }
        let polled = match self.consumer.poll(Duration::ZERO) {
            None => None,
            Some(Ok(message)) => Some(Ok(Message {
                partition: message.partition(),
                offset: message.offset(),
                timestamp: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
            })),
            Some(Err(cause)) => Some(Err(cause)),
        };
        self.note_changes();
        match polled {
            None => Fetched::Idle,
            Some(Ok(message)) => self.message(message),
            Some(Err(Cause::PartitionEOF(partition))) => match self.next.get(&partition) {
                Some(&next) => Fetched::CaughtUp { partition, next },
                None => Fetched::Idle,
            },
            Some(Err(cause)) => {
                self.failed(&cause);
                Fetched::Idle
            }
        }
    }

    fn message(&mut self, message: Message) -> Fetched {
        let Some(next) = self.next.get_mut(&message.partition) else { return Fetched::Idle };
        let (partition, expected, found) = (message.partition, *next, message.offset);
        if found != expected {
            let reset = self.consumer.context().state().reset.remove(&partition);
            match found > expected {
                // Offsets between messages that belong to transactions, or that were compacted away.
                true if !reset => {}
                true => self.lost(partition, expected, found),
                // Already read: librdkafka fetched it twice.
                false if !reset => return Fetched::Idle,
                false => {
                    self.made_anew(partition, expected);
                    self.committer.begin(partition, None);
                }
            }
        }
        self.next.insert(partition, found.saturating_add(1));
        self.is_well();
        Fetched::Message(message)
    }

    fn lost(&self, partition: i32, from: i64, to: i64) {
        let Self { topic, .. } = self;
        let text = format!(
            "up to {} messages of {topic}#{partition} were deleted before they were read (offsets {from} to {}): raise \
             the topic's retention, or find out why reading was so far behind",
            to.saturating_sub(from),
            to - 1,
        );
        self.context().health.lost(u64::try_from(to.saturating_sub(from)).unwrap_or(0), text);
    }

    fn made_anew(&self, partition: i32, from: i64) {
        let Self { topic, .. } = self;
        let text = format!(
            "{topic}#{partition} has fewer messages than were read of it (offset {from} is next): it was made anew or \
             cut, so it is read from its beginning"
        );
        self.context().health.lost(0, text);
    }

    fn is_well(&mut self) {
        if std::mem::take(&mut self.troubled) {
            self.context().health.trouble(None);
        }
    }

    fn failed(&mut self, cause: &Cause) {
        self.troubled = true;
        let (topic, brokers, health) = (&self.topic, &self.brokers, &self.context().health);
        match KafkaError::of(cause, brokers, topic) {
            KafkaError::NoTopic { .. } => health.trouble(Some(missing_topic(topic, brokers))),
            error @ KafkaError::Denied { .. } => health.trouble(Some(error.to_string())),
            error @ KafkaError::Away { .. } => tracing::debug!(%error, "Kafka"),
            error if matches!(cause, Cause::MessageConsumptionFatal(_)) => {
                health.trouble(Some(error.to_string()));
            }
            error => tracing::warn!(%error, "Kafka"),
        }
    }

    fn note_changes(&mut self) {
        let came = std::mem::take(&mut self.context().state().changes);
        for change in came {
            self.changes.push_back(match change {
                Change::Come(partitions) => UnderWay::Come {
                    partitions,
                    told: false,
                    starts: HashMap::new(),
                    defaults: Vec::new(),
                    again: Instant::now(),
                },
                Change::Go { partitions, lost } => UnderWay::Go { partitions, lost, told: false },
            });
        }
    }

    /// Goes on with the group's change: does what was handed out before, hands out what is next.
    fn change(&mut self) -> Option<Fetched> {
        loop {
            match self.changes.front()? {
                UnderWay::Come { told: true, .. } | UnderWay::Go { told: true, .. } => {
                    let change = self.changes.pop_front()?;
                    self.carry_out(change);
                }
                UnderWay::Come { again, partitions, .. } => {
                    if partitions.is_empty() {
                        let change = self.changes.pop_front()?;
                        self.carry_out(change);
                        continue;
                    }
                    if Instant::now() < *again {
                        return None;
                    }
                    let partitions = partitions.clone();
                    let found = self.look_up(&partitions);
                    let Some(UnderWay::Come { told, defaults, again, .. }) = self.changes.front_mut() else {
                        return None;
                    };
                    match found {
                        Ok(assigned) => {
                            (*told, *defaults) = (true, assigned.clone());
                            self.is_well();
                            return Some(Fetched::Assigned(assigned));
                        }
                        Err(error) => {
                            tracing::debug!(%error, "where the group is isn't known yet");
                            *again = Instant::now() + PAUSE;
                            return None;
                        }
                    }
                }
                UnderWay::Go { partitions, lost, .. } => {
                    let (partitions, lost) = (partitions.clone(), *lost);
                    if let Some(UnderWay::Go { told, .. }) = self.changes.front_mut() {
                        *told = true;
                    }
                    if lost {
                        self.forget(&partitions);
                        return Some(Fetched::Lost(partitions));
                    }
                    return Some(Fetched::Revoked(partitions));
                }
            }
        }
    }

    fn carry_out(&mut self, change: UnderWay) {
        match change {
            UnderWay::Come { partitions, mut starts, defaults, .. } => {
                let mut committed_at = HashMap::new();
                for Assigned { partition, committed, high, .. } in defaults {
                    let default = committed.as_ref().map_or(high, |committed| committed.offset);
                    starts.entry(partition).or_insert(default);
                    committed_at.extend(committed.map(|committed| (partition, committed.offset)));
                }
                let list = self.list(partitions.iter().map(|&p| (p, starts.get(&p).copied())));
                self.check("take partitions over", self.consumer.incremental_assign(&list));
                for (&partition, &start) in &starts {
                    self.next.insert(partition, start);
                    self.context().state().reset.remove(&partition);
                    // Whoever had it since has come further: what is behind that isn't committed.
                    let committed = committed_at.get(&partition).copied().filter(|&offset| offset <= start);
                    self.committer.begin(partition, committed);
                }
                self.context().health.came(partitions);
            }
            UnderWay::Go { partitions, .. } => {
                self.committer.settle(ANSWER);
                let list = self.list(partitions.iter().map(|&p| (p, None)));
                self.check("give partitions up", self.consumer.incremental_unassign(&list));
                self.forget(&partitions);
                self.context().health.went(&partitions);
            }
        }
    }

    fn forget(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.next.remove(partition);
            self.paused.remove(partition);
        }
    }

    fn check(&self, what: &str, result: KafkaResult<()>) {
        if let Err(cause) = result {
            let error = KafkaError::of(&cause, &self.brokers, &self.topic);
            tracing::error!(%error, "couldn't {what}");
        }
    }

    fn list(&self, partitions: impl IntoIterator<Item = (i32, Option<i64>)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in partitions {
            let mut element = list.add_partition(&self.topic, partition);
            if let Some(offset) = offset {
                element.set_offset(Offset::Offset(offset)).expect("an offset that isn't negative is one");
            }
        }
        list
    }

    fn look_up(&self, partitions: &[i32]) -> Result<Vec<Assigned>, KafkaError> {
        let of = |cause: Cause| KafkaError::of(&cause, &self.brokers, &self.topic);
        let list = self.list(partitions.iter().map(|&p| (p, None)));
        let committed = self.consumer.committed_offsets(list, ANSWER).map_err(of)?;
        let has_offset = |list: &TopicPartitionList| {
            list.elements().iter().any(|element| matches!(element.offset(), Offset::Offset(_)))
        };
        let group_is_known = has_offset(&committed) || {
            let all = self.list(self.partition_numbers()?.into_iter().map(|p| (p, None)));
            has_offset(&self.consumer.committed_offsets(all, ANSWER).map_err(of)?)
        };
        let mut assigned = Vec::with_capacity(partitions.len());
        for element in committed.elements() {
            element.error().map_err(of)?;
            let partition = element.partition();
            let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, ANSWER).map_err(of)?;
            let committed = match element.offset() {
                Offset::Offset(offset) => Some(Committed { offset, metadata: element.metadata().to_owned() }),
                _ => None,
            };
            let (low, high) = (low.max(0), high.max(0));
            assigned.push(Assigned { partition, committed, low, high, group_is_known });
        }
        Ok(assigned)
    }

    /// Says where a partition of the last [`Fetched::Assigned`] begins. One of which nothing is said begins where the
    /// group is, or at its end. An offset that doesn't exist any more is a loss, and the first one that does is taken.
    /// Gives back where it begins.
    pub fn start(&mut self, partition: i32, from: i64) -> i64 {
        let Some(UnderWay::Come { told: true, starts, defaults, .. }) = self.changes.front_mut() else {
            return from;
        };
        let Some(&Assigned { low, high, .. }) = defaults.iter().find(|a| a.partition == partition) else {
            return from;
        };
        let start = if from > high { low } else { from.max(low) };
        starts.insert(partition, start);
        if from > high {
            self.made_anew(partition, from);
        } else if from < low {
            self.lost(partition, from, low);
        }
        start
    }

    /// The first offsets whose message isn't older than that, in milliseconds since the Unix epoch; partitions without
    /// one are left out. Only right after [`Fetched::Assigned`], and of its partitions.
    ///
    /// # Errors
    /// Where the broker doesn't answer.
    pub fn offsets_since(&self, partitions: &[i32], millis: i64) -> Result<HashMap<i32, i64>, KafkaError> {
        let list = self.list(partitions.iter().map(|&p| (p, Some(millis.max(0)))));
        let found = self.consumer.offsets_for_times(list, ANSWER);
        let found = found.map_err(|cause| KafkaError::of(&cause, &self.brokers, &self.topic))?;
        let offset =
            |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
                Offset::Offset(offset) if element.error().is_ok() => Some((element.partition(), offset)),
                _ => None,
            };
        Ok(found.elements().iter().filter_map(offset).collect())
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// Where the broker doesn't answer.
    pub fn partition_count(&self) -> Result<usize, KafkaError> {
        self.partition_numbers().map(|numbers| numbers.len())
    }

    fn partition_numbers(&self) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ANSWER);
        let metadata = metadata.map_err(|cause| KafkaError::of(&cause, &self.brokers, &self.topic))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let numbers = |topic: &MetadataTopic| topic.partitions().iter().map(MetadataPartition::id).collect();
        Ok(topic.map_or_else(Vec::new, numbers))
    }

    /// Reads a partition again from an offset on.
    pub fn rewind(&mut self, partition: i32, from: i64) {
        if self.next.insert(partition, from).is_none() {
            self.next.remove(&partition);
            return;
        }
        self.paused.remove(&partition);
        // What is fetched already is dropped with the old assignment.
        let gone = self.consumer.incremental_unassign(&self.list([(partition, None)]));
        self.check("read a partition again", gone);
        let come = self.consumer.incremental_assign(&self.list([(partition, Some(from))]));
        self.check("read a partition again", come);
    }

    /// The partitions that are ours, each with what comes next.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.next.iter().map(|(&partition, &next)| (partition, next))
    }

    /// Fetches nothing more from a partition until [`Partitions::resume`]. What is already fetched may still come.
    pub fn pause(&mut self, partition: i32) {
        if self.next.contains_key(&partition) && self.paused.insert(partition) {
            let list = self.list([(partition, None)]);
            self.check("pause a partition", self.consumer.pause(&list));
        }
    }

    /// Fetches from a partition again.
    pub fn resume(&mut self, partition: i32) {
        if self.paused.remove(&partition) {
            let list = self.list([(partition, None)]);
            self.check("go on with a partition", self.consumer.resume(&list));
        }
    }

    /// Commits where the group is, each with a few words: the offset of the first message that isn't dealt with. It
    /// returns at once. What was committed before, or further, is left out, and so are partitions that aren't ours; what the
    /// broker refuses is dropped, so call it with where things stand, every second or so.
    pub fn commit(&self, positions: &[(i32, i64, &str)]) {
        self.committer.want(positions.iter().filter(|(partition, ..)| self.next.contains_key(partition)));
    }

    /// The same, and waits until the broker has taken it.
    ///
    /// # Errors
    /// Where it refuses, or says nothing in time.
    pub fn commit_now(&self, positions: &[(i32, i64, &str)], patience: Duration) -> Result<(), KafkaError> {
        let ours = positions.iter().filter(|(partition, ..)| self.next.contains_key(partition));
        self.committer.want_now(&ours.copied().collect::<Vec<_>>(), patience)
    }

    /// Who we are in the group now, for a producer that commits our offsets in its transaction.
    #[must_use]
    pub fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// What other threads may ask.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::downgrade(&self.consumer))
    }
}

impl Handle {
    /// Who the reader is in the group now, for a producer that commits its offsets in a transaction; `None` once it is
    /// gone.
    #[must_use]
    pub fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.0.upgrade()?.group_metadata()
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        self.context().closing.store(true, Ordering::Release);
        self.note_changes();
        // librdkafka waits for our word on each.
        while let Some(change) = self.changes.pop_front() {
            self.carry_out(change);
        }
    }
}
