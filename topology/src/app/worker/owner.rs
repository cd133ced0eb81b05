//! The owner of the bans: takes them over from the one before, rules on what all workers find, and steers the agents. It
//! ends as soon as its ownership isn't certain any more; agents and database refuse what it may still send then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use bolts::block::key_bans;
use bolts::tuples::KeyBans;
use engine::{LocalRuntime, Metrics, Running, TaskContext};

use super::room::WorkerRoom;
use super::stage::once;
use super::{Base, FIRST_PAUSE, LONGEST_PAUSE, LOOK};
use crate::adapters::journal::JournalOptions;
use crate::adapters::store::Fence;
use crate::adapters::store::handover::{TakeOver, take_over};
use crate::app::Kept;
use crate::app::keeping::{Keeping, Term};
use crate::app::ownership::Candidacy;
use crate::app::room::Room;
use crate::config::Database;
use crate::exchange::{From, Reader, SendKeyBans};
use crate::spouts::findings::Findings;
use crate::spouts::outcomes::Outcomes;
use crate::wiring::{self, Owning};

/// So long each part may take to end in order.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stands for the ownership until the worker stops, and is the owner whenever it has it.
pub(super) fn keep(base: &Arc<Base>, room: &WorkerRoom) {
    let candidacy = loop {
        match Candidacy::begin(&base.zookeeper, base.name()) {
            Ok(candidacy) => break candidacy,
            Err(error) => base.tell("owner", Some(format!("{error:#}"))),
        }
        base.pause(LONGEST_PAUSE);
        if base.stops() {
            return;
        }
    };
    while !base.stops() {
        if let Some(epoch) = candidacy.won(LOOK * 4) {
            own(base, room, &candidacy, epoch);
        }
    }
    candidacy.resign();
}

/// Is the owner for as long as that is certain.
fn own(base: &Arc<Base>, room: &WorkerRoom, candidacy: &Candidacy, epoch: i64) {
    tracing::info!(epoch, "this worker owns the bans");
    let mut pause = FIRST_PAUSE;
    while !base.stops() && candidacy.holds(epoch) {
        let trouble = match Owner::start(base, epoch) {
            Err(error) => format!("this worker owns the bans and can't take them over: {error:#}"),
            Ok(owner) => {
                base.tell("owner", None);
                room.owner(Some(owner.room.clone()));
                while !base.stops() && candidacy.holds(epoch) && owner.goes_on() {
                    thread::park_timeout(LOOK);
                }
                room.owner(None);
                let superseded = owner.superseded.load(Ordering::Acquire);
                let in_order = base.stops() && candidacy.holds(epoch) && !superseded;
                owner.stop(in_order);
                if base.stops() || superseded || !candidacy.holds(epoch) {
                    break;
                }
                "a part of what rules on bans broke; it begins again".to_owned()
            }
        };
        tracing::warn!("{trouble}");
        base.tell("owner", Some(trouble));
        base.pause(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    base.tell("owner", None);
    tracing::info!(epoch, "this worker doesn't own the bans any more");
}

/// The owner at work.
struct Owner {
    running: Running,
    metrics: Metrics,
    keeping: Keeping,
    room: Arc<Room>,
    superseded: Arc<AtomicBool>,
}

impl Owner {
    fn start(base: &Base, epoch: i64) -> anyhow::Result<Self> {
        let Base { config, kafka, around, places, format, .. } = base;
        let Database::Mysql(server) = &config.store.database else {
            anyhow::bail!("the database isn't one that workers can share");
        };
        let notifier: Arc<dyn bolts::ports::Notifier> = around.board.clone();
        let who = TakeOver {
            server,
            epoch,
            name: base.name(),
            dir: &config.state.join("journal"),
            options: JournalOptions::default(),
            time_zone: config.store.time_zone.as_deref(),
        };
        let taken = take_over::<Kept>(who, &notifier)?;
        let Kept { ledger, marks, since_totals } = taken.recovered.state;
        tracing::info!(epoch, bans = ledger.len(), own_journal = taken.own, "the bans are taken over");
        around.board.begin_with(ledger.clone());

        let superseded = Arc::<AtomicBool>::default();
        let (by_agents, by_database) = (superseded.clone(), superseded.clone());
        let term = Term {
            epoch,
            fence: Some(Fence {
                epoch,
                on_lost: Arc::new(move || by_database.store(true, Ordering::Release)),
            }),
            superseded: Arc::new(move |agent| {
                tracing::warn!(agent, "an agent obeys a later owner");
                by_agents.store(true, Ordering::Release);
            }),
        };
        let keeping = Keeping::start(config, around, taken.journal, &ledger, term, Vec::new())?;

        let source: Arc<str> = format!("kafka:{}", kafka.findings_topic).into();
        let from = match marks.get(&source) {
            Some(mark) => From::Offset(i64::try_from(mark.next.offset).context("an offset")?),
            None => From::Beginning,
        };
        let findings =
            Findings::new(Reader::open(&kafka.client, &kafka.findings_topic, from)?, source.clone());
        let told = KeyBans(key_bans(&ledger, around.settings.load().settings()));
        let topic: Arc<str> = kafka.key_bans_topic.as_str().into();
        let tell = SendKeyBans::new(&kafka.client, topic, epoch.unsigned_abs(), told, base.now())?;
        let ruling = keeping.ruling(around, vec![(source, format.clone())], ledger, since_totals, Vec::new());
        let parts = Owning { settings: around.settings.clone(), places: places.clone(), ruling };
        let (asked, answered) = (keeping.commander.clone(), keeping.outcomes.clone());
        let topology = wiring::owning(
            parts,
            once(findings),
            move |_: &TaskContext| asked.spout(),
            move |_: &TaskContext| Outcomes::new(answered.clone()),
            once(tell),
        )?;
        let metrics = topology.metrics();
        let running = LocalRuntime::new(base.engine()).start(topology);
        let room = Arc::new(Room {
            started: base.started,
            dry_run: false,
            metrics: metrics.clone(),
            board: around.board.clone(),
            journal: keeping.journal.clone(),
            store: keeping.store.clone(),
            fleet: keeping.fleet.clone(),
            settings: base.settings_status.clone(),
            commander: keeping.commander.clone(),
            sources: Vec::new(),
            database: config.store.database.clone(),
        });
        Ok(Self { running, metrics, keeping, room, superseded })
    }

    fn goes_on(&self) -> bool {
        let broken = self.metrics.snapshot().components.iter().any(|component| component.restarts > 0);
        !broken && !self.superseded.load(Ordering::Acquire)
    }

    /// Ends; out of order nothing more is sent.
    fn stop(self, in_order: bool) {
        let Self { running, keeping, room, .. } = self;
        let patience = if in_order { PATIENCE } else { Duration::ZERO };
        if !in_order {
            keeping.fleet.stop(Duration::ZERO);
        }
        let drained = running.stop(if in_order { PATIENCE } else { Duration::from_secs(1) });
        tracing::debug!(clean = drained.is_clean(), "the owner has ended");
        drop(room);
        if let Err(error) = keeping.stop(patience) {
            tracing::warn!("{error:#}");
        }
    }
}
