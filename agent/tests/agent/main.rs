//! The agent from outside: over real sockets, as owners, operators' tools and attackers meet it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod calls;
mod daemon;
mod help;
mod hostile;
mod limits;
mod python;
mod tls;
mod zookeeper;
