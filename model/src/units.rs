//! Units of time. Event times are whole seconds since the Unix epoch, UTC, and may lie before it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of a log line: whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Second(pub i64);

impl Second {
    /// Earlier than anything that a line can say.
    pub const NEVER: Self = Self(i64::MIN / 4);

    /// This moment and `length` more.
    #[must_use]
    pub fn plus(self, length: Seconds) -> Self {
        Self(self.0 + i64::from(length.0))
    }

    /// How far this moment lies behind `later`; zero or less where it doesn't.
    #[must_use]
    pub fn behind(self, later: Self) -> i64 {
        later.0 - self.0
    }
}

/// A length of time in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Seconds(pub u32);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// A moment of the clock: milliseconds since the Unix epoch, UTC. Bans begin and end at moments; windows know
/// only [`Second`]s.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// The second that it lies in.
    #[must_use]
    pub fn second(self) -> Second {
        Second(self.0.div_euclid(1000))
    }

    /// A moment that many seconds later.
    #[must_use]
    pub fn plus(self, length: Seconds) -> Self {
        Self(self.0.saturating_add(i64::from(length.0) * 1000))
    }

    /// How long it is from this moment to `later`; nothing where that isn't later.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl From<Second> for Moment {
    /// The beginning of the second.
    fn from(second: Second) -> Self {
        Self(second.0.saturating_mul(1000))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.second().fmt(f)
    }
}
