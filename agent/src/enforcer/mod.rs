//! What drops a target's packets, behind one trait.

use std::time::Duration;

use model::network::Network;

pub mod dry_run;
pub mod nftables;

/// Holds bans. Each ends by itself after its time, whatever becomes of the agent.
pub trait Enforcer: Send {
    /// Its name: `dry_run`, `nftables`.
    fn name(&self) -> &'static str;

    /// Puts bans in force and lifts others. A ban that is held already gets the new time; lifting what isn't
    /// held is no error. All of it in as few transactions as possible, the blocks first.
    ///
    /// # Errors
    /// Where the kernel refused; what was done by then is done.
    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError>;

    /// What is held, as the kernel has it, with the time that is left.
    ///
    /// # Errors
    /// Where it can't be read.
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError>;

    /// Removes everything that is ours and leaves nothing behind.
    ///
    /// # Errors
    /// Where the kernel refused.
    fn remove(&mut self) -> Result<(), EnforcerError>;
}

/// Why an enforcer couldn't.
#[derive(Debug, thiserror::Error)]
pub enum EnforcerError {
    /// We may not.
    #[error("no rights to change the firewall: {0} (run as root, or with CAP_NET_ADMIN)")]
    Rights(String),
    /// This kernel can't.
    #[error("the kernel can't do this: {0}")]
    Unsupported(String),
    /// Something else.
    #[error("the firewall refused: {0}")]
    Failed(String),
}
