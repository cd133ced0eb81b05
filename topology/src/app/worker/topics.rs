//! The topics that carry what crosses between workers: made where they aren't there.

use std::time::Duration;

use anyhow::Context as _;

use crate::adapters::kafka::{Admin, NewTopic};
use crate::config::Kafka;

const ANSWER: Duration = Duration::from_secs(5);
/// What is sent once is read at once. So long it stays for workers that come back, in milliseconds: hits and bans longer
/// than any window, findings longer than any outage of the database should be.
const KEEP: &str = "21600000";
const KEEP_FINDINGS: &str = "604800000";

/// How many partitions topics have.
pub(super) struct Topics {
    /// The access log.
    pub(super) sources: usize,
    /// That of hits.
    pub(super) hits: usize,
}

impl Topics {
    /// Looks, and makes those of ours that aren't there.
    ///
    /// # Errors
    /// Where Kafka can't be asked, there is no access log, or a topic can't be made.
    pub(super) fn ensure(kafka: &Kafka, access_log: &str) -> anyhow::Result<Self> {
        let admin = Admin::new(&kafka.client)?;
        let sources = admin.partition_count(access_log, ANSWER)?;
        let topic = |name: &str, partitions: usize, keep: &str| {
            let settings = [
                ("retention.ms", keep),
                // The order of what workers send is told by the broker's clock, which is one.
                ("message.timestamp.type", "LogAppendTime"),
                ("cleanup.policy", "delete"),
            ];
            NewTopic {
                name: name.to_owned(),
                partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
                replication: -1,
                settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            }
        };
        let topics = [
            topic(&kafka.hits_topic, sources, KEEP),
            topic(&kafka.findings_topic, 1, KEEP_FINDINGS),
            topic(&kafka.key_bans_topic, 1, KEEP),
        ];
        admin.create_topics(&topics, ANSWER).context("the workers' topics can't be made")?;
        let hits = admin.partition_count(&kafka.hits_topic, ANSWER)?;
        Ok(Self { sources, hits })
    }
}
