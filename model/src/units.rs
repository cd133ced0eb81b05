//! Units of time. Event times are whole seconds since the Unix epoch, UTC, and may lie before it.

use std::fmt;

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
