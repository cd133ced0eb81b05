//! `ccfirewall doctor` before a whole fleet: real Kafka, ZooKeeper and MariaDB, real agents. Each part is broken once, and
//! the doctor must name it and say how to mend it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod agents;
mod kafka;
mod site;
mod whole;
mod zookeeper;

#[path = "../journal_common/mod.rs"]
mod journal_common;
#[path = "../kafka/common.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod kafka_common;
#[path = "../program/mod.rs"]
mod program;
#[path = "../store_common/mod.rs"]
mod store_common;
#[path = "../zookeeper/mod.rs"]
mod zookeeper_common;
