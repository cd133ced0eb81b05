//! The agent.

pub mod enforcer;
