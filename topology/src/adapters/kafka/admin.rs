//! What is asked of Kafka beside reading: who is in a group, which topics there are; and making topics.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic as Spec, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};

use super::config::KafkaConfig;
use super::error::KafkaError;
use super::quiet::Quiet;

/// Asks Kafka. Each call waits for the answer, by a deadline.
pub struct Admin {
    brokers: String,
    client: BaseConsumer<Quiet>,
    admin: AdminClient<Quiet>,
}

/// A topic that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// On how many brokers each is kept; -1: as the broker is configured.
    pub replication: i32,
    /// Kafka's topic settings, such as `retention.ms`.
    pub settings: Vec<(String, String)>,
}

impl Admin {
    /// Connects when it is asked something.
    ///
    /// # Errors
    /// What librdkafka doesn't take of the configuration.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let of = |cause: Cause| KafkaError::of(&cause, &config.brokers, "");
        Ok(Self {
            brokers: config.brokers.clone(),
            client: config.client().create_with_context(Quiet).map_err(of)?,
            admin: config.client().create_with_context(Quiet).map_err(of)?,
        })
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// Where there is no such topic, or no answer.
    pub fn partition_count(&self, topic: &str, patience: Duration) -> Result<usize, KafkaError> {
        let found = self.client.fetch_metadata(Some(topic), patience);
        let found = found.map_err(|cause| KafkaError::of(&cause, &self.brokers, topic))?;
        let missing = || KafkaError::NoTopic { topic: topic.to_owned(), brokers: self.brokers.clone() };
        let found = found.topics().iter().find(|found| found.name() == topic).ok_or_else(missing)?;
        if let Some(error) = found.error() {
            return Err(KafkaError::of_code(error.into(), self.brokers.clone(), topic));
        }
        match found.partitions().len() {
            0 => Err(missing()),
            count => Ok(count),
        }
    }

    /// How many members a group has now; one that died counts until its session is over.
    ///
    /// # Errors
    /// Where there is no answer.
    pub fn group_members(&self, group: &str, patience: Duration) -> Result<usize, KafkaError> {
        members(&self.client, group, patience).map_err(|cause| KafkaError::of(&cause, &self.brokers, ""))
    }

    /// Makes topics; one that is there already stays as it is.
    ///
    /// # Errors
    /// The first that can't be made.
    pub fn create_topics(&self, topics: &[NewTopic], patience: Duration) -> Result<(), KafkaError> {
        let specs: Vec<Spec<'_>> = topics.iter().map(spec).collect();
        let options = AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience));
        let made = block_on(self.admin.create_topics(&specs, &options));
        let made = made.map_err(|cause| KafkaError::of(&cause, &self.brokers, ""))?;
        for made in made {
            match made {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(KafkaError::of_code(code, self.brokers.clone(), &topic)),
            }
        }
        Ok(())
    }
}

/// How many members a group has, by whoever asks.
pub(super) fn members<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    group: &str,
    patience: Duration,
) -> Result<usize, Cause> {
    let found = client.fetch_group_list(Some(group), patience)?;
    Ok(found.groups().iter().find(|found| found.name() == group).map_or(0, |found| found.members().len()))
}

fn spec(topic: &NewTopic) -> Spec<'_> {
    let replication = TopicReplication::Fixed(topic.replication);
    let spec = Spec::new(&topic.name, topic.partitions, replication);
    topic.settings.iter().fold(spec, |spec, (key, value)| spec.set(key, value))
}

/// Waits for an answer on this thread; librdkafka ends it by the deadline.
fn block_on<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without I/O and timers needs nothing of the system").block_on(answer)
}
