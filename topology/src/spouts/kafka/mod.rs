//! Access lines from a Kafka topic: marked batches of whole lines out, each of one partition, named
//! `kafka:topic#partition`. One task reads all partitions that the group gives it.
//!
//! [`envelope`] takes lines out of messages; `reading` puts partitions in the order of event time and cuts batches;
//! `begin` says where a partition begins; `progress` how far it is dealt with. [`crate::adapters::kafka`] speaks to Kafka.
//!
//! **Two ways to keep what is dealt with** ([`Mode`]):
//!
//! - *By the journal*: a partition goes on where the journal's mark says, and windows are first filled again from the
//!   messages before, as far back as they reach; nothing is live before the partitions of the first assignment are through.
//!   Offsets are committed once a second, and where a partition goes, up to the engine's low-water mark and never further.
//! - *By transaction*: a partition goes on at the committed offset. Whoever writes what came of the lines commits offsets
//!   in the same transaction; nothing is filled again and nothing is committed here.
//!
//! **Partitions that go** stay ours until what is under way of them is acked and committed. One that comes back to the
//! same process goes on where it was.
//!
//! **What may be lost:** messages that retention deletes before they are read; it is told as a possible loss. **What can't
//! be known:** duplicates that a shipper makes, and a topic that was deleted and made anew while nobody looked.

mod begin;
pub mod envelope;
mod progress;
mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bolts::tuples::LineBatch;
use engine::{BatchId, Next, Spout, Timestamp};
use model::line::LogFormat;
use model::mark::{FileId, Mark, Position};
use model::units::{Moment, Seconds};

use self::begin::Known;
use self::envelope::Envelope;
use self::progress::Progress;
use self::reading::{Cut, Reading};
use super::moment;
use crate::adapters::kafka::{
    Admin, Assigned, Fetched, Handle, Isolation, KafkaConfig, KafkaError, KafkaHealth, Partitions,
};
use crate::config::Start;

/// What is read, and how.
#[derive(Clone, Debug)]
pub struct KafkaLinesConfig {
    /// Where Kafka is.
    pub kafka: KafkaConfig,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// How lines are written.
    pub format: LogFormat,
    /// What messages are.
    pub envelope: Envelope,
    /// Where a group begins that has never read the topic.
    pub start: Start,
    /// Batches have about so many bytes at most.
    pub batch_bytes: usize,
}

/// How it is kept what is dealt with.
pub enum Mode {
    /// By the journal.
    Journal(ByJournal),
    /// In transactions of whoever takes the lines.
    Transaction(ByTransaction),
}

/// What there is to know of a journal.
#[derive(Clone, Debug, Default)]
pub struct ByJournal {
    /// Where its marks say that partitions go on.
    pub marks: HashMap<i32, i64>,
    /// Windows are filled again from so much event time.
    pub horizon: Seconds,
    /// Whose journal it is: a word that stays over restarts, and that no other worker has.
    pub worker: String,
}

/// Who is told of changes of the group.
#[derive(Default)]
pub struct ByTransaction {
    /// Called on the spout's thread.
    pub changes: Option<TellChange>,
}

/// Hears of a change of the group.
pub type TellChange = Box<dyn FnMut(GroupChange<'_>) + Send>;

/// A change of the group, as whoever commits in transactions has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange<'a> {
    /// These partitions are read from now on, each from an offset on.
    Came(&'a [(i32, i64)]),
    /// Nothing more is there to read at the moment.
    CaughtUp(i32),
    /// These go as soon as all that was emitted of them is acked: finish it, and commit.
    Going(&'a [i32]),
    /// These are gone: abort what isn't committed of them.
    Lost(&'a [i32]),
}

/// The spout.
pub struct KafkaLines {
    config: KafkaLinesConfig,
    mode: Mode,
    /// Until it is closed.
    partitions: Option<Partitions>,
    health: Arc<KafkaHealth>,
    reading: Reading,
    progress: Progress,
    /// Where each partition goes on behind what was emitted.
    memory: HashMap<i32, i64>,
    /// Of each partition its name, and how many batches were emitted.
    named: BTreeMap<i32, (Arc<str>, u64)>,
    paused: Vec<i32>,
    /// Where nothing more is there, and that isn't told yet.
    ends: BTreeSet<i32>,
    phase: Phase,
    leaving: Option<Leaving>,
    committed_at: Moment,
}

/// How far the beginning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No partition is ours yet.
    Joining {
        since: Option<Moment>,
    },
    Filling,
    Live,
}

/// Partitions that go.
struct Leaving {
    partitions: Vec<i32>,
    since: Moment,
}

/// What is live of other sources waits so long for the group to give us partitions.
const JOINING: Duration = Duration::from_secs(10);
/// What is under way of partitions that go has so long, with a journal and with transactions.
const FINISH: Duration = Duration::from_secs(5);
const FINISH_TRANSACTION: Duration = Duration::from_secs(30);
/// So long the broker may take to commit when a partition goes, and at the end.
const COMMIT: Duration = Duration::from_secs(2);
/// Offsets are committed so often.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Clocks of shippers may be so far ahead of ours.
const SKEW: Seconds = Seconds(60);
/// Windows are filled again from at most so many messages, all partitions together.
const MOST_AGAIN: i64 = 8_000_000;
/// One look takes so many messages at most, so that acks don't wait long.
const MOST_AT_ONCE: usize = 2_000;

impl KafkaLines {
    /// Joins the group. Returns at once, whether or not Kafka can be reached.
    ///
    /// # Errors
    /// What librdkafka doesn't take of the configuration.
    pub fn new(config: KafkaLinesConfig, mode: Mode, health: Arc<KafkaHealth>) -> Result<Self, KafkaError> {
        let KafkaLinesConfig { kafka, topic, group, format, envelope, batch_bytes, .. } = &config;
        let partitions = Partitions::subscribe(kafka, topic, group, Isolation::Committed, health.clone())?;
        let reading = Reading::new(envelope.clone(), format.clone(), *batch_bytes);
        let phase = match mode {
            Mode::Journal(_) => Phase::Joining { since: None },
            Mode::Transaction(_) => Phase::Live,
        };
        Ok(Self {
            config,
            mode,
            partitions: Some(partitions),
            health,
            reading,
            progress: Progress::default(),
            memory: HashMap::new(),
            named: BTreeMap::new(),
            paused: Vec::new(),
            ends: BTreeSet::new(),
            phase,
            leaving: None,
            committed_at: Moment(0),
        })
    }

    /// What other threads may ask of the reader.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.partitions.as_ref().map(Partitions::handle)
    }

    /// Whether windows are still to be filled again, so that live lines had better wait.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.phase != Phase::Live
    }

    /// Takes what Kafka has.
    fn take(&mut self, now: Moment) {
        for _ in 0..MOST_AT_ONCE {
            let Some(partitions) = &mut self.partitions else { return };
            match partitions.poll() {
                Fetched::Idle => return,
                Fetched::Message(message) => {
                    let partition = message.partition;
                    self.ends.remove(&partition);
                    self.reading.message(message, now);
                    if self.reading.is_ahead(partition) && !self.paused.contains(&partition) {
                        self.paused.push(partition);
                        partitions.pause(partition);
                    }
                }
                Fetched::CaughtUp { partition, .. } => {
                    self.reading.caught_up(partition);
                    self.ends.insert(partition);
                }
                Fetched::Assigned(assigned) => self.came(&assigned, now),
                Fetched::Revoked(leaving) => {
                    self.going(leaving, now);
                    return;
                }
                Fetched::Lost(lost) => self.lost(&lost),
            }
        }
    }

    /// Tells where nothing more is there, once all that was there is emitted.
    fn tell_ends(&mut self) {
        let Mode::Transaction(ByTransaction { changes: Some(tell) }) = &mut self.mode else { return };
        self.ends.retain(|&partition| {
            let is_emitted = !self.reading.holds(partition);
            if is_emitted {
                tell(GroupChange::CaughtUp(partition));
            }
            !is_emitted
        });
    }

    fn came(&mut self, assigned: &[Assigned], now: Moment) {
        let numbers: Vec<i32> = assigned.iter().map(|assigned| assigned.partition).collect();
        if self.memory.is_empty() && matches!(self.mode, Mode::Journal(_)) {
            self.phase = Phase::Filling;
            self.reading.fill();
        }
        let Some(partitions) = &mut self.partitions else { return };
        let horizon = match &self.mode {
            Mode::Journal(journal) => journal.horizon,
            Mode::Transaction(_) => Seconds(0),
        };
        let oldest = now.0 - 1000 * (i64::from(horizon.0) + i64::from(SKEW.0));
        let since = match &self.mode {
            Mode::Journal(_) => partitions.offsets_since(&numbers, oldest).unwrap_or_else(|error| {
                tracing::warn!(%error, "windows aren't filled again");
                HashMap::new()
            }),
            Mode::Transaction(_) => HashMap::new(),
        };
        let mine = partitions.positions().count() + numbers.len();
        let most = MOST_AGAIN / i64::try_from(mine.max(1)).unwrap_or(i64::MAX);
        let mut waiting = 0;
        let mut came = Vec::with_capacity(assigned.len());
        for assigned in assigned {
            let partition = assigned.partition;
            let begin = match &self.mode {
                Mode::Journal(journal) => {
                    let (memory, mark) =
                        (self.memory.get(&partition).copied(), journal.marks.get(&partition).copied());
                    let known = Known { memory, mark, start: self.config.start };
                    let live_from = begin::live_from(assigned, known, &journal.worker);
                    begin::begin(assigned, live_from, memory, since.get(&partition).copied(), most)
                }
                Mode::Transaction(_) => {
                    let known = Known { start: self.config.start, ..Known::default() };
                    let live_from = begin::live_from(assigned, known, "");
                    begin::Begin { from: live_from, live_from }
                }
            };
            let from = partitions.start(partition, begin.from);
            let live_from = if from < begin.from { from } else { begin.live_from };
            came.push((partition, live_from));
            waiting += assigned.high.saturating_sub(live_from).max(0);
            self.reading.add(partition, from, live_from);
            self.memory.insert(partition, live_from);
            self.progress.begin(partition, assigned.committed.is_none().then_some(live_from));
            let source = || format!("kafka:{}#{partition}", self.config.topic).into();
            self.named.entry(partition).or_insert_with(|| (source(), 0));
        }
        tracing::info!(topic = self.config.topic, partitions = ?numbers, waiting, "partitions are ours");
        if partitions.partition_count().is_ok_and(|count| mine >= count) {
            self.health.remark(None);
        }
        if let Mode::Transaction(ByTransaction { changes: Some(tell) }) = &mut self.mode {
            tell(GroupChange::Came(&came));
        }
    }

    fn going(&mut self, partitions: Vec<i32>, now: Moment) {
        for &partition in &partitions {
            self.reading.remove(partition);
            self.ends.remove(&partition);
        }
        tracing::info!(topic = self.config.topic, ?partitions, "partitions go to another member");
        match &mut self.mode {
            Mode::Journal(_) => {
                self.health.remark(Some(another_member(&self.config.group, &self.config.topic)));
            }
            Mode::Transaction(transaction) => {
                if let Some(tell) = &mut transaction.changes {
                    tell(GroupChange::Going(&partitions));
                }
            }
        }
        self.leaving = Some(Leaving { partitions, since: now });
    }

    fn lost(&mut self, partitions: &[i32]) {
        tracing::warn!(topic = self.config.topic, ?partitions, "partitions were given to another member");
        for &partition in partitions {
            self.reading.remove(partition);
            self.ends.remove(&partition);
            self.paused.retain(|&paused| paused != partition);
        }
        if let Mode::Transaction(ByTransaction { changes: Some(tell) }) = &mut self.mode {
            tell(GroupChange::Lost(partitions));
        }
    }

    /// Lets partitions go once what is under way of them is done. Says whether some still have to wait.
    fn leave(&mut self, now: Moment) -> bool {
        let Some(Leaving { partitions, since }) = &self.leaving else { return false };
        let patience = match self.mode {
            Mode::Journal(_) => FINISH,
            Mode::Transaction(_) => FINISH_TRANSACTION,
        };
        let is_late = since.until(now) >= patience || now < *since;
        if self.progress.is_under_way(partitions) && !is_late {
            return true;
        }
        let Some(Leaving { partitions, .. }) = self.leaving.take() else { return false };
        self.paused.retain(|paused| !partitions.contains(paused));
        match &mut self.mode {
            Mode::Journal(_) => self.commit_now(),
            Mode::Transaction(ByTransaction { changes: Some(tell) }) if is_late => {
                tell(GroupChange::Lost(&partitions));
            }
            Mode::Transaction(_) => {}
        }
        false
    }

    /// Goes live once windows are filled.
    fn begin_live(&mut self, now: Moment) {
        match self.phase {
            Phase::Joining { since: None } => self.phase = Phase::Joining { since: Some(now) },
            Phase::Joining { since: Some(since) } if since.until(now) >= JOINING => {
                // Others needn't wait for a broker that is away. Our own windows are filled when it is back.
                self.phase = Phase::Live;
            }
            Phase::Filling if self.reading.is_filled() => {
                self.phase = Phase::Live;
                self.reading.go_live(now);
                let partitions: Vec<i32> = self.named.keys().copied().collect();
                let lag: u64 = self.health.now().partitions.values().filter_map(|lag| lag.messages).sum();
                tracing::info!(topic = self.config.topic, ?partitions, lag, "live");
            }
            _ => {}
        }
    }

    /// Goes on with partitions that were ahead of others.
    fn resume(&mut self) {
        let Some(partitions) = &mut self.partitions else { return };
        self.paused.retain(|&partition| {
            let waits = self.reading.is_ahead(partition);
            if !waits {
                partitions.resume(partition);
            }
            waits
        });
    }

    fn emit(&mut self, mut cut: Cut, now: Timestamp) -> Next<LineBatch> {
        let Cut { partition, next, rebuild, caught_up, .. } = cut;
        let batch = cut.batch();
        let Some((source, batches)) = self.named.get_mut(&partition) else { return Next::Idle };
        let file = FileId { device: 0, inode: u64::try_from(partition).unwrap_or(0) };
        let mark = Mark {
            source: source.clone(),
            batch: *batches,
            next: Position { file, offset: u64::try_from(next).unwrap_or(0), check: 0 },
            older: Vec::new(),
            read_at: moment(now),
            rebuild,
            caught_up,
        };
        *batches += 1;
        if !rebuild {
            self.memory.insert(partition, next);
        }
        self.progress.emit(partition, (!rebuild).then_some(next));
        Next::Emit(batch.marked(mark))
    }

    /// How far partitions are dealt with, for a commit.
    fn positions(&self) -> Option<Vec<(i32, i64, &str)>> {
        let Mode::Journal(journal) = &self.mode else { return None };
        Some(self.progress.positions().map(|(partition, next)| (partition, next, &*journal.worker)).collect())
    }

    fn commit_if_due(&mut self, now: Moment) {
        if self.committed_at.until(now) < COMMIT_EVERY && now >= self.committed_at {
            return;
        }
        self.committed_at = now;
        if let (Some(positions), Some(partitions)) = (self.positions(), &self.partitions) {
            partitions.commit(&positions);
        }
    }

    fn commit_now(&self) {
        let (Some(positions), Some(partitions)) = (self.positions(), &self.partitions) else { return };
        if let Err(error) = partitions.commit_now(&positions, COMMIT) {
            tracing::warn!(%error, "what isn't committed is read again; the journal knows what is dealt with");
        }
    }
}

impl Spout for KafkaLines {
    type Out = LineBatch;

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        let at = moment(now);
        self.commit_if_due(at);
        // What was emitted last is known to others by now.
        self.tell_ends();
        if !self.leave(at) {
            self.take(at);
        }
        self.begin_live(at);
        let cut = self.reading.next(at);
        self.resume();
        cut.map_or(Next::Idle, |cut| self.emit(cut, now))
    }

    fn commit(&mut self, below: BatchId) {
        self.progress.done(below);
    }

    fn abandon(&mut self, _: BatchId, _: LineBatch) {
        self.progress.halt();
    }

    fn close(&mut self) {
        self.commit_now();
        // Leaving at once spares the next member the session timeout.
        self.partitions = None;
    }
}

impl fmt::Debug for KafkaLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLines")
            .field("config", &self.config)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

fn another_member(group: &str, topic: &str) -> String {
    format!(
        "another member of group `{group}` reads {topic}, so nobody sees all lines of a client: stop one of them, or start \
         workers with --role match and --role analyse, or, where shippers key the topic by client, set `keyed_by_client = \
         true` in [kafka]"
    )
}

/// There is another worker, and each would see a part of a client's lines only.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", another_member(.group, .topic))]
pub struct SecondMember {
    /// The group.
    pub group: String,
    /// Its topic.
    pub topic: String,
}

/// Refuses where the group has a live member. One that died is waited for: its session timeout and 2 s. Where Kafka can't
/// be asked nothing is refused.
///
/// # Errors
/// Where there is one.
pub fn refuse_second_member(kafka: &KafkaConfig, group: &str, topic: &str) -> Result<(), SecondMember> {
    let end = std::time::Instant::now() + kafka.session_timeout + Duration::from_secs(2);
    let Ok(admin) = Admin::new(kafka) else { return Ok(()) };
    loop {
        match admin.group_members(group, Duration::from_secs(3)) {
            Ok(0) => return Ok(()),
            Ok(members) => {
                tracing::info!(group, members, "the group has a member; waiting whether it is alive");
            }
            Err(error) => {
                tracing::warn!(%error, "whether the group has another member isn't known");
                return Ok(());
            }
        }
        if std::time::Instant::now() >= end {
            return Err(SecondMember { group: group.to_owned(), topic: topic.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
