//! What can go wrong with Kafka, in words that say what to do.

use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};

/// Why something with Kafka failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KafkaError {
    /// librdkafka takes the configuration for wrong. Values aren't told, for they may be secret.
    #[error("Kafka's client refuses the configuration: {0}; look at `[kafka]` and `[kafka.properties]`")]
    Config(String),
    /// The broker didn't answer, or no broker could be reached.
    #[error(
        "no answer from Kafka at {brokers} ({reason}); look whether the broker runs and whether `brokers` in \
             `[kafka]` is right"
    )]
    Away {
        /// The brokers that were asked.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// There is no such topic.
    #[error("{}", missing_topic(.topic, .brokers))]
    NoTopic {
        /// The topic.
        topic: String,
        /// The brokers that were asked.
        brokers: String,
    },
    /// The broker knows us and won't have it.
    #[error(
        "Kafka at {brokers} doesn't allow it ({reason}); look at the ACLs of the topic and the group, and at \
             `sasl.*` in `[kafka.properties]`"
    )]
    Denied {
        /// The brokers that were asked.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
    /// Somebody else has taken our place.
    #[error(
        "another worker reads {topic} under this one's identity, so this one reads nothing any more: give each a state \
         folder of its own, and delete `worker-id` in one that was copied"
    )]
    Twice {
        /// The topic.
        topic: String,
    },
    /// Offsets couldn't be committed. What isn't committed is read again after a restart.
    #[error("Kafka didn't take the offsets: {0}")]
    Commit(String),
    /// Anything else.
    #[error("Kafka at {brokers}: {reason}")]
    Other {
        /// The brokers that were asked.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
}

/// That a topic isn't there, and how to make it.
pub(super) fn missing_topic(topic: &str, brokers: &str) -> String {
    format!(
        "topic {topic} doesn't exist on {brokers}: create it: kafka-topics.sh --bootstrap-server {brokers} --create \
         --topic {topic} --partitions 8"
    )
}

impl KafkaError {
    /// Says in our words what librdkafka says. `topic` is what was asked for.
    pub(super) fn of(cause: &Cause, brokers: &str, topic: &str) -> Self {
        let brokers = brokers.to_owned();
        if let Cause::ClientConfig(_, _, key, _) = cause {
            return Self::Config(format!("`{key}` has a value that it doesn't know"));
        }
        if let Cause::ClientCreation(reason) = cause {
            return Self::Config(reason.clone());
        }
        let Some(code) = cause.rdkafka_error_code() else {
            return Self::Other { brokers, reason: cause.to_string() };
        };
        Self::of_code(code, brokers, topic)
    }

    /// The same, of a code alone.
    pub(super) fn of_code(code: RDKafkaErrorCode, brokers: String, topic: &str) -> Self {
        use RDKafkaErrorCode as Code;
        let reason = code.to_string();
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Self::NoTopic { topic: topic.to_owned(), brokers }
            }
            Code::Fenced | Code::FencedInstanceId => Self::Twice { topic: topic.to_owned() },
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Denied { brokers, reason },
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::Resolve
            | Code::WaitingForCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::LeaderNotAvailable => Self::Away { brokers, reason },
            _ => Self::Other { brokers, reason },
        }
    }
}
