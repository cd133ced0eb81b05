//! The table of all keys that analysis knows: an index of 8-byte slots over entries that never move.
//!
//! Entries stand in chunks of fixed size, so growing copies nothing and clears no more pages than are used. The
//! index holds 32 bits of each key's hash, so it grows without looking at the entries. Bytes are capped: past
//! the cap the entries that are worth least are evicted, in sweeps over a part of the table at a time.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::key::Key;
use crate::units::Second;

/// What stands in a table.
pub trait TableEntry {
    /// A new one.
    fn new(key: Key) -> Self;
    /// Its key, for ever the same.
    fn key(&self) -> Key;
    /// Bytes that it holds on the heap.
    fn heap_bytes(&self) -> usize;
    /// Reads a little of each cache line of it and returns something of what it read.
    fn touch(&self) -> u64;
    /// Which entries go first when memory is full: those that are worth least.
    fn worth(&self, now: Second) -> u64;
}

/// Where an entry stands, until it is evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryId(u32);

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    id: u32,
}

/// Keys and what is known of them, within a cap of bytes.
#[derive(Debug)]
pub struct KeyTable<E> {
    index: HashTable<Slot>,
    chunks: Vec<Vec<Option<E>>>,
    free: Vec<u32>,
    len: usize,
    heap_bytes: usize,
    max_bytes: usize,
    evicted: u64,
    /// Where the next sweep begins.
    hand: usize,
    hasher: RandomState,
}

const CHUNK: usize = 4096;
/// A sweep looks at this many chunks' worth of entries and evicts the lesser eighth of them.
const SWEEP: usize = 4 * CHUNK;

impl<E: TableEntry> KeyTable<E> {
    /// A table that holds at most `max_bytes`, but always room for some thousand entries.
    #[must_use]
    pub fn new(max_bytes: usize, hasher: RandomState) -> Self {
        Self {
            index: HashTable::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
            heap_bytes: 0,
            max_bytes: max_bytes.max(2 * CHUNK * size_of::<Option<E>>()),
            evicted: 0,
            hand: 0,
            hasher,
        }
    }

    /// How many keys are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many entries were evicted so far.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The hash that the table finds a key by.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: Key) -> u64 {
        self.hasher.hash_one(key.bits())
    }

    /// What hashes keys, to hash those that were evicted.
    #[must_use]
    pub fn hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// Finds a key's entry.
    #[inline]
    #[must_use]
    pub fn find(&self, key: Key, hash: u64) -> Option<EntryId> {
        let tag = tag(hash);
        let is_it =
            |slot: &Slot| slot.tag == tag && self.entry(slot.id).is_some_and(|entry| entry.key() == key);
        self.index.find(spread(tag), is_it).map(|slot| EntryId(slot.id))
    }

    /// Where a key most likely stands, told by its hash alone: the index is read, the entry is not. Ask
    /// [`holds`](Self::holds) before it's used.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<EntryId> {
        let tag = tag(hash);
        self.index.find(spread(tag), |slot| slot.tag == tag).map(|slot| EntryId(slot.id))
    }

    /// Whether the entry of that id is this key's.
    #[inline]
    #[must_use]
    pub fn holds(&self, id: EntryId, key: Key) -> bool {
        self.entry(id.0).is_some_and(|entry| entry.key() == key)
    }

    /// Brings an entry into the cache by reading of it; see [`TableEntry::touch`].
    #[inline]
    #[must_use]
    pub fn touch(&self, id: EntryId) -> u64 {
        self.entry(id.0).map_or(0, TableEntry::touch)
    }

    /// Adds a key that isn't in the table. Where memory is full `evicted` is told each key that had to go.
    pub fn insert(&mut self, key: Key, hash: u64, now: Second, evicted: impl FnMut(Key)) -> EntryId {
        if self.free.is_empty() && self.is_full() {
            self.sweep(now, |_, _| true, evicted);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => self.grow(),
        };
        self.chunks[id as usize / CHUNK][id as usize % CHUNK] = Some(E::new(key));
        if self.evicted > 0 && self.index.len() == self.index.capacity() {
            self.rebuild_index();
        }
        let tag = tag(hash);
        self.index.insert_unique(spread(tag), Slot { tag, id }, |slot| spread(slot.tag));
        self.len += 1;
        EntryId(id)
    }

    /// An entry that [`find`](Self::find) or [`insert`](Self::insert) just named.
    #[inline]
    pub fn get_mut(&mut self, id: EntryId) -> &mut E {
        let at = id.0 as usize;
        self.chunks[at / CHUNK][at % CHUNK]
            .as_mut()
            .expect("an id is used before the next insert can evict it")
    }

    /// Changes all entries, in ways that don't change what they hold on the heap.
    pub fn for_each(&mut self, change: impl FnMut(&mut E)) {
        self.chunks.iter_mut().flatten().flatten().for_each(change);
    }

    /// Changes an entry and keeps account of its bytes.
    #[inline]
    pub fn update<R>(&mut self, id: EntryId, change: impl FnOnce(&mut E) -> R) -> R {
        let entry = self.get_mut(id);
        let before = entry.heap_bytes();
        let result = change(entry);
        let after = entry.heap_bytes();
        self.heap_bytes = self.heap_bytes + after - before;
        result
    }

    /// Whether what entries hold on the heap has grown past the cap since they came; then [`trim`](Self::trim).
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.heap_bytes > 0 && self.bytes() > self.max_bytes
    }

    /// Evicts entries that hold bytes on the heap, all but `spared`, until the cap holds again. `evicted` is told
    /// each key that had to go.
    pub fn trim(&mut self, spared: EntryId, now: Second, mut evicted: impl FnMut(Key)) {
        let sweeps = self.chunks.len() * CHUNK / SWEEP + 1;
        // Each sweep takes an eighth of what it finds: after so many little is left of it.
        for _ in 0..sweeps * 32 {
            if !self.is_over() {
                return;
            }
            self.sweep(now, |id, entry| id != spared.0 && entry.heap_bytes() > 0, &mut evicted);
        }
    }

    /// Bytes in use, its growth included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Option<E>>() + self.index.allocation_size() + self.heap_bytes
    }

    /// Whether more entries would pass the cap, once the index has the room that it needs for them. The last chunk
    /// may be filled before memory is asked for again.
    fn is_full(&self) -> bool {
        let new_chunk = usize::from(self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK));
        let chunks = (self.chunks.len() + new_chunk) * CHUNK * size_of::<Option<E>>();
        let slots = ((self.len + CHUNK) + slack(self.len + CHUNK)) * 8 / 7;
        let index = slots.next_power_of_two() * (size_of::<Slot>() + 1);
        // An eighth is for what entries hold on the heap. Without it a crowd of light keys would fill the memory, and
        // the first busy one that needs a little more would have to go.
        chunks + index > self.max_bytes / 8 * 7 || chunks + index + self.heap_bytes > self.max_bytes
    }

    /// Evicting leaves marks in the index, which fill it in the end. A fresh one has room for a while: what it
    /// costs is spread over the inserts until the next one.
    fn rebuild_index(&mut self) {
        let mut fresh = HashTable::with_capacity(self.index.len() + slack(self.index.len()));
        for slot in &self.index {
            fresh.insert_unique(spread(slot.tag), *slot, |slot| spread(slot.tag));
        }
        self.index = fresh;
    }

    fn grow(&mut self) -> u32 {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        let entries = &mut self.chunks[chunk];
        entries.push(None);
        u32::try_from(chunk * CHUNK + entries.len() - 1).expect("4 billion entries don't fit the memory cap")
    }

    #[inline]
    fn entry(&self, id: u32) -> Option<&E> {
        self.chunks.get(id as usize / CHUNK)?.get(id as usize % CHUNK)?.as_ref()
    }

    fn sweep(&mut self, now: Second, may_go: impl Fn(u32, &E) -> bool, mut evicted: impl FnMut(Key)) {
        let slots = self.chunks.iter().map(Vec::len).sum::<usize>();
        let mut found: Vec<(u64, u32)> = Vec::with_capacity(SWEEP.min(slots));
        for step in 0..slots.min(SWEEP) {
            let id = ((self.hand + step) % slots) as u32;
            if let Some(entry) = self.entry(id).filter(|entry| may_go(id, entry)) {
                found.push((entry.worth(now), id));
            }
        }
        self.hand = (self.hand + SWEEP) % slots.max(1);
        let going = (found.len() / 8).max(1).min(found.len());
        if going == 0 {
            return;
        }
        found.select_nth_unstable(going - 1);
        for &(_, id) in &found[..going] {
            let Some(entry) = self.chunks[id as usize / CHUNK][id as usize % CHUNK].take() else {
                continue;
            };
            self.heap_bytes -= entry.heap_bytes();
            let tag = tag(self.hash(entry.key()));
            if let Ok(slot) = self.index.find_entry(spread(tag), |slot| slot.id == id) {
                slot.remove();
            }
            self.free.push(id);
            self.len -= 1;
            self.evicted += 1;
            evicted(entry.key());
        }
    }
}

/// How many more slots a rebuilt index has room for.
fn slack(slots: usize) -> usize {
    slots / 8 + 64
}

/// The part of a hash that the index keeps.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The index takes places from the low bits and a check from the high ones; both come from the tag alone, so that
/// growing needs nothing else.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyScheme;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    #[derive(Debug)]
    struct Counted {
        key: Key,
        count: u64,
    }

    impl TableEntry for Counted {
        fn new(key: Key) -> Self {
            Self { key, count: 0 }
        }
        fn key(&self) -> Key {
            self.key
        }
        fn heap_bytes(&self) -> usize {
            // The busy ones grow once the crowd has filled the memory.
            if self.count < 50_000 { 0 } else { 8 << 10 }
        }
        fn touch(&self) -> u64 {
            self.count
        }
        fn worth(&self, _: Second) -> u64 {
            self.count
        }
    }

    fn key(number: u32) -> Key {
        KeyScheme::new(64).key(Ipv4Addr::from(number).into())
    }

    fn table(max_bytes: usize) -> KeyTable<Counted> {
        KeyTable::new(max_bytes, RandomState::with_seeds(1, 2, 3, 4))
    }

    fn count(table: &mut KeyTable<Counted>, number: u32, evicted: &mut Vec<Key>) {
        let hash = table.hash(key(number));
        let id = table.find(key(number), hash);
        let id = id.unwrap_or_else(|| table.insert(key(number), hash, Second(0), |key| evicted.push(key)));
        table.update(id, |entry| entry.count += 1);
        if table.is_over() {
            table.trim(id, Second(0), |key| evicted.push(key));
        }
    }

    proptest! {
        #[test]
        fn counts_as_a_map_does(numbers in proptest::collection::vec(0u32..300, 0..2_000)) {
            let (mut table, mut map, mut evicted) = (table(usize::MAX), HashMap::new(), Vec::new());
            for number in numbers {
                count(&mut table, number, &mut evicted);
                *map.entry(number).or_insert(0u64) += 1;
            }
            prop_assert_eq!(table.len(), map.len());
            for (number, expect) in map {
                let id = table.find(key(number), table.hash(key(number))).unwrap();
                prop_assert_eq!(table.get_mut(id).count, expect);
            }
        }
    }

    #[test]
    fn past_the_cap_the_light_ones_go() {
        let cap = 4 * CHUNK * size_of::<Option<Counted>>();
        let (mut table, mut evicted) = (table(cap), Vec::new());
        for round in 0..60_000 {
            for heavy in 0..10 {
                count(&mut table, heavy, &mut evicted);
            }
            count(&mut table, 1_000 + round, &mut evicted);
        }
        assert!(table.bytes() <= cap, "{} of {cap} bytes", table.bytes());
        assert_eq!(table.evicted(), evicted.len() as u64);
        assert_eq!(table.len() + evicted.len(), 60_010);
        for heavy in 0..10 {
            let id = table.find(key(heavy), table.hash(key(heavy))).expect("a heavy one stays");
            assert_eq!(table.get_mut(id).count, 60_000);
        }
    }
}
