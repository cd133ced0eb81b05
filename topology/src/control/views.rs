//! What goes over the wire as JSON, the same for the pages and for the program's own commands.
//!
//! Times are texts as RFC 3339 has them, in UTC, with milliseconds; lengths of time are whole seconds where their
//! names say nothing else. What isn't known is `null`, and never left out.

mod status;

use model::ban::{Ban, Change, Ended, Reason};
use model::ledger::HeldBan;
use model::units::Moment;
use serde::{Deserialize, Serialize};

use super::{AgentAnswer, AgentView, BanRow};

pub use status::{BansView, JournalView, LinesView, SettingsView, SourceView, StatusView, StoreView};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(time(Moment(1_795_342_203_250)), "2026-11-22T10:10:03.250Z");
        assert_eq!(time(Moment(-1)), "1969-12-31T23:59:59.999Z");
    }
}
