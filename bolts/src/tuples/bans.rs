//! From findings to bans in force.

use std::sync::Arc;

use engine::{Partition, Tuple, task_for};
use model::ban::{Change, Outcome};
use model::event::Event;
use model::key::Key;
use model::ledger::AskedBan;
use model::mark::Mark;
use model::network::Network;
use model::units::{Moment, Second};
use model::verdict::Record;
use serde::{Deserialize, Serialize};

use super::{FindingBatch, HitBatch};

/// What analysis executes.
#[derive(Clone, Debug)]
pub enum Analysed {
    /// From match.
    Hits(HitBatch),
    /// Back from block.
    Bans(KeyBans),
}

impl Tuple for Analysed {
    fn records(&self) -> u64 {
        match self {
            Self::Hits(batch) => batch.records(),
            Self::Bans(bans) => bans.records(),
        }
    }
}

impl From<HitBatch> for Analysed {
    fn from(batch: HitBatch) -> Self {
        Self::Hits(batch)
    }
}

impl From<KeyBans> for Analysed {
    fn from(bans: KeyBans) -> Self {
        Self::Bans(bans)
    }
}

/// What became of the bans of keys, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBans(pub Vec<KeyBan>);

/// What became of a key's ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBan {
    /// Whose.
    pub key: Key,
    /// How it is now.
    pub now: BanNow,
}

/// How a key's ban is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BanNow {
    /// In force up to this second.
    Until(Second),
    /// Lifted: the key starts anew with the requests of this second.
    Lifted(Second),
    /// Decided, but held back or refused.
    NotEnforced,
}

impl Tuple for KeyBans {
    fn records(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Partition for KeyBans {
    fn partition(self, tasks: usize) -> Vec<Self> {
        let mut parts = vec![Self::default(); tasks];
        for ban in self.0 {
            parts[task_for(ban.key.stable_hash(), tasks)].0.push(ban);
        }
        parts
    }
}

/// What block executes.
#[derive(Clone, Debug)]
pub enum Blocked {
    /// From analysis, through geoip.
    Findings(FindingBatch),
    /// From people.
    Command(Command),
    /// Back from unblock: targets whose time is over.
    Due(Due),
}

impl Tuple for Blocked {
    fn records(&self) -> u64 {
        match self {
            Self::Findings(findings) => findings.records(),
            Self::Command(_) => 1,
            Self::Due(due) => due.records(),
        }
    }
}

impl From<FindingBatch> for Blocked {
    fn from(findings: FindingBatch) -> Self {
        Self::Findings(findings)
    }
}

impl From<Command> for Blocked {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl From<Due> for Blocked {
    fn from(due: Due) -> Self {
        Self::Due(due)
    }
}

/// Something that somebody asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// To find the answer by.
    pub id: u64,
    /// The clock when it was asked.
    pub at: Moment,
    /// What.
    pub order: CommandOrder,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CommandOrder {
    /// Ban a target.
    Ban(AskedBan),
    /// Lift its ban.
    Unban(Network),
    /// Put a held ban in force; all of them without a target.
    Release(Option<Network>),
    /// Forget a held ban; all of them without a target.
    Discard(Option<Network>),
    /// The clock was set by so many milliseconds.
    ClockStep {
        /// Ahead; back, where negative.
        millis: i64,
    },
    /// Take what an agent holds, and nobody here knows of, for a ban until then.
    Adopt(Vec<(Network, Moment)>),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done: what changed.
    Done(Vec<Change>),
    /// It wasn't: why.
    Refused(String),
}

impl Tuple for Command {}

/// Targets whose bans, in force or held, end at or before `now`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Due {
    /// The clock.
    pub now: Moment,
    /// Which.
    pub targets: Vec<Network>,
}

impl Tuple for Due {
    fn records(&self) -> u64 {
        self.targets.len() as u64
    }
}

/// What block emits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ruled {
    /// On the default stream.
    Ruling(Ruling),
    /// On the stream back to analysis.
    KeyBans(KeyBans),
}

impl Tuple for Ruled {
    fn records(&self) -> u64 {
        match self {
            Self::Ruling(ruling) => ruling.records(),
            Self::KeyBans(bans) => bans.records(),
        }
    }
}

impl Ruled {
    /// Takes what goes back to analysis out of the stream.
    ///
    /// # Errors
    /// Gives back what doesn't.
    pub fn key_bans(self) -> Result<KeyBans, Self> {
        match self {
            Self::KeyBans(bans) => Ok(bans),
            other => Err(other),
        }
    }
}

/// What came of a batch of lines, or of a command, or of time: kept together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// The clock.
    pub at: Moment,
    /// The batch of lines.
    pub mark: Option<Arc<Mark>>,
    /// How the desired state of bans changes, in order.
    pub changes: Vec<Change>,
    /// Frequency records, with the ban that came with each and the line that completed it.
    pub records: Vec<RuledRecord>,
    /// Requests of the batch that came too late to count.
    pub late: u64,
    /// Requests of the batch whose address was banned.
    pub while_banned: u64,
}

/// A frequency record on its way to the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuledRecord {
    /// What was found.
    pub record: Record,
    /// The ban that came with it.
    pub ban: Option<model::ban::BanId>,
    /// The line that completed it.
    pub line: Vec<u8>,
}

impl Tuple for Ruling {
    fn records(&self) -> u64 {
        (self.changes.len() + self.records.len()) as u64
    }
}

impl From<Ruled> for Ruling {
    fn from(ruled: Ruled) -> Self {
        match ruled {
            Ruled::Ruling(ruling) => ruling,
            Ruled::KeyBans(_) => Self::default(),
        }
    }
}

/// What agents answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcomes(pub Vec<Outcome>);

impl Tuple for Outcomes {
    fn records(&self) -> u64 {
        self.0.len() as u64
    }
}

/// What store executes.
#[derive(Clone, Debug)]
pub enum Stored {
    /// From block.
    Ruling(Ruling),
    /// From the agents.
    Outcomes(Outcomes),
    /// From report.
    Events(Timed),
}

impl Tuple for Stored {
    fn records(&self) -> u64 {
        match self {
            Self::Ruling(ruling) => ruling.records(),
            Self::Outcomes(outcomes) => outcomes.records(),
            Self::Events(timed) => timed.records(),
        }
    }
}

impl From<Ruled> for Stored {
    fn from(ruled: Ruled) -> Self {
        Self::Ruling(ruled.into())
    }
}

impl From<Outcomes> for Stored {
    fn from(outcomes: Outcomes) -> Self {
        Self::Outcomes(outcomes)
    }
}

impl From<Timed> for Stored {
    fn from(timed: Timed) -> Self {
        Self::Events(timed)
    }
}

/// Events that belong to no ruling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// The clock.
    pub at: Moment,
    /// What happened.
    pub events: Vec<Event>,
}

impl Tuple for Timed {
    fn records(&self) -> u64 {
        self.events.len() as u64
    }
}
