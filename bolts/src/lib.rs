//! The steps of the topologies, one file each: format → match → analysis → geoip, then report for a replay, and
//! block → store → enforce and unblock with live report for live lines.
//!
//! A bolt is pure: it takes batches and emits batches. What it needs of the world comes through
//! [`ports`], which the program fills with adapters.
//!
//! Invariant: no sockets, no files, no clocks and no threads in this crate.

pub mod analysis;
pub mod block;
pub mod enforce;
pub mod format;
pub mod geoip;
pub mod live_report;
pub mod matching;
pub mod ports;
pub mod report;
pub mod store;
pub mod survey;
pub mod tuples;
pub mod unblock;

pub use analysis::Analysis;
pub use block::Block;
pub use enforce::Enforce;
pub use format::Format;
pub use geoip::GeoIp;
pub use live_report::LiveReport;
pub use matching::Match;
pub use report::Report;
pub use store::Store;
pub use survey::Survey;
pub use unblock::Unblock;
