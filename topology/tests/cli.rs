//! The program's commands, exit codes and messages; `replay` has a file of its own.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod program;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use model::key::KeyScheme;
use model::synthetic::Traffic;
use model::units::Second;
use program::{Run, file, flood, line, program, run, run_into_closed_pipe, run_with_input};
use serde_json::Value;

const BAD_SETTINGS: &str = r#"{"count": 0, "block_second": -1, "ip_white_list": ["x"], "nothing": 1}"#;

/// Expects an exit code, and texts on standard error.
#[track_caller]
fn check(args: &[&str], code: i32, said: &[&str]) -> Run {
    let run = run(args);
    assert_eq!(run.code, Some(code), "{args:?}: {}", run.stderr);
    for text in said {
        assert!(run.stderr.contains(text), "{args:?}: no {text:?} in {}", run.stderr);
    }
    run
}

#[test]
fn exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", line("198.51.100.7", 0));
    let log = log.to_str().unwrap();
    let bad = file(&folder, "bad.json", BAD_SETTINGS);
    let bad = bad.to_str().unwrap();
    check(&["replay", "-o", "none", log], 0, &["\"lines\":1"]);
    check(&["--help"], 0, &[]);
    check(&["--version"], 0, &[]);
    for command in ["replay", "explain", "settings", "generate", "completions"] {
        let help = check(&[command, "--help"], 0, &[]);
        assert!(help.text().contains("Examples:"), "{command}");
    }
    check(&[], 2, &["Usage"]);
    check(&["replay"], 2, &["LOG"]);
    check(&["replay", "--nothing", log], 2, &["--nothing"]);
    check(&["replay", "--threads", "0", log], 2, &["--threads"]);
    check(&["replay", "--window-memory", "many", log], 2, &["--window-memory"]);
    check(&["replay", "--log-format", "$remote_addr", log], 2, &["--log-format", "time"]);
    check(&["replay", "--log-format", "squid", log], 2, &["squid"]);
    check(&["replay", "--geoip", log, log], 2, &["--geoip"]);
    check(&["generate", "--clients", "0", "--attackers", "0"], 2, &["--clients"]);
    check(&["generate", "--start", "yesterday"], 2, &["--start"]);
    check(&["completions", "dos"], 2, &["dos"]);
    check(&["replay", "--settings", bad, log], 3, &["4 errors"]);
    check(&["replay", "--settings", "no-such-file", log], 2, &["no-such-file"]);
    check(&["explain", "--settings", bad, "x"], 3, &["4 errors"]);
    check(&["settings", "check", bad], 3, &["4 errors"]);
    check(&["settings", "show", bad], 3, &["4 errors"]);
}

#[test]
fn output_that_cannot_be_written_fails() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", flood("198.51.100.7", 200));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = program().arg("replay").arg(log).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_settings_error_is_listed_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", flood("198.51.100.7", 200));
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/settings");
    let errors = std::fs::read_to_string(settings.join("every_error.txt")).unwrap();
    let bad = settings.join("every_error.json");
    let (bad, log) = (bad.to_str().unwrap(), log.to_str().unwrap());
    for args in [&["settings", "check", bad][..], &["replay", "-o", "json", "-s", bad, log]] {
        let run = check(args, 3, &[]);
        for error in errors.lines() {
            assert!(run.stderr.contains(error), "{args:?}: no {error:?} in {}", run.stderr);
        }
        assert!(run.stdout.is_empty(), "{args:?}");
        assert!(!run.stderr.contains("\"lines\""), "{args:?} ran");
    }
}

#[test]
fn settings_check_show_and_schema() {
    let folder = tempfile::tempdir().unwrap();
    let settings = file(&folder, "settings.json", r#"{"count": "7", "special_rule": {"h/login": {}}}"#);
    let settings = settings.to_str().unwrap();
    let checked = check(&["settings", "check", settings], 0, &[]);
    assert!(checked.text().contains("warning: special_rule[\"h/login\"]: "), "{}", checked.text());
    assert!(checked.text().contains("no errors, 1 warning"));

    let shown: Value =
        serde_json::from_slice(&check(&["settings", "show", settings], 0, &[]).stdout).unwrap();
    assert_eq!(shown["count"], 7);
    assert_eq!(shown["special_rule"]["h/login"]["block_second"], 600);
    let again = run_with_input(["settings", "show", "-"], shown.to_string().as_bytes());
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), shown);
    let defaults: Value = serde_json::from_slice(&check(&["settings", "show"], 0, &[]).stdout).unwrap();
    assert_eq!((&defaults["count"], &defaults["ipv6_prefix"]), (&200.into(), &64.into()));

    for args in [&["settings", "schema"][..], &["settings", "schema", settings]] {
        let schema: Value = serde_json::from_slice(&check(args, 0, &[]).stdout).unwrap();
        for key in ["count", "threshold_secound", "trusted_proxies", "records_kept"] {
            assert!(schema["properties"][key]["description"].is_string(), "{key}");
        }
    }
}

/// Expects lines of what `explain` says to begin like this, in this order.
#[track_caller]
fn explains(args: &[&str], line: &str, expect: &[&str]) {
    let run = run(["explain"].iter().chain(args).chain(&["--", line]));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut lines = run.text().lines();
    for wanted in expect {
        assert!(lines.any(|line| line.starts_with(wanted)), "no {wanted:?} in {}", run.text());
    }
}

#[test]
fn explain_says_what_each_stage_makes_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let settings = r#"{"trusted_proxies": ["10.0.0.0/8"], "default_host": "h", "ip_white_list": ["2001:db8::9"],
        "special_rule": {"h/login": {"block_second": 9}}}"#;
    let settings = file(&folder, "settings.json", settings);
    let format = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_x_forwarded_for""#;
    let with = ["--settings", settings.to_str().unwrap(), "--log-format", format];
    let proxied = |forwarded_for: &str| {
        format!(
            "10.0.0.1 - - [22/Nov/2026:10:09:00 +0100] \"POST /login?x HTTP/1.1\" 200 5 \"{forwarded_for}\""
        )
    };
    explains(
        &with,
        &proxied("forged, 2001:db8::7, 10.0.0.2"),
        &[
            "line      10.0.0.1",
            "field     remote_addr = 10.0.0.1",
            "field     http_x_forwarded_for = forged, 2001:db8::7, 10.0.0.2",
            "time      2026-11-22T09:09:00Z",
            "client    2001:db8::7: hop 2 from the right",
            "counted   as 2001:db8::/64",
            "place     ",
            "url       h/login",
            "rule      special h/login: block for 9",
            "guards    allowlisted",
        ],
    );
    explains(&with, &proxied("x"), &["client    unattributed: hop 1"]);
    explains(&with, &proxied("10.0.0.3"), &["client    unattributed: every hop"]);
    explains(&with, &proxied("-"), &["client    unattributed: the peer is a trusted proxy"]);
}

#[test]
fn explain_says_why_a_line_is_unparsed() {
    let head = "198.51.100.7 - - [22/Nov/2026:10:09:00 +0000]";
    for (line, reason) in [
        (String::new(), "empty"),
        ("\x16\x03\x01".to_owned(), "address"),
        (head.replace(".7 ", ".7:80 "), "address"),
        (head.replace("22/", "32/") + " \"\" 200 5", "time"),
        (format!("{head} \"GET / HTTP/1.1 200 5"), "request"),
        (format!("{head} \"GET / HTTP/1.1\" 20 5"), "status"),
        (format!("{head} \"GET / HTTP/1.1\" 200 x"), "bytes"),
    ] {
        explains(&[], &line, &[&format!("unparsed  {reason}: "), "          it counts as unparsed"]);
    }
    explains(&["--log-format", "json"], "{\"remote_addr\":", &["unparsed  json: "]);
    // Many lines, some of them no UTF-8, from standard input.
    let input = [&b"\xff\xfe\x1b[31m\n\n"[..], line("198.51.100.7", 0).as_bytes()].concat();
    let run = run_with_input(["explain", "-"], &input);
    assert_eq!(run.code, Some(0));
    let count = |what: &str| run.text().lines().filter(|line| line.starts_with(what)).count();
    assert_eq!((count("line "), count("unparsed "), count("client ")), (3, 2, 1), "{}", run.text());
    assert!(!run.text().contains('\x1b'), "a terminal would obey it");
}

#[test]
fn generate_is_reproducible_and_replay_finds_exactly_the_attackers() {
    let generate = |seed: &str| {
        let args = ["generate", "-n", "30000", "--clients", "500", "--attackers", "4", "--seed", seed];
        check(&args, 0, &[]).stdout
    };
    let log = generate("7");
    assert_eq!(log, generate("7"), "the same seed makes the same bytes");
    assert_ne!(log, generate("8"));
    assert_eq!(log.iter().filter(|&&byte| byte == b'\n').count(), 30_000);

    let run = run_with_input(["replay", "-o", "json", "-"], &log);
    assert_eq!((run.counter("lines"), run.counter("parsed"), run.counter("warns")), (30_000, 30_000, 0));
    let found: BTreeSet<String> =
        run.decisions().iter().map(|decision| decision["ip"].as_str().unwrap().to_owned()).collect();
    let traffic = Traffic { clients: 500, attackers: 4, start: Second(1_767_225_600), seed: 7 };
    let keys = KeyScheme::new(64);
    let attackers = (0..4).map(|n| keys.network(keys.key(traffic.attacker(n))).to_string());
    assert_eq!(found, attackers.collect());
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = check(&["completions", shell], 0, &[]);
        assert!(run.text().contains("ccfirewall") && run.text().contains("replay"), "{shell}");
    }
}

#[test]
fn nobody_reading_the_output_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", flood("198.51.100.7", 400));
    let log = log.to_str().unwrap();
    for args in [
        &["generate", "-n", "100000"][..],
        &["replay", log],
        &["replay", "-o", "json", log],
        &["explain", "x"],
        &["settings", "show"],
        &["settings", "schema"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let (status, stderr) = run_into_closed_pipe(args);
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
        assert_eq!(status.code(), Some(0), "{args:?}: {stderr}");
    }
}

#[test]
fn its_own_messages_as_text_or_json() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", line("198.51.100.7", 0));
    let settings = file(&folder, "settings.json", r#"{"special_rule": {"h/login": {}}}"#);
    let (log, settings) = (log.to_str().unwrap(), settings.to_str().unwrap());
    let args = ["replay", "-o", "none", "-s", settings, log];
    let text = check(&args, 0, &["WARN", "special_rule[\"h/login\"]"]);
    assert!(!text.stderr.contains('\x1b'), "colours are for terminals");
    let run = run(args.iter().chain(&["--logs", "json"]));
    let first: Value = serde_json::from_str(run.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(first["level"], "WARN");
}
