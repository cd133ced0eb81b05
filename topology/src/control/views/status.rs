//! How the program is doing, as JSON.

use std::collections::BTreeMap;

use bolts::tuples::LiveStatus;
use model::line::Unparsed;
use model::units::Moment;
use serde::{Deserialize, Serialize};

use super::super::{AgentView, Problem, Status};
use super::time;

/// How the program is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: String,
    /// How long ago that is.
    pub uptime_seconds: u64,
    /// Whether nobody is really blocked.
    pub dry_run: bool,
    /// What people were told and isn't over.
    pub alarms: Vec<Problem>,
    /// Lines since the start.
    pub lines: LinesView,
    /// Bans since the start, and now.
    pub bans: BansView,
    /// The rules that hold.
    pub settings: SettingsView,
    /// The database.
    pub store: StoreView,
    /// The journal.
    pub journal: JournalView,
    /// Where lines come from.
    pub sources: Vec<SourceView>,
    /// Who holds the bans.
    pub agents: Vec<AgentView>,
}

/// How lines fared since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinesView {
    /// All of them.
    pub total: u64,
    /// A second, over the last five.
    pub per_second: f64,
    /// Those that could be read.
    pub parsed: u64,
    /// Of these, those whose client isn't proven.
    pub unattributed: u64,
    /// Of these, those that lie too far in the future.
    pub future: u64,
    /// Those that couldn't be read, by reason; reasons without any are left out.
    pub unparsed: BTreeMap<String, u64>,
    /// Requests that came too late to count.
    pub late: u64,
    /// Requests that came while their address was banned.
    pub while_banned: u64,
    /// Frequency records.
    pub records: u64,
}

/// Bans since the start, and now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansView {
    /// In force now.
    pub in_force: u64,
    /// Held back by caps now.
    pub held: u64,
    /// Put in force since the start.
    pub banned: u64,
    /// Extended since the start.
    pub extended: u64,
    /// Ended since the start.
    pub unbanned: u64,
    /// Held back since the start.
    pub holds: u64,
    /// Warnings since the start.
    pub warnings: u64,
    /// From a decision to the agents' answers, in milliseconds: the median of the newest thousand.
    pub answer_median_ms: Option<u64>,
    /// The same, 99th percentile.
    pub answer_p99_ms: Option<u64>,
}

/// The rules that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    /// Counts from 1 since the start.
    pub version: u32,
    /// When this version began to hold.
    pub loaded_at: String,
    /// What is wrong with a newer one, which therefore doesn't hold.
    pub errors: Vec<String>,
    /// What is doubtful in the version that holds.
    pub warnings: Vec<String>,
}

/// The database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreView {
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalView {
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

/// A source of lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Lines so far.
    pub lines: u64,
    /// Whether it still fills windows with what was decided on before the start.
    pub rebuilding: bool,
    /// Whether there was nothing more to read.
    pub caught_up: bool,
    /// When its newest batch was read; `None` before the first.
    pub read_at: Option<String>,
    /// Bytes that wait to be read, where that is known.
    pub behind_bytes: Option<u64>,
    /// Messages that wait to be read, of a partition of Kafka, where that is known.
    #[serde(default)]
    pub behind_messages: Option<u64>,
    /// How far its clock is ahead of ours (behind, where negative), as far as lines tell.
    pub skew_ms: Option<i64>,
    /// What is wrong with it now.
    pub last_error: Option<String>,
}

impl From<Status> for StatusView {
    fn from(status: Status) -> Self {
        let live = &status.live;
        Self {
            started_at: time(status.started_at),
            uptime_seconds: status.uptime.as_secs(),
            dry_run: status.dry_run,
            lines: lines(live),
            bans: BansView {
                in_force: status.bans_in_force,
                held: status.held,
                banned: live.bans,
                extended: live.extensions,
                unbanned: live.unbans,
                holds: live.holds,
                warnings: live.warns,
                answer_median_ms: live.answer_ms.map(|(median, _)| median),
                answer_p99_ms: live.answer_ms.map(|(_, p99)| p99),
            },
            sources: sources(&status),
            settings: SettingsView {
                version: status.settings.version,
                loaded_at: time(status.settings.loaded_at),
                errors: status.settings.errors,
                warnings: status.settings.warnings,
            },
            store: StoreView {
                rows: status.store.rows,
                behind: status.store.behind,
                lost: status.store.lost,
                last_error: status.store.last_error,
            },
            journal: JournalView {
                entries: status.journal.entries,
                bytes: status.journal.bytes,
                waiting: status.journal.waiting,
                lost: status.journal.lost,
                last_error: status.journal.last_error,
            },
            version: status.version,
            alarms: status.alarms,
            agents: status.agents,
        }
    }
}

fn lines(live: &LiveStatus) -> LinesView {
    let unparsed = Unparsed::ALL.iter().zip(live.lines.unparsed).filter(|(_, n)| *n > 0);
    LinesView {
        total: live.lines.lines,
        // Not a number, it would be `null` in JSON.
        per_second: if live.lines_per_second.is_finite() { live.lines_per_second } else { 0.0 },
        parsed: live.lines.parsed,
        unattributed: live.lines.unattributed,
        future: live.lines.future,
        unparsed: unparsed.map(|(reason, n)| (reason.name().to_owned(), n)).collect(),
        late: live.late,
        while_banned: live.while_banned,
        records: live.records,
    }
}

/// All that either side knows of, by name.
fn sources(status: &Status) -> Vec<SourceView> {
    let mut views: BTreeMap<&str, SourceView> = BTreeMap::new();
    for (name, source) in &status.live.sources {
        let read_at = (source.read_at != Moment::default()).then(|| time(source.read_at));
        let view = views.entry(name).or_default();
        view.lines = source.lines;
        view.rebuilding = source.rebuilding;
        view.caught_up = source.caught_up;
        view.read_at = read_at;
        view.skew_ms = source.skew_ms;
    }
    for source in &status.sources {
        let view = views.entry(&source.name).or_default();
        view.behind_bytes = source.behind_bytes;
        view.behind_messages = source.behind_messages;
        view.last_error.clone_from(&source.last_error);
    }
    views.into_iter().map(|(name, view)| SourceView { name: name.to_owned(), ..view }).collect()
}
