//! What the keeper promises, with a clock that is moved by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::tests::Hand;
use crate::enforcer::dry_run::DryRun;

fn keeper() -> (Keeper, Hand) {
    let hand = Hand::default();
    (Keeper::new(Box::new(DryRun::new(hand.clock())), None, hand.clock()).unwrap(), hand)
}

fn target(text: &str) -> Network {
    text.parse().unwrap()
}

fn wanted(keeper: &Keeper, text: &str, seconds: u64) -> Read<Wanted> {
    let until = keeper.now() + Duration::from_secs(seconds);
    Ok(Wanted { target: target(text), until, id: String::new() })
}

/// What is held, with whole seconds that are left.
fn held(keeper: &Keeper) -> Vec<(String, u64)> {
    let held = keeper.held().unwrap();
    held.into_iter().map(|(target, left)| (target.to_string(), left.as_secs())).collect()
}

fn flags(outcomes: &[Outcome]) -> Vec<i32> {
    outcomes.iter().map(|outcome| outcome.flag).collect()
}

fn flag_of(outcome: Result<Applied, Outcome>) -> i32 {
    outcome.map_or_else(|outcome| outcome.flag, |_| flag::DONE)
}

#[test]
fn the_calls_of_2016_end_no_ban_early() {
    let (keeper, hand) = keeper();
    let day = Duration::from_secs(86_400);
    let ip = target("203.0.113.9");
    assert_eq!(keeper.unblock_ip(ip).flag, flag::ALREADY);
    assert_eq!(keeper.block_ip(ip, day).flag, flag::DONE);
    hand.forward(Duration::from_secs(400));
    // Asked again it is so already, and lasts a day from now on.
    assert_eq!(keeper.block_ip(ip, day).flag, flag::ALREADY);
    assert_eq!(held(&keeper), [("203.0.113.9".to_owned(), 86_400)]);
    // A longer ban isn't cut.
    keeper.apply(1, &[wanted(&keeper, "203.0.113.9", 100_000)], &[]).unwrap();
    assert_eq!(keeper.block_ip(ip, day).flag, flag::ALREADY);
    assert_eq!(held(&keeper), [("203.0.113.9".to_owned(), 100_000)]);
    assert_eq!(keeper.unblock_ip(ip).flag, flag::DONE);
    assert_eq!(keeper.unblock_ip(ip).flag, flag::ALREADY);
    assert_eq!(keeper.block_ip(ip, day).flag, flag::DONE);
    hand.forward(day);
    assert_eq!(keeper.unblock_ip(ip).flag, flag::ALREADY);
}

#[test]
fn apply_answers_as_if_it_were_done_one_by_one() {
    let (keeper, hand) = keeper();
    let invalid = || Err(Outcome::new(flag::INVALID, "no"));
    let block = [
        wanted(&keeper, "203.0.113.1", 60),
        invalid(),
        wanted(&keeper, "203.0.113.1", 61),
        wanted(&keeper, "203.0.113.1", 90),
        wanted(&keeper, "2001:db8::/64", 60),
        wanted(&keeper, "203.0.113.2", 0),
        wanted(&keeper, "203.0.113.3", 60),
    ];
    let unblock =
        [Ok(target("203.0.113.3")), Err(Outcome::new(flag::INVALID, "no")), Ok(target("203.0.113.4"))];
    let applied = keeper.apply(1, &block, &unblock).unwrap();
    assert_eq!(flags(&applied.blocked), [1, -2, -1, 1, 1, -1, 1]);
    assert_eq!(flags(&applied.unblocked), [1, -2, -1]);
    assert_eq!(held(&keeper), [("203.0.113.1".to_owned(), 90), ("2001:db8::/64".to_owned(), 60)]);
    // A ban can be shortened by who owns it.
    let applied = keeper.apply(1, &[wanted(&keeper, "203.0.113.1", 30)], &[]).unwrap();
    assert_eq!(flags(&applied.blocked), [1]);
    hand.forward(Duration::from_secs(30));
    assert_eq!(held(&keeper), [("2001:db8::/64".to_owned(), 30)]);
    assert_eq!(keeper.status(), ("dry_run", 1, 1));
}

#[test]
fn older_owners_are_refused() {
    let (keeper, _) = keeper();
    let old = || [wanted(&keeper, "203.0.113.9", 60)];
    assert_eq!(keeper.status().1, 0);
    assert_eq!(flag_of(keeper.apply(-3, &[], &[])), 1);
    assert_eq!(flag_of(keeper.apply(7, &[], &[])), 1);
    assert_eq!(flag_of(keeper.apply(7, &[], &[])), 1);
    assert_eq!(flag_of(keeper.apply(6, &old(), &[])), -5);
    assert_eq!(flag_of(keeper.sync(1, 6, &old(), true, true)), -5);
    assert_eq!(held(&keeper), []);
    // A newer owner comes while an older one sends its snapshot.
    assert_eq!(flag_of(keeper.sync(1, 7, &old(), true, false)), 1);
    assert_eq!(flag_of(keeper.apply(8, &[], &[])), 1);
    assert_eq!(flag_of(keeper.sync(1, 7, &[], false, true)), -5);
    assert_eq!(flag_of(keeper.sync(1, 8, &[], false, true)), -4);
    assert_eq!(keeper.status(), ("dry_run", 8, 0));
}

#[test]
fn a_snapshot_belongs_to_its_connection() {
    let (keeper, _) = keeper();
    let bans = [wanted(&keeper, "203.0.113.9", 60)];
    assert_eq!(flag_of(keeper.sync(1, 1, &bans, false, true)), -4);
    assert_eq!(flag_of(keeper.sync(1, 1, &bans, true, false)), 1);
    assert_eq!(flag_of(keeper.sync(2, 1, &bans, false, true)), -4);
    keeper.forget(2);
    assert_eq!(flag_of(keeper.sync(1, 1, &[], false, false)), 1);
    keeper.forget(1);
    assert_eq!(flag_of(keeper.sync(1, 1, &[], false, true)), -4);
    assert_eq!(held(&keeper), []);
}

#[test]
fn what_was_ordered_meanwhile_is_newer_than_a_snapshot() {
    let (keeper, _) = keeper();
    let lifted = [wanted(&keeper, "203.0.113.1", 60), wanted(&keeper, "203.0.113.5", 60)];
    keeper.apply(1, &lifted, &[]).unwrap();
    keeper.sync(1, 1, &[wanted(&keeper, "203.0.113.1", 60)], true, false).unwrap();
    keeper.apply(1, &[wanted(&keeper, "203.0.113.3", 60)], &[Ok(target("203.0.113.1"))]).unwrap();
    keeper.block_ip(target("203.0.113.4"), Duration::from_secs(90));
    let answer = keeper.sync(1, 1, &[wanted(&keeper, "203.0.113.2", 60)], false, true).unwrap();
    assert_eq!(answer.result, "2 differences repaired: 1 added, 1 lifted, 0 set to another end");
    let expect = [("203.0.113.2", 60), ("203.0.113.3", 60), ("203.0.113.4", 90)];
    assert_eq!(held(&keeper), expect.map(|(target, left)| (target.to_owned(), left)));
}

/// Fails when it is told to.
struct Failing(DryRun, Arc<Mutex<bool>>);

impl Enforcer for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }
    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        // As a kernel that does the first and refuses the second.
        self.0.apply(block, &[])?;
        if *self.1.lock().unwrap() {
            return Err(EnforcerError::Failed("as told".to_owned()));
        }
        self.0.apply(&[], unblock)
    }
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.0.held()
    }
    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.0.remove()
    }
}

#[test]
fn a_failure_is_said_and_what_was_done_is_known() {
    let hand = Hand::default();
    let fails = Arc::new(Mutex::new(true));
    let told = Arc::new(Mutex::new(0));
    let observer: Observer = Arc::new({
        let told = Arc::clone(&told);
        move |block, unblock| *told.lock().unwrap() += block.len() + unblock.len()
    });
    let enforcer = Box::new(Failing(DryRun::new(hand.clock()), Arc::clone(&fails)));
    let keeper = Keeper::new(enforcer, Some(observer), hand.clock()).unwrap();
    let ip = target("203.0.113.9");
    let outcome = keeper.block_ip(ip, Duration::from_secs(60));
    assert_eq!((outcome.flag, outcome.result.as_str()), (-4, "the firewall refused: as told"));
    assert_eq!(keeper.unblock_ip(ip).flag, -4);
    assert_eq!(flag_of(keeper.apply(1, &[wanted(&keeper, "203.0.113.1", 9)], &[])), -4);
    assert_eq!(flag_of(keeper.sync(1, 1, &[wanted(&keeper, "203.0.113.2", 9)], true, true)), -4);
    // Nothing to do is nothing to fail.
    assert_eq!(flag_of(keeper.apply(1, &[], &[])), 1);
    assert_eq!(*told.lock().unwrap(), 0);
    *fails.lock().unwrap() = false;
    assert_eq!(keeper.block_ip(ip, Duration::from_secs(60)).flag, flag::ALREADY);
    assert_eq!(keeper.unblock_ip(ip).flag, flag::DONE);
    assert_eq!(*told.lock().unwrap(), 2);
}

/// Bans of a snapshot's part, and whom an order lifts behind it.
type Part = (Vec<(u8, u64)>, Option<u8>);

/// What was done in a random history.
#[derive(Clone, Debug)]
enum Act {
    Forward(u64),
    Apply(Vec<(u8, u64)>, Vec<u8>),
    Block(u8),
    /// Parts of a snapshot, with orders between them.
    Sync(Vec<Part>),
    /// Somebody else changes the firewall.
    Drift(Vec<(u8, u64)>, Vec<u8>),
}

fn act() -> impl Strategy<Value = Act> {
    let bans = || proptest::collection::vec((0u8..12, 2_000u64..60_000), 0..8);
    let targets = || proptest::collection::vec(0u8..12, 0..4);
    prop_oneof![
        (0u64..20_000).prop_map(Act::Forward),
        (bans(), targets()).prop_map(|(block, unblock)| Act::Apply(block, unblock)),
        (0u8..12).prop_map(Act::Block),
        proptest::collection::vec((bans(), proptest::option::of(0u8..12)), 1..4).prop_map(Act::Sync),
        (bans(), targets()).prop_map(|(block, unblock)| Act::Drift(block, unblock)),
    ]
}

fn numbered(low: u8) -> Network {
    if low.is_multiple_of(3) {
        target(&format!("2001:db8:0:{low}::/64"))
    } else {
        target(&format!("203.0.113.{low}"))
    }
}

/// An enforcer that others can reach, too.
struct Open(Arc<Mutex<DryRun>>);

impl Enforcer for Open {
    fn name(&self) -> &'static str {
        "open"
    }
    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        self.0.lock().unwrap().apply(block, unblock)
    }
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.0.lock().unwrap().held()
    }
    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.0.lock().unwrap().remove()
    }
}

const LEGACY: u64 = 30_000;

proptest! {
    /// Whatever comes, what is held is what a map of targets and ends says, to one second; and after a snapshot
    /// that nothing overtook it is exactly the snapshot.
    #[test]
    fn holds_what_a_simple_model_says(acts in proptest::collection::vec(act(), 0..30)) {
        let hand = Hand::default();
        let kernel = Arc::new(Mutex::new(DryRun::new(hand.clock())));
        let keeper = Keeper::new(Box::new(Open(Arc::clone(&kernel))), None, hand.clock()).unwrap();
        let mut now = 0u64;
        let mut model: BTreeMap<Network, u64> = BTreeMap::new();
        let want = |low: u8, millis: u64| -> Read<Wanted> {
            let until = keeper.now() + Duration::from_millis(millis);
            Ok(Wanted { target: numbered(low), until, id: String::new() })
        };
        for act in acts {
            match act {
                Act::Forward(millis) => {
                    hand.forward(Duration::from_millis(millis));
                    now += millis;
                }
                Act::Apply(block, unblock) => {
                    let bans: Vec<_> = block.iter().map(|&(low, millis)| want(low, millis)).collect();
                    let targets: Vec<_> = unblock.iter().map(|&low| Ok(numbered(low))).collect();
                    let applied = keeper.apply(1, &bans, &targets).unwrap();
                    prop_assert_eq!((applied.blocked.len(), applied.unblocked.len()), (bans.len(), targets.len()));
                    model.extend(block.iter().map(|&(low, millis)| (numbered(low), now + millis)));
                    for &low in &unblock {
                        model.remove(&numbered(low));
                    }
                }
                Act::Block(low) => {
                    keeper.block_ip(numbered(low), Duration::from_millis(LEGACY));
                    let end = model.entry(numbered(low)).or_default();
                    *end = (now + LEGACY).max(*end);
                }
                Act::Drift(block, unblock) => {
                    let spans: Vec<_> =
                        block.iter().map(|&(low, millis)| (numbered(low), Duration::from_millis(millis))).collect();
                    let targets: Vec<_> = unblock.iter().map(|&low| numbered(low)).collect();
                    kernel.lock().unwrap().apply(&spans, &targets).unwrap();
                    model.extend(block.iter().map(|&(low, millis)| (numbered(low), now + millis)));
                    for target in targets {
                        model.remove(&target);
                    }
                    // So that what is known is what the model says.
                    keeper.held().unwrap();
                }
                Act::Sync(parts) => {
                    let (mut desired, mut overtaken) = (BTreeMap::new(), BTreeMap::new());
                    let count = parts.len();
                    for (at, (bans, between)) in parts.into_iter().enumerate() {
                        let wanted: Vec<_> = bans.iter().map(|&(low, millis)| want(low, millis)).collect();
                        for (low, millis) in bans {
                            let end = desired.entry(numbered(low)).or_insert(0);
                            *end = (now + millis).max(*end);
                        }
                        let last = at + 1 == count;
                        keeper.sync(5, 1, &wanted, at == 0, last).unwrap();
                        if let Some(low) = between.filter(|_| !last) {
                            keeper.apply(1, &[], &[Ok(numbered(low))]).unwrap();
                            model.remove(&numbered(low));
                            overtaken.insert(numbered(low), ());
                        }
                    }
                    // What would have ended within a second by itself stays.
                    model.retain(|target, end| {
                        overtaken.contains_key(target) || desired.contains_key(target) || (*end > now && *end <= now + 1000)
                    });
                    for (target, end) in desired {
                        let near = model.get(&target).is_some_and(|held| *held > now && held.abs_diff(end) <= 1000);
                        if !overtaken.contains_key(&target) && !near {
                            model.insert(target, end);
                        }
                    }
                }
            }
            model.retain(|_, end| *end > now);
            let held: BTreeMap<_, _> = kernel
                .lock()
                .unwrap()
                .held()
                .unwrap()
                .into_iter()
                .map(|(target, left)| (target, now + u64::try_from(left.as_millis()).unwrap()))
                .collect();
            prop_assert_eq!(&held, &model);
            prop_assert_eq!(keeper.status().2, model.len());
        }
    }
}
