//! Bans for which an agent has answered everything: remembered for a while, so that nothing is answered twice, and
//! that nobody takes what an agent still holds of them for something unknown.

use std::collections::{HashMap, VecDeque};

use model::ban::BanId;
use model::network::Network;
use model::units::Moment;

/// So long, in milliseconds; the ledger knows ended bans as long.
const REMEMBERED: i64 = 600_000;
/// At most so many.
const MOST: usize = 200_000;

#[derive(Debug, Default)]
pub(super) struct Gone {
    order: VecDeque<(Moment, Network, BanId)>,
    of: HashMap<Network, Vec<BanId>>,
}

impl Gone {
    pub(super) fn insert(&mut self, target: Network, id: BanId, now: Moment) {
        self.of.entry(target).or_default().push(id);
        self.order.push_back((now, target, id));
        while let Some(&(at, target, id)) = self.order.front()
            && (self.order.len() > MOST || at.0 < now.0 - REMEMBERED)
        {
            self.order.pop_front();
            if let Some(ids) = self.of.get_mut(&target) {
                ids.retain(|known| *known != id);
                if ids.is_empty() {
                    self.of.remove(&target);
                }
            }
        }
    }

    pub(super) fn contains(&self, target: &Network, id: &BanId) -> bool {
        self.of.get(target).is_some_and(|ids| ids.contains(id))
    }

    pub(super) fn knows(&self, target: &Network) -> bool {
        self.of.contains_key(target)
    }
}
