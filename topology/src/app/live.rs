//! A live firewall: opens what it needs, runs the topology, and ends in order.
//!
//! Beginning: the journal tells which bans are in force and where each source goes on; the agents are brought to
//! that; then sources fill windows again from the lines before, and go live.
//!
//! End: sources stop, batches finish, the agents are told what waits, their answers are kept, the database takes what
//! the journal has, and the journal is closed. Bans stay in the agents until their time.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bolts::ports::{BanSink, EventStore as _, Notifier, PlaceLookup, SettingsPort};
use bolts::tuples::{CommandOrder, LiveStatus};
use ccfirewall_thrift::tls::{ClientTls, TlsFiles};
use engine::{Clock, Config as EngineConfig, LocalRuntime, Metrics, Running, TaskContext};
use model::event::{Entry, Event};
use model::units::Moment;

use super::clock::{ClockSteps, SteadyClock};
use super::room::Room;
use super::sources::Sources;
use super::{Board, Kept, epoch, state};
use crate::adapters::fleet::{self, AgentConfig, AgentTls, Fleet, World};
use crate::adapters::host::HostGuards;
use crate::adapters::http::{self, Http};
use crate::adapters::journal::{Journal, JournalOptions};
use crate::adapters::maxmind::{Countries, MaxMind};
use crate::adapters::settings_file::{SettingsFile, SettingsStatus};
use crate::adapters::settings_watch::SettingsWatch;
use crate::adapters::sqlite::{Retention, SqliteOptions, SqliteStore};
use crate::config::{Config, EnforcerChoice, LocalAgent, RemoteAgent, RemoteTls};
use crate::spouts::commands::Commander;
use crate::spouts::gated::Gate;
use crate::spouts::outcomes::{OutcomeQueue, Outcomes};
use crate::wiring::{self, Live, LiveSpouts};

/// What a run has besides its configuration.
#[derive(Default)]
pub struct LiveOptions {
    /// More agents.
    pub agents: Vec<AgentConfig>,
    /// More of those who put bans in force, or look on.
    pub sinks: Vec<Arc<dyn BanSink>>,
}

/// A live firewall that runs.
pub struct LiveApp {
    running: Running,
    metrics: Metrics,
    board: Arc<Board>,
    journal: Arc<Journal<Kept>>,
    store: Arc<SqliteStore>,
    fleet: Arc<Fleet>,
    outcomes: OutcomeQueue,
    agent: Option<agent::Running>,
    watch: SettingsWatch,
    steps: ClockSteps,
    http: Http,
    gate: Arc<Gate>,
    room: Arc<Room>,
}

/// So long each part may take to end; all of them together less than `TimeoutStopSec` of the systemd unit.
const PATIENCE: Duration = Duration::from_secs(10);

impl LiveApp {
    /// Opens everything, and runs.
    ///
    /// # Errors
    /// What can't be opened, with what to do. Nothing runs then.
    pub fn start(config: Config, options: LiveOptions) -> anyhow::Result<Self> {
        let steady = Arc::new(SteadyClock::default());
        let clock: Arc<dyn Clock> = steady.clone();
        let now = Moment(clock.now().as_millis() as i64);
        state::make(&config.state)?;
        let socket = config.state.join("control.sock");
        // A rehearsal has a journal and a database of its own: its bans must never come into force later.
        let config = if config.dry_run { state::apart(config)? } else { config };
        let board = Arc::<Board>::default();
        let notifier: Arc<dyn Notifier> = board.clone();

        let (journal, recovered) = Journal::<Kept>::open(
            &config.state.join("journal"),
            JournalOptions::default(),
            notifier.clone(),
        )?;
        let journal = Arc::new(journal);
        let Kept { ledger, marks, since_totals } = recovered.state;
        tracing::info!(bans = ledger.len(), sources = marks.len(), "the journal is read");
        board.begin_with(ledger.clone());
        let epoch = epoch::next(&config.state, now);

        let places: Arc<dyn PlaceLookup> = if config.geoip.is_empty() {
            let countries = Countries::default();
            // The first look-up unpacks them, which no ban should wait for.
            countries.place(Ipv4Addr::new(1, 1, 1, 1).into());
            Arc::new(countries)
        } else {
            Arc::new(MaxMind::open(&config.geoip)?)
        };
        let (settings, settings_status, watch) = watch_settings(&config, notifier.clone(), now)?;
        let retention = SqliteOptions { retention: retention(&settings), ..SqliteOptions::default() };
        let store = SqliteStore::start(&config.store.database, &journal, retention, notifier.clone())?;
        let store = Arc::new(store);

        let gate = Gate::new(config.sources.len());
        let sources = Sources::open(&config.sources, &marks, settings.load().settings(), &gate)?;
        let (agent, agents) = agents(&config, options.agents)?;
        let commander = Commander::default();
        let outcomes = OutcomeQueue::new();
        let adopter = commander.clone();
        let adopt = move |bans| {
            if !adopter.tell(CommandOrder::Adopt(bans)) {
                tracing::warn!("too many commands wait, so bans that only an agent knows of aren't adopted");
            }
        };
        let world = World {
            epoch,
            outcomes: outcomes.clone(),
            notifier: notifier.clone(),
            clock: clock.clone(),
            adopt: Arc::new(adopt),
            // Alone on this machine: the lanes' alarms say it.
            superseded: Arc::new(|_| {}),
        };
        let patience = fleet::Options { dry_run: config.dry_run, ..fleet::Options::default() };
        let fleet = Arc::new(Fleet::start(agents, &ledger, world, patience)?);

        let mut sinks: Vec<Arc<dyn BanSink>> = vec![fleet.clone(), board.clone()];
        sinks.extend(options.sinks);
        let parts = Live {
            sources: sources.formats(),
            settings,
            places,
            ledger,
            counts: since_totals,
            events: journal.clone(),
            sinks,
            replies: Arc::new(commander.clone()),
            status: board.clone(),
            notifier,
            tasks: config.limits.tasks,
            window_memory: config.limits.window_memory,
        };
        let health = sources.health();
        let (asked, answered) = (commander.clone(), outcomes.clone());
        let spouts = LiveSpouts {
            lines: move |context: &TaskContext| sources.spout(context.task()),
            commands: move |_: &TaskContext| asked.spout(),
            outcomes: move |_: &TaskContext| Outcomes::new(answered.clone()),
        };
        let topology = wiring::live(parts, spouts)?;
        let metrics = topology.metrics();
        // A batch that is tried again would be counted twice. Where a part breaks the program ends, and a restart
        // goes on from the journal.
        let engine = EngineConfig {
            max_replays: 0,
            message_timeout: Duration::from_secs(u32::MAX.into()),
            clock,
            ..EngineConfig::default()
        };
        let running = LocalRuntime::new(engine).start(topology);
        let room = Arc::new(Room {
            started: (now, Instant::now()),
            dry_run: config.dry_run,
            metrics: metrics.clone(),
            board: board.clone(),
            journal: journal.clone(),
            store: store.clone(),
            fleet: fleet.clone(),
            settings: settings_status,
            commander: commander.clone(),
            sources: health,
            database: config.store.database.clone(),
        });
        let http = http::start(room.clone(), config.http.listen, socket)?;
        let steps = ClockSteps::watch(steady, commander).context("the watch over the clock can't start")?;
        Ok(Self {
            running,
            metrics,
            board,
            journal,
            store,
            fleet,
            outcomes,
            agent,
            watch,
            steps,
            http,
            gate,
            room,
        })
    }

    /// Where the pages are.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// What holds the bans of the agent in this process, and what a person should know of it.
    #[must_use]
    pub fn agent(&self) -> Option<(&'static str, &[String])> {
        self.agent.as_ref().map(|agent| (agent.enforcer_name(), agent.warnings()))
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> LiveStatus {
        self.board.status()
    }

    /// What can be seen and steered.
    #[must_use]
    pub fn control(&self) -> Arc<dyn crate::control::Control> {
        self.room.clone()
    }

    /// Whether all sources have ended, so that nothing more comes.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.gate.have_all_ended()
    }

    /// Whether a part broke. Then the end is near: a restart goes on from the journal, exactly.
    #[must_use]
    pub fn has_broken(&self) -> bool {
        let components = self.metrics.snapshot().components;
        components.iter().any(|component| {
            component.restarts > 0 || component.spout.as_ref().is_some_and(|spout| spout.abandoned > 0)
        })
    }

    /// Ends in order.
    ///
    /// # Errors
    /// Where a part broke or couldn't end in time. What the journal has is safe all the same.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self { running, board, journal, store, fleet, outcomes, agent, watch, steps, http, room, .. } =
            self;
        drop(steps);
        let drained = running.stop(PATIENCE);
        http.stop();
        drop(room);
        drop(watch);
        fleet.stop(PATIENCE);
        keep(&journal, &outcomes);
        let store = Arc::into_inner(store).context("somebody still reads the database")?.stop(PATIENCE);
        journal.close();
        if let Some(agent) = agent {
            agent.stop();
        }
        drop(board);
        if store.entries_behind > 0 {
            tracing::warn!(
                entries = store.entries_behind,
                "the database doesn't have all of the journal yet; the next start goes on with it"
            );
        }
        if !drained.is_clean() {
            bail!(
                "a part of the topology broke or couldn't end in time; the next start goes on from the journal\n{drained}"
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

fn watch_settings(
    config: &Config,
    notifier: Arc<dyn Notifier>,
    now: Moment,
) -> anyhow::Result<(SettingsPort, SettingsStatus, SettingsWatch)> {
    let file = SettingsFile::open(config.settings.clone(), &config.state, notifier, now)?;
    let (port, status) = (file.port(), file.status());
    let agents: Vec<_> = config.agents.iter().map(|agent| agent.address.ip()).collect();
    let guards = HostGuards::new("/".into(), config.protect, &agents)
        .with_ssh_environment(|name| std::env::var(name).ok());
    let watch = SettingsWatch::start(file, guards).context("the watch over the settings can't start")?;
    Ok((port, status, watch))
}

fn retention(settings: &SettingsPort) -> Arc<dyn Fn() -> Retention + Send + Sync> {
    let settings = settings.clone();
    Arc::new(move || {
        let held = settings.load();
        let settings = held.settings();
        Retention { days: Some(settings.retention_days), records: Some(settings.records_kept) }
    })
}

/// The agent in this process, and all agents as the fleet wants them.
fn agents(
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
    // Agents with the same files share what was made of them.
    let mut known: HashMap<&TlsFiles, Arc<ClientTls>> = HashMap::new();
    for RemoteAgent { address, mkey, tls } in &config.agents {
        let name =
            if address.port() == RemoteAgent::PORT { address.ip().to_string() } else { address.to_string() };
        let tls = match tls {
            None => None,
            Some(RemoteTls { files, name }) => {
                if !known.contains_key(files) {
                    known.insert(files, Arc::new(ClientTls::new(files.clone())?));
                }
                Some(AgentTls { files: known[files].clone(), name: name.clone() })
            }
        };
        all.push(AgentConfig { name: name.into(), address: *address, mkey: mkey.read()?, tls });
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
            EnforcerChoice::DryRun => agent::Choice::DryRun,
        },
        ..agent::Config::new(agent::key::Key::new(&mkey)?)
    })?;
    let name = local.listen.ip().to_string().into();
    Ok((AgentConfig { name, address: running.address(), mkey, tls: None }, running))
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
