//! A live firewall: opens what it needs, runs the topology, and ends in order.
//!
//! Beginning: the journal tells which bans are in force and where each source goes on; the agents are brought to
//! that; then sources fill windows again from the lines before, and go live.
//!
//! End: sources stop, batches finish, the agents are told what waits, their answers are kept, the database takes what
//! the journal has, and the journal is closed. Bans stay in the agents until their time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bolts::ports::{BanSink, Notifier, PlaceLookup, SettingsPort};
use bolts::tuples::LiveStatus;
use engine::{Clock, Config as EngineConfig, LocalRuntime, Metrics, Running, TaskContext};
use model::settings::Settings;
use model::units::Moment;
use zk_config::ZooKeeper;

use super::clock::{ClockSteps, SteadyClock};
use super::keeping::{Keeping, Surroundings, Term};
use super::ownership::{self, Candidacy};
use super::room::Room;
use super::settled::Settled;
use super::sources::Sources;
use super::{Board, Kept, epoch, state};
use crate::adapters::fleet::AgentConfig;
use crate::adapters::http::{self, Http};
use crate::adapters::journal::{Journal, JournalOptions};
use crate::adapters::maxmind::{Countries, MaxMind};
use crate::adapters::settings_in_force::Origin;
use crate::adapters::settings_watch::SettingsWatch;
use crate::config::{Config, ZooKeeperPlace};
use crate::spouts::gated::Gate;
use crate::spouts::outcomes::Outcomes;
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
    keeping: Keeping,
    settings: SettingsPort,
    watch: SettingsWatch,
    steps: ClockSteps,
    http: Http,
    gate: Arc<Gate>,
    room: Arc<Room>,
    /// With ZooKeeper: that nobody else owns the bans.
    owner: Option<(Candidacy, i64)>,
    superseded: Arc<AtomicBool>,
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

        let places = places(&config)?;
        let zookeeper = config.zookeeper.as_ref().map(connect).transpose()?;
        let Settled { port: settings, status: settings_status, watch } =
            Settled::watch(&config, zookeeper.as_ref(), notifier.clone(), now)?;
        let owner = match (&zookeeper, &config.zookeeper) {
            (Some(zookeeper), Some(place)) if !config.dry_run => {
                Some(ownership::alone(zookeeper, &config.worker.name, place.session_timeout)?)
            }
            _ => None,
        };
        let epoch = owner.as_ref().map_or_else(|| epoch::next(&config.state, now), |&(_, epoch)| epoch);

        let gate = Gate::new(config.sources.len());
        let sources = Sources::open(&config, &marks, settings.load().settings(), &gate)?;
        let around = Surroundings {
            clock: clock.clone(),
            board: board.clone(),
            settings: settings.clone(),
            zookeeper,
        };
        let superseded = Arc::<AtomicBool>::default();
        let step_down = superseded.clone();
        let term = Term {
            epoch,
            fence: None,
            superseded: Arc::new(move |_| step_down.store(true, Ordering::Release)),
        };
        let keeping = Keeping::start(&config, &around, journal, &ledger, term, options.agents)?;
        let ruling = keeping.ruling(&around, sources.formats(), ledger, since_totals, options.sinks);
        let parts = Live {
            sources: sources.formats(),
            settings: settings.clone(),
            places,
            tasks: config.limits.tasks,
            window_memory: config.limits.window_memory,
            ruling,
        };
        let health = sources.health();
        let (asked, answered) = (keeping.commander.clone(), keeping.outcomes.clone());
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
            journal: keeping.journal.clone(),
            store: keeping.store.clone(),
            fleet: keeping.fleet.clone(),
            settings: settings_status,
            commander: keeping.commander.clone(),
            sources: health,
            database: config.store.database.clone(),
        });
        let http = http::start(room.clone(), config.http.listen, socket)?;
        let steps = ClockSteps::watch(steady, keeping.commander.clone())
            .context("the watch over the clock can't start")?;
        Ok(Self {
            running,
            metrics,
            board,
            keeping,
            settings,
            watch,
            steps,
            http,
            gate,
            room,
            owner,
            superseded,
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
        self.keeping.agent.as_ref().map(|agent| (agent.enforcer_name(), agent.warnings()))
    }

    /// The settings in force, and where they come from.
    #[must_use]
    pub fn settings(&self) -> (Origin, Settings) {
        (self.room.settings.load().origin, self.settings.load().settings().clone())
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

    /// Whether another process owns the bans now. Then this one must end: agents obey it no more.
    #[must_use]
    pub fn has_lost_the_bans(&self) -> bool {
        let lost = self.owner.as_ref().is_some_and(|(candidacy, epoch)| !candidacy.holds(*epoch));
        // Alone on this machine there is nobody to give way to: the alarm says what agents say.
        lost || self.owner.is_some() && self.superseded.load(Ordering::Acquire)
    }

    /// Ends in order.
    ///
    /// # Errors
    /// Where a part broke or couldn't end in time. What the journal has is safe all the same.
    pub fn stop(self) -> anyhow::Result<()> {
        let Self { running, board, keeping, watch, steps, http, room, owner, .. } = self;
        drop(steps);
        let drained = running.stop(PATIENCE);
        http.stop();
        drop(room);
        drop(watch);
        keeping.stop(PATIENCE)?;
        drop((board, owner));
        if !drained.is_clean() {
            bail!(
                "a part of the topology broke or couldn't end in time; the next start goes on from the journal\n{drained}"
            );
        }
        Ok(())
    }
}

/// Begins to connect.
pub(super) fn connect(place: &ZooKeeperPlace) -> anyhow::Result<ZooKeeper> {
    Ok(ZooKeeper::start(place.ensemble()?)?)
}

/// Who knows where addresses are.
pub(super) fn places(config: &Config) -> anyhow::Result<Arc<dyn PlaceLookup>> {
    if !config.geoip.is_empty() {
        return Ok(Arc::new(MaxMind::open(&config.geoip)?));
    }
    let countries = Countries::default();
    // The first look-up unpacks them, which no ban should wait for.
    countries.place(Ipv4Addr::new(1, 1, 1, 1).into());
    Ok(Arc::new(countries))
}
