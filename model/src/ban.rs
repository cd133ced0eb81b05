//! Bans: what is kept from reaching the servers, why, and until when.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::network::Network;
use crate::place::Place;
use crate::units::{Moment, Second, Seconds};

/// What makes a ban one and the same, wherever and how often it is come to: rule, target, decision second, and
/// its number among those of that second. In the tables it is `cuuid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BanId(Uuid);

impl BanId {
    /// The id of the `ordinal`-th ban (from 0) of `target` by `rule` in `second`.
    #[must_use]
    pub fn new(rule: &str, target: &Network, second: Second, ordinal: u32) -> Self {
        // Rule names hold no line feeds, so no two bans are the same text.
        let name = format!("{rule}\n{target}\n{}\n{ordinal}", second.0);
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

impl fmt::Display for BanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BanId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Where a ban comes from: the code in `block_reason`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// 0: the global rule.
    Global,
    /// 1: a special rule.
    Special,
    /// 2: somebody asked for it.
    ByHand,
    /// 3: an agent held it when we started, and nobody here knew of it.
    Adopted,
}

impl Reason {
    /// The code as it is stored.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// A ban, in force or over.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ban {
    /// What it is the same by.
    pub id: BanId,
    /// What is banned.
    pub target: Network,
    /// The rule's name; `by hand` or `adopted` where no rule decided.
    pub rule: Arc<str>,
    /// Where it comes from.
    pub reason: Reason,
    /// The event time of the decision: the newest request's second.
    pub decided: Second,
    /// When it was put in force.
    pub start: Moment,
    /// When it ends.
    pub end: Moment,
    /// How many requests filled the window; 0 without a rule.
    pub count: u32,
    /// From the oldest of them to the newest.
    pub during: Seconds,
    /// Whether the address was known for longer than ten minutes, so that it counts for the cap on shares.
    pub established: bool,
    /// Where the target is.
    pub place: Option<Place>,
    /// Who asked for it and why, where somebody did.
    pub note: Option<String>,
}

impl Ban {
    /// How long it is from start to end, rounded up to whole seconds.
    #[must_use]
    pub fn length(&self) -> Seconds {
        let millis = self.start.until(self.end).as_millis();
        Seconds(u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// How long it still holds.
    #[must_use]
    pub fn left(&self, now: Moment) -> Duration {
        now.until(self.end)
    }
}

/// Why a ban isn't in force any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its time was over.
    Expired,
    /// Somebody lifted it.
    ByHand,
    /// The allowlist or the protected addresses cover it now.
    Guarded,
}

/// Which cap holds a ban back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// `max_new_bans_per_minute`.
    NewBans,
    /// `max_banned_share`.
    BannedShare,
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NewBans => "max_new_bans_per_minute",
            Self::BannedShare => "max_banned_share",
        })
    }
}

/// What happened to the desired state of bans. Applied in order, changes give the ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A ban is in force.
    Banned(Ban),
    /// A ban in force ends later now: as it is after that.
    Extended(Ban),
    /// A ban is over.
    Unbanned {
        /// As it was.
        ban: Ban,
        /// When it was over.
        at: Moment,
        /// Why.
        cause: Ended,
    },
    /// A cap holds a ban back. It is as it would have been.
    Held {
        /// What is held.
        ban: Ban,
        /// By which cap.
        cap: Cap,
    },
    /// A held ban isn't held any more: it was released (a ban follows), discarded, or its time was over.
    Unheld {
        /// As it was.
        ban: Ban,
        /// When.
        at: Moment,
        /// Whether somebody released it, so that it is in force now.
        released: bool,
    },
}

impl Change {
    /// The ban that it is about.
    #[must_use]
    pub fn ban(&self) -> &Ban {
        match self {
            Self::Banned(ban)
            | Self::Extended(ban)
            | Self::Unbanned { ban, .. }
            | Self::Held { ban, .. }
            | Self::Unheld { ban, .. } => ban,
        }
    }
}

/// What an agent was asked to do for a ban.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// To drop the target's packets: a row of `block_log`.
    Block,
    /// To let them through again: a row of `unblock_log`.
    Unblock,
}

/// What an agent answered: a row of `block_log` or `unblock_log`, one for each ban, order and agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// The agent's name: its address, as it stands in `server_ip`.
    pub agent: Arc<str>,
    /// What it was asked for.
    pub order: Order,
    /// For which ban.
    pub ban: Ban,
    /// When it was done.
    pub at: Moment,
    /// 1 done, -1 already so, -2 not a valid target, -3 wrong key, -4 failed.
    pub flag: i32,
    /// In the agent's words.
    pub result: String,
}
