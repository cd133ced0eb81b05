//! The sliding window of one key and rule: the newest requests by time, until as many as asked for lie close
//! enough together.

use std::collections::VecDeque;

use crate::units::{Second, Seconds};

/// The requests of one key and rule that can still be part of a full window.
///
/// The window of the settings holds the N newest requests. Those that lie further behind its newest one than
/// the longest time of the rule's levels can't be part of any decision any more, for the newest only moves
/// forward; so they aren't held, and a window of N held requests is always a decision. That keeps a window as
/// small as the time that it looks at, and exact.
#[derive(Clone, Debug)]
pub struct Window {
    newest: Second,
    total: u32,
    slots: Slots,
}

/// Requests of one second. The second is cut to 32 bits: what is held spans less than that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Slot {
    second: u32,
    requests: u32,
}

/// Sorted by time. Most keys never have requests in more than two seconds of a window, and need no heap.
#[derive(Clone, Debug)]
#[expect(
    clippy::box_collection,
    reason = "the few busy keys pay a pointer more, so that all others are 16 bytes smaller"
)]
enum Slots {
    Few { used: u8, slots: [Slot; FEW] },
    Many(Box<VecDeque<Slot>>),
}

const FEW: usize = 2;

/// What a window said to requests that were added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// All of them are in (or too old to matter), and the window isn't full.
    Open,
    /// This many of them filled it; it is empty again.
    Full {
        /// How many of the added requests went in before it was full, the one that filled it included.
        taken: u32,
        /// The newest request's time.
        newest: Second,
        /// From the oldest to the newest.
        during: Seconds,
    },
}

impl Default for Window {
    fn default() -> Self {
        Self { newest: Second::NEVER, total: 0, slots: Slots::EMPTY }
    }
}

impl Window {
    /// Adds `requests` that came in `second`, looking back `within` from the newest, until `full` are held.
    ///
    /// `full` and `within` may differ from call to call (settings change); a window that holds more than `full`
    /// is full at the next request.
    pub fn add(&mut self, second: Second, requests: u32, full: u32, within: Seconds) -> Added {
        let step = self.newest.behind(second);
        if -step > i64::from(within.0) {
            return Added::Open;
        }
        self.expire(step.max(0) as u64, within);
        self.newest = self.newest.max(second);
        let missing = full.saturating_sub(self.total).max(1);
        if self.total >= full && self.is_before_all(second) {
            return Added::Open;
        }
        if requests < missing {
            self.total += requests;
            self.slots.insert(Slot { second: second.0 as u32, requests }, self.newest.0 as u32);
            return Added::Open;
        }
        let newest = self.newest;
        self.slots.insert(Slot { second: second.0 as u32, requests: missing }, newest.0 as u32);
        let during = self.slots.span_of_newest(full, newest.0 as u32);
        self.clear();
        Added::Full { taken: missing, newest, during: Seconds(during) }
    }

    /// Adds requests that lead to no decision: the window keeps the newest `full`, and fires at the next request
    /// that may decide.
    pub fn hold(&mut self, second: Second, requests: u32, full: u32, within: Seconds) {
        let step = self.newest.behind(second);
        if -step > i64::from(within.0) {
            return;
        }
        self.expire(step.max(0) as u64, within);
        self.newest = self.newest.max(second);
        let requests = requests.min(full);
        self.total += requests;
        self.slots.insert(Slot { second: second.0 as u32, requests }, self.newest.0 as u32);
        while let Some(oldest) = self.slots.first()
            && self.total > full
        {
            // Of a second that is cut, it doesn't matter which requests go.
            let over = self.total - full;
            self.total -= over.min(oldest.requests);
            self.slots.pop_first();
            if let Some(left) = oldest.requests.checked_sub(over).filter(|&left| left > 0) {
                self.slots.insert(Slot { requests: left, ..oldest }, self.newest.0 as u32);
            }
        }
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.total = 0;
        self.slots = Slots::EMPTY;
        self.newest = Second::NEVER;
    }

    /// How many requests are held.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.slots {
            Slots::Few { .. } => 0,
            Slots::Many(slots) => size_of::<VecDeque<Slot>>() + slots.capacity() * size_of::<Slot>(),
        }
    }

    /// Whether `second` is older than all that is held.
    fn is_before_all(&self, second: Second) -> bool {
        let age = (self.newest.0 as u32).wrapping_sub(second.0 as u32);
        self.slots.first().is_some_and(|oldest| (self.newest.0 as u32).wrapping_sub(oldest.second) < age)
    }

    /// Lets go of what will lie further than `within` behind the newest once that moves on by `step`.
    ///
    /// What is held lies less than 2³² seconds behind the newest, so cut seconds tell its age; with the step added
    /// they wouldn't any more.
    #[inline]
    fn expire(&mut self, step: u64, within: Seconds) {
        while let Some(oldest) = self.slots.first()
            && u64::from((self.newest.0 as u32).wrapping_sub(oldest.second)) + step > u64::from(within.0)
        {
            self.total -= oldest.requests;
            self.slots.pop_first();
        }
    }
}

impl Slots {
    const EMPTY: Self = Self::Few { used: 0, slots: [Slot { second: 0, requests: 0 }; FEW] };

    fn first(&self) -> Option<Slot> {
        match self {
            Self::Few { used, slots } => slots[..usize::from(*used)].first().copied(),
            Self::Many(slots) => slots.front().copied(),
        }
    }

    fn pop_first(&mut self) {
        match self {
            Self::Few { used, slots } => {
                slots.rotate_left(1);
                *used -= 1;
            }
            Self::Many(slots) => {
                slots.pop_front();
                if slots.is_empty() {
                    // A key that was busy once doesn't keep its memory.
                    *self = Self::EMPTY;
                }
            }
        }
    }

    /// Puts requests at their place by age before `newest`: nearly always last.
    fn insert(&mut self, slot: Slot, newest: u32) {
        let age = newest.wrapping_sub(slot.second);
        match self {
            Self::Few { used, slots } => {
                let held = &mut slots[..usize::from(*used)];
                if let Some(same) = held.iter_mut().find(|held| held.second == slot.second) {
                    same.requests += slot.requests;
                } else if usize::from(*used) < FEW {
                    let at = held.iter().take_while(|held| newest.wrapping_sub(held.second) > age).count();
                    slots[at..=usize::from(*used)].rotate_right(1);
                    slots[at] = slot;
                    *used += 1;
                } else {
                    *self = Self::Many(Box::new(slots.iter().copied().collect()));
                    self.insert(slot, newest);
                }
            }
            Self::Many(slots) => {
                let at = match slots.back() {
                    Some(last) if newest.wrapping_sub(last.second) <= age => {
                        slots.partition_point(|held| newest.wrapping_sub(held.second) > age)
                    }
                    _ => slots.len(),
                };
                match slots.get_mut(at) {
                    Some(same) if same.second == slot.second => same.requests += slot.requests,
                    _ => slots.insert(at, slot),
                }
            }
        }
    }

    /// How far the oldest of the `full` newest requests lies behind `newest`.
    fn span_of_newest(&self, full: u32, newest: u32) -> u32 {
        let mut left = full;
        let mut span = 0;
        let mut look = |slot: &Slot| {
            if left > 0 {
                span = newest.wrapping_sub(slot.second);
                left = left.saturating_sub(slot.requests);
            }
        };
        match self {
            Self::Few { used, slots } => slots[..usize::from(*used)].iter().rev().for_each(&mut look),
            Self::Many(slots) => slots.iter().rev().for_each(&mut look),
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word: the N newest times, one request after the other.
    #[derive(Default)]
    struct Slow {
        times: Vec<i64>,
    }

    impl Slow {
        fn add(&mut self, second: i64, full: usize, within: i64, decides: bool) -> Option<(i64, i64)> {
            if self.times.len() == full && second < self.times[0] {
                return None;
            }
            self.times.push(second);
            self.times.sort_unstable();
            if self.times.len() > full {
                self.times.remove(0);
            }
            let (oldest, newest) = (self.times[0], self.times[self.times.len() - 1]);
            let fires = decides && self.times.len() == full && newest - oldest <= within;
            fires.then(|| {
                self.times.clear();
                (newest, newest - oldest)
            })
        }
    }

    proptest! {
        #[test]
        fn equals_the_definition(
            steps in proptest::collection::vec((-8i64..12, 1u32..5, proptest::bool::weighted(0.7)), 1..200),
            full in 1u32..9,
            within in 0u32..12,
            start in prop_oneof![Just(0i64), Just(u32::MAX.into()), -5_000_000_000i64..5_000_000_000],
        ) {
            let (mut window, mut slow, mut now) = (Window::default(), Slow::default(), start);
            for (step, requests, decides) in steps {
                let second = now + step;
                now = now.max(second);
                let mut expect = Vec::new();
                for i in 1..=requests {
                    if let Some((newest, during)) = slow.add(second, full as usize, within.into(), decides) {
                        expect.push((i, newest, during));
                    }
                }
                let (mut left, mut found) = (requests, Vec::new());
                if !decides {
                    window.hold(Second(second), requests, full, Seconds(within));
                    left = 0;
                }
                while left > 0 {
                    match window.add(Second(second), left, full, Seconds(within)) {
                        Added::Open => left = 0,
                        Added::Full { taken, newest, during } => {
                            left -= taken;
                            found.push((requests - left, newest.0, i64::from(during.0)));
                        }
                    }
                }
                prop_assert_eq!(found, expect);
            }
        }
    }

    #[test]
    fn far_jumps_dont_wrap() {
        let mut window = Window::default();
        let all = Seconds(u32::MAX);
        assert_eq!(window.add(Second(-62_135_596_800), 1, 2, all), Added::Open);
        assert_eq!(window.add(Second(253_402_300_799), 1, 2, all), Added::Open);
        let last = Second(253_402_300_799 - i64::from(u32::MAX));
        assert!(matches!(window.add(last, 1, 2, all), Added::Full { during, .. } if during == all));
    }

    #[test]
    fn two_steps_may_go_further_than_seconds_are_held() {
        let mut window = Window::default();
        let all = Seconds(u32::MAX);
        for second in [0, 4_294_967_295, 4_294_967_395] {
            assert_eq!(window.add(Second(second), 1, 3, all), Added::Open);
        }
    }

    #[test]
    fn a_lower_count_fires_at_the_next_request() {
        let mut window = Window::default();
        assert_eq!(window.add(Second(1), 3, 10, Seconds(9)), Added::Open);
        assert_eq!(window.add(Second(2), 3, 10, Seconds(9)), Added::Open);
        let full = Added::Full { taken: 1, newest: Second(2), during: Seconds(0) };
        assert_eq!(window.add(Second(2), 1, 4, Seconds(9)), full);
    }
}
