//! The most frequent of many things, in bounded memory.

use std::hash::Hash;

use ahash::RandomState;
use hashbrown::HashMap;

/// Counts things; exact while no more than twice `held` different ones come. Beyond that the rarer half is
/// forgotten whenever memory is full, so that what is frequent stays with nearly its true count.
#[derive(Clone, Debug)]
pub struct Top<T> {
    counts: HashMap<T, u64, RandomState>,
    held: usize,
}

impl<T: Hash + Eq + Clone + Ord> Top<T> {
    /// Holds at least the `held` most frequent ones.
    #[must_use]
    pub fn new(held: usize) -> Self {
        Self { counts: HashMap::default(), held: held.max(1) }
    }

    /// Counts one.
    pub fn add(&mut self, thing: &T) {
        if let Some(count) = self.counts.get_mut(thing) {
            *count += 1;
            return;
        }
        if self.counts.len() >= 2 * self.held {
            let mut counts: Vec<u64> = self.counts.values().copied().collect();
            let (_, &mut median, _) = counts.select_nth_unstable(self.held);
            self.counts.retain(|_, &mut count| count > median);
        }
        self.counts.insert(thing.clone(), 1);
    }

    /// All that are held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&T, u64)> {
        self.counts.iter().map(|(thing, &count)| (thing, count))
    }

    /// The `most` most frequent ones, by count, then by order.
    #[must_use]
    pub fn most(&self, most: usize) -> Vec<(T, u64)> {
        let mut sorted: Vec<(&T, u64)> = self.iter().collect();
        sorted.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        sorted.into_iter().take(most).map(|(thing, count)| (thing.clone(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequent_stay() {
        let mut top = Top::new(10);
        for round in 0..1_000u32 {
            for frequent in 0..5u32 {
                top.add(&frequent);
            }
            top.add(&(1_000 + round));
        }
        assert_eq!(top.most(5), (0..5).map(|frequent| (frequent, 1_000)).collect::<Vec<_>>());
        assert!(top.iter().count() <= 20);
    }
}
