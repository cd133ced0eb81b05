//! The enforcers against the kernel: what all of them promise, and what each does in its own way. Each test runs in a
//! network namespace of its own, so it needs root, and says so where it is skipped.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod choice;
mod contract;
mod daemon;
mod help;
mod ipset;
mod iptables;
mod namespace;
mod nftables;
mod traffic;
