//! What a whole run comes to.

use std::sync::Arc;

use engine::Tuple;
use model::distinct::KeyCount;
use model::network::Network;
use model::verdict::Decision;
use serde::{Deserialize, Serialize};

use super::{FindingBatch, LineCounts};

/// What a survey task counted. Emitted once, at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Surveyed {
    /// Requests by address, the busiest first.
    pub addresses: Vec<(Network, u64)>,
    /// Requests by URL (host and path), the busiest first.
    pub urls: Vec<(String, u64)>,
    /// Requests by country code, in no order; `None` where it isn't known.
    pub countries: Vec<(Option<Arc<str>>, u64)>,
}

impl Tuple for Surveyed {}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// How lines fared.
    pub lines: LineCounts,
    /// All decisions, by time, then target, then rule (as texts); equal ones in the order in which they were made.
    pub decisions: Vec<Decision>,
    /// How many different clients came.
    pub clients: KeyCount,
    /// How many records were made.
    pub records: u64,
    /// How many blocks.
    pub blocks: u64,
    /// How many warnings.
    pub warns: u64,
    /// Requests that came while their address was banned.
    pub while_banned: u64,
    /// Requests that came too late to count.
    pub late: u64,
    /// Clients that were forgotten because memory was full.
    pub evicted: u64,
    /// What was surveyed, the busiest first; empty where nothing was.
    pub survey: Surveyed,
}

/// What report executes.
#[derive(Clone, Debug)]
pub enum Reported {
    /// From format.
    Lines(LineCounts),
    /// From analysis, through geoip.
    Findings(FindingBatch),
    /// From survey.
    Survey(Surveyed),
}

impl Tuple for Reported {
    fn records(&self) -> u64 {
        match self {
            Self::Lines(counts) => counts.records(),
            Self::Findings(batch) => batch.records(),
            Self::Survey(survey) => survey.records(),
        }
    }
}

impl From<LineCounts> for Reported {
    fn from(counts: LineCounts) -> Self {
        Self::Lines(counts)
    }
}

impl From<FindingBatch> for Reported {
    fn from(findings: FindingBatch) -> Self {
        Self::Findings(findings)
    }
}

impl From<Surveyed> for Reported {
    fn from(survey: Surveyed) -> Self {
        Self::Survey(survey)
    }
}
