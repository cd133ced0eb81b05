//! What flows along a stream: batches of records.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A batch of records, the unit that a bolt executes.
///
/// The engine keeps a clone of every spout tuple until it is acked, and clones a tuple for each further
/// edge of a stream. So a big tuple should hold its bytes behind an `Arc`.
pub trait Tuple: Clone + Send + 'static {
    /// How many records the batch holds. Only metrics and [fields grouping](Partition) look at it.
    fn records(&self) -> u64 {
        1
    }
}

impl Tuple for () {}

impl<T: Clone + Send + 'static> Tuple for Vec<T> {
    fn records(&self) -> u64 {
        self.len() as u64
    }
}

/// A tuple that may cross an edge between threads, or later between machines.
///
/// Implemented for every tuple that serde can write and read back; nothing else is asked of it.
pub trait Wire: Tuple + Serialize + DeserializeOwned {}

impl<T: Tuple + Serialize + DeserializeOwned> Wire for T {}

/// A tuple whose records can be dealt out by key, for fields grouping.
///
/// A `Vec` of [`Keyed`] records is one already.
pub trait Partition: Wire {
    /// Deals the records out: exactly `tasks` parts come back, part `i` goes to task `i`, and the order
    /// within a part is kept. A key always goes to the same task. Parts of zero records are not sent.
    fn partition(self, tasks: usize) -> Vec<Self>;
}

/// A record with a key; records of equal keys meet in the same task of a fields-grouped bolt.
pub trait Keyed {
    /// A hash of the key, equal for equal keys in every process. See [`stable_hash`].
    fn key_hash(&self) -> u64;
}

impl Keyed for String {
    fn key_hash(&self) -> u64 {
        stable_hash(self.as_str())
    }
}

impl Keyed for u64 {
    fn key_hash(&self) -> u64 {
        stable_hash(self)
    }
}

/// A pair's key is its first half.
impl<K: Keyed, V> Keyed for (K, V) {
    fn key_hash(&self) -> u64 {
        self.0.key_hash()
    }
}

impl<R: Keyed + Clone + Send + Serialize + DeserializeOwned + 'static> Partition for Vec<R> {
    fn partition(self, tasks: usize) -> Vec<Self> {
        let mut parts = vec![Vec::with_capacity(self.len() / tasks.max(1) + 1); tasks];
        for record in self {
            parts[task_for(record.key_hash(), tasks)].push(record);
        }
        parts
    }
}

/// A hash that doesn't change from one process to the next (unlike a `HashMap`'s), so that every
/// process deals the keys out alike.
#[must_use]
pub fn stable_hash<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The task, of `tasks`, that owns a key of this hash.
#[must_use]
pub fn task_for(key_hash: u64, tasks: usize) -> usize {
    (key_hash % tasks as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_keeps_order_and_every_record() {
        let records: Vec<(u64, u32)> = (0..100).map(|i| (u64::from(i) % 7, i)).collect();
        let parts = records.clone().partition(3);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), records.len());
        for part in &parts {
            assert!(part.is_sorted_by_key(|record| record.1));
        }
        for key in 0..7 {
            let owners = parts.iter().filter(|part| part.iter().any(|r| r.0 == key));
            assert_eq!(owners.count(), 1);
        }
    }
}
