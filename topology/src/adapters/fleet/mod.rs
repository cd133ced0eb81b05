//! Agents over Thrift behind [`BanSink`]: each agent has a lane, which keeps it in the desired state of bans.
//!
//! A lane is a thread with a connection of its own, so a slow agent holds up nobody. `books` says what an agent
//! should hold, what it was told and which answers are owed; the lane does the calls. Changes are sent at once;
//! with each new connection, and where an agent holds something else than it should, it gets the full state.
//! For each ban and agent there is one outcome for the block and one for the unblock, also where nobody answers.
//!
//! Memory: per agent what is in force, what ended and isn't answered (a minute at most without an agent), and the
//! targets that wait, at most 200,000; past that the full state is sent instead.

mod alarms;
mod books;
mod calls;
mod gone;
mod lane;
mod pauses;
mod view;
mod waiting;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolts::ports::{BanSink, Notifier};
use ccfirewall_thrift::flag;
use model::ban::Change;
use model::ledger::Ledger;
use model::network::Network;
use model::units::Moment;

use crate::spouts::outcomes::OutcomeQueue;
use alarms::Alarms;
use books::Wish;
use lane::{Lane, Shared};
pub use view::{AgentState, AgentView};

/// An agent to keep in step.
#[derive(Clone)]
pub struct AgentConfig {
    /// Its name, which goes into `server_ip`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The key that it shares with us.
    pub mkey: String,
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, .. } = self;
        f.debug_struct("AgentConfig").field("name", name).field("address", address).finish_non_exhaustive()
    }
}

/// Is offered what an agent held at the first contact and nobody here knows of, with the moments at which it ends.
/// What comes back through [`BanSink::apply`] within `adopt_within` stays; the rest is lifted. Must not wait for
/// that itself.
pub type Adopt = Arc<dyn Fn(Vec<(Network, Moment)>) + Send + Sync>;

/// How patient a fleet is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nothing is sent to anybody: outcomes have flag 1 and `dry run`, and the agent's name is `dry-run`.
    pub dry_run: bool,
    /// An agent must accept a connection within.
    pub connect: Duration,
    /// An agent must have taken and answered a call within; a second more for each 20,000 bans in force.
    pub call: Duration,
    /// Before the second attempt to connect; then twice as long each time.
    pub first_pause: Duration,
    /// Before any further attempt, at most.
    pub longest_pause: Duration,
    /// Before the next attempt with a key that was refused, or with an agent that is too old.
    pub refused_pause: Duration,
    /// How often an agent is asked how it is, and how many bans it holds.
    pub check_every: Duration,
    /// How often all that it holds is compared, also where the number is right.
    pub compare_every: Duration,
    /// How long to wait for bans that were offered for adoption.
    pub adopt_within: Duration,
    /// After so long without a connection there is an alarm.
    pub alarm_after: Duration,
    /// After so long without an agent an unblock is given up: the kernel ends the ban by itself.
    pub unblock_within: Duration,
    /// The most targets in a call.
    pub batch: usize,
    /// The most bans in a part of the full state.
    pub part: usize,
    /// For the pauses between attempts.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dry_run: false,
            connect: Duration::from_secs(2),
            call: Duration::from_secs(5),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(2),
            refused_pause: Duration::from_secs(10),
            // Cheap, and how an idle lane learns that its agent was started anew.
            check_every: Duration::from_secs(1),
            compare_every: Duration::from_secs(10),
            adopt_within: Duration::from_secs(2),
            alarm_after: Duration::from_secs(5),
            unblock_within: Duration::from_secs(60),
            batch: 5_000,
            part: 20_000,
            seed: 0,
        }
    }
}

/// The world of a fleet.
#[derive(Clone)]
pub struct World {
    /// Our number among the owners that follow one another: agents refuse lower ones once they have seen a higher.
    pub epoch: i64,
    /// Where outcomes go.
    pub outcomes: OutcomeQueue,
    /// Who tells people.
    pub notifier: Arc<dyn Notifier>,
    /// The clock.
    pub clock: Arc<dyn engine::Clock>,
    /// Who may adopt unknown bans.
    pub adopt: Adopt,
}

/// All agents, each with its lane. Dropped, it stops without sending what waits, and waits for nobody.
pub struct Fleet {
    lanes: Vec<Arc<Lane>>,
    shared: Arc<Shared>,
}

impl Fleet {
    /// Starts a lane for each agent, with the desired state and the answers that `ledger` knows of. Connects in the
    /// background.
    ///
    /// # Errors
    /// Where the system has no threads.
    pub fn start(
        agents: Vec<AgentConfig>,
        ledger: &Ledger,
        world: World,
        options: Options,
    ) -> std::io::Result<Self> {
        let alarms = Alarms::new(Arc::clone(&world.notifier));
        let shared = Arc::new(Shared { world, options, alarms });
        let mut fleet = Self { lanes: Vec::new(), shared };
        if fleet.shared.options.dry_run {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let config = AgentConfig { name: "dry-run".into(), address: nowhere, mkey: String::new() };
            let lane = Lane::new(config, ledger, &fleet.shared, AgentState::DryRun);
            lane.answer_all(&fleet.shared, flag::DONE, "dry run");
            fleet.lanes.push(Arc::new(lane));
            return Ok(fleet);
        }
        for (number, config) in agents.into_iter().enumerate() {
            let name = format!("agent {}", config.name);
            let lane = Arc::new(Lane::new(config, ledger, &fleet.shared, AgentState::Connecting));
            fleet.lanes.push(Arc::clone(&lane));
            let shared = Arc::clone(&fleet.shared);
            let run = move || lane::run(&lane, &shared, number as u64);
            std::thread::Builder::new().name(name).spawn(run)?;
        }
        Ok(fleet)
    }

    /// How the agents are, in the order in which they were given.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentView> {
        self.lanes.iter().map(|lane| lane.view()).collect()
    }

    /// Sends what waits where agents can be reached, and ends. Bans stay where they are. Returns by `deadline`;
    /// whether all that waited was sent and answered by then.
    pub fn stop(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        self.lanes.iter().for_each(|lane| lane.stop(until));
        self.lanes.iter().filter(|lane| !lane.wait_for_end(until)).count() == 0
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Threads that are in a call end after it; nobody waits for them.
        self.lanes.iter().for_each(|lane| lane.stop(Instant::now()));
    }
}

impl BanSink for Fleet {
    fn apply(&self, changes: &[Change], now: Moment) {
        let wishes: Vec<Wish> = changes.iter().filter_map(Wish::of).collect();
        if wishes.is_empty() {
            return;
        }
        for lane in &self.lanes {
            lane.wish(&wishes, now, &self.shared);
            if self.shared.options.dry_run {
                lane.answer_all(&self.shared, flag::DONE, "dry run");
            }
        }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("agents", &self.agents()).finish()
    }
}
