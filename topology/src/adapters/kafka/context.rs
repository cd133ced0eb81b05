//! What librdkafka calls back with. All of it is called from [`super::Partitions::poll`], on the caller's thread.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics, TopicPartitionList};

use super::health::KafkaHealth;

/// How a group's change reaches us.
pub(super) enum Change {
    /// These partitions are to be ours.
    Come(Vec<i32>),
    /// These are ours no longer; or, where it is said, haven't been for a while.
    Go { partitions: Vec<i32>, lost: bool },
}

/// What was called back with since somebody looked.
pub(super) struct Context {
    pub(super) topic: String,
    pub(super) health: Arc<KafkaHealth>,
    /// Once set, partitions are given up at once: nobody polls any more.
    pub(super) closing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) changes: VecDeque<Change>,
    /// Partitions whose next message no longer exists.
    pub(super) reset: HashSet<i32>,
}

impl Context {
    pub(super) fn new(topic: &str, health: Arc<KafkaHealth>) -> Self {
        let (topic, closing, state) = (topic.to_owned(), AtomicBool::new(false), Mutex::default());
        Self { topic, health, closing, state }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(partition) = reset_partition(&self.topic, message) {
            self.state().reset.insert(partition);
        }
        log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            self.health.reached();
        }
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        for (&partition, of) in &topic.partitions {
            if let Ok(lag) = u64::try_from(of.consumer_lag) {
                self.health.lag(partition, lag);
            }
        }
    }

    fn error(&self, error: Cause, reason: &str) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            // An end of a partition is no error.
            Some(Code::PartitionEOF) => {}
            Some(Code::AllBrokersDown) => self.health.away(),
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => {
                self.health.connection(reason);
            }
            Some(Code::Authentication | Code::SSL) => {
                self.health.connection(reason);
                self.health.away();
            }
            _ => tracing::debug!(%error, reason, "Kafka"),
        }
    }
}

/// What librdkafka logs, in our log. It repeats itself while a broker is away, and [`KafkaHealth`] says that once.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "librdkafka");
        }
        _ => tracing::debug!(facility, message, "librdkafka"),
    }
}

/// librdkafka tells in its log alone that it had to go on elsewhere, as in `topic [3]: offset reset (at offset 7 …`.
fn reset_partition(topic: &str, message: &str) -> Option<i32> {
    let (before, _) = message.split_once("]: offset reset (")?;
    let (before, partition) = before.rsplit_once(" [")?;
    let of_ours = before.rsplit(' ').next() == Some(topic);
    of_ours.then(|| partition.parse().ok()).flatten()
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(TopicPartitionListElem::partition).collect();
        let comes = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // Nothing can be done about a failure: the client is about to be gone.
            let _ =
                if comes { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            return;
        }
        let change = if comes {
            Change::Come(partitions)
        } else {
            Change::Go { partitions, lost: consumer.assignment_lost() }
        };
        self.state().changes.push_back(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_told_by_its_log_line() {
        let line = "[thrd:127.0.0.1:9092/1]: access-log [12]: offset reset (at offset 3 (leader epoch 0), broker 1) \
                    to cached BEGINNING offset 10: fetch failed";
        assert_eq!(reset_partition("access-log", line), Some(12));
        assert_eq!(reset_partition("log", line), None);
        assert_eq!(reset_partition("access-log", "access-log [1]: offset 3"), None);
        assert_eq!(reset_partition("", "]: offset reset ("), None);
    }
}
