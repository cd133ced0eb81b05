//! The supervisor of the session.

use model::units::Moment;

/// How it stands with the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a session, and a server answers.
    Connected {
        /// Since when.
        since: Moment,
    },
    /// There isn't. What was seen last stays in force.
    Away {
        /// Since when.
        since: Moment,
        /// What is known of the reason.
        why: String,
    },
}
