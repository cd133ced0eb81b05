//! The desired state of bans.
