//! The control room's view of a live run: what can be seen of it, and steered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolts::tuples::{CommandOrder, Reply};
use engine::{Metrics, MetricsSnapshot};
use model::ban::{Ban, Ended, Reason};
use model::ledger::HeldBan;
use model::units::Moment;

use super::sources::Watched;
use super::{Board, Kept};
use crate::adapters::fleet::{self, Fleet};
use crate::adapters::journal::Journal;
use crate::adapters::settings_file::SettingsStatus;
use crate::adapters::store::{self, AnswerRow, BanFilter, History, Store, StoreError};
use crate::config::Database;
use crate::control::{
    self, AgentAnswer, AgentState, AgentView, BanRow, Control, Health, HistoryFilter, JournalStatus, Problem,
    SourceHealth, Status, StoreStatus,
};
use crate::spouts::commands::Commander;

/// So long a command may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// So much of that is left for a shared database to have it.
const SHARING: Duration = Duration::from_secs(3);

/// All that is to be seen.
pub(super) struct Room {
    pub(super) started: (Moment, Instant),
    pub(super) dry_run: bool,
    pub(super) metrics: Metrics,
    pub(super) board: Arc<Board>,
    pub(super) journal: Arc<Journal<Kept>>,
    pub(super) store: Arc<Store>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) settings: SettingsStatus,
    pub(super) commander: Commander,
    pub(super) sources: Vec<(Arc<str>, Watched)>,
    pub(super) database: Database,
}

impl Room {
    fn sources(&self) -> Vec<SourceHealth> {
        self.sources.iter().flat_map(|(name, watched)| watched.health(name)).collect()
    }

    fn alarms(&self) -> Vec<Problem> {
        let problem = |alarm: bolts::ports::Alarm| Problem { kind: alarm.kind.to_owned(), text: alarm.text };
        let lost = self.sources.iter().filter_map(|(_, watched)| watched.possible_loss());
        let lost = lost.map(|text| Problem { kind: "possible_loss".to_owned(), text });
        self.board.alarms().into_iter().map(problem).chain(lost).collect()
    }

    /// A command whose outcome holds for the owners to come, too.
    pub(super) fn command_shared(&self, order: CommandOrder) -> Result<Reply, String> {
        let reply = self.commander.ask(order, PATIENCE - SHARING).map_err(|error| error.to_string())?;
        once_shared(reply, self.journal.status().last_seq, &self.store, SHARING)
    }
}

/// Waits until what changed is in the shared database: up to which entry of the journal that must be.
fn once_shared(reply: Reply, seq: u64, store: &Store, wait: Duration) -> Result<Reply, String> {
    let changed = matches!(&reply, Reply::Done(changes) if !changes.is_empty());
    if changed && !store.position_reached(seq, wait) {
        let why = store.status().last_error.unwrap_or_else(|| "it hasn't answered yet".to_owned());
        return Err(format!(
            "it is done, but kept on this machine only, for the database is behind: {why}. If another worker comes to \
             own the bans before the database has caught up, it doesn't know of this"
        ));
    }
    Ok(reply)
}

impl Control for Room {
    fn health(&self) -> Health {
        let restarts =
            self.metrics.snapshot().components.iter().map(|component| component.restarts).sum::<u64>();
        let broken = (restarts > 0).then(|| Problem {
            kind: "broken".to_owned(),
            text: "a part of the program broke, and it is about to end; a restart goes on from the journal"
                .to_owned(),
        });
        let sources = self.sources().into_iter().filter_map(|source| {
            let text = source.last_error?;
            Some(Problem { kind: "source".to_owned(), text })
        });
        let agents = self.agents();
        let held_up = |agent: &AgentView| !matches!(agent.state, AgentState::Up | AgentState::Syncing);
        let nobody = (!agents.is_empty() && agents.iter().all(held_up)).then(|| Problem {
            kind: "agents".to_owned(),
            text: "no agent can be reached, so new bans aren't enforced; look at `ccfirewall agents`"
                .to_owned(),
        });
        let journal = self.journal.status().trouble.map(|text| Problem { kind: "journal".to_owned(), text });
        let severe: Vec<Problem> = broken.into_iter().chain(journal).chain(nobody).chain(sources).collect();
        let ok = severe.is_empty();
        Health { ok, problems: severe.into_iter().chain(self.alarms()).collect() }
    }

    fn status(&self) -> Status {
        let settings = self.settings.load();
        let (store, journal) = (self.store.status(), self.journal.status());
        let texts =
            |findings: &[model::settings::Finding]| findings.iter().map(ToString::to_string).collect();
        let (bans_in_force, held) =
            self.board.ledger(|ledger| (ledger.len() as u64, ledger.held().count() as u64));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started.0,
            uptime: self.started.1.elapsed(),
            dry_run: self.dry_run,
            live: self.board.status(),
            alarms: self.alarms(),
            settings: control::SettingsStatus {
                version: settings.version,
                loaded_at: settings.loaded_at,
                errors: texts(&settings.errors),
                warnings: texts(&settings.warnings),
            },
            store: StoreStatus {
                rows: store.rows_written,
                behind: store.entries_behind,
                lost: store.rows_skipped,
                last_error: store.last_error,
            },
            journal: JournalStatus {
                entries: journal.last_seq,
                bytes: journal.bytes,
                waiting: journal.waiting_entries as u64,
                lost: journal.lost_events,
                last_error: journal.trouble,
            },
            sources: self.sources(),
            agents: self.agents(),
            bans_in_force,
            held,
        }
    }

    fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }

    fn bans(&self) -> Vec<Ban> {
        self.board.ledger(|ledger| ledger.bans().cloned().collect())
    }

    fn held(&self) -> Vec<HeldBan> {
        self.board.ledger(|ledger| ledger.held().cloned().collect())
    }

    fn agents(&self) -> Vec<AgentView> {
        self.fleet.agents().into_iter().map(agent_view).collect()
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<BanRow>, String> {
        history(&self.database, filter)
    }

    fn command(&self, order: CommandOrder) -> Result<Reply, String> {
        self.commander.ask(order, PATIENCE).map_err(|error| error.to_string())
    }
}

/// Bans of a database, whether or not the program runs.
///
/// # Errors
/// Why it can't be read.
pub fn history(database: &Database, filter: &HistoryFilter) -> Result<Vec<BanRow>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let read = runtime.map_err(|error| error.to_string())?.block_on(async {
        let history = History::open(database).await?;
        let limit = u32::try_from(filter.limit).unwrap_or(u32::MAX);
        let filter = BanFilter { ip: filter.target, since: filter.since, limit: Some(limit) };
        let bans = history.bans(&filter).await?;
        let answers = history.answers(&bans).await?;
        Ok::<_, StoreError>((bans, answers))
    });
    let (bans, answers) = read.map_err(|error| error.to_string())?;
    let mut by_ban: HashMap<String, Vec<AgentAnswer>> = HashMap::new();
    for AnswerRow { ban, agent, order, flag } in answers {
        by_ban.entry(ban).or_default().push(AgentAnswer { agent, order, flag });
    }
    let row = |row: store::BanRow| {
        let answers = by_ban.remove(&row.id).unwrap_or_default();
        ban_row(row, answers)
    };
    bans.into_iter().map(row).collect()
}

fn ban_row(row: store::BanRow, agents: Vec<AgentAnswer>) -> Result<BanRow, String> {
    Ok(BanRow {
        target: row
            .target
            .parse()
            .map_err(|error| format!("the database has a target that is none: {error}"))?,
        rule: row.rule,
        reason: match &*row.reason {
            "0" => Reason::Global,
            "1" => Reason::Special,
            "2" => Reason::ByHand,
            _ => Reason::Adopted,
        },
        start: row.start,
        end: row.end,
        ended_at: row.ended_at,
        ended_cause: match row.ended_cause.as_deref() {
            Some("expired") => Some(Ended::Expired),
            Some("by_hand") => Some(Ended::ByHand),
            Some("guarded") => Some(Ended::Guarded),
            _ => None,
        },
        count: u32::try_from(row.count).unwrap_or_default(),
        country: row.country,
        note: row.note,
        agents,
    })
}

fn agent_view(agent: fleet::AgentView) -> AgentView {
    use fleet::AgentState as Fleet;
    let (state, why) = match agent.state {
        Fleet::Connecting => (AgentState::Connecting, None),
        Fleet::InSync | Fleet::DryRun => (AgentState::Up, None),
        Fleet::Hanging { .. } => (AgentState::Down, Some("it doesn't answer in time")),
        Fleet::Unreachable { .. } => (AgentState::Down, Some("it can't be reached")),
        Fleet::Failing { .. } => (AgentState::Down, Some("its firewall refuses")),
        Fleet::Left { .. } => (AgentState::Down, Some("nobody lists it any more")),
        Fleet::WrongKey => (AgentState::Refused, Some("it has another key")),
        Fleet::Fenced => (AgentState::Refused, Some("another program steers it now")),
    };
    AgentView {
        name: agent.name.to_string(),
        address: agent.address.to_string(),
        state,
        enforcer: agent.enforcer,
        version: agent.version,
        held: agent.held,
        wanted: agent.wanted,
        clock_skew_ms: Some(agent.clock_skew_ms),
        warnings: agent.warnings,
        last_error: agent.last_error.or_else(|| why.map(str::to_owned)),
        repaired: agent.repaired,
        queue: agent.queue,
        original: agent.original,
        failures: agent.failures,
        breaker_open: agent.breaker_open,
    }
}

#[cfg(test)]
mod tests {
    use bolts::ports::EventStore as _;
    use model::ban::Change;
    use model::event::{Entry, Event};
    use model::ledger::{AskedBan, Ledger};
    use model::units::Seconds;

    use super::*;
    use crate::adapters::journal::JournalOptions;
    use crate::adapters::store::StoreOptions;
    use crate::config::{Mysql, Tls};

    #[test]
    fn an_order_is_answered_once_the_owners_to_come_know_of_it() {
        let check = |database: Database, wait, expect: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let board = Arc::<Board>::default();
            let (journal, _) =
                Journal::<Kept>::open(folder.path(), JournalOptions::default(), board.clone()).unwrap();
            let journal = Arc::new(journal);
            let store = Store::start(&database, &journal, StoreOptions::default(), board).unwrap();
            let target = "203.0.113.9".parse().unwrap();
            let asked = AskedBan { target, length: Seconds(60), note: None };
            let change: Change = Ledger::default().asked(asked, Moment(1_000_000));
            let events = vec![Event::Change(Box::new(change.clone()))];
            journal.append(Entry { at: Moment(1_000_000), mark: None, events });
            journal.sync(PATIENCE);
            let answer = |reply| once_shared(reply, journal.status().last_seq, &store, wait);
            let refused = Reply::Refused("no".to_owned());
            assert_eq!(answer(refused.clone()), Ok(refused), "nothing is waited for");
            match (answer(Reply::Done(vec![change])), expect) {
                (Ok(_), None) => {}
                (Err(text), Some(expect)) => assert!(text.contains(expect), "{text}"),
                (answer, expect) => panic!("{answer:?} for {expect:?}"),
            }
        };
        let folder = tempfile::tempdir().unwrap();
        check(Database::Sqlite(folder.path().join("ccfirewall.db")), Duration::from_secs(60), None);
        let away = Mysql {
            url: "mysql://nobody@127.0.0.1:1/nothing".to_owned(),
            password: None,
            tls: Tls::Off,
            ca: None,
        };
        check(Database::Mysql(away), Duration::from_millis(50), Some("on this machine only"));
    }
}
