//! The metrics page, read by a strict reader of the text format, and by promtool where there is one.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod control;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use control::{now, problem, serve};
use topology::control::Health;

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    samples: Vec<(String, Labels, f64)>,
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// `{a="b",c="d\"e"} 1` behind a name.
fn labels_and_value(mut text: &str) -> (Labels, f64) {
    let mut labels = Labels::new();
    if let Some(inner) = text.strip_prefix('{') {
        text = inner;
        loop {
            let (name, rest) = text.split_once("=\"").unwrap();
            assert!(is_name(name) && !name.contains(':'), "{name}");
            let mut value = String::new();
            let mut chars = rest.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("escape {c}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(name.to_owned(), value), None, "{name} twice");
            text = &rest[end + 1..];
            match text.split_at(1) {
                (",", rest) => text = rest,
                ("}", rest) => break text = rest,
                other => panic!("{other:?}"),
            }
        }
    }
    let value = text.strip_prefix(' ').unwrap();
    assert!(!value.contains(' '), "{value:?}");
    (labels, value.parse().unwrap())
}

/// Every family once, with its help and type before its samples, and no series twice.
fn read(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut series = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) =
            line.strip_prefix("# HELP ").unwrap_or_else(|| panic!("{line}")).split_once(' ').unwrap();
        assert!(is_name(name) && help.ends_with('.'), "{line}");
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
        assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{kind}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        let mut family = Family { kind: kind.to_owned(), ..Family::default() };
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let end = line.find(['{', ' ']).unwrap();
            let (sample, rest) = line.split_at(end);
            let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} under {name}"));
            let fits = if kind == "histogram" {
                matches!(suffix, "_bucket" | "_sum" | "_count")
            } else {
                suffix.is_empty()
            };
            assert!(fits, "{sample}");
            let (labels, value) = labels_and_value(rest);
            assert!(series.insert((sample.to_owned(), labels.clone())), "{line} twice");
            assert!(value.is_finite() && (kind != "counter" || value >= 0.0), "{line}");
            family.samples.push((sample.to_owned(), labels, value));
        }
        assert!(!family.samples.is_empty(), "{name} is empty");
        assert!(families.insert(name.to_owned(), family).is_none(), "{name} twice");
    }
    families
}

fn page() -> (String, BTreeMap<String, Family>) {
    let served = serve();
    served.fake.ban("198.51.100.7", "global", now(), 600);
    served.fake.hold("198.51.100.8");
    let problems = vec![problem("agent_down", "x"), problem("agent_down", "y"), problem("store_behind", "z")];
    *served.fake.health.lock().unwrap() = Health { ok: false, problems };
    let answer = served.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let families = read(&answer.body);
    (answer.body, families)
}

#[test]
fn every_number_has_its_place() {
    let (_, families) = page();
    let value = |name: &str, labels: &[(&str, &str)]| {
        let family = name.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
        let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let samples = &families.get(family).unwrap_or_else(|| panic!("no {family}")).samples;
        let found = samples.iter().find(|(sample, has, _)| sample == name && *has == labels);
        found.unwrap_or_else(|| panic!("{name} {labels:?} in {samples:?}")).2
    };
    for (name, labels, expect) in [
        ("ccfirewall_build_info", &[("version", "0.1.0")][..], 1.0),
        ("ccfirewall_healthy", &[], 0.0),
        ("ccfirewall_alarm", &[("kind", "agent_down")], 1.0),
        ("ccfirewall_lines_total", &[("outcome", "attributed")], 984.0),
        ("ccfirewall_lines_total", &[("outcome", "unparsed")], 10.0),
        ("ccfirewall_unparsed_lines_total", &[("reason", "time")], 10.0),
        ("ccfirewall_bans_total", &[], 3.0),
        ("ccfirewall_bans_in_force", &[], 1.0),
        ("ccfirewall_bans_held", &[], 1.0),
        ("ccfirewall_answer_latency_p99_seconds", &[], 0.04),
        ("ccfirewall_source_clock_skew_seconds", &[("source", control::HOSTILE)], -1.5),
        ("ccfirewall_source_behind_bytes", &[("source", control::HOSTILE)], 77.0),
        ("ccfirewall_source_behind_messages", &[("source", control::HOSTILE)], 78.0),
        ("ccfirewall_agent_up", &[("agent", "10.0.0.2")], 1.0),
        ("ccfirewall_agent_bans_held", &[("agent", "10.0.0.2")], 3.0),
        ("ccfirewall_agent_answers_total", &[("agent", "10.0.0.2"), ("result", "failed")], 1.0),
        ("ccfirewall_store_behind", &[], 2.0),
        ("ccfirewall_store_lost_total", &[], 1.0),
        ("ccfirewall_component_tasks", &[("component", "lines"), ("kind", "spout")], 2.0),
        ("ccfirewall_component_records_total", &[("component", "format")], 1000.0),
        ("ccfirewall_component_errors_total", &[("component", "format"), ("kind", "time")], 10.0),
        ("ccfirewall_component_gauges", &[("component", "format"), ("name", "keys")], 100.0),
        ("ccfirewall_component_spout_pending", &[("component", "lines")], 2.0),
        ("ccfirewall_component_execute_time_seconds_count", &[("component", "format")], 7.0),
        ("ccfirewall_component_execute_time_seconds_sum", &[("component", "format")], 5.0),
        (
            "ccfirewall_component_execute_time_seconds_bucket",
            &[("component", "format"), ("le", "0.000001024")],
            1.0,
        ),
        (
            "ccfirewall_component_execute_time_seconds_bucket",
            &[("component", "format"), ("le", "0.000065536")],
            5.0,
        ),
        ("ccfirewall_component_execute_time_seconds_bucket", &[("component", "format"), ("le", "+Inf")], 7.0),
    ] {
        assert_eq!(value(name, labels), expect, "{name} {labels:?}");
    }
    assert!(value("ccfirewall_source_read_age_seconds", &[("source", control::HOSTILE)]) >= 0.0);
}

#[test]
fn histograms_only_rise() {
    let (_, families) = page();
    let mut histograms = 0;
    for family in families.values().filter(|family| family.kind == "histogram") {
        let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for (_, labels, value) in family.samples.iter().filter(|(name, ..)| name.ends_with("_bucket")) {
            let bound: f64 = labels["le"].parse().unwrap();
            let (before, lower) =
                last.insert(labels["component"].clone(), (bound, *value)).unwrap_or_default();
            assert!(bound > before && *value >= lower, "{labels:?}");
        }
        assert!(last.values().all(|(bound, _)| *bound == f64::INFINITY));
        histograms += last.len();
    }
    assert_eq!(histograms, 2);
}

#[test]
fn every_component_metric_of_the_specification_is_there() {
    let (_, families) = page();
    for name in [
        "tasks",
        "batches_total",
        "records_total",
        "emitted_batches_total",
        "emitted_records_total",
        "errors_total",
        "counts_total",
        "gauges",
        "restarts_total",
        "queue_depth",
        "execute_time_seconds",
        "spout_emitted_total",
        "spout_acked_total",
        "spout_failed_total",
        "spout_replayed_total",
        "spout_abandoned_total",
        "spout_pending",
    ] {
        assert!(families.contains_key(&format!("ccfirewall_component_{name}")), "{name}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let (text, _) = page();
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else {
        println!("skipped: there is no promtool");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success());
}

#[test]
fn every_metric_is_in_the_page() {
    let (_, families) = page();
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in families.keys() {
        assert!(page.contains(&format!("`{name}`")), "docs/http.md doesn't tell of {name}");
    }
}
