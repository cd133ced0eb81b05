//! The steps of the topology: format → match → analysis → geoip → report, one file each.
//!
//! A bolt is pure: it takes batches and emits batches. What it needs of the world comes through
//! [`ports`], which the program fills with adapters.
//!
//! Invariant: no sockets, no files, no clocks and no threads in this crate.

pub mod analysis;
pub mod format;
pub mod geoip;
pub mod matching;
pub mod ports;
pub mod report;
pub mod survey;
pub mod tuples;

pub use analysis::Analysis;
pub use format::Format;
pub use geoip::GeoIp;
pub use matching::Match;
pub use report::Report;
pub use survey::Survey;
