//! Agents over Thrift behind [`BanSink`]: each agent has a lane, which keeps it in the desired state of bans.
//!
//! A lane is a thread with a connection of its own, so a slow agent holds up nobody. `books` says what an agent
//! should hold, what it was told and which answers are owed; the lane does the calls. Changes are sent at once;
//! with each new connection, and where an agent holds something else than it should, it gets the full state.
//! Agents of 2016 are told apart by the first call, and served by the two that they know.
//! Agents come and go ([`Fleet::set_agents`]): one that nobody lists any more is called for a while longer, for it may
//! only have lost the list's keeper; then it is left alone, and the kernel ends its bans. (One of 2016 ends none by
//! itself: while it may hold any there is an alarm.) When it is back, it gets the full state.
//! For each ban and agent there is one outcome for the block and one for the unblock, also where nobody answers.
//!
//! Memory: per agent what is in force, what ended and isn't answered (a minute at most without an agent), and the
//! targets that wait, at most 200,000; past that the full state is sent instead.

mod alarms;
mod ask;
mod books;
mod calls;
mod gone;
mod lane;
mod listed;
mod pauses;
mod view;
mod waiting;

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bolts::ports::{BanSink, Notifier};
use ccfirewall_thrift::flag;
use ccfirewall_thrift::tls::ClientTls;
use model::ban::Change;
use model::ledger::Ledger;
use model::network::Network;
use model::units::Moment;

use crate::spouts::outcomes::OutcomeQueue;
use alarms::Alarms;
pub use ask::{Answered, Asked, ask};
use books::Wish;
use lane::{Lane, Shared};
pub use listed::agents_of;
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
    /// By what it is spoken to by TLS; `None`: it isn't.
    pub tls: Option<AgentTls>,
    /// Whether it is known to be one of 2016 before it is asked: then it is waited for with unblocks, for it ends no
    /// ban by itself.
    pub original: bool,
}

/// How an agent is spoken to by TLS.
#[derive(Clone, Debug)]
pub struct AgentTls {
    /// Whom we believe, and who we are.
    pub files: Arc<ClientTls>,
    /// For whom its certificate must be, where that isn't its address.
    pub name: Option<String>,
}

impl AgentConfig {
    /// Whether nothing of it has changed.
    fn is_same(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(&one.files, &other.files) && one.name == other.name,
            _ => false,
        };
        tls && self.name == other.name
            && self.address == other.address
            && self.mkey == other.mkey
            && self.original == other.original
    }
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

/// Is told, in an agent's words, that another owner has taken over: then nothing is ours to order any more. Called
/// once by each agent that says so.
pub type Superseded = Arc<dyn Fn(&str) + Send + Sync>;

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
    /// Before the next attempt with a key that was refused.
    pub refused_pause: Duration,
    /// After so many failures in a row, attempts become rare: the circuit breaker opens.
    pub breaker_after: u32,
    /// How rare, at most.
    pub probe_every: Duration,
    /// So long an agent is still called that nobody lists any more.
    pub leave_after: Duration,
    /// So long after that it is forgotten, once nothing is owed for it.
    pub forget_after: Duration,
    /// The most connections to an agent of 2016, which takes one address a call.
    pub connections_of_2016: usize,
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
            breaker_after: 8,
            probe_every: Duration::from_secs(5),
            leave_after: Duration::from_secs(30),
            forget_after: Duration::from_secs(600),
            connections_of_2016: 4,
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
    /// Who steps down where another owner has taken over.
    pub superseded: Superseded,
}

/// All agents, each with its lane. Dropped, it stops without sending what waits, and waits for nobody.
pub struct Fleet {
    crew: Mutex<Crew>,
    shared: Arc<Shared>,
}

struct Crew {
    lanes: Vec<Arc<Lane>>,
    /// The desired state, for agents that come later.
    desired: Ledger,
    /// So many lanes were begun so far.
    begun: u64,
    /// Agents don't come any more.
    stopping: bool,
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
        let crew = Crew { lanes: Vec::new(), desired: ledger.clone(), begun: 0, stopping: false };
        let fleet = Self { crew: Mutex::new(crew), shared };
        if fleet.shared.options.dry_run {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let config = AgentConfig {
                name: "dry-run".into(),
                address: nowhere,
                mkey: String::new(),
                tls: None,
                original: false,
            };
            let lane = Lane::new(config, ledger, &fleet.shared, AgentState::DryRun, false);
            lane.answer_all(&fleet.shared, flag::DONE, "dry run");
            fleet.lock().lanes.push(Arc::new(lane));
        } else {
            fleet.change_agents(agents, false)?;
        }
        Ok(fleet)
    }

    fn lock(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these are the agents, all of them; whoever watches a list calls it with each new one, and with
    /// none while the list can't be read. Of those with the same name or address, the first counts. Those that come
    /// get the full state; those that aren't among them are left alone after `leave_after`.
    ///
    /// # Errors
    /// Where the system has no threads for those that come; the others are as they should be.
    pub fn set_agents(&self, agents: Vec<AgentConfig>) -> std::io::Result<()> {
        self.change_agents(agents, true)
    }

    fn change_agents(&self, agents: Vec<AgentConfig>, newcomers: bool) -> std::io::Result<()> {
        if self.shared.options.dry_run {
            return Ok(());
        }
        let mut crew = self.lock();
        if crew.stopping {
            return Ok(());
        }
        let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
        let mut result = Ok(());
        for config in agents {
            if names.contains(&config.name) || !addresses.insert(config.address) {
                tracing::warn!(agent = %config.name, address = %config.address, "is listed twice: the first counts");
                continue;
            }
            names.insert(Arc::clone(&config.name));
            match crew.lanes.iter().find(|lane| lane.name == config.name) {
                Some(lane) => lane.listed(config),
                None => result = result.and(self.begin(&mut crew, config, newcomers)),
            }
        }
        crew.lanes.iter().filter(|lane| !names.contains(&lane.name)).for_each(|lane| lane.unlisted());
        self.forget(&mut crew);
        result
    }

    /// Lets go of agents that left long ago.
    fn forget(&self, crew: &mut Crew) {
        let Some(before) = Instant::now().checked_sub(self.shared.options.forget_after) else { return };
        crew.lanes.retain(|lane| {
            let forgotten = lane.is_done_with(before);
            if forgotten {
                lane.stop(Instant::now());
            }
            !forgotten
        });
    }

    fn begin(&self, crew: &mut Crew, config: AgentConfig, newcomer: bool) -> std::io::Result<()> {
        let (number, name) = (crew.begun, format!("agent {}", config.name));
        let state = AgentState::Connecting;
        let lane = Arc::new(Lane::new(config, &crew.desired, &self.shared, state, newcomer));
        let run = {
            let (lane, shared) = (Arc::clone(&lane), Arc::clone(&self.shared));
            move || lane::run(&lane, &shared, number)
        };
        std::thread::Builder::new().name(name).spawn(run)?;
        crew.begun += 1;
        crew.lanes.push(lane);
        Ok(())
    }

    /// How the agents are, in the order in which they came; those that left too, until they are forgotten.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentView> {
        let mut crew = self.lock();
        // The list may not change for long, but somebody looks now and then.
        self.forget(&mut crew);
        crew.lanes.iter().map(|lane| lane.view()).collect()
    }

    /// Sends what waits where agents can be reached, and ends. Bans stay where they are. Returns by `deadline`;
    /// whether all that waited was sent and answered by then.
    pub fn stop(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let lanes = {
            let mut crew = self.lock();
            crew.stopping = true;
            crew.lanes.clone()
        };
        lanes.iter().for_each(|lane| lane.stop(until));
        lanes.iter().filter(|lane| !lane.wait_for_end(until)).count() == 0
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Threads that are in a call end after it; nobody waits for them.
        self.lock().lanes.iter().for_each(|lane| lane.stop(Instant::now()));
    }
}

impl BanSink for Fleet {
    fn apply(&self, changes: &[Change], now: Moment) {
        let wishes: Vec<Wish> = changes.iter().filter_map(Wish::of).collect();
        if wishes.is_empty() {
            return;
        }
        let mut crew = self.lock();
        changes.iter().for_each(|change| crew.desired.apply(change));
        for lane in &crew.lanes {
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
