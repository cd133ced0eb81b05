//! An ensemble of three whose leader is killed.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::time::Duration;

use common::{PATIENCE, ensemble, start, told, until};
use real_servers::Servers;
use zk_config::{Election, Ensemble, SettingsSeen};

#[test]
fn the_loss_of_a_leader_is_outlived() {
    let Some(servers) = Servers::own("zk-ensemble") else { return };
    let mut ensemble = ensemble(&servers.up("zookeeper3"));
    // Sessions that outlive an election of the servers even on a busy machine.
    ensemble.session_timeout = Duration::from_secs(20);
    // Some sessions are with the leader itself, others aren't.
    let urls: Vec<String> = ensemble.servers.split(',').map(str::to_owned).collect();
    let orders = [
        ensemble.servers.clone(),
        [&*urls[1], &urls[2], &urls[0]].join(","),
        [&*urls[2], &urls[0], &urls[1]].join(","),
    ];
    let members: Vec<_> =
        orders.map(|servers| start(&Ensemble { servers, ..ensemble.clone() })).into_iter().collect();
    let mut node = members[0].create_settings_if_absent("0", "test").unwrap();
    let mut kept = Vec::new();
    let mut settings = Vec::new();
    let mut workers = Vec::new();
    for (number, member) in members.iter().enumerate() {
        kept.push(member.keep_ephemeral(&format!("workers/{number}"), Vec::new()).unwrap());
        let ((seen, told_settings), (children, told_workers)) = (told(), told());
        settings.push((member.watch_settings(seen).unwrap(), told_settings));
        workers.push((member.watch_children("workers", children).unwrap(), told_workers));
    }
    for one in &kept {
        one.wait_held(PATIENCE).unwrap();
    }
    let there: Vec<_> = workers.iter().map(|(_, told)| told.until(|workers| workers.len() == 3)).collect();
    let (callback, events) = told();
    let campaign = members[0].campaign("owner", Vec::new(), callback).unwrap();
    let Election::Won { epoch } = events.next() else { panic!("lost before it was won") };
    let (callback, other_events) = told();
    let _other = members[1].campaign("owner", Vec::new(), callback).unwrap();

    for round in 1..=2 {
        let leader = servers.leader();
        servers.kill(&leader);
        // A write that begins without a leader comes through, and everybody sees it.
        node = members[round % 3].write_settings(&round.to_string(), node.expected(), "test").unwrap();
        for (_, told) in &settings {
            told.until(|seen| matches!(seen, SettingsSeen::Node(seen) if *seen == node));
        }
        until("the owner is certain", || campaign.epoch() == Some(epoch));
        servers.up(&leader);
    }
    for one in &kept {
        one.wait_held(PATIENCE).unwrap();
    }
    // No node has gone in between, not even for a moment that a watch would tell of.
    for ((_, told), there) in workers.iter().zip(&there) {
        let changes = told.so_far();
        assert!(changes.iter().all(|workers| workers == there), "{changes:?}");
    }
    assert_eq!((events.so_far(), other_events.so_far()), (vec![], vec![]), "the owner is the same");
}
