//! The history of the settings: every accepted version, once, and the newest thousand.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{place, somebody_else, start};
use zk_config::KEPT_VERSIONS;
use zookeeper_client::{Acls, CreateMode};

#[test]
fn versions_can_be_listed_and_brought_back() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    assert_eq!(zookeeper.history().unwrap(), []);
    let mut node = zookeeper.create_settings_if_absent("zero", "the defaults").unwrap();
    for (text, who) in [("one", "ann"), ("two", "bob"), ("\u{0}\u{202e}\"\n", "o'neil \"\\")] {
        node = zookeeper.write_settings(text, node.expected(), who).unwrap();
    }
    let history = zookeeper.history().unwrap();
    let listed: Vec<(i32, &str)> = history.iter().map(|entry| (entry.version, entry.who.as_str())).collect();
    assert_eq!(listed, [(3, "o'neil \"\\"), (2, "bob"), (1, "ann"), (0, "the defaults")]);
    assert!(history.iter().all(|entry| entry.czxid == node.czxid && entry.at.0 > 1_600_000_000_000));
    let third = zookeeper.history_version(3).unwrap().unwrap();
    assert_eq!(third.settings.as_bytes(), node.text);
    assert_eq!(zookeeper.history_version(4).unwrap(), None);

    // A roll-back is a new version with an old text.
    let old = zookeeper.history_version(1).unwrap().unwrap();
    let back = zookeeper.write_settings(&old.settings, node.expected(), "ann").unwrap();
    assert_eq!((back.version, &*back.text), (4, &b"one"[..]));
}

#[test]
fn the_newest_thousand_are_kept_and_strange_nodes_left_alone() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let node = zookeeper.create_settings_if_absent("zero", "the defaults").unwrap();
    let folder = format!("{}/config_history", ensemble.root);
    let extra = 7;
    // As if an earlier `config` had had many versions; one was overwritten by somebody, another is no version at all.
    somebody_else(&ensemble.servers, async |client| {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let names: Vec<String> =
            (0..KEPT_VERSIONS + extra).map(|version| format!("{folder}/{:016x}-{version:010}", 1)).collect();
        let created: Vec<_> = names.iter().map(|name| client.create(name, b"\0", &options)).collect();
        for create in created {
            create.await.unwrap();
        }
        client.create(&format!("{folder}/lost+found"), b"", &options).await.unwrap();
    });
    let newest = zookeeper.write_settings("one", node.expected(), "ann").unwrap();
    let history = zookeeper.history().unwrap();
    assert_eq!(history.len(), KEPT_VERSIONS);
    assert_eq!((history[0].version, history[0].czxid), (1, newest.czxid));
    assert_eq!(history[1].who, "the defaults");
    assert!(history[2].who.contains("can't be read"));
    // Both versions of this `config` and the newest of the other are left.
    let oldest = i32::try_from(extra + 2).unwrap();
    assert_eq!(history.last().unwrap().version, oldest);
    assert_eq!(
        zookeeper.history_version(oldest).unwrap(),
        None,
        "no settings are taken from what can't be read"
    );
    somebody_else(&ensemble.servers, async |client| {
        assert!(client.check_stat(&format!("{folder}/lost+found")).await.unwrap().is_some());
    });
}
