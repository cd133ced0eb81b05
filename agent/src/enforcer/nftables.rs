//! Holds bans in nftables.
