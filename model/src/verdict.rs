//! What analysis comes to: decisions, and the records that tell how often an address came.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::place::Place;
use crate::units::{Second, Seconds};

/// What a decision asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Drop the target's packets for a time.
    Block,
    /// Tell the application, which shows the target a page.
    Warn,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Block => "block",
            Self::Warn => "warn",
        })
    }
}

/// A full window led to this.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// The newest request's time.
    pub time: Second,
    /// What it is about: an address or a prefix.
    pub target: Network,
    /// What is asked for.
    pub action: Action,
    /// The rule's name: `global`, or its URL as the settings have it.
    pub rule: Arc<str>,
    /// The rule's code: 0 global, 1 special.
    pub reason: u8,
    /// How many requests filled the window.
    pub count: u32,
    /// From the oldest of them to the newest.
    pub during: Seconds,
    /// How long the action holds.
    pub length: Seconds,
    /// Whether the target was first seen long before, which the cap on the banned share asks.
    pub established: bool,
    /// Where the target is, once somebody looked it up.
    pub place: Option<Place>,
}

/// The `alerts` code of a frequency record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Alert {
    /// -3: the requests' URLs aren't listed, no rule counts them.
    NotListed,
    /// -2: the address is allowlisted or protected.
    Allowed,
    /// -1: blocking is switched off.
    BlockingOff,
    /// 0: under the thresholds.
    Normal,
    /// 1: with a block.
    Blocked,
    /// 2: with a warning.
    Warned,
}

impl Alert {
    /// The code as it is stored.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::NotListed => -3,
            Self::Allowed => -2,
            Self::BlockingOff => -1,
            Self::Normal => 0,
            Self::Blocked => 1,
            Self::Warned => 2,
        }
    }
}

/// A frequency record: an address completed another `count` requests of a rule (or of none), or was decided on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whose requests.
    pub target: Network,
    /// The rule's name; `None` for requests that no rule counts.
    pub rule: Option<Arc<str>>,
    /// How many requests.
    pub count: u32,
    /// The oldest one's time.
    pub first: Second,
    /// The newest one's time.
    pub last: Second,
    /// What came of them.
    pub alert: Alert,
    /// Where the address is, once somebody looked it up.
    pub place: Option<Place>,
}
