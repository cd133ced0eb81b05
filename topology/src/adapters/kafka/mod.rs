//! Kafka: what reads a topic's partitions as a member of a group, and what is needed around that.
//!
//! [`Partitions`] is the core. It belongs to the thread that polls it and hands out what happens one by one
//! ([`Fetched`]): partitions come, messages, partitions go. What a group's change needs from us is done in between: a
//! partition that comes is read from where [`Partitions::start`] says, and one that goes is still ours until the next
//! [`Partitions::poll`], so that what came of it can be finished and its offset committed.
//!
//! librdkafka keeps the connections, the group's heartbeat and the fetching on threads of its own, and tries again by
//! itself whatever fails. [`KafkaHealth`] says in words what is wrong meanwhile.

mod admin;
mod committer;
mod config;
mod consumer;
mod context;
mod error;
mod health;
mod look;
mod quiet;

pub use admin::{Admin, NewTopic};
pub use config::{KafkaConfig, check_property};
pub use consumer::{Assigned, Committed, Fetched, Handle, Isolation, Message, Partitions};
pub use error::KafkaError;
pub use health::{KafkaHealth, KafkaNow, Lag};
pub use look::{Away, Cluster, Ends, Look, Seen, TopicSeen};
pub use quiet::Quiet;
