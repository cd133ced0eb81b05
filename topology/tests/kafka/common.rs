//! A broker, topics, and a worker that reads as the engine would have it read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bolts::tuples::LineBatch;
use engine::{BatchId, Clock as _, Next, Spout as _, SystemClock, Timestamp};
use model::line::LogFormat;
use model::mark::Mark;
use model::time::Civil;
use model::units::{Second, Seconds};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use real_servers::Servers;
use topology::adapters::kafka::{Admin, KafkaConfig, KafkaHealth, NewTopic};
use topology::config::Start;
use topology::spouts::kafka::envelope::{Envelope, Shape};
use topology::spouts::kafka::{ByJournal, KafkaLines, KafkaLinesConfig, Mode};

/// Nothing here takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of the test's own on a broker.
pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) name: String,
    producer: BaseProducer,
}

impl Topic {
    /// On the broker that all tests share; `None` where there is none.
    pub(crate) fn shared(name: &str, partitions: i32) -> Option<Self> {
        let brokers = Servers::shared()?.up("kafka");
        let topic = Self::unmade(name, &brokers);
        topic.make(partitions);
        Some(topic)
    }

    /// One that isn't there yet.
    pub(crate) fn unmade(name: &str, brokers: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The broker outlives the test, and so may topics of an earlier process of the same number.
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let name = format!("{name}-{}-{since}-{count}", std::process::id());
        Self { brokers: brokers.to_owned(), name, producer: producer(brokers, "none") }
    }

    pub(crate) fn make(&self, partitions: i32) {
        let topic = NewTopic { name: self.name.clone(), partitions, replication: 1, settings: Vec::new() };
        self.admin().create_topics(&[topic], PATIENCE).unwrap();
        // The broker answers before all of it knows.
        until("the topic is there", || self.admin().partition_count(&self.name, PATIENCE).is_ok());
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.config()).unwrap()
    }

    pub(crate) fn config(&self) -> KafkaConfig {
        let mut config = KafkaConfig::new(&self.brokers);
        config.session_timeout = Duration::from_millis(1500);
        let properties = [("topic.metadata.refresh.interval.ms", "500"), ("reconnect.backoff.max.ms", "500")];
        config.properties.extend(properties.map(|(key, value)| (key.to_owned(), value.to_owned())));
        config
    }

    /// A worker of the group that is named like the topic, by the journal.
    pub(crate) fn worker(&self) -> Worker {
        Worker::new(self.lines(), ByJournal { worker: "w".to_owned(), ..ByJournal::default() })
    }

    pub(crate) fn lines(&self) -> KafkaLinesConfig {
        let format = LogFormat::combined();
        KafkaLinesConfig {
            kafka: self.config(),
            topic: self.name.clone(),
            group: self.name.clone(),
            envelope: Envelope::new(Shape::Auto, &Envelope::KEYS, &format),
            format,
            start: Start::Beginning,
            batch_bytes: 256 * 1024,
        }
    }

    pub(crate) fn send(&self, partition: i32, payload: &str) {
        send(&self.producer, &self.name, partition, Some(payload.as_bytes()));
    }

    /// So many numbered lines of now, dealt out to partitions in turn; returns when they are there.
    pub(crate) fn send_lines(&self, numbers: std::ops::Range<usize>, partitions: i32) {
        for n in numbers {
            self.send(i32::try_from(n).unwrap() % partitions, &line(n, now()));
        }
        self.flush();
    }

    pub(crate) fn flush(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Adds partitions up to that many.
    pub(crate) fn grow(&self, partitions: usize) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let spec = [NewPartitions::new(&self.name, partitions)];
        wait(self.client().create_partitions(&spec, &options)).unwrap().remove(0).unwrap();
        let knows = || {
            let known = self.producer.client().fetch_metadata(Some(&self.name), PATIENCE).unwrap();
            known.topics()[0].partitions().len() == partitions
        };
        until("the producer knows of the partition", knows);
    }

    /// Deletes a partition's messages before an offset, as retention does.
    pub(crate) fn delete_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).unwrap();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        wait(self.client().delete_records(&list, &options)).unwrap();
    }

    fn client(&self) -> AdminClient<DefaultClientContext> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    /// Where the group is, by partition.
    pub(crate) fn committed(&self, partitions: i32) -> Vec<Option<i64>> {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers).set("group.id", &self.name);
        let consumer: BaseConsumer = client.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&self.name, 0, partitions - 1);
        let found = consumer.committed_offsets(list, PATIENCE).unwrap();
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        found.elements().iter().map(|element| offset(element.offset())).collect()
    }
}

fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
}

pub(crate) fn producer(brokers: &str, codec: &str) -> BaseProducer {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("compression.type", codec);
    client.create().unwrap()
}

pub(crate) fn send(producer: &BaseProducer, topic: &str, partition: i32, payload: Option<&[u8]>) {
    let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic).partition(partition);
    record.payload = payload;
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.poll(Duration::ZERO);
}

/// A line that carries a number, in its agent, and a time.
pub(crate) fn line(number: usize, second: i64) -> String {
    let time = Civil::of(Second(second)).time_local();
    format!("198.51.100.7 - - [{time}] \"GET / HTTP/1.1\" 200 1 \"-\" \"{number}\"")
}

pub(crate) fn now() -> i64 {
    i64::try_from(SystemClock.now().as_secs()).unwrap()
}

/// Waits for something, but not for ever.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A worker: the spout with what the engine would do around it.
pub(crate) struct Worker {
    pub(crate) spout: KafkaLines,
    pub(crate) health: Arc<KafkaHealth>,
    /// Acks each batch at once.
    pub(crate) acks: bool,
    emitted: u64,
    /// All batches so far.
    pub(crate) batches: Vec<LineBatch>,
}

impl Worker {
    pub(crate) fn new(config: KafkaLinesConfig, journal: ByJournal) -> Self {
        Self::with(config, Mode::Journal(journal))
    }

    pub(crate) fn with(config: KafkaLinesConfig, mode: Mode) -> Self {
        let health = Arc::new(KafkaHealth::new(&config.kafka.brokers));
        let spout = KafkaLines::new(config, mode, health.clone()).unwrap();
        Self { spout, health, acks: true, emitted: 0, batches: Vec::new() }
    }

    /// Asks for a batch.
    pub(crate) fn step(&mut self) {
        let now: Timestamp = SystemClock.now();
        if let Next::Emit(batch) = self.spout.next(now) {
            self.batches.push(batch);
            self.emitted += 1;
            if self.acks {
                self.ack();
            }
        }
    }

    /// All that was emitted is done.
    pub(crate) fn ack(&mut self) {
        self.spout.commit(BatchId(self.emitted));
    }

    pub(crate) fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        until(what, || {
            self.step();
            is_so(self)
        });
    }

    /// Ends it in order.
    pub(crate) fn spout_close(&mut self) {
        self.spout.close();
    }

    /// Goes on until that many live lines are there.
    pub(crate) fn read(&mut self, lines: usize) {
        self.run_until(&format!("{lines} lines"), |worker| worker.numbers().len() >= lines);
    }

    /// Goes on for a while in which nothing should come of it.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The numbers of the live lines, in the order in which they came.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.of(false)
    }

    /// And of those that fill windows again.
    pub(crate) fn rebuilt(&self) -> Vec<usize> {
        self.of(true)
    }

    fn of(&self, rebuild: bool) -> Vec<usize> {
        let batches = self.batches.iter().filter(|batch| mark(batch).rebuild == rebuild);
        batches.flat_map(|batch| numbers(&batch.bytes)).collect()
    }

    /// Batches of each partition are numbered without gaps, and their offsets only grow.
    pub(crate) fn check_marks(&self) {
        let mut seen: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
        for batch in &self.batches {
            let mark = mark(batch);
            let (batches, next) = seen.entry(mark.source.clone()).or_default();
            assert_eq!(mark.batch, *batches);
            assert!(mark.next.offset > *next && mark.source.ends_with(&format!("#{}", mark.next.file.inode)));
            (*batches, *next) = (mark.batch + 1, mark.next.offset);
        }
    }
}

pub(crate) fn mark(batch: &LineBatch) -> &Mark {
    batch.mark.as_deref().unwrap()
}

/// The numbers of lines.
pub(crate) fn numbers(lines: &[u8]) -> Vec<usize> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    lines.map(|line| line.rsplit('"').nth(1).unwrap().parse().unwrap()).collect()
}

/// Each number up to there, once.
pub(crate) fn check_once(mut found: Vec<usize>, count: usize) {
    found.sort_unstable();
    let expect: Vec<usize> = (0..count).collect();
    assert_eq!(found, expect);
}

/// A journal with a horizon.
pub(crate) fn journal(marks: &[(i32, i64)]) -> ByJournal {
    ByJournal { marks: marks.iter().copied().collect(), horizon: Seconds(900), worker: "w".to_owned() }
}
