//! Runs topologies: a replay of logs to its end, or a live firewall until it is told to stop.

pub(crate) mod agents;
mod board;
mod clock;
mod epoch;
mod keeping;
mod kept;
mod live;
pub(crate) mod ownership;
mod replay;
mod room;
mod settled;
mod sources;
mod state;
mod worker;

pub use board::Board;
pub use keeping::random_key;
pub use kept::Kept;
pub use live::{LiveApp, LiveOptions};
pub use replay::{KeptSummary, replay};
pub use room::history;
pub use state::database;
pub use worker::Worker;
