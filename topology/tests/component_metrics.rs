//! Every component of a replay has the same metrics under the same names, and they say what happened.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Case, Replayed};
use engine::{ComponentKind, ComponentSnapshot};
use model::line::Unparsed;

const SETTINGS: &str =
    r#"{"count": 2, "threshold_secound": 5, "block_second": 1, "special_rule": {"/a": {}}}"#;

const COMPONENTS: [(&str, ComponentKind); 6] = [
    ("lines", ComponentKind::Spout),
    ("format", ComponentKind::Bolt),
    ("match", ComponentKind::LocalBolt),
    ("analysis", ComponentKind::Bolt),
    ("geoip", ComponentKind::LocalBolt),
    ("report", ComponentKind::Bolt),
];

/// 30 requests of 3 addresses, one an hour but for a pair at the end, and broken lines of several kinds.
fn log() -> String {
    let line = |address: usize, hour: usize, minute: usize| {
        format!(
            "198.51.100.{address} - - [22/Nov/2026:{hour:02}:{minute:02}:00 +0000] \"GET / HTTP/1.1\" 200 5\n"
        )
    };
    let mut log: String = (0..28).map(|n| line(n % 3, n / 3, n % 3)).collect();
    log += &line(7, 12, 0).repeat(2);
    log + "\n" + &"x\n".repeat(3) + "198.51.100.1 - - [] \"GET / HTTP/1.1\" 200 5\n"
}

fn replayed(tasks: usize) -> Replayed {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    std::fs::write(&path, log()).unwrap();
    Case::new(&path, SETTINGS).cut(tasks, 512).run()
}

fn component<'a>(replayed: &'a Replayed, name: &str) -> &'a ComponentSnapshot {
    let found = replayed.metrics.component(name);
    found.unwrap_or_else(|| panic!("there is no component {name}"))
}

#[test]
fn every_component_has_them_under_the_same_names() {
    let replayed = replayed(2);
    let names: Vec<(&str, ComponentKind)> = replayed
        .metrics
        .components
        .iter()
        .map(|component| (component.name.as_str(), component.kind))
        .collect();
    assert_eq!(BTreeSet::from_iter(names.iter().map(|n| n.0)), COMPONENTS.map(|n| n.0).into());
    for wanted in COMPONENTS {
        assert!(names.contains(&wanted), "{wanted:?} in {names:?}");
    }

    let json = serde_json::to_value(&replayed.metrics).unwrap();
    for component in json["components"].as_array().unwrap() {
        let keys: BTreeSet<&str> = component.as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["batches", "records", "errors", "queue_depth", "execute_time", "restarts"] {
            assert!(keys.contains(key), "{key} of {}", component["name"]);
        }
        assert!(component["execute_time"]["buckets"].is_array());
        let first = json["components"][0].as_object().unwrap();
        assert_eq!(keys, first.keys().map(String::as_str).collect(), "{}", component["name"]);
    }
}

#[test]
fn the_numbers_are_those_of_the_summary() {
    for tasks in [1, 3] {
        let replayed = replayed(tasks);
        let summary = &replayed.summary;
        let (lines, format) = (component(&replayed, "lines"), component(&replayed, "format"));
        assert_eq!(summary.lines.lines, 35);
        assert_eq!(format.records, summary.lines.lines);
        assert_eq!(lines.emitted_records, summary.lines.lines);
        assert_eq!(lines.emitted_batches, format.batches);
        assert!(lines.emitted_batches > 3);
        let spout = lines.spout.unwrap();
        assert_eq!((spout.acked, spout.pending, spout.failed), (lines.emitted_batches, 0, 0));

        let attributed = summary.lines.parsed - summary.lines.unattributed;
        assert_eq!(component(&replayed, "match").records, attributed);
        let analysis = component(&replayed, "analysis");
        assert_eq!(analysis.tasks, tasks);
        assert!((1..=attributed).contains(&analysis.records), "requests of a key are combined");
        let found = summary.decisions.len() as u64 + summary.records;
        assert_eq!(component(&replayed, "geoip").records, found);
        assert_eq!(component(&replayed, "report").records, summary.lines.lines + found);

        for (name, _) in COMPONENTS {
            let component = component(&replayed, name);
            assert_eq!((component.queue_depth, component.restarts), (0, 0), "{name}");
            if component.kind != ComponentKind::Spout {
                assert!(component.batches > 0, "{name}");
                assert_eq!(component.execute_time.count(), component.batches, "{name}");
            }
        }
    }
}

#[test]
fn reasons_of_unparsed_lines_are_kinds_of_errors() {
    let replayed = replayed(1);
    let reasons = [(Unparsed::Empty, 1), (Unparsed::Address, 3), (Unparsed::Time, 1)];
    let expect: BTreeMap<String, u64> = reasons.map(|(reason, n)| (reason.name().to_owned(), n)).into();
    assert_eq!(component(&replayed, "format").errors, expect);
    for (reason, n) in reasons {
        let at = Unparsed::ALL.iter().position(|known| *known == reason).unwrap();
        assert_eq!(replayed.summary.lines.unparsed[at], n, "{reason}");
    }
    for (name, _) in COMPONENTS.iter().filter(|(name, _)| *name != "format") {
        assert!(component(&replayed, name).errors.is_empty(), "{name}");
    }
}
