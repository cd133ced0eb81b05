//! The domain of ccfirewall as pure functions and data: access lines, client addresses, places, rules, windows,
//! verdicts and settings.
//!
//! Invariant: nothing here does I/O or reads a clock; time comes in as an argument.

pub mod address;
pub mod align;
pub mod ban;
pub mod caps;
pub mod client;
pub mod distinct;
pub mod event;
pub mod key;
pub mod key_state;
pub mod ledger;
pub mod line;
pub mod mark;
pub mod network;
pub mod place;
pub mod rule;
pub mod settings;
pub mod synthetic;
pub mod table;
pub mod text;
pub mod time;
pub mod top;
pub mod units;
pub mod url;
pub mod verdict;
pub mod window;
