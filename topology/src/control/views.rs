//! What goes over the wire as JSON, the same for the pages and for the program's own commands.
//!
//! Times are texts as RFC 3339 has them, in UTC, with milliseconds; lengths of time are whole seconds where their
//! names say nothing else. What isn't known is `null`, and never left out.

use std::collections::BTreeMap;

use bolts::tuples::LiveStatus;
use model::ban::{Ban, Change, Ended, Reason};
use model::ledger::HeldBan;
use model::line::Unparsed;
use model::units::Moment;
use serde::{Deserialize, Serialize};

use super::{AgentAnswer, AgentView, BanRow, Problem, Status};

/// A moment as text: `2026-11-22T10:00:03.250Z`.
#[must_use]
pub fn time(moment: Moment) -> String {
    let seconds = moment.second().to_string();
    let whole = seconds.strip_suffix('Z').unwrap_or(&seconds);
    format!("{whole}.{:03}Z", moment.0.rem_euclid(1000))
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// Its id, `cuuid` in the tables.
    pub id: String,
    /// The address or prefix.
    pub target: String,
    /// The rule's name; `by hand` or `adopted` where no rule decided.
    pub rule: String,
    /// Where it comes from.
    pub reason: Reason,
    /// The time of the newest request that it was decided on.
    pub decided: String,
    /// When it was put in force.
    pub start: String,
    /// When it ends.
    pub end: String,
    /// Until then, rounded up.
    pub seconds_left: u64,
    /// How many requests filled the window; 0 without a rule.
    pub count: u32,
    /// From the oldest of them to the newest.
    pub during_seconds: u32,
    /// ISO 3166-1 code.
    pub country: Option<String>,
    /// ISO 3166-2 code within the country.
    pub province: Option<String>,
    /// The city, else the network's owner.
    pub area: Option<String>,
    /// Who asked for it and why.
    pub note: Option<String>,
}

impl BanView {
    /// How a ban looks at that time.
    #[must_use]
    pub fn new(ban: &Ban, now: Moment) -> Self {
        let place = ban.place.clone().unwrap_or_default();
        let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string());
        Self {
            id: ban.id.to_string(),
            target: ban.target.to_string(),
            rule: ban.rule.to_string(),
            reason: ban.reason,
            decided: time(ban.decided.into()),
            start: time(ban.start),
            end: time(ban.end),
            seconds_left: u64::try_from(ban.left(now).as_millis().div_ceil(1000)).unwrap_or(u64::MAX),
            count: ban.count,
            during_seconds: ban.during.0,
            country: text(place.country),
            province: text(place.province),
            area: text(place.area),
            note: ban.note.clone(),
        }
    }
}

/// Some of the bans in force, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanPage {
    /// How many there are that were asked for, on all pages.
    pub total: u64,
    /// Those of this page.
    pub bans: Vec<BanView>,
    /// What to ask for `after` to get the next page; `None` on the last.
    pub next: Option<String>,
}

/// A ban that a cap holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// By which cap, as the settings name it.
    pub cap: String,
    /// As it would have been.
    pub ban: BanView,
}

impl HeldView {
    /// How a held ban looks at that time.
    #[must_use]
    pub fn new(held: &HeldBan, now: Moment) -> Self {
        Self { cap: held.cap.to_string(), ban: BanView::new(&held.ban, now) }
    }
}

/// The bans that caps hold back, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPage {
    /// All of them.
    pub held: Vec<HeldView>,
}

/// The agents, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPage {
    /// All of them.
    pub agents: Vec<AgentView>,
}

/// A ban of the past, or one in force, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// The address or prefix.
    pub target: String,
    /// The rule's name; `by hand` or `adopted` where no rule decided.
    pub rule: String,
    /// Where it came from.
    pub reason: Reason,
    /// When it was put in force.
    pub start: String,
    /// When it ends, or would have ended.
    pub end: String,
    /// When it was over; `None` while it is in force.
    pub ended_at: Option<String>,
    /// Why it is over.
    pub ended_cause: Option<Ended>,
    /// How many requests filled the window; 0 without a rule.
    pub count: u32,
    /// ISO 3166-1 code.
    pub country: Option<String>,
    /// Who asked for it and why.
    pub note: Option<String>,
    /// What agents answered.
    pub agents: Vec<AgentAnswer>,
}

impl From<BanRow> for HistoryView {
    fn from(row: BanRow) -> Self {
        Self {
            target: row.target.to_string(),
            rule: row.rule,
            reason: row.reason,
            start: time(row.start),
            end: time(row.end),
            ended_at: row.ended_at.map(time),
            ended_cause: row.ended_cause,
            count: row.count,
            country: row.country,
            note: row.note,
            agents: row.agents,
        }
    }
}

/// Bans of the past, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Those that were asked for.
    pub bans: Vec<HistoryView>,
}

/// What a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A ban is in force.
    Banned,
    /// A ban in force ends later now.
    Extended,
    /// A ban is over.
    Unbanned,
    /// A cap holds a ban back.
    Held,
    /// A held ban is in force now; its `banned` follows.
    Released,
    /// A held ban was forgotten.
    Discarded,
}

/// Something that an order changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// What happened.
    pub change: ChangeKind,
    /// To which ban.
    pub ban: BanView,
}

impl ChangeView {
    /// How a change looks at that time.
    #[must_use]
    pub fn new(change: &Change, now: Moment) -> Self {
        let kind = match change {
            Change::Banned(_) => ChangeKind::Banned,
            Change::Extended(_) => ChangeKind::Extended,
            Change::Unbanned { .. } => ChangeKind::Unbanned,
            Change::Held { .. } => ChangeKind::Held,
            Change::Unheld { released: true, .. } => ChangeKind::Released,
            Change::Unheld { released: false, .. } => ChangeKind::Discarded,
        };
        Self { change: kind, ban: BanView::new(change.ban(), now) }
    }
}

/// What an order changed, in order; nothing where all was so already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// One after the other.
    pub changes: Vec<ChangeView>,
}

/// A ban that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanOrder {
    /// The address or prefix.
    pub target: String,
    /// For how long, from 1.
    pub seconds: u32,
    /// Who asks and why.
    #[serde(default)]
    pub note: Option<String>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    /// In a sentence.
    pub error: String,
}

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
        view.last_error.clone_from(&source.last_error);
    }
    views.into_iter().map(|(name, view)| SourceView { name: name.to_owned(), ..view }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(Moment(1_795_342_203_250)), "2026-11-22T10:10:03.250Z");
        assert_eq!(time(Moment(-1)), "1969-12-31T23:59:59.999Z");
    }
}
