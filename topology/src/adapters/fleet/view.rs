//! How agents are, for people.

use std::net::SocketAddr;
use std::sync::Arc;

use model::units::Moment;
use serde::Serialize;

/// How the connection to an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AgentState {
    /// Not in step yet, or again.
    Connecting,
    /// It has the full desired state, and gets every change at once.
    InSync,
    /// It takes connections or calls, and doesn't answer in time.
    Hanging {
        /// Since then.
        since: Moment,
    },
    /// No connection.
    Unreachable {
        /// Since then.
        since: Moment,
    },
    /// It answers that it can't: its firewall refuses.
    Failing {
        /// Since then.
        since: Moment,
    },
    /// Nobody lists it any more, so it isn't called.
    Left {
        /// Since then.
        since: Moment,
    },
    /// It has another key.
    WrongKey,
    /// Another owner has taken over. It is for good.
    Fenced,
    /// Nobody is asked: a dry run.
    DryRun,
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentView {
    /// Its name, as it stands in `server_ip`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// How the connection is.
    #[serde(flatten)]
    pub state: AgentState,
    /// By what means it blocks: `nftables`, `dry_run`. Empty before it was ever asked, like what follows.
    pub enforcer: String,
    /// Its version.
    pub version: String,
    /// How many bans it held when it was last asked.
    pub held: u64,
    /// How many it should hold.
    pub wanted: u64,
    /// Whether it knows only the calls of 2016.
    pub original: bool,
    /// How many attempts failed in a row.
    pub failures: u32,
    /// Whether so many have failed that it is only probed now and then.
    pub breaker_open: bool,
    /// Which start of the agent it is.
    pub instance: String,
    /// How far its clock is ahead of ours, in milliseconds.
    pub clock_skew_ms: i64,
    /// What it says that a person should know.
    pub warnings: Vec<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How many differences between what it held and what it should were repaired.
    pub repaired: u64,
    /// How many targets wait to be sent.
    pub queue: u64,
}

impl AgentView {
    pub(super) fn new(name: Arc<str>, address: SocketAddr, state: AgentState) -> Self {
        Self {
            name,
            address,
            state,
            enforcer: String::new(),
            version: String::new(),
            held: 0,
            wanted: 0,
            original: false,
            failures: 0,
            breaker_open: false,
            instance: String::new(),
            clock_skew_ms: 0,
            warnings: Vec::new(),
            last_error: None,
            repaired: 0,
            queue: 0,
        }
    }
}
