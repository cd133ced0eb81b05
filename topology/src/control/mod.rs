//! What people can see and steer of a running firewall.
//!
//! The running program implements [`Control`]; [`http`](crate::adapters::http) shows it as pages, read-only on a
//! loopback port and with orders on a Unix socket; [`client`] is how the program's other commands speak to that
//! socket. [`views`] is what both sides write and read as JSON.

pub mod client;
pub mod views;

use std::sync::Arc;
use std::time::Duration;

use bolts::tuples::{CommandOrder, LiveStatus, Reply};
use engine::MetricsSnapshot;
use model::ban::{Ban, Ended, Order, Reason};
use model::ledger::HeldBan;
use model::network::Network;
use model::units::Moment;
use serde::{Deserialize, Serialize};

/// What people can see and steer of a running firewall. Asked from several threads at once; an answer may take a
/// while, but not for ever.
pub trait Control: Send + Sync + 'static {
    /// Whether it does its work, and what keeps it from it.
    fn health(&self) -> Health;

    /// How it is doing.
    fn status(&self) -> Status;

    /// The numbers of all components.
    fn metrics(&self) -> MetricsSnapshot;

    /// The bans in force, in any order.
    fn bans(&self) -> Vec<Ban>;

    /// The bans that caps hold back, in any order.
    fn held(&self) -> Vec<HeldBan>;

    /// The agents, in any order.
    fn agents(&self) -> Vec<AgentView>;

    /// Bans in force and over, from the database, newest first.
    ///
    /// # Errors
    /// Why it can't be read, in a sentence.
    fn history(&self, filter: &HistoryFilter) -> Result<Vec<BanRow>, String>;

    /// Does what is asked, and returns when what came of it is kept.
    ///
    /// # Errors
    /// Why nobody knows what became of it, in a sentence: it wasn't kept in time, or the program is about to end.
    fn command(&self, order: CommandOrder) -> Result<Reply, String>;
}

/// Whether the program does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether lines are read, decided on and enforced.
    pub ok: bool,
    /// What is wrong, the worst first. There may be some that don't keep it from its work.
    pub problems: Vec<Problem>,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about, for machines: `agent_down`, `store_behind`, …
    pub kind: String,
    /// What happened and what to do, in a sentence.
    pub text: String,
}

/// How the program is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Moment,
    /// How long ago that is, by a clock that nobody sets.
    pub uptime: Duration,
    /// Whether nobody is really blocked.
    pub dry_run: bool,
    /// What the report bolt says.
    pub live: LiveStatus,
    /// What people were told and isn't over.
    pub alarms: Vec<Problem>,
    /// The rules that hold.
    pub settings: SettingsStatus,
    /// The database.
    pub store: StoreStatus,
    /// The journal.
    pub journal: JournalStatus,
    /// More about the sources of `live`, by name.
    pub sources: Vec<SourceHealth>,
    /// The agents.
    pub agents: Vec<AgentView>,
    /// How many bans are in force.
    pub bans_in_force: u64,
    /// How many bans caps hold back.
    pub held: u64,
}

/// The rules that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsStatus {
    /// Counts from 1 since the start.
    pub version: u32,
    /// When this version began to hold.
    pub loaded_at: Moment,
    /// What is wrong with a newer one, which therefore doesn't hold.
    pub errors: Vec<String>,
    /// What is doubtful in the version that holds.
    pub warnings: Vec<String>,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Rows written since the start.
    pub rows: u64,
    /// Entries of the journal that it doesn't have yet.
    pub behind: u64,
    /// Rows that it will never have.
    pub lost: u64,
    /// Why it can't be written, while it can't.
    pub last_error: Option<String>,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// The number of its newest entry.
    pub entries: u64,
    /// Its size on the disk.
    pub bytes: u64,
    /// Entries that wait in memory for the disk.
    pub waiting: u64,
    /// Events that were dropped.
    pub lost: u64,
    /// Why the disk refuses, while it does.
    pub last_error: Option<String>,
}

/// What the reader of a source knows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceHealth {
    /// Its name, as in [`LiveStatus::sources`].
    pub name: Arc<str>,
    /// Bytes that wait to be read, where that is known.
    pub behind_bytes: Option<u64>,
    /// Messages that wait to be read, of a partition of Kafka, where that is known.
    pub behind_messages: Option<u64>,
    /// What is wrong with it now.
    pub last_error: Option<String>,
}

/// An agent, as the program sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its name, under which its answers are kept.
    pub name: String,
    /// Where it is spoken to, with the port.
    pub address: String,
    /// Whether it can be.
    pub state: AgentState,
    /// What holds its bans: `nftables`, `dry_run`; empty where it hasn't said yet.
    pub enforcer: String,
    /// Its version; empty where it hasn't said yet.
    pub version: String,
    /// How many bans it holds, as it last said.
    pub held: u64,
    /// How many it should hold.
    pub wanted: u64,
    /// How far its clock is ahead of ours (behind, where negative), in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// What it says of itself that a person should know.
    pub warnings: Vec<String>,
    /// Why the last call failed, while none has succeeded since.
    pub last_error: Option<String>,
    /// Bans that it held or lacked against our will, and that were put right, since the start.
    pub repaired: u64,
    /// Orders that wait for it.
    pub queue: u64,
    /// Whether it knows only the calls of 2016.
    #[serde(default)]
    pub original: bool,
    /// How many attempts to reach it failed in a row.
    #[serde(default)]
    pub failures: u32,
    /// Whether so many failed that it is only probed now and then.
    #[serde(default)]
    pub breaker_open: bool,
}

/// How it stands with an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Not reached yet since the start.
    #[default]
    Connecting,
    /// Reached, and being brought to what it should hold.
    Syncing,
    /// It holds what it should, as far as anybody knows.
    Up,
    /// It can't be reached.
    Down,
    /// It refuses us: the secret is wrong, or another program steers it.
    Refused,
}

impl AgentState {
    /// Its name in JSON, and for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Syncing => "syncing",
            Self::Up => "up",
            Self::Down => "down",
            Self::Refused => "refused",
        }
    }
}

/// Which bans of the past are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Of targets that have an address in common with this one.
    pub target: Option<Network>,
    /// That began then or later.
    pub since: Option<Moment>,
    /// At most so many.
    pub limit: usize,
}

/// A ban as the database has it.
#[derive(Clone, Debug, PartialEq)]
pub struct BanRow {
    /// What was banned.
    pub target: Network,
    /// The rule's name; `by hand` or `adopted` where no rule decided.
    pub rule: String,
    /// Where it came from.
    pub reason: Reason,
    /// When it was put in force.
    pub start: Moment,
    /// When it ends, or would have ended.
    pub end: Moment,
    /// When it was over; `None` while it is in force.
    pub ended_at: Option<Moment>,
    /// Why it is over.
    pub ended_cause: Option<Ended>,
    /// How many requests filled the window; 0 without a rule.
    pub count: u32,
    /// ISO 3166-1 code of the target's country.
    pub country: Option<String>,
    /// Who asked for it and why, where somebody did.
    pub note: Option<String>,
    /// What agents answered.
    pub agents: Vec<AgentAnswer>,
}

/// What an agent answered about a ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAnswer {
    /// The agent's name.
    pub agent: String,
    /// What it was asked for.
    pub order: Order,
    /// 1 done, -1 already so, -2 not a valid target, -3 wrong key, -4 failed.
    pub flag: i32,
}
