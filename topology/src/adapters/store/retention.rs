//! How long frequency records stay: past that they move from `ip_frequency` to `ip_frequency_del`, the oldest
//! first and a few at a time, so that new rows needn't wait.

use model::units::Moment;

use super::local_time::LocalTime;

/// Rows that move in one transaction.
pub(super) const STEP: i64 = 5_000;

/// How long frequency records stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retention {
    /// For so many days; `None` for ever.
    pub days: Option<u32>,
    /// So many, the newest ones; `None` for all.
    pub records: Option<u64>,
}

impl Retention {
    /// The time before which records are too old, as the tables have it.
    pub(super) fn before(&self, now: Moment, time: &LocalTime) -> Option<String> {
        self.days.map(|days| time.text(Moment(now.0.saturating_sub(i64::from(days) * 86_400_000))))
    }

    /// How many records stay.
    pub(super) fn kept(&self) -> Option<i64> {
        self.records.and_then(|kept| i64::try_from(kept).ok())
    }
}
