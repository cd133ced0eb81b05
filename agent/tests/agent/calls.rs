//! Every call, through the client that owners use.

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::enforcer::dry_run::DryRun;
use agent::enforcer::{Enforcer, EnforcerError};
use agent::{Choice, Observer, clock};
use ccfirewall_thrift::{Answer, Outcome, flag};
use model::network::Network;

use crate::help::{Bytes, MKEY, Refusing, assert_answers, ban, config, connect, raw, send, wait_for};

fn flags(outcomes: Option<Vec<Outcome>>) -> Vec<i32> {
    outcomes.unwrap().into_iter().map(|outcome| outcome.flag.unwrap()).collect()
}

fn legacy(text: &str) -> i32 {
    flag::from_text(text).unwrap().0
}

#[test]
fn the_calls_of_2016_answer_with_their_flags() {
    let agent = agent::start(config()).unwrap();
    let mut client = connect(agent.address());
    let text = client.block_ip(MKEY, "203.0.113.9").unwrap();
    assert_eq!(text, r#"{"flag":1,"result":"203.0.113.9 is banned for 86400 s"}"#);
    assert_eq!(legacy(&client.block_ip(MKEY, "203.0.113.9").unwrap()), -1);
    assert_eq!(legacy(&client.unblock_ip(MKEY, "203.0.113.9").unwrap()), 1);
    assert_eq!(legacy(&client.unblock_ip(MKEY, "203.0.113.9").unwrap()), -1);
    assert_eq!(legacy(&client.block_ip(MKEY, "2001:db8::1").unwrap()), 1);
    for bad in [
        "",
        "example.com",
        "203.0.113.0/24",
        "203.0.113.9/32",
        "::1/128",
        "203.0.113.009",
        "1",
        "\0",
        "$(id)",
    ] {
        assert_eq!(legacy(&client.block_ip(MKEY, bad).unwrap()), -2, "{bad}");
        assert_eq!(legacy(&client.unblock_ip(MKEY, bad).unwrap()), -2, "{bad}");
    }
    assert_eq!(client.status(MKEY).unwrap().held, Some(1));
    agent.stop();
}

#[test]
fn who_doesnt_know_the_key_gets_nothing() {
    let agent = agent::start(config()).unwrap();
    let mut client = connect(agent.address());
    client.apply(MKEY, 5, vec![ban("203.0.113.9", 60_000)], vec![]).unwrap();
    let start = Instant::now();
    for wrong in ["", "a key for test", "A key for tests"] {
        assert_eq!(legacy(&client.block_ip(wrong, "203.0.113.1").unwrap()), -3);
        assert_eq!(legacy(&client.unblock_ip(wrong, "203.0.113.9").unwrap()), -3);
        assert_eq!(client.apply(wrong, 9, vec![], vec!["203.0.113.9".to_owned()]).unwrap().flag, Some(-3));
        assert_eq!(client.sync(wrong, 9, vec![], true, true).unwrap().flag, Some(-3));
        let held = client.held(wrong, 0, 10).unwrap();
        assert_eq!((held.flag, held.bans), (Some(-3), Some(vec![])));
        let status = client.status(wrong).unwrap();
        assert_eq!((status.flag, status.instance.as_deref()), (Some(-3), Some("")));
    }
    assert!(start.elapsed() >= Duration::from_millis(1800), "guessing is slowed down");
    let status = client.status(MKEY).unwrap();
    assert_eq!((status.held, status.epoch), (Some(1), Some(5)));
    let warnings = status.warnings.unwrap();
    assert!(warnings.iter().any(|warning| warning.starts_with("18 calls")), "{warnings:?}");
}

#[test]
fn apply_and_held_take_batches() {
    let agent = agent::start(config()).unwrap();
    let mut client = connect(agent.address());
    let block = vec![
        ban("203.0.113.9", 60_000),
        ban("203.0.113.9", 60_500),
        ban("2001:db8:1:2::/64", i64::MAX),
        ban("no address", 60_000),
        ban("203.0.113.8", 0),
        ban("203.0.113.8", i64::MIN),
        ban("198.51.100.7/24", 60_000),
    ];
    let unblock = vec!["203.0.113.77".to_owned(), "203.0.113.77/99".to_owned(), "198.51.100.0/24".to_owned()];
    let Answer { flag, blocked, unblocked, .. } = client.apply(MKEY, 1, block, unblock).unwrap();
    assert_eq!(flag, Some(1));
    assert_eq!(flags(blocked), [1, -1, 1, -2, -1, -1, 1]);
    assert_eq!(flags(unblocked), [-1, -2, 1]);
    let page = |client: &mut ccfirewall_thrift::Client, offset, limit| {
        let held = client.held(MKEY, offset, limit).unwrap();
        assert_eq!((held.flag, held.result.as_deref()), (Some(1), Some("2 in all")));
        held.bans
            .unwrap()
            .into_iter()
            .map(|ban| (ban.target.unwrap(), ban.left_ms.unwrap()))
            .collect::<Vec<_>>()
    };
    let all = page(&mut client, 0, 10);
    assert_eq!((all[0].0.as_str(), all[1].0.as_str()), ("203.0.113.9", "2001:db8:1:2::/64"));
    assert!((50_000..=60_500).contains(&all[0].1), "{all:?}");
    assert_eq!(page(&mut client, 1, 10).len(), 1);
    assert_eq!(page(&mut client, -5, 1), page(&mut client, 0, 1));
    assert_eq!(page(&mut client, i64::MAX, 1).len() + page(&mut client, 0, -1).len(), 0);
}

#[test]
fn older_owners_are_refused_over_any_connection() {
    let agent = agent::start(config()).unwrap();
    let (mut old, mut new) = (connect(agent.address()), connect(agent.address()));
    assert_eq!(old.apply(MKEY, 1, vec![ban("203.0.113.9", 60_000)], vec![]).unwrap().flag, Some(1));
    assert_eq!(old.sync(MKEY, 1, vec![], true, false).unwrap().flag, Some(1));
    assert_eq!(new.apply(MKEY, 2, vec![], vec![]).unwrap().flag, Some(1));
    assert_eq!(old.sync(MKEY, 1, vec![], false, true).unwrap().flag, Some(-5));
    assert_eq!(old.apply(MKEY, 1, vec![], vec!["203.0.113.9".to_owned()]).unwrap().flag, Some(-5));
    // Who only looks needs no epoch.
    assert_eq!(old.status(MKEY).unwrap().epoch, Some(2));
    assert_eq!(old.held(MKEY, 0, 9).unwrap().bans.unwrap().len(), 1);
}

#[test]
fn a_snapshot_of_100_000_is_taken_fast() {
    let agent = agent::start(config()).unwrap();
    let mut client = connect(agent.address());
    client.apply(MKEY, 1, vec![ban("192.0.2.1", 600_000)], vec![]).unwrap();
    let bans: Vec<_> =
        (0..100_000u32).map(|low| ban(&Ipv4Addr::from(0x0a00_0000 + low).to_string(), 600_000)).collect();
    for (expect, bound) in [
        ("100001 differences repaired: 100000 added, 1 lifted, 0 set to another end", 2),
        ("0 differences repaired: 0 added, 0 lifted, 0 set to another end", 2),
    ] {
        let start = Instant::now();
        let parts = bans.chunks(10_000);
        let last = parts.len() - 1;
        for (at, part) in parts.enumerate() {
            let answer = client.sync(MKEY, 1, part.to_vec(), at == 0, at == last).unwrap();
            assert_eq!((answer.flag, answer.blocked.unwrap().len()), (Some(1), 10_000));
            assert!(at < last || answer.result.as_deref() == Some(expect), "{:?}", answer.result);
        }
        let took = start.elapsed();
        println!("100,000 bans were in step after {took:?}");
        assert!(took < Duration::from_secs(bound), "{took:?}");
    }
    assert_eq!(client.held(MKEY, 0, i32::MAX).unwrap().bans.unwrap().len(), 100_000);
}

#[test]
fn an_enforcer_that_fails_is_flag_4() {
    let mut config = config();
    config.enforcer = Choice::Own(Box::new(Refusing));
    let agent = agent::start(config).unwrap();
    assert_eq!(agent.enforcer_name(), "refusing");
    let mut client = connect(agent.address());
    let text = client.block_ip(MKEY, "203.0.113.9").unwrap();
    assert_eq!(text, r#"{"flag":-4,"result":"the firewall refused: as told"}"#);
    let answer = client.apply(MKEY, 1, vec![ban("203.0.113.9", 60_000)], vec![]).unwrap();
    assert_eq!((answer.flag, answer.blocked), (Some(-4), Some(vec![])));
    assert_eq!(client.sync(MKEY, 1, vec![ban("203.0.113.9", 60_000)], true, true).unwrap().flag, Some(-4));
    assert_eq!(client.status(MKEY).unwrap().held, Some(0));
}

/// Panics at each ban.
struct Panicking(DryRun);

impl Enforcer for Panicking {
    fn name(&self) -> &'static str {
        "panicking"
    }
    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        assert!(block.is_empty(), "as told");
        self.0.apply(block, unblock)
    }
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.0.held()
    }
    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.0.remove()
    }
}

/// Takes its time over the first ban, as a process does that stands still.
struct Slow {
    enforcer: DryRun,
    first: Option<Receiver<()>>,
}

impl Enforcer for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }
    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        if let Some(go) = self.first.take_if(|_| !block.is_empty()) {
            go.recv().unwrap();
        }
        self.enforcer.apply(block, unblock)
    }
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.enforcer.held()
    }
    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.enforcer.remove()
    }
}

/// What an owner wanted before it gave a call up may be wrong by the time the agent comes to read it.
#[test]
fn who_is_gone_is_not_obeyed() {
    let (go, first) = channel();
    let mut config = config();
    let enforcer = DryRun::new(clock::machine());
    config.enforcer = Choice::Own(Box::new(Slow { enforcer, first: Some(first) }));
    let agent = agent::start(config).unwrap();
    let call = |ip: &str| Bytes::call("blockipbyiptables").key(MKEY).field(11, 2).text(ip).raw(&[0]).0;
    let stream = raw(agent.address());
    send(&stream, &[call("203.0.113.1"), call("203.0.113.2")].concat());
    // Both are here, and so is the end.
    drop(stream);
    go.send(()).unwrap();
    let mut client = connect(agent.address());
    wait_for("the first ban", || client.status(MKEY).unwrap().held == Some(1));
    assert_eq!(legacy(&client.block_ip(MKEY, "203.0.113.3").unwrap()), 1);
    assert_eq!(client.status(MKEY).unwrap().held, Some(2));
    drop(client);
    agent.stop();
}

#[test]
fn a_panic_ends_its_connection_only() {
    let mut config = config();
    config.enforcer = Choice::Own(Box::new(Panicking(DryRun::new(clock::machine()))));
    let agent = agent::start(config).unwrap();
    let mut client = connect(agent.address());
    assert!(client.block_ip(MKEY, "203.0.113.9").is_err());
    assert!(client.is_broken() && client.status(MKEY).is_err());
    assert_answers(agent.address());
    assert_eq!(legacy(&connect(agent.address()).unblock_ip(MKEY, "203.0.113.9").unwrap()), -1);
}

#[test]
fn the_observer_is_told_what_was_done() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut config = config();
    let observer: Observer = Arc::new({
        let told = Arc::clone(&told);
        move |block, unblock| told.lock().unwrap().push((block.to_vec(), unblock.to_vec()))
    });
    config.observer = Some(observer);
    let agent = agent::start(config).unwrap();
    let mut client = connect(agent.address());
    client.apply(MKEY, 1, vec![ban("203.0.113.9", 60_000)], vec!["203.0.113.8".to_owned()]).unwrap();
    client.apply(MKEY, 1, vec![], vec![]).unwrap();
    let told = told.lock().unwrap();
    let [(block, unblock)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (block[0].0.to_string(), unblock[0].to_string()),
        ("203.0.113.9".into(), "203.0.113.8".into())
    );
    assert!(block[0].1 <= Duration::from_secs(60) && block[0].1 > Duration::from_secs(50));
}

#[test]
fn a_stopped_agent_is_gone_and_starts_again_as_another() {
    let agent = agent::start(config()).unwrap();
    let address = agent.address();
    let mut client = connect(address);
    let before = client.status(MKEY).unwrap();
    let start = Instant::now();
    agent.stop();
    assert!(start.elapsed() < Duration::from_secs(4), "who is only connected holds nothing up");
    assert!(client.status(MKEY).is_err());
    let mut again = config();
    again.listen = address;
    let agent = agent::start(again).unwrap();
    let after = connect(agent.address()).status(MKEY).unwrap();
    assert_eq!(after.enforcer.as_deref(), Some("dry_run"));
    assert_ne!(before.instance, after.instance);
    assert!(after.clock_ms > Some(1_600_000_000_000));
    assert!(after.warnings.unwrap().iter().any(|warning| warning.contains("dry run")));
}
