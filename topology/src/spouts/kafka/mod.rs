//! Lines from a Kafka topic.
pub mod envelope;
