//! What entries are as rows of the tables.

use std::net::IpAddr;

use model::ban::{Ban, Change, Ended, Order, Outcome};
use model::event::{Entry, Event, StoredRecord};
use model::network::Network;
use model::units::Moment;
use uuid::Uuid;

use super::local_time::LocalTime;

/// The rows of a batch of entries, by table, each in order.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) records: Vec<RecordRow>,
    pub(super) outcomes: Vec<OutcomeRow>,
    pub(super) totals: Vec<TotalRow>,
    pub(super) bans: Vec<BanState>,
}

/// The beginning of a statement that inserts rows of `ip_frequency`, whichever the database is.
pub(super) const INSERT_RECORDS: &str = "INSERT INTO ip_frequency (updatetime, cnt, ip, direct_nginx, area, country, province, starttime, endtime, during, \
     alerts, block_reason, detail, sdetail, cuuid, rule) ";

/// A row of `ip_frequency`.
pub(super) struct RecordRow {
    pub(super) updatetime: String,
    pub(super) stored: StoredRecord,
    pub(super) starttime: String,
    pub(super) endtime: String,
    pub(super) during: i64,
    pub(super) block_reason: Option<String>,
    pub(super) cuuid: String,
}

/// A row of `block_log` or `unblock_log`.
pub(super) struct OutcomeRow {
    pub(super) at: String,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) outcome: Outcome,
}

/// A row of `block_server_log` or `block_url_log`.
pub(super) struct TotalRow {
    pub(super) at: String,
    /// Whether it's an agent's; else it is a rule's.
    pub(super) of_agent: bool,
    pub(super) name: String,
    pub(super) bans: i64,
}

/// A row of `ban`, as a change leaves it.
pub(super) struct BanState {
    pub(super) ban: Ban,
    pub(super) ended: Option<(Moment, &'static str)>,
    pub(super) held: Held,
}

/// Which cap holds a ban back.
pub(super) enum Held {
    /// None does.
    Not,
    /// This one.
    By(String),
    /// As the row says already: it isn't held any more, and was never in force.
    AsBefore,
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.outcomes.len() + self.totals.len() + self.bans.len()
    }

    /// Adds an entry's rows. `journal` and `seq` make the same entry the same rows, whenever it's read.
    pub(super) fn add(&mut self, journal: Uuid, seq: u64, entry: Entry, time: &LocalTime) {
        let at = time.text(entry.at);
        let mut bans: Vec<(String, u8)> = Vec::new();
        for event in &entry.events {
            if let Event::Change(change) = event {
                let ban = change.ban();
                bans.push((ban.id.to_string(), ban.reason.code()));
            }
        }
        for (index, event) in entry.events.into_iter().enumerate() {
            match event {
                Event::Record(stored) => {
                    let record = &stored.record;
                    let cuuid = stored.ban.map_or_else(
                        || Uuid::new_v5(&journal, format!("{seq}/{index}").as_bytes()).to_string(),
                        |id| id.to_string(),
                    );
                    // The ban comes in the same entry; without it the rule's kind tells.
                    let global = record.rule.as_deref().map(|rule| u8::from(rule != "global"));
                    let reason =
                        bans.iter().find(|(id, _)| *id == cuuid).map(|(_, reason)| *reason).or(global);
                    self.records.push(RecordRow {
                        updatetime: at.clone(),
                        starttime: time.text(record.first.into()),
                        endtime: time.text(record.last.into()),
                        during: record.last.0.saturating_sub(record.first.0),
                        block_reason: reason.map(|reason| reason.to_string()),
                        cuuid,
                        stored: *stored,
                    });
                }
                Event::Change(change) => self.bans.push(BanState::of(*change)),
                Event::Outcome(outcome) => self.outcomes.push(OutcomeRow {
                    at: time.text(outcome.at),
                    start: time.text(outcome.ban.start),
                    end: time.text(outcome.ban.end),
                    outcome: *outcome,
                }),
                Event::AgentTotal { at, agent, bans } => self.totals.push(total(at, true, agent, bans, time)),
                Event::RuleTotal { at, rule, bans } => self.totals.push(total(at, false, rule, bans, time)),
            }
        }
    }
}

fn total(at: Moment, of_agent: bool, name: String, bans: u64, time: &LocalTime) -> TotalRow {
    TotalRow { at: time.text(at), of_agent, name, bans: i64::try_from(bans).unwrap_or(i64::MAX) }
}

impl BanState {
    fn of(change: Change) -> Self {
        let state = |ban, ended, held| Self { ban, ended, held };
        match change {
            Change::Banned(ban) | Change::Extended(ban) => state(ban, None, Held::Not),
            Change::Unbanned { ban, at, cause } => {
                let cause = match cause {
                    Ended::Expired => "expired",
                    Ended::ByHand => "by_hand",
                    Ended::Guarded => "guarded",
                };
                state(ban, Some((at, cause)), Held::Not)
            }
            Change::Held { ban, cap } => state(ban, None, Held::By(cap.to_string())),
            // A ban in force follows, or the same one was put in force just now.
            Change::Unheld { ban, released: true, .. } => state(ban, None, Held::Not),
            Change::Unheld { ban, at, released: false } => {
                let cause = if at >= ban.end { "expired" } else { "discarded" };
                state(ban, Some((at, cause)), Held::AsBefore)
            }
        }
    }
}

impl OutcomeRow {
    pub(super) fn blocks(&self) -> bool {
        self.outcome.order == Order::Block
    }
}

/// Tells of rows that can't be inserted. Returns how many they are.
pub(super) fn passed_by<T: Describe>(table: &str, rows: &[T], error: &sqlx::Error) -> u64 {
    let row = rows.first().map(Describe::describe).unwrap_or_default();
    let row: String = row.chars().take(200).collect();
    tracing::error!(table, %error, row, "a row can't be inserted and is passed by");
    rows.len() as u64
}

/// What to say of a row that can't be inserted.
pub(super) trait Describe {
    fn describe(&self) -> String;
}

impl Describe for RecordRow {
    fn describe(&self) -> String {
        let record = &self.stored.record;
        format!("{} of {}, {} requests, rule {:?}", self.cuuid, record.target, record.count, record.rule)
    }
}

impl Describe for OutcomeRow {
    fn describe(&self) -> String {
        let Outcome { ban, agent, result, .. } = &self.outcome;
        format!("{} of {} at {agent:?}: {result:?}", ban.id, ban.target)
    }
}

impl Describe for TotalRow {
    fn describe(&self) -> String {
        format!("{} of {:?} at {}", self.bans, self.name, self.at)
    }
}

impl Describe for BanState {
    fn describe(&self) -> String {
        format!("{} of {} by rule {:?}", self.ban.id, self.ban.target, self.ban.rule)
    }
}

/// The lowest and highest address of a network, so that both families sort, apart from each other.
pub(super) fn range(network: &Network) -> (Vec<u8>, Vec<u8>) {
    let (family, first, width) = match network.first() {
        IpAddr::V4(v4) => (4, u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (6, u128::from(v6), 128),
    };
    let hosts = u128::MAX.checked_shr(128 - width + u32::from(network.prefix())).unwrap_or(0);
    let text = |number: u128| [&[family][..], &number.to_be_bytes()].concat();
    (text(first), text(first | hosts))
}
