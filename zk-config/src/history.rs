//! The history of the settings: a node for each accepted version.

use model::units::Moment;

/// How many versions are kept; older ones are deleted when another one is recorded.
pub const KEPT_VERSIONS: usize = 1000;

/// An accepted version, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The node's name; names sort by age.
    pub name: String,
    /// The version of `config` that it was.
    pub version: i32,
    /// Which `config`, where it was deleted and created again.
    pub czxid: i64,
    /// When it was written.
    pub at: Moment,
    /// By whom.
    pub who: String,
}

/// An accepted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryVersion {
    /// Which one.
    pub entry: HistoryEntry,
    /// The settings.
    pub settings: String,
}
