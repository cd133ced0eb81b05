//! What happened and is kept for good: the entries of the journal, from which tables and ledger are made.

use serde::{Deserialize, Serialize};

use crate::ban::{Change, Outcome};
use crate::mark::Mark;
use crate::units::Moment;
use crate::verdict::Record;

/// What happened together: all of it is kept, or nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub at: Moment,
    /// Up to where the source's lines are dealt with, once this entry is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// In order.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A frequency record: a row of `ip_frequency`.
    Record(Box<StoredRecord>),
    /// The desired state of bans changed.
    Change(Box<Change>),
    /// An agent answered: a row of `block_log` or `unblock_log`.
    Outcome(Box<Outcome>),
    /// Bans per agent in a reporting interval: a row of `block_server_log`.
    AgentTotal {
        /// The end of the interval.
        at: Moment,
        /// The agent's name.
        agent: String,
        /// How many it put in force.
        bans: u64,
    },
    /// Bans per rule in a reporting interval: a row of `block_url_log`.
    RuleTotal {
        /// The end of the interval.
        at: Moment,
        /// The rule's name, which is its URL, or `global`.
        rule: String,
        /// How many were put in force.
        bans: u64,
    },
}

/// A frequency record as it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StoredRecord {
    /// What was found.
    pub record: Record,
    /// The ban that came with it: its id is the row's `cuuid`.
    pub ban: Option<crate::ban::BanId>,
    /// Whether the client reached nginx without a proxy; `None` where the line isn't known.
    pub direct: Option<bool>,
    /// The fields of the line that completed it, as a JSON object.
    pub detail: Option<String>,
    /// What the proxies say of it: peer, hops and which hop is the client, as a JSON object.
    pub proxy_detail: Option<String>,
}
