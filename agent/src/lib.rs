//! The agent: holds the bans on its host, and does what owners ask for over Thrift.
//!
//! `server` listens and reads messages, `service` checks the key and speaks the interface, `keeper` does one thing
//! after the other with the one enforcer. `ready` knows whether an owner's full state is in force, and `registration`
//! keeps the node in ZooKeeper by which topologies find the agent. The daemon `ccfirewall-agent` is a command line around [`start`]; a
//! program that wants an agent of its own calls it itself.

pub mod clock;
pub mod command;
pub mod enforcer;
pub mod key;

mod keeper;
mod notify;
mod ready;
mod registration;
mod server;
mod service;
mod start;

pub use ccfirewall_thrift::tls::TlsFiles;
pub use registration::Registration;
pub use server::Limits;
pub use start::{Choice, Config, Observer, Running, StartError, remove, start};
