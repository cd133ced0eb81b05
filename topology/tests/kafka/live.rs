//! The whole program before a real Kafka.

use std::fs;
use std::path::Path;
use std::time::Duration;

use real_servers::Servers;
use topology::app::{LiveApp, LiveOptions};
use topology::config::Config;

use crate::common::*;

fn config(folder: &Path, topic: &Topic) -> Config {
    let settings = r#"{"count": "20", "threshold_secound": "60", "block_second": "600", "if_warning": "false", "max_banned_share": 1}"#;
    fs::write(folder.join("settings.json"), settings).unwrap();
    let Topic { brokers, name, .. } = topic;
    let text = format!(
        "state = 'state'\nsettings = 'settings.json'\n[[source]]\nkafka = '{name}'\nstart = 'beginning'\n\
         [kafka]\nbrokers = '{brokers}'\ngroup = '{name}'\nsession_timeout = 2\n[kafka.properties]\n\
         reconnect.backoff.max.ms = 500\n[agent]\nenforcer = 'dry-run'\n[http]\nlisten = '127.0.0.1:0'\n"
    );
    Config::parse(&text, folder).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A firewall that ended in this process may take a moment to let go of its journal.
fn start(folder: &Path, topic: &Topic) -> LiveApp {
    let mut started = None;
    until("it starts", || {
        match LiveApp::start(config(folder, topic), LiveOptions::default()) {
            Ok(app) => started = Some(app),
            Err(error) => assert!(error.to_string().contains("is in use by process"), "{error:#}"),
        }
        started.is_some()
    });
    started.unwrap()
}

#[test]
fn a_flood_over_all_partitions_is_one_ban_and_windows_outlive_a_restart() {
    let Some(topic) = Topic::shared("flood", 4) else { return };
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), &topic);
    topic.send_lines(0..12, 4);
    until("the lines are counted", || app.status().lines.lines >= 12);
    until("each partition is a source", || {
        let status = app.control().status();
        let of = |n: i32| format!("kafka:{}#{n}", topic.name);
        (0..4).all(|n| status.live.sources.contains_key(of(n).as_str()))
            && status.sources.iter().filter(|source| source.behind_messages == Some(0)).count() == 4
    });
    assert!(app.control().bans().is_empty() && app.control().health().ok);
    app.stop().unwrap();
    topic.send_lines(12..20, 4);
    // Eight new lines make twenty only with those of before.
    let app = start(folder.path(), &topic);
    until("there is a ban", || !app.control().bans().is_empty());
    assert_eq!(app.control().bans().len(), 1);
    assert_eq!(app.control().bans()[0].target.to_string(), "192.0.2.1");
    // A second firewall of the group is refused while this one runs.
    let other = tempfile::tempdir().unwrap();
    let refused = LiveApp::start(config(other.path(), &topic), LiveOptions::default());
    let text = format!("{:#}", refused.err().unwrap());
    assert!(text.contains("another member of group"), "{text}");
    app.stop().unwrap();
    // Nothing is decided twice.
    let app = start(folder.path(), &topic);
    until("it is live again", || {
        app.control().status().sources.iter().filter(|source| source.behind_messages == Some(0)).count() == 4
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((app.control().bans().len(), app.status().bans), (1, 0));
    app.stop().unwrap();
}

#[test]
fn a_broker_that_is_away_is_told_and_bans_stay() {
    let Some(servers) = Servers::own("kafka-live") else { return };
    let topic = Topic::unmade("live-away", &servers.up("kafka"));
    topic.make(2);
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), &topic);
    topic.send_lines(0..20, 2);
    until("20 lines", || app.status().lines.lines >= 20);
    eprintln!("{:#?}\n{:#?}", app.status(), app.control().health());
    until("there is a ban", || !app.control().bans().is_empty());
    servers.kill("kafka");
    until("it is told", || !app.control().health().ok);
    let health = app.control().health();
    let told = health
        .problems
        .iter()
        .any(|problem| problem.kind == "source" && problem.text.contains("can't be reached"));
    assert!(told, "{health:?}");
    assert_eq!(app.control().bans().len(), 1);
    servers.up("kafka");
    topic.send_lines(20..30, 2);
    until("it goes on", || app.status().lines.lines >= 30 && app.control().health().ok);
    assert_eq!(app.status().lines.lines, 30, "each line once");
    app.stop().unwrap();
}
