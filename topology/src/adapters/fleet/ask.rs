//! Asks one agent once how it is, for whoever diagnoses. Nothing is ordered, so that no epoch is needed.

use std::time::{Duration, Instant};

use model::units::Moment;

use super::calls::{Calls, Trouble, offset};
use super::{AgentConfig, Options};

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It answers, and knows our key.
    Answered(Answered),
    /// It answers, and knows the two calls of 2016 only, neither of which would change nothing.
    Original,
    /// It doesn't take our key.
    WrongKey,
    /// There is no connection, or none that an agent is at the other end of: why.
    Unreachable(String),
    /// There is a connection, and no answer in time.
    Hanging(String),
    /// It answers that it failed.
    Failing(String),
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Its version.
    pub version: String,
    /// By what means it blocks.
    pub enforcer: String,
    /// How many bans it holds.
    pub held: u64,
    /// Whether an owner's full state is in force since its start.
    pub ready: bool,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// By how many milliseconds its clock is ahead of ours, and by how many that may be wrong.
    pub skew: Option<(i64, i64)>,
}

/// Asks an agent, which may take so long to connect, and so long to answer. `clock` is ours.
#[must_use]
pub fn ask(config: &AgentConfig, patience: Duration, clock: &dyn Fn() -> Moment) -> Asked {
    let options = Options { connect: patience, call: patience, ..Options::default() };
    let ask = || {
        let mut calls = Calls::connect(config, 0, &options, 0)?;
        let asked = Instant::now();
        let status = calls.status()?;
        let skew = status.clock_ms.map(|theirs| offset(theirs, asked, clock()));
        Ok(Answered {
            version: status.version.unwrap_or_default(),
            enforcer: status.enforcer.unwrap_or_default(),
            held: u64::try_from(status.held.unwrap_or(0)).unwrap_or(0),
            ready: status.ready.unwrap_or(true),
            warnings: status.warnings.unwrap_or_default(),
            skew,
        })
    };
    match ask() {
        Ok(answered) => Asked::Answered(answered),
        Err(Trouble::Original) => Asked::Original,
        Err(Trouble::WrongKey) => Asked::WrongKey,
        Err(Trouble::Unreachable(why)) => Asked::Unreachable(why),
        Err(Trouble::Hanging(why)) => Asked::Hanging(why),
        Err(Trouble::Failing(why) | Trouble::Fenced(why)) => Asked::Failing(why),
    }
}
