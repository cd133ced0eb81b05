//! The world behind the bolts' ports, one file an outside system.

pub mod maxmind;
