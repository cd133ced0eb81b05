//! What keeps bans and puts them in force: journal, database and agents. Of a live firewall, or of the fleet's owner.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bolts::live_report::Counts;
use bolts::ports::{Alarm, BanSink, EventStore as _, Notifier, SettingsPort};
use bolts::tuples::CommandOrder;
use crossbeam_channel::bounded;
use engine::Clock;
use model::event::{Entry, Event};
use model::ledger::Ledger;
use model::line::LogFormat;
use zk_config::{ListedAgent, Watch, ZooKeeper};

use super::agents::{self, Registry};
use super::{Board, Kept};
use crate::adapters::fleet::{self, AgentConfig, Fleet, Superseded, World};
use crate::adapters::journal::Journal;
use crate::adapters::store::{Fence, Retention, Store, StoreOptions};
use crate::config::{Config, EnforcerChoice, LocalAgent};
use crate::spouts::commands::Commander;
use crate::spouts::outcomes::OutcomeQueue;
use crate::wiring::Ruling;

/// What is around.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) board: Arc<Board>,
    pub(super) settings: SettingsPort,
    /// Where agents may be registered.
    pub(super) zookeeper: Option<ZooKeeper>,
}

/// As whom bans are kept.
pub(super) struct Term {
    /// Greater than that of everybody before.
    pub(super) epoch: i64,
    /// Where several workers share the database.
    pub(super) fence: Option<Fence>,
    /// Who steps down where agents say that another owner has taken over.
    pub(super) superseded: Superseded,
}

/// All of it.
pub(super) struct Keeping {
    pub(super) journal: Arc<Journal<Kept>>,
    pub(super) store: Arc<Store>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) outcomes: OutcomeQueue,
    pub(super) commander: Commander,
    pub(super) agent: Option<agent::Running>,
    registered: Option<Watch>,
}

/// The first list of agents must come within.
const FIRST_LIST: Duration = Duration::from_secs(5);

impl Keeping {
    /// Starts to write the journal into the database, and to keep agents in the state of `ledger`.
    ///
    /// # Errors
    /// What can't be opened, with what to do.
    pub(super) fn start(
        config: &Config,
        around: &Surroundings,
        journal: Arc<Journal<Kept>>,
        ledger: &Ledger,
        term: Term,
        more_agents: Vec<AgentConfig>,
    ) -> anyhow::Result<Self> {
        let notifier: Arc<dyn Notifier> = around.board.clone();
        let options = StoreOptions {
            retention: retention(&around.settings),
            time_zone: config.store.time_zone.clone(),
            fence: term.fence,
            ..StoreOptions::default()
        };
        let store = Arc::new(Store::start(&config.store.database, &journal, options, notifier.clone())?);
        let (agent, fixed) = fixed_agents(config, more_agents)?;
        let commander = Commander::default();
        let outcomes = OutcomeQueue::new();
        let adopter = commander.clone();
        let adopt = move |bans| {
            if !adopter.tell(CommandOrder::Adopt(bans)) {
                tracing::warn!("too many commands wait, so bans that only an agent knows of aren't adopted");
            }
        };
        let world = World {
            epoch: term.epoch,
            outcomes: outcomes.clone(),
            notifier,
            clock: around.clock.clone(),
            adopt: Arc::new(adopt),
            superseded: term.superseded,
        };
        let patience = fleet::Options { dry_run: config.dry_run, ..fleet::Options::default() };
        let registry = config.registered_agents.as_ref().zip(around.zookeeper.as_ref());
        let registry = registry.filter(|_| !config.dry_run);
        let (fleet, registered) = match registry {
            None => (Arc::new(Fleet::start(fixed, ledger, world, patience)?), None),
            Some((agents, zookeeper)) => {
                let registered = Registered { registry: Registry::read(agents)?, fixed };
                let (fleet, watch) = registered.follow(zookeeper, ledger, world, patience)?;
                (fleet, Some(watch))
            }
        };
        Ok(Self { journal, store, fleet, outcomes, commander, agent, registered })
    }

    /// What the topology needs of it, to go on from `ledger`.
    pub(super) fn ruling(
        &self,
        around: &Surroundings,
        formats: Vec<(Arc<str>, LogFormat)>,
        ledger: Ledger,
        counts: Counts,
        more_sinks: Vec<Arc<dyn BanSink>>,
    ) -> Ruling {
        let board = &around.board;
        let mut sinks: Vec<Arc<dyn BanSink>> = vec![self.fleet.clone(), board.clone()];
        sinks.extend(more_sinks);
        Ruling {
            formats,
            ledger,
            counts,
            events: self.journal.clone(),
            sinks,
            replies: Arc::new(self.commander.clone()),
            status: board.clone(),
            notifier: board.clone(),
        }
    }

    /// Ends in order, after the topology: agents are told what waits, what they answered is kept, and the database takes
    /// what the journal has. Each may take so long.
    ///
    /// # Errors
    /// Where somebody still reads the database.
    pub(super) fn stop(self, patience: Duration) -> anyhow::Result<()> {
        let Self { journal, store, fleet, outcomes, agent, registered, .. } = self;
        drop(registered);
        fleet.stop(patience);
        keep(&journal, &outcomes);
        let store = Arc::into_inner(store).context("somebody still reads the database")?.stop(patience);
        journal.close();
        if let Some(agent) = agent {
            agent.stop();
        }
        if let Some(name) = store.fenced_by {
            tracing::info!(owner = name, "the database is another worker's now");
        } else if store.entries_behind > 0 {
            tracing::warn!(
                entries = store.entries_behind,
                "the database doesn't have all of the journal yet; the next start goes on with it"
            );
        }
        Ok(())
    }
}

/// Keeps what agents answered when nobody took it from the queue any more.
fn keep(journal: &Journal<Kept>, outcomes: &OutcomeQueue) {
    loop {
        let taken = outcomes.take(1_000);
        let Some(at) = taken.iter().map(|outcome| outcome.at).max() else { return };
        let events = taken.into_iter().map(|outcome| Event::Outcome(Box::new(outcome))).collect();
        journal.append(Entry { at, mark: None, events });
    }
}

fn retention(settings: &SettingsPort) -> Arc<dyn Fn() -> Retention + Send + Sync> {
    let settings = settings.clone();
    Arc::new(move || {
        let held = settings.load();
        let settings = held.settings();
        Retention { days: Some(settings.retention_days), records: Some(settings.records_kept) }
    })
}

/// The alarm of agents that are listed and can't be called; so many of them are named in it.
const LEFT_OUT: &str = "agents_left_out";
const NAMED: usize = 5;

/// The agents that come and go in ZooKeeper, and those that are always there.
struct Registered {
    registry: Registry,
    fixed: Vec<AgentConfig>,
}

impl Registered {
    /// Starts a fleet of those that are registered, and follows the list from then on. While ZooKeeper is away the last
    /// one counts.
    fn follow(
        self,
        zookeeper: &ZooKeeper,
        ledger: &Ledger,
        world: World,
        patience: fleet::Options,
    ) -> anyhow::Result<(Arc<Fleet>, Watch)> {
        let (first, lists) = bounded::<Vec<AgentConfig>>(1);
        let (tell_fleet, fleet_comes) = bounded::<Arc<Fleet>>(1);
        let fixed = self.fixed.clone();
        let mut fleet = None;
        let notifier = world.notifier.clone();
        let mut told = String::new();
        let follow = move |listed: Vec<ListedAgent>| {
            let (agents, left_out) = self.agents(listed);
            let text = left_out.join("; ");
            if text != told {
                let over = text.is_empty();
                let before = std::mem::replace(&mut told, text);
                let text = if over { before } else { told.clone() };
                notifier.notify(Alarm { kind: LEFT_OUT, text, over });
            }
            if fleet.is_none() {
                // Those that are there at the start are no newcomers: they owe answers of the time before.
                drop(first.try_send(agents.clone()));
                fleet = fleet_comes.recv().ok();
            }
            let Some(fleet) = &fleet else { return };
            if let Err(error) = fleet.set_agents(agents) {
                tracing::error!(%error, "an agent that has come can't be served");
            }
        };
        let watch = zookeeper.watch_agents(follow).context("the list of agents can't be watched")?;
        let agents = lists.recv_timeout(FIRST_LIST).unwrap_or(fixed);
        let fleet = Arc::new(Fleet::start(agents, ledger, world, patience)?);
        drop(tell_fleet.send(fleet.clone()));
        Ok((fleet, watch))
    }

    /// All that are to be called, and why others aren't.
    fn agents(&self, listed: Vec<ListedAgent>) -> (Vec<AgentConfig>, Vec<String>) {
        let (registered, mut left_out) = self.registry.agents(listed, &self.fixed);
        let more = left_out.len().saturating_sub(NAMED);
        if more > 0 {
            left_out.truncate(NAMED);
            left_out.push(format!("and {more} more agents"));
        }
        (self.fixed.iter().cloned().chain(registered).collect(), left_out)
    }
}

/// The agent in this process, and all agents that the configuration names.
fn fixed_agents(
    config: &Config,
    mut all: Vec<AgentConfig>,
) -> anyhow::Result<(Option<agent::Running>, Vec<AgentConfig>)> {
    if config.dry_run {
        return Ok((None, all));
    }
    let local = config.agent.as_ref().map(start_agent).transpose()?;
    let running = local.map(|(agent, running)| {
        all.push(agent);
        running
    });
    for agent in agents::configured(&config.agents) {
        all.push(agent?);
    }
    Ok((running, all))
}

fn start_agent(local: &LocalAgent) -> anyhow::Result<(AgentConfig, agent::Running)> {
    // Nobody else needs to know it: it is made anew at each start.
    let mkey = random_key()?;
    let running = agent::start(agent::Config {
        listen: local.listen,
        enforcer: match local.enforcer {
            EnforcerChoice::Auto => agent::Choice::Auto,
            EnforcerChoice::Nftables => agent::Choice::Nftables,
            EnforcerChoice::Ipset => agent::Choice::Ipset,
            EnforcerChoice::Iptables => agent::Choice::Iptables,
            EnforcerChoice::DryRun => agent::Choice::DryRun,
        },
        ..agent::Config::new(agent::key::Key::new(&mkey)?)
    })?;
    let name = local.listen.ip().to_string().into();
    Ok((AgentConfig { name, address: running.address(), mkey, tls: None, original: false }, running))
}

/// A key for an agent that only this program speaks to.
///
/// # Errors
/// Where the system has no random numbers.
pub fn random_key() -> anyhow::Result<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use zk_config::AgentData;

    use super::*;

    #[test]
    fn who_is_named_is_spoken_to_as_the_configuration_says_and_a_few_of_those_left_out_are_told() {
        let named = AgentConfig {
            name: "named".into(),
            address: "10.0.0.1:9090".parse().unwrap(),
            mkey: "its own".to_owned(),
            tls: None,
            original: false,
        };
        let registered = Registered { registry: Registry::plain("key"), fixed: vec![named] };
        let listed = |node: &str, data| ListedAgent { node: node.to_owned(), data };
        let mut list: Vec<_> =
            (1..=7).map(|n| listed(&format!("10.0.1.{n}"), AgentData::Unreadable("no".to_owned()))).collect();
        list.extend(["10.0.0.1", "10.0.0.2"].map(|node| listed(node, AgentData::Original)));
        let (agents, left_out) = registered.agents(list);
        let called: Vec<_> = agents.iter().map(|agent| (&*agent.name, agent.mkey.as_str())).collect();
        assert_eq!(called, [("named", "its own"), ("10.0.0.2", "key")]);
        assert_eq!((left_out.len(), left_out[5].as_str()), (6, "and 2 more agents"));
    }
}
