//! `ccfirewall doctor` as a user runs it. What each check judges is tested beside it.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod control;
mod program;

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use control::{agent, problem, serve};
use program::{Run, file, run};
use serde_json::Value;
use tempfile::TempDir;
use topology::control::{AgentState, Health};

fn doctor(args: &[&str], state: &Path) -> (Run, Value) {
    let state = state.to_str().unwrap();
    let json = run(args.iter().copied().chain(["--state", state, "-o", "json"]));
    let report = serde_json::from_str(json.text()).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    (json, report)
}

#[track_caller]
fn level<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check} in {report:#}"))["level"].as_str().unwrap()
}

/// A line of this moment, or of another.
fn line(address: &str, ahead: i64) -> String {
    let second = model::units::Second(control::now().second().0 + ahead);
    let time = model::time::Civil::of(second).time_local();
    format!("{address} - - [{time}] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n")
}

fn log(folder: &TempDir, ahead: i64) -> String {
    let text: String = (0..100).map(|n| line(&format!("198.51.100.{n}"), ahead)).collect();
    file(folder, "access.log", text).to_str().unwrap().to_owned()
}

#[test]
fn a_log_that_is_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 0);
    let settings = file(&folder, "settings.json", r#"{"count": 100}"#);
    let args = ["doctor", "--log", &log, "--settings", settings.to_str().unwrap()];
    let (_, report) = doctor(&args, folder.path());
    for check in ["settings", "log", "lines", "growth", "clock", "reach"] {
        assert_eq!(level(&report, check), "ok", "{check}: {report:#}");
    }
    for check in ["running", "database"] {
        assert_eq!(level(&report, check), "skipped", "{check}: {report:#}");
    }
}

#[test]
fn a_log_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(&folder, 7200);
    let settings = file(&folder, "settings.json", r#"{"count": 0}"#);
    let args = ["doctor", "--log", &path, "--log-format", "json", "-s", settings.to_str().unwrap()];
    let (run, report) = doctor(&args, folder.path());
    assert_eq!(run.code, Some(1));
    assert_eq!((level(&report, "lines"), level(&report, "settings")), ("bad", "bad"), "{report:#}");
    let (_, report) = doctor(&["doctor", "--log", &path], folder.path());
    assert_eq!(level(&report, "clock"), "bad", "{report:#}");
    let (run, report) = doctor(&["doctor", "--log", "/nonexistent/access.log"], folder.path());
    assert_eq!((run.code, level(&report, "log")), (Some(1), "bad"));
    let (run, report) = doctor(&["doctor", "--log", &path, "--log-format", "squid"], folder.path());
    assert_eq!((run.code, level(&report, "format")), (Some(1), "bad"));
}

#[test]
fn a_log_that_grows_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let path = log(&folder, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut log = std::fs::File::options().append(true).open(&path).unwrap();
            while !done.load(Ordering::Relaxed) {
                log.write_all(line("198.51.100.7", 0).as_bytes()).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let (_, report) = doctor(&["doctor", "--log", &path], folder.path());
        done.store(true, Ordering::Relaxed);
        assert_eq!(level(&report, "growth"), "ok", "{report:#}");
        assert!(report.to_string().contains("bytes were written"), "{report:#}");
        assert_eq!(level(&report, "clock"), "ok", "{report:#}");
    });
}

#[test]
fn a_running_firewall_is_asked() {
    let served = serve();
    let log = log(&served.state, 0);
    let (_, report) = doctor(&["doctor", "--log", &log], served.state.path());
    assert_eq!((level(&report, "running"), level(&report, "agent")), ("ok", "ok"), "{report:#}");
    let problems = vec![problem("agent_down", "10.0.0.2 can't be reached")];
    *served.fake.health.lock().unwrap() = Health { ok: false, problems };
    *served.fake.agents.lock().unwrap() = vec![agent("10.0.0.2", AgentState::Down)];
    let (run, report) = doctor(&["doctor", "--log", &log], served.state.path());
    assert_eq!(run.code, Some(1));
    assert_eq!((level(&report, "running"), level(&report, "agent")), ("bad", "bad"), "{report:#}");
}

#[test]
fn a_configuration_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 0);
    let mut dry = agent::Config::new(agent::key::Key::new("a key for tests").unwrap());
    (dry.listen, dry.enforcer) = ("127.0.0.1:0".parse().unwrap(), agent::Choice::DryRun);
    let dry = agent::start(dry).unwrap();
    let address = dry.address();
    file(&folder, "mkey", "a key for tests\n");
    let config = format!(
        "state = \"state\"\n[[source]]\nlog = \"{log}\"\n[[agents]]\naddress = \"{address}\"\nmkey_file = \"mkey\"\n"
    );
    let config = file(&folder, "ccfirewall.toml", config);
    let config = config.to_str().unwrap();
    let json = run(["doctor", "--config", config, "-o", "json"]);
    let report: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(level(&report, "lines"), "ok", "{report:#}");
    assert_eq!((level(&report, "agent"), level(&report, "rights")), ("warn", "skipped"), "{report:#}");
    assert!(report.to_string().contains(&folder.path().join("state").display().to_string()), "{report:#}");
    let bad = file(&folder, "bad.toml", "stat = 1\n");
    let run = run(["doctor", "--config", bad.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(run.text().contains("config") && run.text().contains("did you mean"), "{}", run.text());
}

#[test]
fn text_is_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, 0);
    let shown = run(["doctor", "--log", &log, "-f", "json", "--state", folder.path().to_str().unwrap()]);
    assert!(shown.text().contains("bad   lines"), "{}", shown.text());
    assert!(shown.text().contains("→ "), "{}", shown.text());
    assert!(shown.text().contains("bad, "), "{}", shown.text());
    assert!(!shown.text().contains('\u{1b}'), "no colours in a pipe");
    assert!(shown.text().lines().all(|line| line.chars().count() <= 200), "{}", shown.text());
    assert_eq!(run(["doctor", "--log", "x", "--config", "y"]).code, Some(2));
}
