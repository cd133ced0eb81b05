//! Elections: one owner, epochs that grow, and an owner that knows in time that it is none.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Line, PATIENCE, SESSION, Told, place, somebody_else, start, told};
use rustix::process::{Pid, Signal, kill_process};
use zk_config::{Campaign, Election, Ensemble, ZooKeeper};

fn won(events: &Told<Election>) -> u64 {
    match events.next() {
        Election::Won { epoch } => epoch,
        lost @ Election::Lost { .. } => panic!("{lost:?}"),
    }
}

#[test]
fn there_is_one_owner_and_every_epoch_is_greater() {
    let Some((_servers, ensemble)) = place() else { return };
    let watcher = start(&ensemble);
    assert_eq!(watcher.holder("owner").unwrap(), None);
    let (sender, events) = mpsc::channel();
    let mut candidates: Vec<(ZooKeeper, Option<Campaign>)> = Vec::new();
    for number in 0..3_usize {
        let (zookeeper, sender) = (start(&ensemble), sender.clone());
        let callback = move |event| sender.send((number, event)).unwrap();
        let campaign = zookeeper.campaign("owner", number.to_string(), callback).unwrap();
        candidates.push((zookeeper, Some(campaign)));
    }
    let mut before = 0;
    for _ in 0..3 {
        let (winner, event) = events.recv_timeout(PATIENCE).unwrap();
        let Election::Won { epoch } = event else { panic!("{event:?}") };
        assert!(epoch > before);
        before = epoch;
        let holder = watcher.holder("owner").unwrap().unwrap();
        assert_eq!((holder.epoch, holder.data), (epoch, winner.to_string().into_bytes()));
        let owners: Vec<Option<u64>> =
            candidates.iter().map(|(_, campaign)| campaign.as_ref().and_then(Campaign::epoch)).collect();
        assert_eq!(owners.iter().flatten().collect::<Vec<_>>(), [&epoch], "{owners:?}");
        assert_eq!(owners[winner], Some(epoch));
        candidates[winner].1.take().unwrap().resign().unwrap();
    }
    assert_eq!(watcher.holder("owner").unwrap(), None);
    assert!(events.try_recv().is_err(), "who resigned isn't told");
}

#[test]
fn an_owner_that_is_cut_off_knows_before_another_one_wins() {
    let Some((_servers, direct)) = place() else { return };
    let line = Line::to(&direct.servers);
    let [cut_off, other] = [start(&Ensemble { servers: line.url(), ..direct.clone() }), start(&direct)];
    let (sender, events) = mpsc::channel();
    let tell = |name: &'static str| {
        let sender = sender.clone();
        move |event| sender.send((name, event)).unwrap()
    };
    let first = cut_off.campaign("owner", Vec::new(), tell("first")).unwrap();
    let (name, event) = events.recv_timeout(PATIENCE).unwrap();
    let Election::Won { epoch } = event else { panic!("{event:?}") };
    assert_eq!(name, "first");
    let second = other.campaign("owner", Vec::new(), tell("second")).unwrap();
    line.stop();
    let stopped = Instant::now();
    let (name, event) = events.recv_timeout(PATIENCE).unwrap();
    assert!(matches!((name, &event), ("first", Election::Lost { .. })), "{name}: {event:?}");
    assert!(stopped.elapsed() < SESSION, "{:?}", stopped.elapsed());
    assert_eq!(first.epoch(), None);
    let (name, event) = events.recv_timeout(PATIENCE).unwrap();
    let Election::Won { epoch: next } = event else { panic!("{event:?}") };
    assert!(name == "second" && next > epoch);
    // The first one comes back and waits its turn.
    line.go_on();
    cut_off.wait_connected(PATIENCE).unwrap();
    assert_eq!((first.epoch(), second.epoch()), (None, Some(next)));
    second.resign().unwrap();
    let (name, event) = events.recv_timeout(PATIENCE).unwrap();
    let Election::Won { epoch: last } = event else { panic!("{event:?}") };
    assert!(name == "first" && last > next);
}

#[test]
fn a_stop_shorter_than_the_session_gives_a_new_epoch() {
    let Some((_servers, direct)) = place() else { return };
    let line = Line::to(&direct.servers);
    let timeout = Duration::from_secs(9);
    let zookeeper = start(&Ensemble { servers: line.url(), session_timeout: timeout, ..direct.clone() });
    let (callback, events) = told();
    let campaign = zookeeper.campaign("owner", Vec::new(), callback).unwrap();
    let epoch = won(&events);
    line.stop();
    assert!(matches!(events.next(), Election::Lost { .. }));
    line.go_on();
    // Though the session may have lived, and the node with it.
    let next = won(&events);
    assert!(next > epoch);
    assert_eq!(campaign.epoch(), Some(next));
}

#[test]
fn an_owner_whose_node_is_deleted_is_none() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let (callback, events) = told();
    let _campaign = zookeeper.campaign("owner", Vec::new(), callback).unwrap();
    let epoch = won(&events);
    let path = format!("{}/owner", ensemble.root);
    somebody_else(&ensemble.servers, async |client| client.delete(&path, None).await.unwrap());
    assert!(matches!(events.next(), Election::Lost { .. }));
    assert!(won(&events) > epoch);
}

/// The other process of the next test: it campaigns, and prints what it believes.
#[test]
#[ignore = "a part of another test"]
fn candidate() {
    let Ok(servers) = env::var("CANDIDATE_SERVERS") else { return };
    let ensemble = Ensemble {
        root: env::var("CANDIDATE_ROOT").unwrap(),
        session_timeout: SESSION,
        ..Ensemble::new(servers)
    };
    let zookeeper = start(&ensemble);
    let _campaign =
        zookeeper.campaign("owner", Vec::new(), |event| println!("candidate: {event:?}")).unwrap();
    let mut parent = String::new();
    std::io::stdin().read_line(&mut parent).unwrap();
}

#[test]
fn an_owner_that_was_paused_hears_it_when_it_wakes() {
    let Some((_servers, ensemble)) = place() else { return };
    let mut paused = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "candidate", "--nocapture"])
        .env("CANDIDATE_SERVERS", &ensemble.servers)
        .env("CANDIDATE_ROOT", &ensemble.root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(paused.stdout.take().unwrap());
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if line.contains("candidate: ") && sender.send(line).is_err() {
                return;
            }
        }
    });
    let said = |what: &str| {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert!(line.contains(what), "{line}");
        line
    };
    let first = said("Won");
    let zookeeper = start(&ensemble);
    let (callback, events) = told();
    let campaign = zookeeper.campaign("owner", Vec::new(), callback).unwrap();
    let pid = Pid::from_child(&paused);
    kill_process(pid, Signal::STOP).unwrap();
    let epoch = won(&events);
    assert!(!first.contains(&epoch.to_string()));
    kill_process(pid, Signal::CONT).unwrap();
    said("Lost");
    campaign.resign().unwrap();
    said("Won");
    drop(paused.stdin.take());
    assert!(paused.wait().unwrap().success());
}
