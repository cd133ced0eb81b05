//! Holds bans in memory only, and blocks nobody: for trying out, and where the kernel can't be asked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::network::Network;

use super::{Enforcer, EnforcerError};
use crate::clock::Clock;

/// Bans that end by time like those of the kernel, and touch no packet.
pub struct DryRun {
    clock: Clock,
    ends: HashMap<Network, Instant>,
    /// Those that are over are forgotten when there are so many.
    tidy_at: usize,
}

impl DryRun {
    /// Its name.
    pub(crate) const NAME: &str = "dry_run";

    /// Holds nothing yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, ends: HashMap::new(), tidy_at: 1024 }
    }
}

impl Enforcer for DryRun {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        let now = (self.clock)();
        if self.ends.len() >= self.tidy_at {
            self.ends.retain(|_, end| *end > now);
            self.tidy_at = 1024.max(2 * self.ends.len());
        }
        self.ends.extend(block.iter().map(|&(target, left)| (target, now + left)));
        for target in unblock {
            self.ends.remove(target);
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        let now = (self.clock)();
        self.ends.retain(|_, end| *end > now);
        Ok(self.ends.iter().map(|(&target, &end)| (target, end - now)).collect())
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.ends.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::Hand;

    #[test]
    fn bans_end_by_time_and_not_before() {
        let hand = Hand::default();
        let mut enforcer = DryRun::new(hand.clock());
        let [one, two]: [Network; 2] = ["203.0.113.1".parse().unwrap(), "2001:db8::/64".parse().unwrap()];
        let ten = Duration::from_secs(10);
        enforcer.apply(&[(one, ten), (two, ten)], &[]).unwrap();
        hand.forward(Duration::from_millis(9_999));
        assert_eq!(enforcer.held().unwrap().len(), 2);
        enforcer.apply(&[(two, ten)], &[]).unwrap();
        hand.forward(Duration::from_millis(1));
        assert_eq!(enforcer.held().unwrap(), [(two, Duration::from_millis(9_999))]);
        enforcer.apply(&[(one, ten)], &[one, two]).unwrap();
        assert_eq!(enforcer.held().unwrap(), []);
    }

    #[test]
    fn what_is_over_takes_no_memory() {
        let hand = Hand::default();
        let mut enforcer = DryRun::new(hand.clock());
        for low in 0..100_000u32 {
            let target = Network::host(std::net::Ipv4Addr::from(0x0a00_0000 + low).into());
            enforcer.apply(&[(target, Duration::from_secs(1))], &[]).unwrap();
            hand.forward(Duration::from_millis(10));
        }
        assert!(enforcer.ends.len() <= 1024, "{}", enforcer.ends.len());
    }
}
