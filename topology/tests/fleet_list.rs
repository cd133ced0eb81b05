//! Agents that come and go, that fail again and again, and what becomes of their outcomes.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod fleet_common;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agent::Running;
use fleet_common::{
    KEY, agent_at, an_agent, client, fleet, hanging, held, listed, now, options, target, until,
};
use model::ban::{Ban, Order};
use model::ledger::{AskedBan, Ledger};
use model::units::Seconds;
use topology::adapters::fleet::{AgentState, Options};

fn brief() -> Options {
    Options {
        leave_after: Duration::from_millis(100),
        forget_after: Duration::from_millis(300),
        unblock_within: Duration::from_millis(500),
        ..options()
    }
}

#[test]
fn agents_come_and_go() {
    let (one, two) = (an_agent(), an_agent());
    let mut setup = fleet(&[("one", one.address())], Ledger::default(), 1, brief());
    setup.in_sync(0);
    let early = setup.ban(1, 600);
    until("banned", || held(one.address()).len() == 1);
    // Who comes gets all that is in force, and nothing of what is over.
    let over = setup.ban(9, 600);
    setup.lift(9);
    let both = listed(&[("one", one.address()), ("two", two.address())]);
    setup.fleet.set_agents(both.clone()).unwrap();
    setup.in_sync(1);
    assert_eq!(held(two.address()).into_keys().collect::<Vec<_>>(), [target(1)]);
    until("told", || setup.told(&early).len() == 2);
    until("told by the one that was there", || setup.told(&over).len() == 2);
    assert!(setup.told(&over).iter().all(|(agent, ..)| agent == "one"));

    // Who isn't listed any more isn't called any more, and keeps what it holds.
    setup.fleet.set_agents(listed(&[("one", one.address())])).unwrap();
    until("left alone", || matches!(setup.state(1), AgentState::Left { .. }));
    let later = setup.ban(2, 600);
    setup.lift(1);
    until("done at the other", || held(one.address()).into_keys().eq([target(2)]));
    assert_eq!(held(two.address()).into_keys().collect::<Vec<_>>(), [target(1)]);
    until("told for both", || setup.told(&early).len() == 4);
    let unblocks = setup.told(&early).into_iter().filter(|told| told.1 == Order::Unblock);
    let unblocks: BTreeMap<String, i32> = unblocks.map(|(agent, _, flag)| (agent, flag)).collect();
    assert_eq!(unblocks, BTreeMap::from([("one".to_owned(), 1), ("two".to_owned(), -4)]));
    assert_eq!(setup.told(&later), [("one".to_owned(), Order::Block, 1)], "none of the other's business");

    // And back: in step, at once.
    setup.fleet.set_agents(both).unwrap();
    let took = setup.in_sync(1);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(held(two.address()).into_keys().collect::<Vec<_>>(), [target(2)]);
    until("told", || setup.told(&later).len() == 2);
}

#[test]
fn one_that_is_gone_for_long_is_forgotten_and_may_come_again() {
    let (one, two) = (an_agent(), an_agent());
    let both = [("one", one.address()), ("two", two.address())];
    let mut setup = fleet(&both, Ledger::default(), 1, brief());
    setup.in_sync(1);
    let ban = setup.ban(1, 600);
    until("told", || setup.told(&ban).len() == 2);
    setup.fleet.set_agents(listed(&[("one", one.address())])).unwrap();
    until("left alone", || matches!(setup.state(1), AgentState::Left { .. }));
    // As long as an unblock is owed, its books stay open.
    until(
        "time is over",
        || matches!(setup.fleet.agents()[..], [_, ref view] if matches!(view.state, AgentState::Left { .. })),
    );
    setup.lift(1);
    // Nobody has to tell of another list for that.
    until("forgotten", || setup.fleet.agents().len() == 1);
    assert_eq!(setup.told(&ban).len(), 4);
    let ban = setup.ban(2, 600);
    setup.fleet.set_agents(listed(&both)).unwrap();
    setup.in_sync(1);
    until("told", || setup.told(&ban).len() == 2);
    assert_eq!(held(two.address()).into_keys().collect::<Vec<_>>(), [target(2)]);
}

#[test]
fn a_flicker_of_the_list_changes_nothing() {
    let agent = an_agent();
    let list = listed(&[("a", agent.address())]);
    let patient = Options { leave_after: Duration::from_secs(60), ..brief() };
    let mut setup = fleet(&[("a", agent.address())], Ledger::default(), 1, patient);
    setup.in_sync(0);
    setup.fleet.set_agents(Vec::new()).unwrap();
    let ban = setup.ban(1, 600);
    until("banned all the same", || held(agent.address()).len() == 1);
    setup.fleet.set_agents(list.clone()).unwrap();
    assert_eq!(setup.state(0), AgentState::InSync);
    assert_eq!(setup.told(&ban).len(), 1);
    // Twice in the list is once.
    setup.fleet.set_agents([list.clone(), list].concat()).unwrap();
    setup.fleet.set_agents(listed(&[("a", agent.address()), ("b", agent.address())])).unwrap();
    assert_eq!(setup.fleet.agents().len(), 1);
}

#[test]
fn an_agent_that_moves_is_found() {
    let (before, after) = (an_agent(), an_agent());
    let mut setup = fleet(&[("a", before.address())], Ledger::default(), 1, brief());
    setup.in_sync(0);
    setup.ban(1, 600);
    until("banned", || held(before.address()).len() == 1);
    setup.fleet.set_agents(listed(&[("a", after.address())])).unwrap();
    until("found", || held(after.address()).len() == 1);
    setup.in_sync(0);
    assert_eq!(setup.fleet.agents()[0].address, after.address());
}

#[test]
fn the_breaker_opens_and_an_agent_that_is_back_is_found_by_a_probe() {
    let nobody = hanging().local_addr().unwrap();
    let options = Options {
        breaker_after: 3,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(20),
        probe_every: Duration::from_millis(600),
        ..options()
    };
    let setup = fleet(&[("a", nobody)], Ledger::default(), 1, options);
    until("open", || setup.fleet.agents()[0].breaker_open);
    let failures = setup.fleet.agents()[0].failures;
    assert!(failures >= 3);
    let json = serde_json::to_value(&setup.fleet.agents()[0]).unwrap();
    assert_eq!(json["breaker_open"], true);
    // Rare, but not never.
    let began = Instant::now();
    until("probed", || setup.fleet.agents()[0].failures >= failures + 3);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(600), "three probes, at least 300 ms apart: {took:?}");
    let agent = agent_at(nobody, KEY, None);
    setup.in_sync(0);
    let view = &setup.fleet.agents()[0];
    assert_eq!((view.breaker_open, view.failures), (false, 0));
    drop(agent);
}

#[test]
fn an_agent_is_ready_once_it_has_everything_again() {
    let agent = an_agent();
    let address = agent.address();
    assert!(!agent.is_ready());
    assert_eq!(client(address).status(KEY).unwrap().ready, Some(false));
    let mut setup = fleet(&[("a", address)], Ledger::default(), 1, options());
    setup.in_sync(0);
    assert!(agent.is_ready());
    let changes = (0..20_000).map(|number| setup.decided(number, 600)).collect();
    setup.changes(changes);
    until("banned", || held(address).len() == 20_000);
    agent.stop();
    let agent = agent_at(address, KEY, None);
    let mut client = client(address);
    until("ready", || {
        let status = client.status(KEY).unwrap();
        let (ready, held) = (status.ready.unwrap(), client.held(KEY, 0, 100_000).unwrap().bans.unwrap());
        assert!(!status.ready.unwrap() || held.len() == 20_000, "ready with {} bans", held.len());
        ready
    });
    drop(agent);
}

/// Random changes, agents that go, come back, and are listed or not: each listed one holds what it should in the end,
/// and no outcome comes twice or is missing.
#[test]
fn outcomes_of_those_that_come_and_go() {
    let seed = std::env::var("FLEET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122u64);
    println!("FLEET_SEED={seed}");
    let mut random = seed;
    let mut pick = move |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % u64::from(below)) as u32
    };
    let mut agents: Vec<Option<Running>> = (0..3).map(|_| Some(an_agent())).collect();
    let addresses: Vec<SocketAddr> = agents.iter().flatten().map(Running::address).collect();
    let all = [("a", addresses[0]), ("b", addresses[1]), ("c", addresses[2])];
    let mut setup = fleet(&all, Ledger::default(), 1, brief());
    let mut bans: Vec<Ban> = Vec::new();
    for _ in 0..300 {
        let number = pick(8);
        match pick(16) {
            0..7 => {
                let length = 600 + pick(100);
                let asked = AskedBan { target: target(number), length: Seconds(length), note: None };
                let change = setup.ledger.asked(asked, now());
                bans.push(setup.change(change));
            }
            7..11 if setup.ledger.in_force(&target(number), now()).is_some() => {
                setup.lift(number);
            }
            11 => agents[pick(3) as usize] = None,
            12 => {
                for (agent, address) in agents.iter_mut().zip(&addresses) {
                    agent.get_or_insert_with(|| agent_at(*address, KEY, None));
                }
            }
            13 | 14 => {
                let some: Vec<_> = all.iter().copied().filter(|_| pick(3) > 0).collect();
                setup.fleet.set_agents(listed(&some)).unwrap();
            }
            _ => std::thread::sleep(Duration::from_millis(u64::from(pick(150)))),
        }
    }
    for (agent, address) in agents.iter_mut().zip(&addresses) {
        agent.get_or_insert_with(|| agent_at(*address, KEY, None));
    }
    setup.fleet.set_agents(listed(&all)).unwrap();
    let wanted: BTreeMap<_, _> = setup.ledger.bans().map(|ban| (ban.target, ban.id)).collect();
    for address in &addresses {
        until("holds what it should", || held(*address).into_keys().eq(wanted.keys().copied()));
    }
    let answers = |setup: &mut fleet_common::Setup| {
        setup.listen();
        let mut counts: HashMap<_, [u32; 2]> = HashMap::new();
        for outcome in &setup.outcomes {
            let of = counts.entry((outcome.ban.id, outcome.agent.clone())).or_default();
            of[usize::from(outcome.order == Order::Unblock)] += 1;
        }
        counts
    };
    until("all told", || {
        let counts = answers(&mut setup);
        let in_force = wanted.values().flat_map(|id| ["a", "b", "c"].map(|agent| (*id, agent.into())));
        let told = in_force.into_iter().all(|key| counts.contains_key(&key));
        // Whoever was asked to block is asked to unblock.
        told && counts.iter().all(|((id, _), of)| wanted.values().any(|known| known == id) || of[1] == 1)
    });
    for ((id, agent), [blocks, unblocks]) in answers(&mut setup) {
        let over = !wanted.values().any(|known| *known == id);
        assert_eq!((blocks, unblocks), (1, u32::from(over)), "{agent}");
    }
    println!("{} bans, {} outcomes", bans.len(), setup.outcomes.len());
}
