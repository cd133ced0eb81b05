//! A part of the topology that runs, from one topic to the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use engine::{LocalRuntime, Metrics, Running, TaskContext, Topology};

use super::Base;
use super::topics::Topics;
use crate::adapters::kafka::{Handle, Isolation, KafkaHealth, Partitions};
use crate::app::sources::Watched;
use crate::config::Part;
use crate::exchange::{
    ALL_EVERY, From, Handoff, KeyBansView, Member, Reader, SendFindings, SendHits, Transactions,
};
use crate::spouts::handed::Handed;
use crate::spouts::hits::Hits;
use crate::spouts::kafka::envelope::Envelope;
use crate::spouts::kafka::{ByTransaction, KafkaLines, KafkaLinesConfig, Mode};
use crate::spouts::key_bans::ToldBans;
use crate::spouts::log_files::BATCH_BYTES;
use crate::wiring::{self, Analysing, Matching};

/// So long it may take to commit what was read, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A part that runs.
pub(super) struct Stage {
    running: Running,
    view: StageView,
    handoff: Arc<Handoff>,
    /// Nothing more is tried.
    give_up: Arc<AtomicBool>,
}

/// What can be seen of it.
#[derive(Clone)]
pub(super) struct StageView {
    pub(super) metrics: Metrics,
    pub(super) source: (Arc<str>, Watched),
}

impl Stage {
    /// Starts a part.
    ///
    /// # Errors
    /// Where topics can't be had, or librdkafka doesn't like the configuration.
    pub(super) fn start(base: &Base, part: Part) -> anyhow::Result<Self> {
        let topics = Topics::ensure(&base.kafka, &base.input.topic)?;
        let handoff = Arc::<Handoff>::default();
        let give_up = Arc::<AtomicBool>::default();
        let health = Arc::new(KafkaHealth::new(&base.kafka.client.brokers));
        let making = Making { base, part, topics, handoff: &handoff, give_up: &give_up, health: &health };
        let (source, topology) = match part {
            Part::Analyse => (&base.kafka.hits_topic, making.analysing()?),
            Part::Match => (&base.input.topic, making.matching()?),
        };
        let view = StageView {
            metrics: topology.metrics(),
            source: (format!("kafka:{source}").into(), Watched::Kafka(health)),
        };
        let running = LocalRuntime::new(base.engine()).start(topology);
        Ok(Self { running, view, handoff, give_up })
    }

    pub(super) fn view(&self) -> StageView {
        self.view.clone()
    }

    /// Why it can't go on, if so.
    pub(super) fn failed(&self) -> Option<String> {
        let components = self.view.metrics.snapshot().components;
        let broken = components.iter().find(|component| component.restarts > 0);
        let broken = broken.map(|component| format!("the component `{}` broke", component.name));
        self.handoff.failed().or(broken)
    }

    /// Ends it; in order, so that what was read is committed.
    pub(super) fn stop(self, in_order: bool) {
        if in_order {
            self.handoff.close(PATIENCE);
        }
        self.give_up.store(true, Ordering::Release);
        let drained = self.running.stop(if in_order { PATIENCE } else { Duration::from_secs(1) });
        tracing::debug!(clean = drained.is_clean(), "the stage has ended");
    }
}

/// What a part is made of.
struct Making<'b> {
    base: &'b Base,
    part: Part,
    topics: Topics,
    handoff: &'b Arc<Handoff>,
    give_up: &'b Arc<AtomicBool>,
    health: &'b Arc<KafkaHealth>,
}

impl Making<'_> {
    fn transactions(&self, read_topic: &str, member: Handle) -> anyhow::Result<Transactions> {
        let Base { kafka, id, .. } = self.base;
        let name = format!("ccfirewall.{}.{}.{id}", kafka.group, self.part.name(), id = id.id);
        let member: Member = Box::new(move || member.group_metadata());
        let (handoff, stop) = (self.handoff.clone(), self.give_up.clone());
        let made = Transactions::new(&kafka.client, &name, read_topic.into(), member, handoff, stop);
        made.context("no producer of transactions")
    }

    fn matching(self) -> anyhow::Result<Topology> {
        let Base { kafka, input, format, around, config, .. } = self.base;
        let lines = KafkaLinesConfig {
            kafka: kafka.client.clone(),
            topic: input.topic.clone(),
            group: kafka.group.clone(),
            format: format.clone(),
            envelope: Envelope::new(input.envelope, &input.message_keys, format),
            start: input.start,
            batch_bytes: BATCH_BYTES,
        };
        let mode = Mode::Transaction(ByTransaction { changes: Some(Handed::changes(self.handoff.clone())) });
        let lines = KafkaLines::new(lines, mode, self.health.clone())?;
        let member = lines.handle().context("the reader is gone")?;
        let send = SendHits::new(
            around.settings.clone(),
            self.transactions(&input.topic, member)?,
            self.handoff.clone(),
            kafka.hits_topic.as_str().into(),
            self.topics.hits,
            u32::try_from(self.topics.sources).unwrap_or(u32::MAX),
        );
        let parts = Matching {
            source: (format!("kafka:{}", input.topic).into(), format.clone()),
            settings: around.settings.clone(),
            status: around.board.clone(),
            notifier: around.board.clone(),
            tasks: config.limits.tasks,
        };
        let lines = once(Handed::new(lines, self.handoff.clone()));
        Ok(wiring::matching(parts, lines, once(send))?)
    }

    fn analysing(self) -> anyhow::Result<Topology> {
        let Base { kafka, around, config, places, .. } = self.base;
        let group = format!("{}.analyse", kafka.group);
        let partitions = Partitions::subscribe(
            &kafka.client,
            &kafka.hits_topic,
            &group,
            Isolation::Committed,
            self.health.clone(),
        )?;
        let transactions = self.transactions(&kafka.hits_topic, partitions.handle())?;
        let bans = Arc::<KeyBansView>::default();
        let since = From::Since(self.base.now().0 - 5 * ALL_EVERY / 2);
        let told = ToldBans::new(Reader::open(&kafka.client, &kafka.key_bans_topic, since)?, bans.clone());
        let topic: Arc<str> = kafka.hits_topic.as_str().into();
        let hits = Hits::new(partitions, topic, self.handoff.clone(), around.settings.clone(), bans);
        let send =
            SendFindings::new(transactions, self.handoff.clone(), kafka.findings_topic.as_str().into());
        let parts = Analysing {
            worker: self.base.id.id.as_str().into(),
            settings: around.settings.clone(),
            places: places.clone(),
            tasks: config.limits.tasks,
            window_memory: config.limits.window_memory,
        };
        Ok(wiring::analysing(parts, once(hits), once(told), once(send))?)
    }
}

/// A component that is made once: one that broke isn't made anew, but the whole stage.
pub(super) fn once<T: Send + 'static>(component: T) -> impl Fn(&TaskContext) -> T + Send + Sync + 'static {
    let component = Mutex::new(Some(component));
    move |_| {
        let component = component.lock().unwrap_or_else(PoisonError::into_inner).take();
        component.expect("a component that broke ends its stage")
    }
}
