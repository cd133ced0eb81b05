//! The world behind the bolts' ports, one file an outside system.

pub mod fleet;
pub mod host;
pub mod http;
pub mod journal;
pub mod kafka;
pub mod maxmind;
pub mod metrics_text;
pub mod settings_file;
pub mod settings_watch;
pub mod sqlite;
