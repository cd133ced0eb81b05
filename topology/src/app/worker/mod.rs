//! A worker of a fleet: reads lines for others (`match`), or counts and decides (`analyse`), or both; one of those who
//! count owns the bans at a time. See [`exchange`](crate::exchange).
//!
//! A worker holds nothing that another one couldn't take over. Where it can't go on with what it read, because the
//! group has given its partitions to others or a transaction failed for good, it begins again at what is committed:
//! `stage` is made anew. `owner` is there while the worker owns the bans.

mod owner;
mod room;
mod stage;
mod topics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bolts::ports::{Alarm, Notifier, PlaceLookup};
use engine::{Clock, Config as EngineConfig};
use model::line::LogFormat;
use model::units::Moment;
use serde_json::json;
use zk_config::{Ephemeral, ZooKeeper};

use super::clock::SteadyClock;
use super::keeping::Surroundings;
use super::live::{connect, places};
use super::settled::Settled;
use super::{Board, state};
use crate::adapters::http::{self, Http};
use crate::adapters::settings_in_force::Origin;
use crate::adapters::settings_in_force::SettingsStatus;
use crate::config::{Config, Input, Kafka, KafkaInput, Part};
use room::WorkerRoom;
use stage::Stage;

/// What all parts of a worker need.
pub(super) struct Base {
    config: Config,
    kafka: Kafka,
    input: KafkaInput,
    format: LogFormat,
    /// Which no other worker has, and stays over restarts.
    id: state::WorkerId,
    zookeeper: ZooKeeper,
    around: Surroundings,
    settings_status: SettingsStatus,
    places: Arc<dyn PlaceLookup>,
    clock: Arc<dyn Clock>,
    started: (Moment, Instant),
    stop: AtomicBool,
}

impl Base {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn now(&self) -> Moment {
        Moment(self.clock.now().as_millis() as i64)
    }

    fn name(&self) -> &str {
        &self.config.worker.name
    }

    /// A batch that is tried again would count twice: where a part breaks, all of it begins again at what is committed.
    fn engine(&self) -> EngineConfig {
        EngineConfig {
            max_replays: 0,
            message_timeout: Duration::from_secs(u32::MAX.into()),
            clock: self.clock.clone(),
            ..EngineConfig::default()
        }
    }

    fn tell(&self, kind: &'static str, trouble: Option<String>) {
        let over = trouble.is_none();
        let text = trouble.unwrap_or_else(|| "it works again".to_owned());
        if !over || self.around.board.alarms().iter().any(|alarm| alarm.kind == kind) {
            self.around.board.notify(Alarm { kind, text, over });
        }
    }

    /// Waits a little; not for long once it is to stop.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stops() && Instant::now() < until {
            thread::park_timeout(LOOK);
        }
    }
}

/// A worker that runs.
pub struct Worker {
    base: Arc<Base>,
    room: Arc<WorkerRoom>,
    http: Http,
    threads: Vec<JoinHandle<()>>,
    settled: crate::adapters::settings_watch::SettingsWatch,
    registered: Ephemeral,
}

/// How often it is looked whether a part can go on.
const LOOK: Duration = Duration::from_millis(50);
/// Before a part begins again.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Worker {
    /// Opens what it needs, and works.
    ///
    /// # Errors
    /// Where the configuration lacks something, ZooKeeper has no settings, or the system refuses. Kafka and the database
    /// may come later.
    pub fn start(config: Config) -> anyhow::Result<Self> {
        // Workers of one host would all fight for its kernel: there the bans are an agent's own process's.
        let config = Config { agent: None, ..config };
        if let Some(lacks) = config.lacks().first() {
            bail!("{lacks}");
        }
        let steady = Arc::new(SteadyClock::default());
        let clock: Arc<dyn Clock> = steady;
        let now = Moment(clock.now().as_millis() as i64);
        state::make(&config.state)?;
        let socket = config.state.join("control.sock");
        let id = state::worker_id(&config.state)?;
        let mut kafka = config.kafka.clone().context("`[kafka]` is missing")?;
        kafka.client.instance = Some(id.id.clone());
        let source = config.sources.first().context("there is no source")?;
        let (Input::Kafka(input), format) = (source.input.clone(), source.format.clone()) else {
            bail!("the source is no topic");
        };
        let place = config.zookeeper.as_ref().context("`[zookeeper]` is missing")?;
        let zookeeper = connect(place)?;
        let board = Arc::<Board>::default();
        let Settled { port: settings, status: settings_status, watch: settled } =
            Settled::watch(&config, Some(&zookeeper), board.clone(), now)?;
        let around =
            Surroundings { clock: clock.clone(), board, settings, zookeeper: Some(zookeeper.clone()) };
        let base = Arc::new(Base {
            id,
            places: places(&config)?,
            kafka,
            input,
            format,
            zookeeper: zookeeper.clone(),
            around,
            settings_status,
            clock,
            started: (now, Instant::now()),
            stop: AtomicBool::new(false),
            config,
        });
        let room = Arc::new(WorkerRoom::new(base.clone()));
        let http = http::start(room.clone(), base.config.http.listen, socket)?;
        let about = json!({
            "role": base.config.worker.role.name(),
            "version": env!("CARGO_PKG_VERSION"),
            "http": http.address().to_string(),
        });
        let path = format!("workers/{}", base.name());
        let registered = zookeeper.keep_ephemeral(&path, about.to_string())?;
        let mut threads = Vec::new();
        for &part in base.config.parts() {
            let (base, room) = (base.clone(), room.clone());
            threads.push(spawn(part.name(), move || keep_stage(&base, &room, part))?);
        }
        if base.config.parts().contains(&Part::Analyse) {
            let (base, room) = (base.clone(), room.clone());
            threads.push(spawn("owner", move || owner::keep(&base, &room))?);
        }
        Ok(Self { base, room, http, threads, settled, registered })
    }

    /// Where the pages are.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// What can be seen and steered.
    #[must_use]
    pub fn control(&self) -> Arc<dyn crate::control::Control> {
        self.room.clone()
    }

    /// Where the settings in force come from.
    #[must_use]
    pub fn settings_origin(&self) -> Origin {
        self.base.settings_status.load().origin
    }

    /// Ends in order: what was read is committed, and whoever owns the bans hands them over.
    pub fn stop(self) {
        let Self { base, room, http, threads, settled, registered } = self;
        base.stop.store(true, Ordering::Release);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a part of the worker panicked");
            }
        }
        drop(registered);
        http.stop();
        drop((room, settled));
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run).context("the system has no thread left")
}

/// Keeps a part of the topology running, and makes it anew where it can't go on.
fn keep_stage(base: &Arc<Base>, room: &WorkerRoom, part: Part) {
    let mut pause = FIRST_PAUSE;
    while !base.stops() {
        let trouble = match Stage::start(base, part) {
            Err(error) => format!("{error:#}"),
            Ok(stage) => {
                base.tell(part.name(), None);
                room.stage(part, Some(stage.view()));
                let began = Instant::now();
                let failed = loop {
                    if base.stops() {
                        break None;
                    }
                    if let Some(why) = stage.failed() {
                        break Some(why);
                    }
                    thread::park_timeout(LOOK);
                };
                stage.stop(failed.is_none());
                room.stage(part, None);
                let Some(why) = failed else { return };
                if began.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                tracing::warn!(why, "reading begins again at what is committed");
                why
            }
        };
        base.tell(part.name(), Some(trouble));
        base.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
