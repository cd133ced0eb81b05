//! How a live run is doing.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Tuple;
use model::units::Moment;
use serde::{Deserialize, Serialize};

use super::{LineCounts, Outcomes, Ruled, Ruling};

/// How a live run is doing, since its start. Lines that only rebuilt windows aren't in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    /// The clock.
    pub at: Moment,
    /// How lines fared, all sources together. Its span and mark are empty.
    pub lines: LineCounts,
    /// Lines a second, over the last five seconds.
    pub lines_per_second: f64,
    /// Requests that came too late to count.
    pub late: u64,
    /// Requests that came while their address was banned.
    pub while_banned: u64,
    /// Frequency records.
    pub records: u64,
    /// Warnings.
    pub warns: u64,
    /// Bans put in force.
    pub bans: u64,
    /// Bans in force that were extended.
    pub extensions: u64,
    /// Bans that ended.
    pub unbans: u64,
    /// Bans that caps held back.
    pub holds: u64,
    /// Sources by name.
    pub sources: BTreeMap<Arc<str>, SourceStatus>,
    /// Agents' answers by agent.
    pub answers: BTreeMap<Arc<str>, AnswerCounts>,
    /// From a ban's decision to the answer of each agent, in milliseconds, the newest thousand: median and 99th
    /// percentile.
    pub answer_ms: Option<(u64, u64)>,
}

/// How a source is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Lines so far.
    pub lines: u64,
    /// Whether it is still filling windows with what was decided on before the start.
    pub rebuilding: bool,
    /// Whether there was nothing more to read.
    pub caught_up: bool,
    /// When its newest batch was read.
    pub read_at: Moment,
    /// How far its clock is ahead of ours (behind, where negative), in milliseconds, as far as lines tell.
    pub skew_ms: Option<i64>,
}

/// How often an agent answered what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerCounts {
    /// Done, or already so.
    pub done: u64,
    /// Anything else.
    pub failed: u64,
}

/// What the report of a live run executes.
#[derive(Clone, Debug)]
pub enum LiveReported {
    /// From format.
    Lines(LineCounts),
    /// From block.
    Ruling(Ruling),
    /// From the agents.
    Outcomes(Outcomes),
}

impl Tuple for LiveReported {
    fn records(&self) -> u64 {
        match self {
            Self::Lines(counts) => counts.records(),
            Self::Ruling(ruling) => ruling.records(),
            Self::Outcomes(outcomes) => outcomes.records(),
        }
    }
}

impl From<LineCounts> for LiveReported {
    fn from(counts: LineCounts) -> Self {
        Self::Lines(counts)
    }
}

impl From<Ruled> for LiveReported {
    fn from(ruled: Ruled) -> Self {
        Self::Ruling(ruled.into())
    }
}

impl From<Outcomes> for LiveReported {
    fn from(outcomes: Outcomes) -> Self {
        Self::Outcomes(outcomes)
    }
}
