//! `ccfirewall replay`: its inputs, its output, the logs that come with their results.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod program;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use program::{Run, file, flood, line, run, run_with_input, shared_data, without_country};
use serde_json::Value;

const SUMMARY: [&str; 13] = [
    "lines",
    "parsed",
    "unparsed",
    "clients",
    "records",
    "blocks",
    "warns",
    "while_banned",
    "late",
    "unattributed",
    "evicted",
    "elapsed_seconds",
    "lines_per_second",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Replays logs with JSON output and more arguments.
fn replay<P: AsRef<Path>>(args: &[&str], logs: &[P]) -> Run {
    let mut all = vec!["replay".into(), "-o".into(), "json".into()];
    all.extend(args.iter().map(|arg| Path::new(arg).to_owned()));
    all.extend(logs.iter().map(|log| log.as_ref().to_owned()));
    run(all)
}

#[test]
fn decisions_and_summary_have_exactly_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", flood("8.8.8.8", 201) + "\n");
    let run = replay(&[], &[log]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(
        run.text(),
        "{\"time\":\"2026-11-22T10:00:00Z\",\"ip\":\"8.8.8.8\",\"action\":\"block\",\"rule\":\"global\",\
         \"reason\":0,\"count\":200,\"during\":0,\"seconds\":600,\"country\":\"US\"}\n"
    );
    let last = run.stderr.lines().last().unwrap();
    let keys: Vec<&str> = last.split('"').skip(1).step_by(2).collect();
    assert_eq!(keys, SUMMARY, "in this order: {last}");
    assert!(run.summary().as_object().unwrap().values().all(Value::is_number));
    let counters = ["lines", "parsed", "unparsed", "clients", "records", "blocks", "while_banned"];
    assert_eq!(counters.map(|name| run.counter(name)), [202, 201, 1, 1, 1, 1, 1]);
}

#[test]
fn what_can_be_read_of_a_truncated_gz_counts() {
    let folder = tempfile::tempdir().unwrap();
    // So long that a good part can be unpacked from half of it.
    let log: String =
        (0..20_000).map(|n| line(&format!("198.51.{}.{}", n / 250, n % 250), n / 100)).collect();
    let whole = gzip((flood("203.0.113.9", 200) + &log).as_bytes());
    let cut = file(&folder, "cut.gz", &whole[..whole.len() / 2]);
    let after = file(&folder, "after", flood("203.0.113.10", 200));
    for threads in ["1", "2"] {
        let run = replay(&["--threads", threads], &[&cut, &after]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let ips: Vec<Value> = run.decisions().iter().map(|decision| decision["ip"].clone()).collect();
        assert_eq!(ips, ["203.0.113.10", "203.0.113.9"], "decisions come all the same");
        let said: Vec<&str> = run.stderr.lines().collect();
        assert_eq!(said.len(), 2, "{}", run.stderr);
        assert!(said[0].starts_with("error: ") && said[0].contains("cut.gz"), "{}", said[0]);
        assert!((400..20_400).contains(&run.counter("lines")), "{}", said[1]);
    }
}

#[test]
fn nothing_runs_where_an_input_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let there = file(&folder, "there", flood("198.51.100.7", 200));
    let (missing, other) = (folder.path().join("missing"), folder.path().join("other"));
    let run = replay(&[], &[&there, &missing, &other, &folder.path().to_owned()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stdout.is_empty() && !run.stderr.contains("\"lines\""), "{}", run.stderr);
    for said in [missing.to_str().unwrap(), other.to_str().unwrap(), "is a folder"] {
        assert!(run.stderr.contains(said), "no {said:?} in {}", run.stderr);
    }
}

#[test]
fn inputs_are_unpacked_by_content_and_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    // 50 requests each; only all four together, in this order, make a block at second 3 that bans the last.
    let part = |second| line("198.51.100.7", second).repeat(50);
    let inputs = [
        file(&folder, "0.zst", gzip(part(0).as_bytes())),
        file(&folder, "1.log", zstd::encode_all(part(1).as_bytes(), 3).unwrap()),
        file(&folder, "2.gz", part(2).trim_end()),
        Path::new("-").to_owned(),
        file(&folder, "4", line("198.51.100.7", 3).trim_end()),
    ];
    let args = ["replay", "-o", "json", "--threads", "2"].map(Path::new);
    let args = args.iter().copied().chain(inputs.iter().map(PathBuf::as_path));
    let run = run_with_input(args, gzip(part(3).as_bytes()).as_slice());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!((run.counter("lines"), run.counter("parsed")), (201, 201), "no line feed joins no lines");
    assert_eq!((run.counter("blocks"), run.counter("while_banned")), (1, 1));
    assert_eq!(run.decisions()[0]["time"], "2026-11-22T10:00:03Z");
    assert_eq!(run.decisions()[0]["during"], 3);
}

#[test]
fn empty_inputs_have_no_lines() {
    let folder = tempfile::tempdir().unwrap();
    let empty = file(&folder, "empty", "");
    let empty_gz = file(&folder, "empty.gz", gzip(b""));
    let line_feed = file(&folder, "line_feed", "\n");
    let run = replay(&[], &[&empty, &empty_gz, &line_feed, &empty]);
    assert_eq!((run.code, run.counter("lines"), run.counter("unparsed")), (Some(0), 1, 1));
}

#[test]
fn the_log_format_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let directive = "log_format main '$msec $remote_addr '\n                '\"$request\" $status';\n";
    let format = file(&folder, "main.conf", directive);
    let log = file(&folder, "log", "1795288157.591 198.51.100.7 \"GET / HTTP/1.1\" 200\n".repeat(200));
    let run = replay(&["--log-format", format.to_str().unwrap()], &[log]);
    assert_eq!((run.code, run.counter("blocks")), (Some(0), 1), "{}", run.stderr);
}

#[test]
fn the_text_report_tells_what_people_ask() {
    let folder = tempfile::tempdir().unwrap();
    let log = file(&folder, "log", flood("8.8.8.8", 200) + "broken\n" + &line("198.51.100.7", 0));
    let run = run(["replay".as_ref(), log.as_os_str()]);
    assert_eq!(run.code, Some(0));
    for told in ["Decisions", "8.8.8.8", "US", "Busiest addresses", "Busiest URLs", "Countries"] {
        assert!(run.text().contains(told), "no {told:?} in {}", run.text());
    }
    for told in ["Unparsed lines", "no bare IP address", "broken", "202 lines"] {
        assert!(run.text().contains(told), "no {told:?} in {}", run.text());
    }
    assert_eq!(run.counter("blocks"), 1);
}

#[test]
fn real_logs_give_no_decision_but_the_flood() {
    let Some(data) = shared_data() else { return };
    let waf = data.join("waf-samples");
    let json = r#"log_format ccjson escape=json '{"time":"$time_iso8601","msec":$msec,"remote_addr":"$remote_addr","xff":"$http_x_forwarded_for","host":"$host","uri":"$request_uri","status":$status,"bytes":$body_bytes_sent}';"#;
    for (log, format, floods) in [
        (data.join("access-logs/elastic_apache_combined.log"), "combined", false),
        (waf.join("access.log"), "combined", false),
        (waf.join("access.json"), "json", false),
        (waf.join("access.json"), json, false),
        (waf.join("access_flood.log"), "combined", true),
        (waf.join("access_flood.json"), "json", true),
        (waf.join("access_flood.json"), json, true),
    ] {
        let run = replay(&["--log-format", format], &[&log]);
        let name = log.display();
        assert_eq!(run.code, Some(0), "{name}: {}", run.stderr);
        assert_eq!(run.counter("parsed"), run.counter("lines"), "{name}");
        assert!(run.counter("lines") > 100, "{name}");
        let decisions = run.decisions();
        assert_eq!(decisions.is_empty(), !floods, "{name}: {decisions:?}");
        assert!(decisions.len() <= 1, "{name}: {decisions:?}");
    }
}

#[test]
fn the_examples_come_out_as_the_reference_has_them() {
    let Some(data) = shared_data() else { return };
    let folder = data.join("replay-examples");
    for name in ["one", "two", "three", "four"] {
        let part = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        let expect = fs::read_to_string(part("decisions.jsonl")).unwrap();
        let expect: Vec<Value> = expect.lines().map(without_country).collect();
        let counters: Value =
            serde_json::from_str(&fs::read_to_string(part("summary.json")).unwrap()).unwrap();
        for (threads, batch_bytes) in
            [("1", "262144"), ("1", "1"), ("2", "262144"), ("2", "333"), ("3", "65537")]
        {
            let (settings, format) = (part("settings.json"), part("log_format"));
            let mut args = vec!["--settings", settings.to_str().unwrap(), "--threads", threads];
            args.extend(["--batch-bytes", batch_bytes]);
            if format.exists() {
                args.extend(["--log-format", format.to_str().unwrap()]);
            }
            let run = replay(&args, &[part("log")]);
            let how = format!("{name}, {threads} threads, batches of {batch_bytes} bytes");
            assert_eq!(run.code, Some(0), "{how}: {}", run.stderr);
            assert_eq!(run.decisions(), expect, "{how}");
            for (counter, n) in counters.as_object().unwrap() {
                assert_eq!(&run.summary()[counter], n, "{how}: {counter}");
            }
        }
    }
}
