//! Where lines come from, one file a source.

pub mod commands;
pub mod log_files;
