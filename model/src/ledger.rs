//! The desired state of bans: what is in force, what a cap holds back, and what ended lately.
//!
//! A ledger changes by [`Change`]s alone ([`Ledger::apply`]), so what the journal keeps rebuilds it. What a
//! decision or a command leads to, the other methods tell, and change nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ban::{Ban, BanId, Cap, Change, Ended, Order, Outcome, Reason};
use crate::network::Network;
use crate::units::{Moment, Second, Seconds};
use crate::verdict::Decision;

/// All bans that matter now. One for each target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct Ledger {
    bans: HashMap<Network, Ban>,
    held: HashMap<Network, HeldBan>,
    /// Bans that ended lately: agents may not know yet.
    ended: BTreeMap<(Moment, BanId), EndedBan>,
    ended_of: HashMap<Network, Vec<BanId>>,
    answers: HashMap<BanId, Answers>,
}

/// A ban that a cap holds back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBan {
    /// As it would have been.
    pub ban: Ban,
    /// By which cap.
    pub cap: Cap,
}

/// A ban that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedBan {
    /// As it was.
    pub ban: Ban,
    /// When it was over.
    pub at: Moment,
    /// Why.
    pub cause: Ended,
}

/// Which agents have answered for a ban.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Answers {
    block: Vec<Arc<str>>,
    unblock: Vec<Arc<str>>,
}

/// So long ended bans are remembered: whoever didn't hear of the end by then has its own timeouts.
const REMEMBERED: Seconds = Seconds(600);

/// No ban is longer: a hundred years, which is more than any kernel is asked for.
pub const LONGEST: Seconds = Seconds(100 * 365 * 86_400);

/// A ledger as it is written down.
#[derive(Serialize, Deserialize)]
struct Kept {
    bans: Vec<Ban>,
    held: Vec<HeldBan>,
    ended: Vec<EndedBan>,
    answers: Vec<(BanId, Answers)>,
}

impl From<Kept> for Ledger {
    fn from(kept: Kept) -> Self {
        let mut ended_of: HashMap<Network, Vec<BanId>> = HashMap::new();
        for ended in &kept.ended {
            ended_of.entry(ended.ban.target).or_default().push(ended.ban.id);
        }
        Self {
            bans: kept.bans.into_iter().map(|ban| (ban.target, ban)).collect(),
            held: kept.held.into_iter().map(|held| (held.ban.target, held)).collect(),
            ended: kept.ended.into_iter().map(|ended| ((ended.at, ended.ban.id), ended)).collect(),
            ended_of,
            answers: kept.answers.into_iter().collect(),
        }
    }
}

impl From<Ledger> for Kept {
    fn from(ledger: Ledger) -> Self {
        Self {
            bans: ledger.bans.into_values().collect(),
            held: ledger.held.into_values().collect(),
            ended: ledger.ended.into_values().collect(),
            answers: ledger.answers.into_iter().collect(),
        }
    }
}

/// A ban that somebody asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedBan {
    /// What to ban.
    pub target: Network,
    /// For how long.
    pub length: Seconds,
    /// Who asks, and why.
    pub note: Option<String>,
}

impl Ledger {
    /// Takes a change in. Applying one twice is like applying it once.
    pub fn apply(&mut self, change: &Change) {
        match change {
            // What was extended isn't shortened by the news of its beginning, should that come later.
            Change::Banned(ban)
                if self.in_force(&ban.target, ban.end).is_some_and(|known| known.id == ban.id) => {}
            Change::Banned(ban) | Change::Extended(ban) => {
                self.bans.insert(ban.target, ban.clone());
            }
            Change::Unbanned { ban, at, cause } => {
                self.bans.remove(&ban.target);
                let ended = EndedBan { ban: ban.clone(), at: *at, cause: *cause };
                if self.ended.insert((*at, ban.id), ended).is_none() {
                    self.ended_of.entry(ban.target).or_default().push(ban.id);
                }
                self.forget_before(Moment(at.0 - i64::from(REMEMBERED.0) * 1000));
            }
            Change::Held { ban, cap } => {
                self.held.insert(ban.target, HeldBan { ban: ban.clone(), cap: *cap });
            }
            Change::Unheld { ban, .. } => {
                self.held.remove(&ban.target);
            }
        }
    }

    /// Remembers that an agent answered.
    pub fn answered(&mut self, outcome: &Outcome) {
        if self.knows(&outcome.ban.target, &outcome.ban.id) {
            let answers = self.answers.entry(outcome.ban.id).or_default();
            let agents = match outcome.order {
                Order::Block => &mut answers.block,
                Order::Unblock => &mut answers.unblock,
            };
            if !agents.contains(&outcome.agent) {
                agents.push(outcome.agent.clone());
            }
        }
    }

    /// Whether an agent's answer for a ban is known.
    #[must_use]
    pub fn has_answered(&self, ban: &BanId, order: Order, agent: &str) -> bool {
        let answers = self.answers.get(ban).map(|answers| match order {
            Order::Block => &answers.block,
            Order::Unblock => &answers.unblock,
        });
        answers.is_some_and(|agents| agents.iter().any(|known| **known == *agent))
    }

    fn forget_before(&mut self, moment: Moment) {
        while let Some(oldest) = self.ended.first_entry()
            && oldest.key().0 < moment
        {
            let EndedBan { ban, .. } = oldest.remove();
            self.answers.remove(&ban.id);
            if let Some(ids) = self.ended_of.get_mut(&ban.target) {
                ids.retain(|id| *id != ban.id);
                if ids.is_empty() {
                    self.ended_of.remove(&ban.target);
                }
            }
        }
    }

    /// Whether a ban is in force, held, or ended lately.
    fn knows(&self, target: &Network, id: &BanId) -> bool {
        self.bans.get(target).is_some_and(|ban| ban.id == *id)
            || self.held.get(target).is_some_and(|held| held.ban.id == *id)
            || self.ended_of.get(target).is_some_and(|ids| ids.contains(id))
    }

    /// What a decision to block leads to now: a ban, a later end of the one in force, or nothing new. The caller
    /// asks guards and caps.
    #[must_use]
    pub fn decided(&self, decision: &Decision, now: Moment) -> Option<Change> {
        let start = now.max(decision.time.into());
        let end = start.plus(decision.length.min(LONGEST));
        if let Some(in_force) = self.in_force(&decision.target, now) {
            return (end > in_force.end).then(|| Change::Extended(Ban { end, ..in_force.clone() }));
        }
        Some(Change::Banned(Ban {
            id: self.new_id(&decision.rule, &decision.target, decision.time),
            target: decision.target,
            rule: decision.rule.clone(),
            reason: if decision.reason == 0 { Reason::Global } else { Reason::Special },
            decided: decision.time,
            start,
            end,
            count: decision.count,
            during: decision.during,
            established: decision.established,
            place: decision.place.clone(),
            note: None,
        }))
    }

    /// What a ban by hand leads to: its time holds, whether it is longer or shorter than that of a ban in force.
    #[must_use]
    pub fn asked(&self, asked: AskedBan, now: Moment) -> Change {
        let end = now.plus(asked.length.min(LONGEST));
        match self.in_force(&asked.target, now) {
            Some(in_force) => {
                let note = asked.note.or_else(|| in_force.note.clone());
                Change::Extended(Ban { end, note, ..in_force.clone() })
            }
            None => {
                let ban = self.without_rule("by hand", Reason::ByHand, asked.target, now, end);
                Change::Banned(Ban { note: asked.note, ..ban })
            }
        }
    }

    /// An agent holds a ban that nobody here knows of.
    #[must_use]
    pub fn adopted(&self, target: Network, now: Moment, end: Moment) -> Option<Change> {
        let known = self.bans.contains_key(&target) || self.ended_of.contains_key(&target);
        let ban = || self.without_rule("adopted", Reason::Adopted, target, now, end);
        (!known && end > now).then(|| Change::Banned(ban()))
    }

    fn without_rule(&self, rule: &str, reason: Reason, target: Network, start: Moment, end: Moment) -> Ban {
        Ban {
            id: self.new_id(rule, &target, start.second()),
            target,
            rule: rule.into(),
            reason,
            decided: start.second(),
            start,
            end,
            count: 0,
            during: Seconds(0),
            established: false,
            place: None,
            note: None,
        }
    }

    fn new_id(&self, rule: &str, target: &Network, second: Second) -> BanId {
        let mut ids = (0..).map(|ordinal| BanId::new(rule, target, second, ordinal));
        ids.find(|id| !self.knows(target, id)).expect("there are more numbers than bans")
    }

    /// The end of a ban whose time is over; `None` where it isn't, or was extended.
    #[must_use]
    pub fn expired(&self, target: &Network, now: Moment) -> Option<Change> {
        let ban = self.bans.get(target).filter(|ban| ban.end <= now)?;
        Some(Change::Unbanned { ban: ban.clone(), at: now, cause: Ended::Expired })
    }

    /// The end of a ban that somebody lifts, or that guards cover now.
    #[must_use]
    pub fn lifted(&self, target: &Network, now: Moment, cause: Ended) -> Option<Change> {
        let ban = self.bans.get(target)?;
        Some(Change::Unbanned { ban: ban.clone(), at: now, cause })
    }

    /// What releasing a held ban leads to: it begins now, with the length that it would have had.
    #[must_use]
    pub fn released(&self, target: &Network, now: Moment) -> Option<[Change; 2]> {
        let HeldBan { ban, .. } = self.held.get(target)?;
        let length = ban.length();
        let unheld = Change::Unheld { ban: ban.clone(), at: now, released: true };
        let change = match self.in_force(target, now) {
            Some(in_force) => {
                Change::Extended(Ban { end: in_force.end.max(now.plus(length)), ..in_force.clone() })
            }
            None => Change::Banned(Ban { start: now, end: now.plus(length), ..ban.clone() }),
        };
        Some([unheld, change])
    }

    /// The end of a held ban that nobody released: it is discarded by hand, or its time would be over.
    #[must_use]
    pub fn discarded(&self, target: &Network, now: Moment) -> Option<Change> {
        let HeldBan { ban, .. } = self.held.get(target)?;
        Some(Change::Unheld { ban: ban.clone(), at: now, released: false })
    }

    /// What a step of the clock leads to: all bans begin and end by the step later (earlier, where it is negative), so
    /// that they last as long as they should.
    #[must_use]
    pub fn stepped(&self, millis: i64) -> Vec<Change> {
        let step = |ban: &Ban| Ban {
            start: Moment(ban.start.0.saturating_add(millis)),
            end: Moment(ban.end.0.saturating_add(millis)),
            ..ban.clone()
        };
        let held = self.held.values().map(|held| Change::Held { ban: step(&held.ban), cap: held.cap });
        self.bans.values().map(|ban| Change::Extended(step(ban))).chain(held).collect()
    }

    /// The ban of exactly this target that holds at `now`.
    #[must_use]
    pub fn in_force(&self, target: &Network, now: Moment) -> Option<&Ban> {
        self.bans.get(target).filter(|ban| ban.end > now)
    }

    /// All bans whose end isn't known yet, in no order.
    pub fn bans(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    /// All bans that caps hold back, in no order.
    pub fn held(&self) -> impl Iterator<Item = &HeldBan> {
        self.held.values()
    }

    /// What is held back for a target.
    #[must_use]
    pub fn held_for(&self, target: &Network) -> Option<&HeldBan> {
        self.held.get(target)
    }

    /// Bans that ended within the last ten minutes, the oldest first.
    pub fn ended(&self) -> impl Iterator<Item = &EndedBan> {
        self.ended.values()
    }

    /// How many bans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether nothing is banned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Action;
    use proptest::prelude::*;

    fn target(number: u8) -> Network {
        Network::host([203, 0, 113, number].into())
    }

    fn decision(number: u8, second: i64, length: u32) -> Decision {
        Decision {
            time: Second(second),
            target: target(number),
            action: Action::Block,
            rule: "global".into(),
            reason: 0,
            count: 10,
            during: Seconds(1),
            length: Seconds(length),
            established: false,
            place: None,
        }
    }

    fn apply(ledger: &mut Ledger, change: impl FnOnce(&Ledger) -> Option<Change>) -> Option<Change> {
        let change = change(ledger);
        change.iter().for_each(|change| ledger.apply(change));
        change
    }

    #[test]
    fn a_ban_begins_with_the_later_of_decision_and_clock() {
        let ledger = Ledger::default();
        for (second, now, end) in [(100, 100_400, 110_400), (100, 99_000, 110_000), (100, 160_000, 170_000)] {
            let change = ledger.decided(&decision(1, second, 10), Moment(now)).unwrap();
            assert_eq!(change.ban().end, Moment(end));
            assert_eq!(change.ban().length(), Seconds(10));
        }
    }

    #[test]
    fn overlapping_bans_are_one() {
        let mut ledger = Ledger::default();
        let first =
            apply(&mut ledger, |ledger| ledger.decided(&decision(1, 100, 10), Moment(100_000))).unwrap();
        assert_eq!(ledger.decided(&decision(1, 100, 5), Moment(101_000)), None, "it ends earlier");
        let longer =
            apply(&mut ledger, |ledger| ledger.decided(&decision(1, 102, 10), Moment(102_000))).unwrap();
        assert!(matches!(&longer, Change::Extended(ban) if ban.id == first.ban().id), "{longer:?}");
        assert_eq!(ledger.expired(&target(1), Moment(110_000)), None, "it was extended");
        let over = apply(&mut ledger, |ledger| ledger.expired(&target(1), Moment(112_000))).unwrap();
        assert!(matches!(over, Change::Unbanned { cause: Ended::Expired, .. }));
        let next = ledger.decided(&decision(1, 100, 10), Moment(112_000)).unwrap();
        assert_ne!(next.ban().id, first.ban().id, "another ban, though of the same second");
    }

    #[test]
    fn news_in_the_wrong_order_shorten_nothing() {
        let mut ledger = Ledger::default();
        let first = ledger.decided(&decision(1, 100, 10), Moment(100_000)).unwrap();
        let longer = Change::Extended(Ban { end: Moment(150_000), ..first.ban().clone() });
        ledger.apply(&longer);
        ledger.apply(&first);
        assert_eq!(ledger.in_force(&target(1), Moment(149_000)).unwrap().end, Moment(150_000));
    }

    #[test]
    fn adopts_only_what_nobody_knows() {
        let mut ledger = Ledger::default();
        apply(&mut ledger, |ledger| ledger.decided(&decision(1, 100, 10), Moment(100_000)));
        let adopt = |ledger: &Ledger, n| ledger.adopted(target(n), Moment(101_000), Moment(105_000));
        assert_eq!(adopt(&ledger, 1), None);
        apply(&mut ledger, |ledger| ledger.lifted(&target(1), Moment(100_500), Ended::ByHand));
        assert_eq!(adopt(&ledger, 1), None, "an unban that the agent hasn't heard of");
        assert_eq!(adopt(&ledger, 2).unwrap().ban().reason, Reason::Adopted);
        assert_eq!(ledger.adopted(target(2), Moment(5), Moment(5)), None, "it is over");
    }

    #[test]
    fn held_bans_begin_when_they_are_released() {
        let mut ledger = Ledger::default();
        let Some(Change::Banned(ban)) = ledger.decided(&decision(1, 100, 10), Moment(100_000)) else {
            panic!()
        };
        ledger.apply(&Change::Held { ban, cap: Cap::NewBans });
        assert!(ledger.is_empty());
        let [unheld, banned] = ledger.released(&target(1), Moment(105_000)).unwrap();
        ledger.apply(&unheld);
        ledger.apply(&banned);
        assert_eq!(ledger.held().count(), 0);
        assert_eq!(ledger.in_force(&target(1), Moment(114_999)).unwrap().end, Moment(115_000));
    }

    #[test]
    fn answers_are_known_as_long_as_the_ban_is() {
        let mut ledger = Ledger::default();
        let ban =
            apply(&mut ledger, |ledger| ledger.decided(&decision(1, 100, 10), Moment(100_000))).unwrap();
        let ban = ban.ban().clone();
        let outcome = |order| Outcome {
            agent: "a".into(),
            order,
            ban: ban.clone(),
            at: Moment(0),
            flag: 1,
            result: String::new(),
        };
        ledger.answered(&outcome(Order::Block));
        assert!(ledger.has_answered(&ban.id, Order::Block, "a"));
        assert!(!ledger.has_answered(&ban.id, Order::Unblock, "a"));
        assert!(!ledger.has_answered(&ban.id, Order::Block, "b"));
        apply(&mut ledger, |ledger| ledger.expired(&target(1), Moment(110_000)));
        ledger.answered(&outcome(Order::Unblock));
        assert!(ledger.has_answered(&ban.id, Order::Unblock, "a"));
        let much_later = Moment(110_000 + 601_000);
        apply(&mut ledger, |ledger| ledger.decided(&decision(2, 100, 0), much_later));
        apply(&mut ledger, |ledger| ledger.expired(&target(2), much_later));
        assert!(!ledger.has_answered(&ban.id, Order::Block, "a"), "forgotten with its ban");
        assert_eq!(ledger.ended().count(), 1);
    }

    proptest! {
        /// Whatever happens: rebuilt from its changes or from JSON it is the same, and a ban never ends early.
        #[test]
        fn changes_tell_everything(steps in proptest::collection::vec((0u8..3, 0u8..6, 0i64..5_000, 0u32..8), 0..60)) {
            let (mut ledger, mut rebuilt, mut now) = (Ledger::default(), Ledger::default(), Moment(1_000_000));
            let mut ids = std::collections::HashSet::new();
            for (who, what, pause, length) in steps {
                now = Moment(now.0 + pause);
                let who = target(who);
                let changes: Vec<Change> = match what {
                    0 | 1 => ledger.decided(&Decision { target: who, ..decision(0, now.0 / 1000, length) }, now).into_iter().collect(),
                    2 => vec![ledger.asked(AskedBan { target: who, length: Seconds(length), note: None }, now)],
                    3 => ledger.lifted(&who, now, Ended::ByHand).into_iter().collect(),
                    4 => ledger.released(&who, now).into_iter().flatten().collect(),
                    _ => ledger.expired(&who, now).into_iter().collect(),
                };
                for mut change in changes {
                    if let Change::Banned(ban) = &change {
                        prop_assert!(ids.insert(ban.id), "the same id again");
                        if length == 7 {
                            ids.remove(&ban.id);
                            change = Change::Held { ban: ban.clone(), cap: Cap::BannedShare };
                        }
                    }
                    if let Change::Unbanned { ban, at, cause: Ended::Expired } = &change {
                        prop_assert!(ban.end <= *at);
                    }
                    ledger.apply(&change);
                    rebuilt.apply(&change);
                    rebuilt.apply(&change);
                }
            }
            prop_assert_eq!(&ledger, &rebuilt);
            let json = serde_json::to_string(&ledger).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
        }
    }
}
