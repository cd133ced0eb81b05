//! `ccfirewall bans` and `agents` against a served firewall, as a user types them.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod control;
mod journal_common;
mod program;
mod store_common;

use control::{Served, agent, now, serve};
use journal_common::{ban, change};
use model::ban::Change;
use program::{Run, run};
use serde_json::Value;
use topology::config::{Database, MkeySource};
use topology::control::AgentState;

/// Runs it against the served firewall; expects an exit code, and texts on either output.
#[track_caller]
fn check(served: &Served, args: &[&str], code: i32, said: &[&str]) -> Run {
    let state = served.state.path().to_str().unwrap();
    let run = run(args.iter().copied().chain(["--state", state]));
    assert_eq!(run.code, Some(code), "{args:?}: {} {}", run.text(), run.stderr);
    for text in said {
        assert!(
            run.text().contains(text) || run.stderr.contains(text),
            "{args:?}: {} {}",
            run.text(),
            run.stderr
        );
    }
    run
}

#[test]
fn bans_are_made_listed_and_lifted() {
    let served = serve();
    check(&served, &["bans", "list"], 0, &["Nobody is banned."]);
    check(
        &served,
        &["bans", "add", "198.51.100.7", "--for", "2h", "--note", "by Ann"],
        0,
        &["198.51.100.7 is banned until", "(2 h)"],
    );
    check(&served, &["bans", "add", "198.51.100.7", "--for", "3h"], 0, &["was banned already; now until"]);
    check(&served, &["bans", "add", "2001:db8::/64"], 0, &["2001:db8::/64 is banned until", "(10 min)"]);
    let list = check(&served, &["bans", "list"], 0, &["by hand", "by Ann", "2 bans in force"]);
    assert!(list.text().contains("target"), "{}", list.text());
    check(&served, &["bans", "list", "2001:db8::/32"], 0, &["1 ban in force for `2001:db8::/32`"]);
    check(&served, &["bans", "list", "nothing"], 0, &["No ban in force for `nothing`."]);
    check(&served, &["bans", "list", "--limit", "1"], 0, &["1 more than shown"]);
    let removed = check(
        &served,
        &["bans", "remove", "2001:db8::/64", "192.0.2.1", "198.51.100.7"],
        1,
        &["refused: 192.0.2.1 isn't banned"],
    );
    assert_eq!(removed.text().lines().count(), 2, "{}", removed.text());
    assert!(served.fake.banned().is_empty());
}

#[test]
fn json_is_what_the_pages_say() {
    let served = serve();
    let added = check(&served, &["bans", "add", "198.51.100.7", "-o", "json"], 0, &[]);
    let added: Value = serde_json::from_str(added.text()).unwrap();
    assert_eq!(added["changes"][0]["change"], "banned");
    // More than a page of the API has.
    for n in 0..1500 {
        served.fake.ban(&format!("10.0.{}.{}", n / 250, n % 250), "global", now(), 600);
    }
    let listed = check(&served, &["bans", "list", "-o", "json", "--limit", "2000"], 0, &[]);
    let listed: Value = serde_json::from_str(listed.text()).unwrap();
    assert_eq!((listed["bans"].as_array().unwrap().len(), &listed["total"]), (1501, &1501.into()));
    assert_eq!(listed["next"], Value::Null);
    let history = check(&served, &["bans", "history", "-o", "json"], 0, &[]);
    assert_eq!(serde_json::from_str::<Value>(history.text()).unwrap()["bans"][0]["rule"], "/login");
}

#[test]
fn held_bans_are_released_or_forgotten() {
    let served = serve();
    check(&served, &["bans", "held"], 0, &["No bans are held."]);
    check(&served, &["bans", "release", "--all"], 0, &["There was nothing to do."]);
    for n in 1..=4 {
        served.fake.hold(&format!("198.51.100.{n}"));
    }
    check(&served, &["bans", "held"], 0, &["max_new_bans_per_minute", "4 held bans"]);
    let released = check(&served, &["bans", "release", "198.51.100.1"], 0, &["198.51.100.1 is banned until"]);
    assert_eq!(released.text().lines().count(), 1, "{}", released.text());
    check(&served, &["bans", "discard", "198.51.100.2"], 0, &["the held ban of 198.51.100.2 is forgotten"]);
    check(&served, &["bans", "release", "198.51.100.2"], 1, &["refused: no such ban is held"]);
    check(&served, &["bans", "release", "--all"], 0, &["198.51.100.3", "198.51.100.4"]);
    assert_eq!(served.fake.banned().len(), 3);
    check(&served, &["bans", "release"], 2, &["--all"]);
    check(&served, &["bans", "release", "--all", "198.51.100.1"], 2, &["--all"]);
}

#[test]
fn history_shows_what_a_terminal_may_see() {
    let served = serve();
    let history = check(
        &served,
        &["bans", "history", "198.51.100.7", "--since", "1h"],
        0,
        &["/login", "1,200", "1 done", "failed: 10.0.0.3", "in force until", ", by hand"],
    );
    assert!(!history.text().contains('\u{1b}'), "{}", history.text());
    let filter = served.fake.filters.lock().unwrap()[0].clone();
    let ago = now().0 - filter.since.unwrap().0;
    assert!((3_600_000..3_660_000).contains(&ago), "{ago}");
    check(&served, &["bans", "history", "192.0.2.66"], 1, &["ccfirewall says: the database is locked"]);
}

#[test]
fn what_is_refused_and_what_fails() {
    let served = serve();
    check(
        &served,
        &["bans", "add", "127.0.0.1"],
        1,
        &["refused: 127.0.0.1 is on the allowlist or protected"],
    );
    *served.fake.stuck.lock().unwrap() = true;
    check(&served, &["bans", "add", "192.0.2.1"], 1, &["error: ccfirewall says: it wasn't kept"]);
    for wrong in [
        &["bans", "add", "example.com"][..],
        &["bans", "add", "192.0.2.1", "--for", "soon"],
        &["bans", "add", "192.0.2.1", "--for", "0s"],
        &["bans", "remove"],
        &["bans", "list", "--limit", "0"],
        &["bans", "history", "--since", "yesterday"],
        &["bans"],
    ] {
        check(&served, wrong, 2, &[]);
    }
}

#[test]
fn a_firewall_that_does_not_run_is_told() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap().to_owned();
    for args in [&["bans", "list"][..], &["bans", "remove", "192.0.2.1"], &["bans", "history"], &["agents"]] {
        let run = run(args.iter().copied().chain(["--state", &state]));
        assert_eq!(run.code, Some(1), "{args:?}");
        assert!(
            run.stderr.starts_with("error: ccfirewall isn't running: there is no control socket"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("ccfirewall run"), "{}", run.stderr);
        assert!(run.text().is_empty());
    }
    drop(std::os::unix::net::UnixListener::bind(format!("{state}/control.sock")).unwrap());
    let run = run(["agents", "--state", &state]);
    assert!(run.stderr.contains("nobody listens"), "{}", run.stderr);
}

#[test]
fn history_is_read_from_the_database_that_the_configuration_names() {
    store_common::each("history_by_configuration", |db| {
        db.store_all(vec![change(Change::Banned(ban("203.0.113.9", 1)))]);
        let state = tempfile::tempdir().unwrap();
        let config = state.path().join("ccfirewall.toml");
        let database = match &db.place {
            Database::Sqlite(path) => format!("database = {path:?}"),
            Database::Mysql(server) => {
                let Some(MkeySource::File(password)) = &server.password else { panic!("no password") };
                format!("url = {:?}\npassword_file = {password:?}", server.url)
            }
        };
        let text = format!("state = {:?}\n[[source]]\nlog = \"access.log\"\n[store]\n", state.path());
        std::fs::write(&config, format!("{text}{database}\n")).unwrap();
        let args = ["bans", "history", "--config", config.to_str().unwrap()];
        let read = run(args);
        assert_eq!(read.code, Some(0), "{}", read.stderr);
        assert!(read.text().contains("203.0.113.9"), "{}", read.text());

        let nowhere =
            if db.is_mysql() { "url = \"mysql://nobody@127.0.0.1:1/x\"" } else { "database = \"none.db\"" };
        std::fs::write(&config, format!("{text}{nowhere}\n")).unwrap();
        let unread = run(args);
        assert_eq!(unread.code, Some(1));
        assert!(
            unread.stderr.contains("can't be read") && unread.stderr.contains("named right"),
            "{}",
            unread.stderr
        );
        std::fs::write(&config, "[store]\nnonsense = 1\n").unwrap();
        assert!(run(args).stderr.contains("nonsense"));
    });
}

#[test]
fn agents_are_shown_with_their_troubles() {
    let served = serve();
    check(&served, &["agents"], 0, &["10.0.0.2:9090", "nftables", "right"]);
    let mut down = agent("10.0.0.9", AgentState::Down);
    down.last_error = Some("connection refused \u{1b}[2J".to_owned());
    down.clock_skew_ms = Some(-3400);
    served.fake.agents.lock().unwrap().push(down);
    let shown = check(&served, &["agents"], 1, &["down", "-3.4 s", "error: 10.0.0.9: connection refused"]);
    assert!(!shown.text().contains('\u{1b}'));
    let json = check(&served, &["agents", "-o", "json"], 1, &[]);
    assert_eq!(serde_json::from_str::<Value>(json.text()).unwrap()["agents"][2]["state"], "down");
    served.fake.agents.lock().unwrap().clear();
    check(&served, &["agents"], 0, &["There are no agents"]);
}

#[test]
fn help_has_examples() {
    for command in ["bans", "agents", "doctor"] {
        assert!(run([command, "--help"]).text().contains("Examples:"), "{command}");
    }
}
