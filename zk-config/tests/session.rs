//! A session that is lost, and everything that goes on with the next one.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::time::{Duration, Instant};

use common::{Line, PATIENCE, ensemble, place, start, told, until};
use real_servers::Servers;
use zk_config::{Election, Ensemble, Error, Held, SettingsSeen, State, ZooKeeper};

#[test]
fn everything_goes_on_after_a_session_expired() {
    let Some((_servers, direct)) = place() else { return };
    let line = Line::to(&direct.servers);
    let behind_line = Ensemble { servers: line.url(), ..direct.clone() };
    let other = start(&direct);
    let settings = other.create_settings_if_absent("one", "test").unwrap();
    let (callback, workers) = told();
    let _workers = other.watch_children("workers", callback).unwrap();
    assert!(workers.next().is_empty());

    let zookeeper = start(&behind_line);
    let ((states, state), (seen, settings_seen), (children, children_seen), (events, election)) =
        (told(), told(), told(), told());
    let _states = zookeeper.watch_state(states).unwrap();
    let _settings = zookeeper.watch_settings(seen).unwrap();
    let _children = zookeeper.watch_children("workers", children).unwrap();
    let worker = zookeeper.keep_ephemeral("workers/one", &b"1"[..]).unwrap();
    let campaign = zookeeper.campaign("owner", &b"one"[..], events).unwrap();
    worker.wait_held(PATIENCE).unwrap();
    settings_seen.until(|seen| matches!(seen, SettingsSeen::Node(node) if node.text == b"one"));
    children_seen.until(|children| children.len() == 1);
    let node = workers.until(|workers| workers.len() == 1);
    let Election::Won { epoch } = election.next() else { panic!("lost before it was won") };
    assert_eq!(campaign.epoch(), Some(epoch));
    state.until(|state| matches!(state, State::Connected { .. }));

    line.stop();
    assert!(matches!(election.next(), Election::Lost { .. }));
    assert_eq!(campaign.epoch(), None);
    state.until(|state| matches!(state, State::Away { .. }));
    // The servers let the session expire; meanwhile others go on.
    workers.until(Vec::is_empty);
    other.write_settings("two", settings.expected(), "test").unwrap();
    worker.update(&b"2"[..]);
    let away = zookeeper.read_settings().unwrap_err();
    assert!(matches!(away, Error::Away { .. }), "{away}");
    until("it is given up here too", || matches!(worker.held(), Held::No(_)));

    line.go_on();
    state.until(|state| matches!(state, State::Connected { .. }));
    settings_seen.until(|seen| matches!(seen, SettingsSeen::Node(node) if node.text == b"two"));
    let again = workers.until(|workers| workers.len() == 1 && workers[0].data == b"2");
    assert!(again[0].czxid > node[0].czxid);
    children_seen.until(|children| children == &again);
    worker.wait_held(PATIENCE).unwrap();
    let Election::Won { epoch: next } = election.next() else { panic!("lost twice") };
    assert!(next > epoch);
    assert_eq!(other.holder("owner").unwrap().unwrap().epoch, next);
    // Watches are new ones, and work.
    let now = other.read_settings().unwrap().unwrap();
    other.write_settings("three", now.expected(), "test").unwrap();
    settings_seen.until(|seen| matches!(seen, SettingsSeen::Node(node) if node.text == b"three"));
}

#[test]
fn a_connection_that_is_cut_costs_nothing_but_time() {
    let Some((_servers, direct)) = place() else { return };
    let line = Line::to(&direct.servers);
    // Long enough that this session never expires.
    let behind_line =
        Ensemble { servers: line.url(), session_timeout: Duration::from_secs(20), ..direct.clone() };
    let zookeeper = start(&behind_line);
    let mut node = zookeeper.create_settings_if_absent("0", "test").unwrap();
    let worker = zookeeper.keep_ephemeral("workers/one", &b"1"[..]).unwrap();
    worker.wait_held(PATIENCE).unwrap();
    let (callback, seen) = told();
    let _watch = zookeeper.watch_settings(callback).unwrap();
    let (callback, workers) = told();
    let _workers = start(&direct).watch_children("workers", callback).unwrap();
    let czxid = workers.until(|workers| workers.len() == 1)[0].czxid;
    for round in 1..=10 {
        let text = round.to_string();
        line.cut();
        // Asked for in the middle of it, and made exactly once.
        node = zookeeper.write_settings(&text, node.expected(), "test").unwrap();
        assert_eq!((node.version, &*node.text), (round, text.as_bytes()));
        seen.until(|seen| matches!(seen, SettingsSeen::Node(seen) if *seen == node));
    }
    assert_eq!(zookeeper.history().unwrap().len(), 11);
    worker.wait_held(PATIENCE).unwrap();
    let kept = workers.so_far();
    assert!(kept.iter().all(|workers| workers.len() == 1 && workers[0].czxid == czxid), "{kept:?}");
}

#[test]
fn a_server_that_comes_later_is_found_and_one_that_restarts_found_again() {
    let Some(servers) = Servers::own("zk-late") else { return };
    let ensemble = ensemble(&servers.up("zookeeper"));
    servers.kill("zookeeper");
    let zookeeper = ZooKeeper::start(ensemble).unwrap();
    let (callback, seen) = told();
    let _watch = zookeeper.watch_settings(callback).unwrap();
    let began = Instant::now();
    let away = zookeeper.wait_connected(Duration::from_millis(500)).unwrap_err().to_string();
    assert!(away.contains("check that it runs") && began.elapsed() < PATIENCE / 2, "{away}");
    assert!(matches!(zookeeper.state(), State::Away { .. }));
    assert!(zookeeper.read_settings().is_err());

    servers.up("zookeeper");
    assert_eq!(seen.next(), SettingsSeen::Missing);
    zookeeper.wait_connected(PATIENCE).unwrap();
    let worker = zookeeper.keep_ephemeral("workers/one", &b"1"[..]).unwrap();
    worker.wait_held(PATIENCE).unwrap();
    zookeeper.create_settings_if_absent("{}", "test").unwrap();
    seen.until(|seen| matches!(seen, SettingsSeen::Node(_)));

    servers.kill("zookeeper");
    until("it is noticed", || matches!(zookeeper.state(), State::Away { .. }));
    servers.up("zookeeper");
    zookeeper.wait_connected(PATIENCE).unwrap();
    worker.wait_held(PATIENCE).unwrap();
    let node = zookeeper.read_settings().unwrap().unwrap();
    zookeeper.write_settings("{\"a\":1}", node.expected(), "test").unwrap();
    seen.until(|seen| matches!(seen, SettingsSeen::Node(node) if node.version == 1));

    // Everything wiped: the root is made anew with the next session, and what is told is what there is.
    servers.wipe("zookeeper");
    servers.up("zookeeper");
    seen.until(|seen| *seen == SettingsSeen::Missing);
    worker.wait_held(PATIENCE).unwrap();
}

#[test]
fn what_is_dropped_goes_at_once() {
    let Some((_servers, direct)) = place() else { return };
    // A session that would outlive the test.
    let long = Ensemble { session_timeout: Duration::from_secs(60), ..direct.clone() };
    let (callback, workers) = told();
    let watcher = start(&direct);
    let _watch = watcher.watch_children("workers", callback).unwrap();
    let zookeeper = start(&long);
    let one = zookeeper.keep_ephemeral("workers/one", Vec::new()).unwrap();
    let clone = zookeeper.clone();
    drop(zookeeper);
    workers.until(|workers| workers.len() == 1);
    drop(clone);
    one.wait_held(PATIENCE).unwrap();
    drop(one);
    let began = Instant::now();
    workers.until(Vec::is_empty);
    assert!(began.elapsed() < Duration::from_secs(20), "it went with the session, not before it");
}
