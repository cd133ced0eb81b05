//! Runs topologies: a replay of logs to its end, or a live firewall until it is told to stop.

mod board;
mod clock;
mod epoch;
mod kept;
mod live;
mod replay;
mod room;
mod sources;
mod state;

pub use board::Board;
pub use kept::Kept;
pub use live::{LiveApp, LiveOptions, random_key};
pub use replay::{KeptSummary, replay};
pub use room::history;
