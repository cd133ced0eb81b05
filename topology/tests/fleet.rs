//! The fleet against real agents over real Thrift on loopback.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops where it fails")]

mod fleet_common;

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::enforcer::{Enforcer, EnforcerError};
use agent::key::Key;
use agent::{Choice, Config, Observer, Running};
use engine::{Clock as _, ManualClock, SystemClock, Timestamp};
use fleet_common::{
    KEY, agent_at, an_agent, client, fleet, fleet_with, hanging, held, now, options, target, until,
};
use model::ban::{Ban, Change, Ended, Order};
use model::ledger::{AskedBan, Ledger};
use model::network::Network;
use model::units::{Second, Seconds};
use topology::adapters::fleet::{AgentState, Options};

#[test]
fn changes_reach_the_agent_at_once() {
    let done: Arc<Mutex<HashMap<Network, Instant>>> = Arc::default();
    let observer: Observer = {
        let done = Arc::clone(&done);
        Arc::new(move |block, _| {
            done.lock().unwrap().extend(block.iter().map(|(target, _)| (*target, Instant::now())));
        })
    };
    let agent = agent_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), KEY, Some(observer));
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, options());
    setup.in_sync(0);
    let mut took = Vec::new();
    for number in 0..50 {
        let change = setup.decided(number, 60);
        let asked = Instant::now();
        setup.change(change);
        until("banned", || done.lock().unwrap().contains_key(&target(number)));
        took.push(done.lock().unwrap()[&target(number)] - asked);
    }
    took.sort();
    println!("from apply to the enforcer: median {:?}, longest {:?}", took[25], took[49]);
    assert!(took[25] < Duration::from_millis(20), "{took:?}");
    let held_now = held(agent.address());
    assert!(setup.ledger.bans().all(|ban| {
        let left = held_now[&ban.target];
        now().0 + left >= ban.end.0 - 5
    }));
    let longer = setup.decided(1, 600);
    assert!(matches!(longer, Change::Extended(_)));
    let ban = setup.change(longer);
    until("extended", || held(agent.address())[&target(1)] > 500_000);
    setup.lift(1);
    until("lifted", || !held(agent.address()).contains_key(&target(1)));
    let both = [("a".to_owned(), Order::Block, 1), ("a".to_owned(), Order::Unblock, 1)];
    until("told", || setup.told(&ban) == both);
    let view = &setup.fleet.agents()[0];
    assert_eq!((view.enforcer.as_str(), view.wanted, view.queue), ("dry_run", 49, 0));
    let json = serde_json::to_value(view).unwrap();
    assert_eq!((&json["state"], &json["name"]), (&"in_sync".into(), &"a".into()));
    let (_, _, all_sent) = setup.stop();
    assert!(all_sent);
    assert_eq!(held(agent.address()).len(), 49, "bans stay");
}

#[test]
fn an_agent_that_starts_anew_gets_everything_again() {
    let agent = an_agent();
    let address = agent.address();
    let mut setup = fleet(&[("a", address)], Ledger::default(), 1, options());
    setup.in_sync(0);
    let bans: Vec<Ban> = (0..100).map(|number| setup.ban(number, 60)).collect();
    until("banned", || held(address).len() == 100);
    agent.stop();
    setup.lift(7);
    let agent = agent_at(address, KEY, None);
    assert!(held(address).len() < 100, "a dry run forgets");
    let took = until("in step", || held(address).len() == 99);
    println!("in step after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    until("told", || setup.told(&bans[7]).len() == 2);
    for ban in &bans {
        let blocks = setup.told(ban).iter().filter(|told| told.1 == Order::Block).count();
        assert_eq!(blocks, 1);
    }
    drop(agent);
}

#[test]
fn one_that_hangs_or_is_away_holds_up_nobody() {
    let agent = an_agent();
    let silent = hanging();
    let nobody = {
        let closed = hanging();
        closed.local_addr().unwrap()
    };
    let agents = [("good", agent.address()), ("silent", silent.local_addr().unwrap()), ("nobody", nobody)];
    let mut setup = fleet(&agents, Ledger::default(), 1, options());
    setup.in_sync(0);
    let asked = Instant::now();
    let ban = setup.ban(1, 600);
    assert!(asked.elapsed() < Duration::from_millis(200));
    let took = until("banned", || held(agent.address()).contains_key(&target(1)));
    assert!(took < Duration::from_millis(500), "{took:?}");
    until("found out", || {
        matches!(setup.state(1), AgentState::Hanging { .. })
            && matches!(setup.state(2), AgentState::Unreachable { .. })
    });
    until("an alarm", || setup.heard.open("agent_unreachable"));
    assert_eq!(setup.told(&ban), [("good".to_owned(), Order::Block, 1)]);
    setup.lift(1);
    until("told by all", || setup.told(&ban).len() == 6);
    let mut told = setup.told(&ban);
    told.sort();
    let expect = [
        ("good", Order::Block, 1),
        ("good", Order::Unblock, 1),
        ("nobody", Order::Block, -4),
        ("nobody", Order::Unblock, -4),
        ("silent", Order::Block, -4),
        ("silent", Order::Unblock, -4),
    ];
    assert_eq!(told, expect.map(|(agent, order, flag)| (agent.to_owned(), order, flag)));
    // It comes back, and has everything.
    setup.ban(2, 600);
    let late = agent_at(nobody, KEY, None);
    until("in step", || held(nobody).len() == 1);
    drop(silent);
    drop(late);
}

#[test]
fn a_wrong_key_is_told_and_not_tried_all_the_time() {
    let agent = agent_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "another key", None);
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, options());
    until("refused", || setup.state(0) == AgentState::WrongKey);
    until("an alarm", || setup.heard.open("agent_key"));
    assert!(!setup.heard.last("agent_key").unwrap().text.contains(KEY));
    let ban = setup.ban(1, 600);
    setup.lift(1);
    let both = [("a".to_owned(), Order::Block, -3), ("a".to_owned(), Order::Unblock, -3)];
    until("told", || setup.told(&ban) == both);
    let address = agent.address();
    agent.stop();
    let agent = agent_at(address, KEY, None);
    setup.in_sync(0);
    until("over", || !setup.heard.open("agent_key"));
    drop(agent);
}

#[test]
fn whoever_was_followed_sends_nothing_any_more() {
    let agent = an_agent();
    let mut old = fleet(&[("a", agent.address())], Ledger::default(), 1, options());
    old.in_sync(0);
    let first = old.ban(1, 600);
    until("told", || old.told(&first).len() == 1);
    let mut new = fleet(&[("a", agent.address())], old.ledger.clone(), 2, options());
    new.in_sync(0);
    let second = old.ban(2, 600);
    until("fenced", || old.state(0) == AgentState::Fenced);
    until("an alarm", || old.heard.open("agent_fenced"));
    until("told to step down", || !old.superseded.lock().unwrap().is_empty());
    assert!(old.superseded.lock().unwrap()[0].contains("epoch 2"));
    assert!(new.superseded.lock().unwrap().is_empty());
    until("told", || old.told(&second) == [("a".to_owned(), Order::Block, -5)]);
    old.lift(1);
    until("told", || old.told(&first).last() == Some(&("a".to_owned(), Order::Unblock, -5)));
    assert_eq!(held(agent.address()).into_keys().collect::<Vec<_>>(), [target(1)]);
    new.lift(1);
    until("lifted", || held(agent.address()).is_empty());
    let (.., all_sent) = old.stop();
    assert!(all_sent);
}

#[test]
fn unknown_bans_are_offered_before_anything_is_lifted() {
    let agent = an_agent();
    let address = agent.address();
    let known = |number: u32| ccfirewall_thrift::Ban::new(target(number).to_string(), 600_000, String::new());
    client(address).apply(KEY, 0, (1..=4).map(known).collect(), Vec::new()).unwrap();
    // 1 is in force, 2 ended lately, 3 is adopted, 4 nobody wants.
    let mut ledger = Ledger::default();
    let asked = |number| AskedBan { target: target(number), length: Seconds(600), note: None };
    for number in [1, 2] {
        let change = ledger.asked(asked(number), now());
        ledger.apply(&change);
    }
    let change = ledger.lifted(&target(2), now(), Ended::ByHand).unwrap();
    ledger.apply(&change);
    let mut setup = fleet(&[("a", address)], ledger, 1, options());
    until("offered", || !setup.offered.lock().unwrap().is_empty());
    let offered = setup.offered.lock().unwrap().clone();
    assert_eq!(offered.iter().map(|(target, _)| *target).collect::<Vec<_>>(), [target(3), target(4)]);
    assert_eq!(held(address).len(), 4, "nothing is lifted yet");
    let adopted = setup.ledger.adopted(target(3), now(), offered[0].1).unwrap();
    let ban = setup.change(adopted);
    setup.in_sync(0);
    assert_eq!(held(address).into_keys().collect::<Vec<_>>(), [target(1), target(3)]);
    until("told", || setup.told(&ban) == [("a".to_owned(), Order::Block, -1)]);
    assert_eq!(setup.offered.lock().unwrap().len(), 2, "once");
}

#[test]
fn what_somebody_else_changes_at_the_agent_is_repaired() {
    let agent = an_agent();
    let address = agent.address();
    let options = Options { compare_every: Duration::from_millis(400), ..options() };
    let mut setup = fleet(&[("a", address)], Ledger::default(), 1, options);
    setup.in_sync(0);
    (0..10).for_each(|number| drop(setup.ban(number, 600)));
    until("banned", || held(address).len() == 10);
    let mut somebody = client(address);
    for number in 0..3 {
        somebody.unblock_ip(KEY, &target(number).to_string()).unwrap();
    }
    until("repaired", || held(address).len() == 10);
    until("counted", || setup.fleet.agents()[0].repaired == 3);
    until("an alarm", || setup.heard.last("agent_drift").is_some());
    until("over", || !setup.heard.open("agent_drift"));
    // The same number, but not the same bans.
    somebody.unblock_ip(KEY, &target(5).to_string()).unwrap();
    somebody.block_ip(KEY, "192.0.2.1").unwrap();
    until("repaired", || held(address).into_keys().eq((0..10).map(target)));
    until("counted", || setup.fleet.agents()[0].repaired == 5);
}

#[test]
fn a_hundred_thousand_bans_and_an_unban_by_hand_among_them() {
    let agent = an_agent();
    let address = agent.address();
    let mut ledger = Ledger::default();
    for number in 0..100_000 {
        let asked = AskedBan { target: target(number), length: Seconds(600), note: None };
        let change = ledger.asked(asked, now());
        ledger.apply(&change);
    }
    let mut setup = fleet(&[("a", address)], ledger, 1, options());
    let took = setup.in_sync(0);
    println!("a full state of 100,000 bans: {took:?}");
    assert_eq!(held(address).len(), 100_000);
    setup.listen();
    assert_eq!(setup.outcomes.len(), 100_000);

    let changes: Vec<Change> = (100_000..200_000).map(|number| setup.decided(number, 600)).collect();
    setup.changes(changes);
    let asked = Instant::now();
    let before = setup.queue.len();
    let ban = setup.lift(5);
    let mut order = None;
    until("told", || {
        setup.listen();
        order = setup.outcomes.iter().position(|o| o.ban.id == ban.id && o.order == Order::Unblock);
        order.is_some()
    });
    let place = order.unwrap() - 100_000;
    println!("an unban by hand behind 100,000 bans: {:?}, as outcome {place}", asked.elapsed());
    assert!(place <= before + 2 * 5_000, "it went with one of the next two calls: {before}, {place}");
    until("all sent", || setup.fleet.agents()[0].queue == 0);
    until("all held", || held(address).len() == 199_999);
}

#[test]
fn a_dry_run_asks_nobody() {
    let agent = an_agent();
    let options = Options { dry_run: true, ..options() };
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, options);
    let ban = setup.ban(1, 600);
    setup.lift(1);
    let both = [("dry-run".to_owned(), Order::Block, 1), ("dry-run".to_owned(), Order::Unblock, 1)];
    assert_eq!(setup.told(&ban), both);
    assert!(setup.outcomes.iter().all(|outcome| outcome.result == "dry run"));
    assert!(held(agent.address()).is_empty());
    assert_eq!(setup.state(0), AgentState::DryRun);
    assert!(setup.stop().2);
}

#[test]
fn a_stop_sends_what_waits() {
    let agent = an_agent();
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, options());
    setup.in_sync(0);
    let changes: Vec<Change> = (0..30_000).map(|number| setup.decided(number, 600)).collect();
    setup.changes(changes);
    let (_, outcomes, all_sent) = setup.stop();
    assert!(all_sent);
    assert_eq!((outcomes.len(), held(agent.address()).len()), (30_000, 30_000));

    let silent = hanging();
    let mut setup = fleet(&[("s", silent.local_addr().unwrap())], Ledger::default(), 1, options());
    setup.ban(1, 600);
    let began = Instant::now();
    let all_sent = setup.fleet.stop(Duration::from_millis(200));
    assert!(!all_sent && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// An enforcer that fails until it is mended.
struct Breakable {
    whole: Arc<AtomicBool>,
    bans: BTreeMap<Network, Duration>,
}

impl Enforcer for Breakable {
    fn name(&self) -> &'static str {
        "breakable"
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        if !self.whole.load(Ordering::SeqCst) {
            return Err(EnforcerError::Failed("it is broken".to_owned()));
        }
        self.bans.extend(block.iter().copied());
        self.bans.retain(|target, _| !unblock.contains(target));
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        Ok(self.bans.iter().map(|(target, left)| (*target, *left)).collect())
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.bans.clear();
        Ok(())
    }
}

#[test]
fn what_a_firewall_refuses_is_told_and_tried_again() {
    let whole = Arc::new(AtomicBool::new(true));
    let mut config = Config::new(Key::new(KEY).unwrap());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.enforcer = Choice::Own(Box::new(Breakable { whole: whole.clone(), bans: BTreeMap::new() }));
    let agent = agent::start(config).unwrap();
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, options());
    setup.in_sync(0);
    whole.store(false, Ordering::SeqCst);
    let ban = setup.ban(1, 600);
    until("told", || setup.told(&ban) == [("a".to_owned(), Order::Block, -4)]);
    assert!(setup.outcomes[0].result.contains("it is broken"));
    until("seen", || matches!(setup.state(0), AgentState::Failing { .. }));
    until("an alarm", || setup.heard.open("agent_unreachable"));
    whole.store(true, Ordering::SeqCst);
    until("held", || held(agent.address()).contains_key(&target(1)));
    setup.in_sync(0);
    assert_eq!(setup.told(&ban).len(), 1, "one outcome");
    assert!(!setup.heard.open("agent_unreachable"));
}

#[test]
fn clocks_that_differ_are_told() {
    let agent = an_agent();
    let behind = ManualClock::new(Timestamp::from_millis(now().0 as u64 - 60_000));
    let setup =
        fleet_with(&[("a", agent.address())], Ledger::default(), 1, options(), Arc::new(behind.clone()));
    until("an alarm", || setup.heard.open("agent_clock"));
    assert!(setup.heard.last("agent_clock").unwrap().text.contains("ahead of ours"));
    let skew = setup.fleet.agents()[0].clock_skew_ms;
    assert!((59_000..75_000).contains(&skew), "{skew}");
    until("over", || {
        behind.set(SystemClock.now());
        !setup.heard.open("agent_clock")
    });
}

/// Random changes, agents that go and come back, fleets that go and come back with the ledger: each agent holds
/// what it should in the end, and each outcome came once.
#[test]
fn each_outcome_once_whatever_happens() {
    let seed = std::env::var("FLEET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_161_111u64);
    println!("FLEET_SEED={seed}");
    let mut random = seed;
    let mut pick = move |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % u64::from(below)) as u32
    };
    let mut agents: Vec<Option<Running>> = (0..2).map(|_| Some(an_agent())).collect();
    let addresses: Vec<SocketAddr> = agents.iter().flatten().map(Running::address).collect();
    let named = [("a", addresses[0]), ("b", addresses[1])];
    let mut epoch = 1;
    let mut setup = fleet(&named, Ledger::default(), epoch, options());
    let mut bans: HashMap<model::ban::BanId, Second> = HashMap::new();
    for _ in 0..400 {
        let number = pick(8);
        match pick(20) {
            0..9 => {
                let length = 600 + pick(100);
                let change = AskedBan { target: target(number), length: Seconds(length), note: None };
                let change = setup.ledger.asked(change, now());
                let ban = setup.change(change);
                bans.insert(ban.id, ban.decided);
            }
            9..15 => {
                if setup.ledger.in_force(&target(number), now()).is_some() {
                    setup.lift(number);
                }
            }
            15 => {
                let up = agents.iter().position(Option::is_some).unwrap();
                setup.in_sync(up);
            }
            16 => {
                let which = pick(2) as usize;
                if agents.iter().flatten().count() == 2 {
                    agents[which] = None;
                }
            }
            17 | 18 => {
                for (agent, address) in agents.iter_mut().zip(&addresses) {
                    agent.get_or_insert_with(|| agent_at(*address, KEY, None));
                }
            }
            _ if pick(3) == 0 => {
                setup.listen();
                let before = std::mem::take(&mut setup.outcomes);
                let (ledger, after, _) = setup.stop();
                epoch += 1;
                setup = fleet(&named, ledger, epoch, options());
                setup.outcomes = before.into_iter().chain(after).collect();
            }
            _ => setup.listen(),
        };
    }
    for (agent, address) in agents.iter_mut().zip(&addresses) {
        agent.get_or_insert_with(|| agent_at(*address, KEY, None));
    }
    for (number, address) in addresses.iter().enumerate() {
        setup.in_sync(number);
        let wanted: Vec<Network> = {
            let mut wanted: Vec<Network> = setup.ledger.bans().map(|ban| ban.target).collect();
            wanted.sort_unstable();
            wanted
        };
        until("holds what it should", || held(*address).into_keys().eq(wanted.iter().copied()));
    }
    let expected: usize = setup.ledger.bans().count() * 2
        + setup.ledger.ended().filter(|e| bans.contains_key(&e.ban.id)).count() * 4;
    until("all told", || {
        setup.listen();
        setup.outcomes.len() >= expected
    });
    let mut counts: HashMap<_, u32> = HashMap::new();
    for outcome in &setup.outcomes {
        *counts.entry((outcome.ban.id, outcome.order, outcome.agent.clone())).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 1), "some came twice");
    assert_eq!(setup.outcomes.len(), expected);
    println!("{} bans, {} outcomes, {epoch} fleets", bans.len(), expected);
}
