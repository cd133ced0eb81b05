//! Access lines from a real Kafka: formats, codecs, groups, positions, and what can go wrong.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;
mod faults;
mod groups;
mod live;
mod positions;
mod shapes;
mod transactions;
