//! Settings: seen by everybody, and overwritten by nobody who hasn't seen them.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::thread;

use common::{place, somebody_else, start, told};
use zk_config::{ConfigNode, Error, Expected, SettingsSeen};
use zookeeper_client::{Acls, CreateMode};

fn text(seen: &SettingsSeen) -> &[u8] {
    match seen {
        SettingsSeen::Node(node) => &node.text,
        other => panic!("no settings but {other:?}"),
    }
}

#[test]
fn created_once_and_every_change_is_seen() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let (callback, seen) = told();
    let _watch = zookeeper.watch_settings(callback).unwrap();
    assert_eq!(seen.next(), SettingsSeen::Missing);
    assert_eq!(zookeeper.read_settings().unwrap(), None);

    let first = zookeeper.create_settings_if_absent("{}", "the defaults").unwrap();
    assert_eq!((first.version, &*first.text), (0, &b"{}"[..]));
    assert_eq!(zookeeper.create_settings_if_absent("{\"other\":1}", "another").unwrap(), first);
    assert_eq!(seen.next(), SettingsSeen::Node(first.clone()));

    let second = zookeeper.write_settings("{\"b\":2}", first.expected(), "ann").unwrap();
    assert_eq!((second.version, second.czxid), (1, first.czxid));
    assert!(second.mzxid > first.mzxid && second.modified_at >= first.modified_at);
    assert_eq!(seen.next(), SettingsSeen::Node(second.clone()));
    assert_eq!(zookeeper.read_settings().unwrap(), Some(second));
}

#[test]
fn whatever_is_written_is_handed_over_as_it_is() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    zookeeper.create_settings_if_absent("{}", "test").unwrap();
    let (callback, seen) = told();
    let _watch = zookeeper.watch_settings(callback).unwrap();
    assert_eq!(text(&seen.next()), b"{}");
    let path = format!("{}/config", ensemble.root);
    let huge = vec![b'x'; 1_040_000];
    for strange in [&b""[..], b"\0\xff\xfe", b"{\"threshold_secound\":", &huge, b"{}"] {
        somebody_else(&ensemble.servers, async |client| client.set_data(&path, strange, None).await.unwrap());
        assert_eq!(text(&seen.until(|seen| text(seen) == strange)), strange);
        let node = zookeeper.read_settings().unwrap().unwrap();
        assert_eq!(node.text, strange);
        if node.text.contains(&0xff) {
            assert!(matches!(zookeeper.record_accepted(&node, "written directly"), Err(Error::Invalid(_))));
        }
    }
    somebody_else(&ensemble.servers, async |client| client.delete(&path, None).await.unwrap());
    seen.until(|seen| *seen == SettingsSeen::Missing);
    assert_eq!(zookeeper.history().unwrap().len(), 1, "what nobody accepted isn't recorded");
}

#[test]
fn a_version_that_nobody_looked_at_is_not_overwritten() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let first = zookeeper.create_settings_if_absent("first", "test").unwrap();
    let ann = zookeeper.write_settings("ann's", first.expected(), "ann").unwrap();
    let conflict = zookeeper.write_settings("bob's", first.expected(), "bob").unwrap_err();
    assert!(
        matches!(conflict, Error::Conflict { .. }) && conflict.to_string().contains("read them again"),
        "{conflict}"
    );
    assert_eq!(zookeeper.read_settings().unwrap(), Some(ann.clone()));

    // Deleted and created again: the versions are as before, and still it's another node.
    let path = format!("{}/config", ensemble.root);
    somebody_else(&ensemble.servers, async |client| {
        client.delete(&path, None).await.unwrap();
        client.create(&path, b"again", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
        client.set_data(&path, b"and again", None).await.unwrap();
    });
    for expected in [ann.expected(), Expected { czxid: ann.czxid, version: -1 }] {
        assert!(matches!(zookeeper.write_settings("x", expected, "ann"), Err(Error::Conflict { .. })));
    }
    let authors: Vec<String> = zookeeper.history().unwrap().into_iter().map(|entry| entry.who).collect();
    assert_eq!(authors, ["ann", "test"]);
}

#[test]
fn editors_who_race_lose_no_edit() {
    let Some((_servers, ensemble)) = place() else { return };
    start(&ensemble).create_settings_if_absent("0", "test").unwrap();
    let (editors, edits) = (4, 15);
    thread::scope(|scope| {
        for _ in 0..editors {
            scope.spawn(|| {
                let zookeeper = start(&ensemble);
                let mut left = edits;
                while left > 0 {
                    let ConfigNode { text, version, czxid, .. } = zookeeper.read_settings().unwrap().unwrap();
                    let count: u32 = str::from_utf8(&text).unwrap().parse().unwrap();
                    // All under one name, and mostly the same text: only one of them can have written it.
                    match zookeeper.write_settings(
                        &(count + 1).to_string(),
                        Expected { czxid, version },
                        "editor",
                    ) {
                        Ok(_) => left -= 1,
                        Err(Error::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let zookeeper = start(&ensemble);
    let last = zookeeper.read_settings().unwrap().unwrap();
    assert_eq!((last.version, str::from_utf8(&last.text).unwrap()), (editors * edits, "60"));
    for entry in zookeeper.history().unwrap() {
        let version = zookeeper.history_version(entry.version).unwrap().unwrap();
        assert_eq!(version.settings, entry.version.to_string());
    }
}

#[test]
fn large_settings_are_kept_and_too_large_ones_refused() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let mut node = zookeeper.create_settings_if_absent("{}", "test").unwrap();
    for size in [440_000, 600_000, 900_000] {
        let large = "x".repeat(size);
        node = zookeeper.write_settings(&large, node.expected(), "ann").unwrap();
        assert_eq!(node.text.len(), size);
        assert_eq!(zookeeper.history_version(node.version).unwrap().unwrap().settings, large);
    }
    for too_large in ["x".repeat(1_000_000), "\u{1}".repeat(200_000)] {
        let refused = zookeeper.write_settings(&too_large, node.expected(), "ann").unwrap_err();
        assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    }
    assert_eq!(zookeeper.read_settings().unwrap(), Some(node));
}

#[test]
fn an_edit_by_zookeepers_own_shell_is_seen_and_recorded_once() {
    let Some((servers, ensemble)) = place() else { return };
    let watchers = [start(&ensemble), start(&ensemble)];
    watchers[0].create_settings_if_absent("{}", "test").unwrap();
    let (callback, seen) = told();
    let _watch = watchers[1].watch_settings(callback).unwrap();
    assert_eq!(text(&seen.next()), b"{}");
    servers.zkcli(&["set", &format!("{}/config", ensemble.root), "{\"by\":\"hand\"}"]);
    let SettingsSeen::Node(node) = seen.until(|seen| text(seen) == b"{\"by\":\"hand\"}") else {
        unreachable!()
    };
    for watcher in &watchers {
        watcher.record_accepted(&node, "written directly").unwrap();
    }
    let history = watchers[0].history().unwrap();
    let known: Vec<(i32, &str)> = history.iter().map(|entry| (entry.version, entry.who.as_str())).collect();
    assert_eq!(known, [(1, "written directly"), (0, "test")]);
    assert_eq!(history[0].at, node.modified_at);
}

#[test]
fn a_watch_that_is_dropped_is_silent() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = start(&ensemble);
    let node = zookeeper.create_settings_if_absent("{}", "test").unwrap();
    let ((one, dropped), (other, kept)) = (told(), told());
    let watch = zookeeper.watch_settings(one).unwrap();
    let _watch = zookeeper.watch_settings(other).unwrap();
    dropped.next();
    kept.next();
    drop(watch);
    // The other one is on the same node, and mustn't end with it.
    zookeeper.write_settings("{\"a\":1}", node.expected(), "test").unwrap();
    assert_eq!(text(&kept.next()), b"{\"a\":1}");
    assert_eq!(dropped.so_far(), []);
}
