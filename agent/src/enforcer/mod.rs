//! What drops a target's packets, behind one trait.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::network::Network;

pub mod cut;
pub mod dry_run;
pub mod ipset;
pub mod iptables;
pub mod nftables;

mod program;
mod stamp;
mod tended;
mod xtables;

/// No ban is longer, about 136 years: so that no clock overflows.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Holds bans. Each ends by itself after its time, whatever becomes of the agent; only those of [`iptables`] need one
/// that runs.
pub trait Enforcer: Send {
    /// Its name: `nftables`, `ipset`, `iptables`, `dry_run`.
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

/// What each target shall have: a ban for a time, or none. The last word about a target counts, lifting comes after
/// blocking, and a ban whose time is over is none.
fn changes(block: &[(Network, Duration)], unblock: &[Network]) -> HashMap<Network, Option<Duration>> {
    let mut changes = HashMap::with_capacity(block.len() + unblock.len());
    changes
        .extend(block.iter().map(|&(target, time)| (target, (!time.is_zero()).then_some(time.min(LONGEST)))));
    changes.extend(unblock.iter().map(|&target| (target, None)));
    changes
}

/// What is left of bans with these ends.
fn left(bans: &HashMap<Network, Instant>) -> Vec<(Network, Duration)> {
    let now = Instant::now();
    let left = |(&target, end): (&Network, &Instant)| (target, end.saturating_duration_since(now));
    bans.iter().map(left).filter(|(_, left)| !left.is_zero()).collect()
}

/// What opens an enforcer, with its name.
type Opener<'a> = (&'a str, &'a dyn Fn() -> Result<Box<dyn Enforcer>, EnforcerError>);

/// Opens the best that works here: nftables, else ipset, else iptables. Says besides what a person should know, where
/// it isn't the first.
///
/// # Errors
/// Where none of them works: why each doesn't.
pub fn best() -> Result<(Box<dyn Enforcer>, Option<String>), EnforcerError> {
    first_of(&[
        ("nftables", &|| Ok(Box::new(nftables::Nftables::open()?))),
        ("ipset", &|| Ok(Box::new(ipset::Ipset::open()?))),
        ("iptables", &|| Ok(Box::new(iptables::Iptables::open()?))),
    ])
}

fn first_of(openers: &[Opener]) -> Result<(Box<dyn Enforcer>, Option<String>), EnforcerError> {
    let mut reasons: Vec<String> = Vec::new();
    for (name, open) in openers {
        match open() {
            Ok(enforcer) if reasons.is_empty() => return Ok((enforcer, None)),
            Ok(enforcer) => {
                let reasons = reasons.join("; ");
                let why = format!("{name} holds the bans, for what is better doesn't work here: {reasons}");
                return Ok((enforcer, Some(why)));
            }
            // Whoever may not, may not by other means either.
            Err(error @ EnforcerError::Rights(_)) => return Err(error),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(EnforcerError::Failed(reasons.join("; ")))
}

/// Removes from the kernel whatever any enforcer has put there. Where nothing is there, nothing happens.
///
/// # Errors
/// Where we may not, or the kernel refuses. What could be removed is removed.
pub fn remove_all() -> Result<(), EnforcerError> {
    let nftables = match nftables::Nftables::open() {
        Ok(mut nftables) => nftables.remove(),
        // Without nftables there's nothing in it.
        Err(EnforcerError::Unsupported(_)) => Ok(()),
        Err(error) => Err(error),
    };
    // It takes the chains away in which iptables holds bans, too.
    let others = ipset::remove();
    nftables.and(others)
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

#[cfg(test)]
mod tests {
    use super::dry_run::DryRun;
    use super::*;

    #[test]
    fn the_first_that_works_is_taken_and_the_reasons_are_told() {
        let good = || Ok(Box::new(DryRun::new(crate::clock::machine())) as Box<dyn Enforcer>);
        let no_kernel = || Err(EnforcerError::Unsupported("no nf_tables".to_owned()));
        let no_program = || Err(EnforcerError::Failed("no ipset".to_owned()));
        let no_rights = || Err(EnforcerError::Rights("who are you".to_owned()));
        let never = || -> Result<Box<dyn Enforcer>, EnforcerError> { panic!("it isn't its turn") };

        let (_, why) = first_of(&[("a", &good), ("b", &never)]).unwrap();
        assert_eq!(why, None);
        let (_, why) = first_of(&[("a", &no_kernel), ("b", &no_program), ("c", &good)]).unwrap();
        let why = why.unwrap();
        assert!(
            why.starts_with("c holds") && why.contains("no nf_tables") && why.contains("no ipset"),
            "{why}"
        );
        let all = first_of(&[("a", &no_kernel), ("b", &no_program)]).err().unwrap().to_string();
        assert!(all.contains("no nf_tables") && all.contains("no ipset"), "{all}");
        let error = first_of(&[("a", &no_rights), ("b", &never)]).err().unwrap();
        assert!(matches!(error, EnforcerError::Rights(_)));
    }

    #[test]
    fn the_last_word_counts() {
        let [a, b, c]: [Network; 3] = ["192.0.2.1", "192.0.2.2", "::/0"].map(|text| text.parse().unwrap());
        let second = Duration::from_secs(1);
        let changes = changes(&[(a, second), (b, second), (a, 2 * second), (c, Duration::MAX)], &[b, b]);
        assert_eq!(changes, HashMap::from([(a, Some(2 * second)), (b, None), (c, Some(LONGEST))]));
    }
}
