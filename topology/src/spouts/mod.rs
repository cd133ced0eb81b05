//! Where lines come from, one file a source.

pub mod log_files;
