//! Hits of many partitions in the order of their seconds, whatever the speeds at which those are read.
//!
//! A pure function of the messages: who begins further back in the topic comes to the same state, as soon as every
//! partition was heard of once. So an offset says all that was let through before it.

use std::collections::{BTreeMap, VecDeque};

use model::key_state::Hit;
use model::rule::RuleId;
use model::units::{Moment, Second, Seconds};

use super::hits::{HitsMessage, NO_RULE};

/// A partition that nobody told of for so many milliseconds holds up nobody any more. Long enough for another worker to
/// take it over and catch up.
const SILENT_AFTER: i64 = 30_000;
/// Nor does one that is more seconds than this behind the others: it has a backlog, and its lines are late.
const FARTHEST_BEHIND: i64 = 90;
/// A worker or a line that is more seconds than this ahead of the broker has a wrong clock.
const FARTHEST_AHEAD: u32 = 60;
/// More bytes than this don't wait: the oldest are let through, whatever slower partitions may still bring.
const MOST_WAITING: usize = 64 << 20;
/// So many milliseconds all partitions have at the beginning to be heard of.
const JOIN_WITHIN: i64 = 10_000;

/// The hits of one partition of the topic on their way to analysis.
#[derive(Debug, Default)]
pub struct Merge {
    sources: BTreeMap<u32, Heard>,
    expected: u32,
    begun: Option<Moment>,
    clock: Moment,
    /// Everything up to here was let through.
    through: Option<Second>,
    waiting: BTreeMap<Second, Vec<Released>>,
    waiting_bytes: usize,
    /// For some offsets the newest second up to them, both growing: where to begin to get windows back.
    history: VecDeque<(i64, Second)>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    upto: Second,
    at: Moment,
}

/// A hit whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The hit.
    pub hit: Hit,
    /// Its last line.
    pub line: Vec<u8>,
}

impl Released {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.line.len()
    }
}

impl Merge {
    /// Takes the message at `offset`, which the broker got at `at`; `number_of` knows the rules' numbers here. What it
    /// lets through goes to `released`, oldest second first.
    pub fn take(
        &mut self,
        offset: i64,
        at: Moment,
        message: HitsMessage,
        number_of: impl Fn(&str) -> Option<RuleId>,
        released: &mut Vec<Released>,
    ) {
        self.clock = self.clock.max(at);
        self.begun.get_or_insert(at);
        self.expected = message.sources;
        let latest = at.second().plus(Seconds(FARTHEST_AHEAD));
        if let Some(newest) = message.newest().map(|newest| newest.min(latest))
            && self.history.back().is_none_or(|&(_, known)| newest > known)
        {
            self.history.push_back((offset, newest));
        }
        // A rule that isn't known here (any more, or yet) can't decide; its requests are tallied all the same.
        let rules: Vec<RuleId> =
            message.rules.iter().map(|name| number_of(name).unwrap_or(RuleId::NONE)).collect();
        for part in message.parts {
            let upto = part.upto.min(latest);
            let known = self.sources.entry(part.source).or_insert(Heard { upto, at });
            *known = Heard { upto: known.upto.max(upto), at };
            for sent in part.hits {
                let rule = if sent.rule == NO_RULE { None } else { rules.get(sent.rule as usize).copied() };
                let rule = rule.unwrap_or(RuleId::NONE);
                let hit = Hit { key: sent.key, second: sent.second, rule, requests: sent.requests };
                let waits = Released { hit, line: sent.line };
                self.waiting_bytes += waits.bytes();
                self.waiting.entry(hit.second.min(latest)).or_default().push(waits);
            }
        }
        self.let_through(released);
    }

    fn let_through(&mut self, released: &mut Vec<Released>) {
        self.through = self.through.max(self.upto());
        loop {
            while let Some(oldest) = self.waiting.first_entry().filter(|at| Some(*at.key()) <= self.through) {
                let hits = oldest.remove();
                self.waiting_bytes -= hits.iter().map(Released::bytes).sum::<usize>();
                released.extend(hits);
            }
            if self.waiting_bytes <= MOST_WAITING {
                return;
            }
            self.through = self.waiting.first_key_value().map(|(&second, _)| second);
        }
    }

    /// Up to which second all partitions that are read have come.
    fn upto(&self) -> Option<Second> {
        let joining = self.begun.is_none_or(|begun| self.clock.0 - begun.0 < JOIN_WITHIN);
        if joining && self.sources.len() < self.expected as usize {
            return None;
        }
        let speaking = || self.sources.values().filter(|heard| self.clock.0 - heard.at.0 < SILENT_AFTER);
        let newest = speaking().map(|heard| heard.upto).max()?;
        let oldest = speaking().map(|heard| heard.upto).min()?;
        Some(oldest.max(Second(newest.0.saturating_sub(FARTHEST_BEHIND))))
    }

    /// Where to begin reading so that everything of the last `horizon` seconds before what was let through comes again;
    /// `next` where nothing is that new.
    pub fn begin_for(&mut self, horizon: i64, next: i64) -> i64 {
        let Some(through) = self.through else {
            return self.history.front().map_or(next, |&(offset, _)| offset);
        };
        while self.history.front().is_some_and(|&(_, newest)| newest.0 < through.0 - horizon) {
            self.history.pop_front();
        }
        self.history.front().map_or(next, |&(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{SentHit, SourcePart};
    use model::key::{Key, KeyScheme};
    use proptest::prelude::*;

    fn key(client: u8) -> Key {
        KeyScheme::new(64).key([10, 0, 0, client].into())
    }

    fn sent(client: u8, second: i64) -> SentHit {
        SentHit { key: key(client), second: Second(second), rule: 0, requests: 1, line: b"line".to_vec() }
    }

    fn message(sources: u32, parts: &[(u32, i64, &[i64])]) -> HitsMessage {
        let part = |&(source, upto, hits): &(u32, i64, &[i64])| SourcePart {
            source,
            upto: Second(upto),
            hits: hits.iter().map(|&second| sent(source as u8, second)).collect(),
        };
        let parts = parts.iter().map(part).collect();
        HitsMessage { sources, ipv6_prefix: 64, rules: vec!["global".to_owned()], parts }
    }

    struct Run {
        merge: Merge,
        offset: i64,
    }

    impl Run {
        fn new() -> Self {
            Self { merge: Merge::default(), offset: 0 }
        }

        fn take(&mut self, at: i64, message: HitsMessage) -> Vec<i64> {
            let mut released = Vec::new();
            let number_of = |name: &str| (name == "global").then_some(RuleId::GLOBAL);
            self.merge.take(self.offset, Moment(at), message, number_of, &mut released);
            self.offset += 1;
            released.into_iter().map(|released| released.hit.second.0).collect()
        }
    }

    #[test]
    fn a_clock_that_is_ahead_is_not_followed() {
        let mut run = Run::new();
        let (now, far) = (1_000_000, i64::MAX);
        run.take(now, message(2, &[(0, 1000, &[1000]), (1, 1000, &[])]));
        assert_eq!(run.take(now, message(2, &[(0, far, &[far, 1000])])), [1000], "the other sets the pace");
        assert_eq!(
            run.take(now, message(2, &[(1, 1001, &[1001])])),
            [1001],
            "nothing is late by another's clock"
        );
        // What claims to be of the future counts as of a minute ahead.
        let later = now + 200_000;
        assert_eq!(run.take(later, message(2, &[(0, 1200, &[]), (1, 1200, &[])])), [far]);
        assert_ne!(run.merge.begin_for(10, 4), 0, "windows begin where lines are that are new enough");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut run = Run::new();
        run.take(0, message(2, &[(0, 1, &[]), (1, 1, &[])]));
        let mut fat = message(2, &[(0, 50, &[40, 30, 50])]);
        fat.parts[0].hits.iter_mut().for_each(|hit| hit.line = vec![b'x'; MOST_WAITING / 2]);
        assert_eq!(run.take(0, fat), [30, 40], "the oldest go, until the rest fits");
        assert!(run.merge.waiting_bytes <= MOST_WAITING);
        assert_eq!(run.take(0, message(2, &[(1, 20, &[20])])), [20], "what comes late counts all the same");
        assert_eq!(run.take(0, message(2, &[(1, 50, &[])])), [50]);
        assert_eq!(run.merge.waiting_bytes, 0);
    }

    #[test]
    fn the_slowest_partition_sets_the_pace() {
        let mut run = Run::new();
        assert_eq!(
            run.take(0, message(2, &[(0, 40, &[10, 40])])),
            [] as [i64; 0],
            "the other isn't heard of yet"
        );
        assert_eq!(run.take(100, message(2, &[(1, 12, &[9, 12])])), [9, 10, 12]);
        assert_eq!(run.take(200, message(2, &[(1, 41, &[41])])), [40], "41 waits for partition 0");
        assert_eq!(run.take(300, message(2, &[(0, 41, &[])])), [41]);
        assert_eq!(run.take(400, message(2, &[(0, 41, &[3])])), [3], "a late line waits for nobody");
        assert_eq!(run.merge.waiting_bytes, 0);
    }

    #[test]
    fn who_falls_silent_or_never_speaks_holds_up_nobody_for_ever() {
        let mut run = Run::new();
        // The lines are old, so that no clock is ahead.
        let begun = 1_000_000;
        assert_eq!(run.take(begun, message(3, &[(0, 10, &[10]), (1, 10, &[])])), [] as [i64; 0]);
        assert_eq!(run.take(begun + JOIN_WITHIN, message(3, &[(0, 20, &[20]), (1, 20, &[])])), [10, 20]);
        assert_eq!(run.take(begun + JOIN_WITHIN + 1_000, message(3, &[(0, 50, &[50])])), [] as [i64; 0]);
        let at = begun + JOIN_WITHIN + SILENT_AFTER;
        assert_eq!(run.take(at, message(3, &[(0, 51, &[51])])), [50, 51]);
        assert_eq!(run.take(at + 1, message(3, &[(1, 22, &[22])])), [22], "it was taken over, late");
        let ahead = 22 + FARTHEST_BEHIND;
        assert_eq!(run.take(at + 2, message(3, &[(0, ahead, &[ahead])])), [] as [i64; 0]);
        assert_eq!(run.take(at + 3, message(3, &[(0, ahead + 60, &[])])), [] as [i64; 0]);
        assert_eq!(
            run.take(at + 4, message(3, &[(0, ahead + 90, &[])])),
            [ahead],
            "a backlog holds up nobody"
        );
    }

    #[test]
    fn rules_go_by_their_names() {
        let mut message = message(1, &[(0, 1, &[1, 1, 1])]);
        message.rules = vec!["gone".to_owned(), "global".to_owned()];
        for (hit, rule) in message.parts[0].hits.iter_mut().zip([0, 1, NO_RULE]) {
            hit.rule = rule;
        }
        let mut released = Vec::new();
        let number_of = |name: &str| (name == "global").then_some(RuleId::GLOBAL);
        Merge::default().take(0, Moment(0), message, number_of, &mut released);
        let rules: Vec<RuleId> = released.iter().map(|released| released.hit.rule).collect();
        assert_eq!(rules, [RuleId::NONE, RuleId::GLOBAL, RuleId::NONE]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(5), ..ProptestConfig::default() })]

        /// Whoever begins at the offset that was kept, instead of at the beginning, lets the same through from any
        /// offset on that lies behind it.
        #[test]
        fn a_successor_goes_on_with_the_same(
            steps in prop::collection::vec((0u32..3, 0i64..4, prop::collection::vec(0i64..6, 0..3)), 40..120),
            at in 30usize..100,
        ) {
            let horizon = 10;
            let at = at.min(steps.len() - 1);
            let mut uptos = [100i64; 3];
            let mut messages = Vec::new();
            for (source, forward, hits) in steps {
                uptos[source as usize] += forward;
                let hits: Vec<i64> = hits.iter().map(|back| uptos[source as usize] - back).collect();
                // All partitions are told of in each message, as a worker does.
                let parts: Vec<(u32, i64, &[i64])> = (0..3)
                    .map(|other| (other, uptos[other as usize], if other == source { &hits[..] } else { &[] }))
                    .collect();
                messages.push(message(3, &parts));
            }
            let mut first = Run::new();
            let mut through = Vec::new();
            let mut begin = 0;
            for (offset, message) in messages.iter().enumerate() {
                through.push(first.take(offset as i64, message.clone()));
                if offset + 1 == at {
                    begin = first.merge.begin_for(horizon, at as i64);
                }
            }
            let mut second = Run::new();
            second.offset = begin;
            for (offset, message) in messages.iter().enumerate().skip(begin as usize) {
                let mut released = second.take(offset as i64, message.clone());
                released.sort_unstable();
                let mut expected = through[offset].clone();
                expected.sort_unstable();
                if offset >= at {
                    prop_assert_eq!(released, expected);
                }
            }
        }
    }
}
