//! Where tuples come from, one file a source: logs that are read once ([`log_files`]), live ones, which say in each
//! batch's mark how far they have come, what people ask for, and what agents answer.

pub mod commands;
pub mod findings;
pub mod follow;
pub mod gated;
pub mod generated;
pub mod handed;
pub mod hits;
pub mod kafka;
pub mod key_bans;
mod line_buffer;
pub mod log_files;
pub mod outcomes;
pub mod piped;
pub mod source;

use engine::Timestamp;
use model::units::Moment;

/// The clock as marks have it.
fn moment(now: Timestamp) -> Moment {
    Moment(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
