//! Holds bans in memory only.
