//! Books against a model of an agent: whatever happens, in the end it holds what it should, and each outcome was
//! given once.

use std::collections::{BTreeMap, HashSet};

use model::ban::BanId;
use model::ledger::AskedBan;
use model::units::{Second, Seconds};
use model::verdict::{Action, Decision};
use proptest::prelude::*;

use super::*;

fn target(number: u8) -> Network {
    Network::host([203, 0, 113, number].into())
}

/// An agent as simple as can be.
#[derive(Default)]
struct Agent(HashMap<Network, Moment>);

impl Agent {
    fn apply(&mut self, delta: &Delta, now: Moment) -> (Vec<Said>, Vec<Said>) {
        self.0.retain(|_, end| *end > now);
        let mut block = |ban: &Arc<Ban>| match self.0.insert(ban.target, ban.end) {
            None => (1, "banned".to_owned()),
            Some(_) => (-1, "again".to_owned()),
        };
        let blocked = delta.block.iter().map(&mut block).collect();
        let mut unblock =
            |target: &Network| (if self.0.remove(target).is_some() { 1 } else { -1 }, String::new());
        (blocked, delta.unblock.iter().map(&mut unblock).collect())
    }
}

struct World {
    ledger: Ledger,
    books: Books,
    agent: Agent,
    now: Moment,
    began: HashSet<BanId>,
    told: BTreeMap<(BanId, Order), Outcome>,
}

impl World {
    fn new() -> Self {
        let now = Moment(1_000_000);
        let books = Books::new("a".into(), &Ledger::default(), now);
        let (began, told) = (HashSet::new(), BTreeMap::new());
        Self { ledger: Ledger::default(), books, agent: Agent::default(), now, began, told }
    }

    fn change(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        if let Change::Banned(ban) = &change {
            self.began.insert(ban.id);
        }
        self.ledger.apply(&change);
        let wish = Wish::of(&change).unwrap();
        self.books.wish(&wish, self.now);
        self.listen();
    }

    /// Takes outcomes in; each may come once.
    fn listen(&mut self) {
        for outcome in self.books.outcomes() {
            self.ledger.answered(&outcome);
            let before = self.told.insert((outcome.ban.id, outcome.order), outcome.clone());
            assert!(before.is_none(), "twice: {before:?} and {outcome:?}");
        }
    }

    /// Where a ban is over and nobody has said so, the next one replaces it; in another second, so that the ledger,
    /// which then forgets the first, doesn't take its id again.
    fn another_second(&mut self, number: u8) {
        if self.ledger.bans().any(|ban| ban.target == target(number) && ban.end <= self.now) {
            self.now.0 += 1_000;
        }
    }

    fn ban(&mut self, number: u8, length: u32) {
        self.another_second(number);
        let decision = Decision {
            time: Second(self.now.0 / 1000),
            target: target(number),
            action: Action::Block,
            rule: "global".into(),
            reason: 0,
            count: 10,
            during: Seconds(1),
            length: Seconds(length),
            established: false,
            place: None,
        };
        let change = self.ledger.decided(&decision, self.now);
        self.change(change);
    }

    fn lift(&mut self, number: u8) {
        let change = self.ledger.lifted(&target(number), self.now, Ended::ByHand);
        self.change(change);
    }

    fn expire(&mut self) {
        let due: Vec<_> = self.ledger.bans().map(|ban| ban.target).collect();
        for target in due {
            let change = self.ledger.expired(&target, self.now);
            self.change(change);
        }
    }

    /// A call; one that breaks may have been done all the same.
    fn call(&mut self, breaks: Option<bool>) {
        let delta = self.books.take(self.now, 3);
        if breaks != Some(false) {
            let (blocked, unblocked) = self.agent.apply(&delta, self.now);
            if breaks.is_none() {
                self.books.answered(&delta, &blocked, &unblocked, self.now);
            }
        }
        if breaks.is_some() {
            self.disconnect();
        }
        self.listen();
    }

    fn disconnect(&mut self) {
        self.books.disconnected();
        self.books.unreached((-4, "gone"), 60_000, self.now);
        self.listen();
    }

    fn sync(&mut self) {
        self.books.connected();
        let snapshot = self.books.snapshot(self.now);
        let said = snapshot.bans.iter().map(|ban| (ban, (1, "taken".to_owned())));
        self.agent.0 = snapshot.bans.iter().map(|ban| (ban.target, ban.end)).collect();
        self.books.taken(said, self.now);
        self.books.synced(&snapshot, self.now);
        self.listen();
    }

    fn restart(&mut self) {
        self.books = Books::new("a".into(), &self.ledger, self.now);
        self.listen();
    }

    fn outcome(&self, number: u8, order: Order) -> Option<(i32, &str)> {
        let mut of =
            self.told.values().filter(|told| told.ban.target == target(number) && told.order == order);
        let found = of.next().map(|outcome| (outcome.flag, outcome.result.as_str()));
        assert!(of.next().is_none(), "several bans");
        found
    }
}

#[test]
fn a_ban_that_nobody_could_be_told_of_fails_at_its_end() {
    let mut world = World::new();
    world.disconnect();
    world.ban(1, 5);
    world.now.0 += 5_000;
    assert_eq!(world.outcome(1, Order::Block), None, "it may still be reached");
    world.expire();
    world.disconnect();
    assert_eq!(world.outcome(1, Order::Block), Some((-4, "not reached while the ban held: gone")));
    assert_eq!(world.outcome(1, Order::Unblock), Some((-4, "not reached")));
    world.sync();
    world.call(None);
    assert!(world.agent.0.is_empty());
}

#[test]
fn an_unblock_is_tried_for_a_minute() {
    let mut world = World::new();
    world.sync();
    world.ban(1, 600);
    world.call(None);
    assert_eq!(world.outcome(1, Order::Block), Some((1, "banned")));
    world.disconnect();
    world.lift(1);
    world.now.0 += 59_999;
    world.disconnect();
    assert_eq!(world.outcome(1, Order::Unblock), None);
    world.now.0 += 1;
    world.disconnect();
    assert_eq!(world.outcome(1, Order::Unblock), Some((-4, "not reached; the kernel ends it by itself")));
}

#[test]
fn a_ban_without_length_needs_no_call() {
    let mut world = World::new();
    world.sync();
    world.ban(1, 0);
    world.expire();
    assert_eq!(world.outcome(1, Order::Block), Some((-1, "already over")));
    assert_eq!(world.outcome(1, Order::Unblock), Some((-1, "it was never in force")));
    assert!(world.books.take(world.now, 10).is_empty());
}

#[test]
fn only_the_newest_state_of_a_target_is_sent() {
    let mut world = World::new();
    world.sync();
    for length in 1..50 {
        world.ban(1, length);
        world.ban(2, length);
        world.lift(2);
    }
    let delta = world.books.take(world.now, 100);
    assert_eq!((delta.block.len(), delta.unblock.as_slice()), (1, [target(2)].as_slice()));
    assert_eq!(delta.block[0].length(), Seconds(49));
}

#[test]
fn a_change_that_comes_again_changes_nothing() {
    let mut world = World::new();
    world.sync();
    world.ban(1, 5);
    let first = world.ledger.bans().next().unwrap().clone();
    world.ban(1, 9);
    world.books.wish(&Wish::Banned(Arc::new(first.clone())), world.now);
    assert_eq!(world.books.snapshot(world.now).bans[0].length(), Seconds(9), "it doesn't end earlier");
    world.lift(1);
    world.call(None);
    world.books.wish(&Wish::Banned(Arc::new(first)), world.now);
    assert_eq!(world.books.wanted(), 0, "it is over");
}

#[test]
fn far_too_much_that_waits_becomes_one_full_state() {
    let mut world = World::new();
    world.sync();
    let asked = |n: u32| AskedBan {
        target: Network::host(std::net::Ipv4Addr::from(0x0a00_0000 + n).into()),
        length: Seconds(60),
        note: None,
    };
    for n in 0..=MOST_WAITING as u32 {
        let change = world.ledger.asked(asked(n), world.now);
        world.books.wish(&Wish::of(&change).unwrap(), world.now);
    }
    assert_eq!((world.books.waiting(), world.books.is_overflowed()), (0, true));
    assert_eq!(world.books.snapshot(world.now).bans.len(), MOST_WAITING + 1);
    assert!(!world.books.is_overflowed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn every_ban_has_its_outcomes_once(steps in proptest::collection::vec((0u8..12, 0u8..4, 0u32..20, 0i64..15_000), 1..120)) {
        let mut world = World::new();
        let mut connected = false;
        for (what, who, length, pause) in steps {
            match what {
                0..=2 => world.ban(who, length),
                3 => {
                    world.another_second(who);
                    let change = world.ledger.asked(
                        AskedBan { target: target(who), length: Seconds(length), note: None }, world.now);
                    world.change(Some(change));
                }
                4 => world.lift(who),
                5 => world.now.0 += pause,
                6 => world.expire(),
                7 | 8 if connected => world.call(None),
                9 if connected => {
                    world.call(Some(pause % 2 == 0));
                    connected = false;
                }
                10 => {
                    world.restart();
                    connected = false;
                }
                _ if connected => world.call(None),
                _ if pause < 5_000 => world.disconnect(),
                _ => {
                    world.sync();
                    connected = true;
                }
            }
        }
        world.sync();
        // Everything ends, and is told.
        let alive: BTreeMap<_, _> = world.ledger.bans().filter(|ban| ban.end > world.now)
            .map(|ban| (ban.target, ban.end)).collect();
        let held: BTreeMap<_, _> = world.agent.0.iter().filter(|(_, end)| **end > world.now)
            .map(|(target, end)| (*target, *end)).collect();
        prop_assert_eq!(alive, held, "the agent holds what it should");
        world.now.0 += 60_000;
        world.expire();
        for _ in 0..10 {
            world.call(None);
        }
        for id in &world.began {
            for order in [Order::Block, Order::Unblock] {
                // The ledger forgets a ban that was over before the next one of its target began and that nobody
                // ended: a restart right then loses its outcomes with it.
                let forgotten = !world.ledger.ended().any(|ended| ended.ban.id == *id);
                prop_assert!(forgotten || world.told.contains_key(&(*id, order)), "{} {:?}", id, order);
            }
        }
        prop_assert!(world.books.ended.is_empty() && world.books.bans.is_empty());
    }
}
