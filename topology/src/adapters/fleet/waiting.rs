//! Targets that an agent has to be told of, the most urgent first. A target waits once, however often it changes.

use std::collections::{BTreeMap, HashMap};

use model::network::Network;

/// How soon an agent should hear of a change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    /// Somebody waits for it.
    ByHand,
    /// A ban.
    Ban,
    /// The kernel has ended the ban by itself already.
    Over,
}

/// A place in the queue.
type Place = (Urgency, u64);

#[derive(Debug, Default)]
pub(super) struct Waiting {
    order: BTreeMap<Place, Network>,
    places: HashMap<Network, Place>,
    pushed: u64,
}

impl Waiting {
    /// Puts a target behind those that are as urgent. One that waits already only moves where it is more urgent now.
    pub(super) fn push(&mut self, target: Network, urgency: Urgency) {
        if let Some(place) = self.places.get(&target) {
            if place.0 <= urgency {
                return;
            }
            self.order.remove(place);
        }
        self.pushed += 1;
        let place = (urgency, self.pushed);
        self.order.insert(place, target);
        self.places.insert(target, place);
    }

    pub(super) fn pop(&mut self) -> Option<Network> {
        let (_, target) = self.order.pop_first()?;
        self.places.remove(&target);
        Some(target)
    }

    pub(super) fn contains(&self, target: &Network) -> bool {
        self.places.contains_key(target)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_come_first_and_each_target_once() {
        let mut waiting = Waiting::default();
        let target = |n: u8| Network::host([203, 0, 113, n].into());
        for (n, urgency) in [
            (1, Urgency::Over),
            (2, Urgency::Ban),
            (3, Urgency::Ban),
            (1, Urgency::Over),
            (3, Urgency::ByHand),
            (2, Urgency::Over),
            (4, Urgency::ByHand),
        ] {
            waiting.push(target(n), urgency);
        }
        assert_eq!((waiting.len(), waiting.contains(&target(4))), (4, true));
        let order: Vec<Network> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(order, [3, 4, 2, 1].map(target));
        assert!(waiting.places.is_empty());
    }
}
