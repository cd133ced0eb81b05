//! How it stands with a topic's reader, for whoever wants to know: threads that serve pages, `doctor`, tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How a reader is, shared between who reads and who shows it.
#[derive(Debug, Default)]
pub struct KafkaHealth(Mutex<KafkaNow>);

/// How a reader is at a moment.
#[derive(Clone, Debug, Default)]
pub struct KafkaNow {
    /// Whether a broker was reached since the start.
    pub reached: bool,
    /// Since when no broker can be reached.
    pub away_since: Option<Instant>,
    /// What librdkafka said last of the connection; empty where it is in order.
    pub connection: String,
    /// What else is wrong with the topic now: it isn't there, or we may not read it.
    pub trouble: Option<String>,
    /// What whoever reads finds wrong beside that, such as another member of the group.
    pub remark: Option<String>,
    /// The partitions that we own, each with how far behind its end we are.
    pub partitions: BTreeMap<i32, Lag>,
    /// How often partitions came or went.
    pub rebalances: u64,
    /// Messages that were deleted before they were read, at most.
    pub lost: u64,
    /// What may have been lost last, and why.
    pub last_loss: Option<String>,
    /// Where it is, for messages.
    brokers: String,
}

/// How far behind the end of its partition a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages that wait there, where that is known.
    pub messages: Option<u64>,
}

/// Whether librdkafka says that somebody answers there, and TLS or the login don't fit.
pub(super) fn is_refusal(reason: &str) -> bool {
    let words = ["SSL", "SASL", "certificate", "authentication", "Authentication"];
    words.iter().any(|word| reason.contains(word))
}

impl KafkaHealth {
    /// Nothing is known yet of these brokers.
    #[must_use]
    pub fn new(brokers: &str) -> Self {
        Self(Mutex::new(KafkaNow { brokers: brokers.to_owned(), ..KafkaNow::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, KafkaNow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is now.
    #[must_use]
    pub fn now(&self) -> KafkaNow {
        self.lock().clone()
    }

    /// What is wrong now, and what to do.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.lock().problem()
    }

    /// A broker was reached.
    pub(super) fn reached(&self) {
        let mut now = self.lock();
        if now.away_since.take().is_some() && now.reached {
            tracing::info!(brokers = now.brokers, "Kafka can be reached again");
        }
        now.reached = true;
        now.connection.clear();
    }

    /// No broker can be reached.
    pub(super) fn away(&self) {
        let mut now = self.lock();
        if now.away_since.is_none() {
            now.away_since = Some(Instant::now());
            tracing::warn!(brokers = now.brokers, reason = now.connection, "Kafka can't be reached");
        }
    }

    /// What librdkafka says of a connection.
    pub(super) fn connection(&self, reason: &str) {
        reason.clone_into(&mut self.lock().connection);
    }

    /// Whoever reads finds something wrong, or no longer.
    pub fn remark(&self, remark: Option<String>) {
        let mut now = self.lock();
        if now.remark != remark {
            if let Some(text) = &remark {
                tracing::warn!("{text}");
            }
            now.remark = remark;
        }
    }

    /// Something is wrong with the topic, or no longer.
    pub(super) fn trouble(&self, trouble: Option<String>) {
        let mut now = self.lock();
        if now.trouble != trouble {
            match &trouble {
                Some(text) => tracing::warn!("{text}"),
                None => tracing::info!(brokers = now.brokers, "what was wrong with Kafka is over"),
            }
            now.trouble = trouble;
        }
    }

    /// Messages were deleted before they were read.
    pub(super) fn lost(&self, messages: u64, text: String) {
        tracing::error!("{text}");
        let mut now = self.lock();
        now.lost = now.lost.saturating_add(messages);
        now.last_loss = Some(text);
    }

    /// Partitions came.
    pub(super) fn came(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut now = self.lock();
        now.rebalances += 1;
        now.partitions.extend(partitions.into_iter().map(|partition| (partition, Lag::default())));
    }

    /// Partitions went.
    pub(super) fn went(&self, partitions: &[i32]) {
        let mut now = self.lock();
        now.rebalances += 1;
        now.partitions.retain(|partition, _| !partitions.contains(partition));
    }

    /// How much waits in a partition.
    pub(super) fn lag(&self, partition: i32, messages: u64) {
        if let Some(lag) = self.lock().partitions.get_mut(&partition) {
            lag.messages = Some(messages);
        }
    }
}

impl KafkaNow {
    /// What is wrong now, and what to do.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Some(since) = self.away_since else {
            return self.trouble.clone().or_else(|| self.remark.clone());
        };
        let (brokers, reason) = (&self.brokers, &self.connection);
        if is_refusal(reason) {
            return Some(format!(
                "Kafka at {brokers} doesn't let us in: {reason}; look at `security.protocol`, `sasl.*` and `ssl.*` in \
                 `[kafka.properties]`"
            ));
        }
        Some(format!(
            "Kafka at {brokers} can't be reached for {} s: {reason}; bans stay in force and lines wait there; look \
             whether the broker runs and whether `brokers` in `[kafka]` is right",
            since.elapsed().as_secs()
        ))
    }
}
