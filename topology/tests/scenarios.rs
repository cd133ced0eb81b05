//! The rules of the semantics, one small log each: `scenarios/<name>/` has the settings, the log (what each line is
//! for stands where browsers have their name) and the decisions that `replay --output json` prints.
//!
//! `UPDATE_EXPECT=1` writes the decisions anew; read the difference before it is committed.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Case, counters, printed};

/// Each scenario with the counters that aren't 0.
const SCENARIOS: [(&str, &str); 17] = [
    ("block_at_the_nth", "clients 3, records 3, blocks 2"),
    ("block_wins_over_warn", "clients 3, records 3, blocks 1, warns 1"),
    ("a_warn_suppresses_nothing", "clients 1, records 3, blocks 1, warns 2"),
    ("while_banned", "clients 3, records 4, blocks 4, while_banned 4"),
    ("late_lines", "clients 2, records 1, blocks 1, while_banned 1, late 3"),
    ("ties", "clients 3, records 4, blocks 3"),
    ("out_of_order", "clients 2, records 5, blocks 2"),
    ("special_rules", "clients 8, records 7, blocks 6, warns 1"),
    ("an_empty_url_list", "clients 2, records 4, blocks 1"),
    ("listed_urls", "clients 6, records 6, blocks 3"),
    ("an_allowlisted_address_in_a_flooding_prefix", "clients 5, records 5, blocks 2"),
    ("forged_x_forwarded_for", "unattributed 7, clients 3, records 3, blocks 3"),
    ("a_block_of_0_seconds", "clients 1, records 2, blocks 2, while_banned 2"),
    ("a_count_of_1", "clients 2, records 5, blocks 2, while_banned 1"),
    ("switched_off", "clients 2, records 3, warns 1"),
    ("unread_lines_count_for_nobody", "unparsed 13, clients 1, records 1, blocks 1"),
    ("countries", "clients 3, records 3, blocks 3"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// The scenario's parts: log, settings, log format, expected decisions.
fn files(name: &str) -> [PathBuf; 4] {
    ["access.log", "settings.json", "log_format", "expected.jsonl"].map(|file| folder().join(name).join(file))
}

fn check(name: &str, expect_counters: &str) {
    let [log, settings, log_format, expected] = files(name);
    let mut case = Case::new(&log, &fs::read_to_string(settings).unwrap());
    if log_format.exists() {
        case.log_format = fs::read_to_string(log_format).unwrap().parse().unwrap();
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expected, printed(&case.run_with_countries().summary.decisions)).unwrap();
    }
    let expected = fs::read_to_string(expected).unwrap();
    for (tasks, batch_bytes) in [(1, 65_536), (2, 1), (3, 300)] {
        let replayed = case.cut(tasks, batch_bytes).run_with_countries();
        let found = printed(&replayed.summary.decisions);
        assert_eq!(found, expected, "{name}, {tasks} tasks");
        assert_eq!(counters(&replayed.summary), expect_counters, "{name}, {tasks} tasks");
        assert_eq!(replayed.failures, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn each_comes_out_as_expected_whatever_the_tasks() {
    for (name, counters) in SCENARIOS {
        check(name, counters);
    }
}

#[test]
fn the_program_prints_the_same() {
    for (name, _) in SCENARIOS {
        let [log, settings, log_format, expected] = files(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall"));
        command.args(["replay", "--output", "json", "--threads", "2", "--settings"]);
        command.arg(settings).arg(log);
        if log_format.exists() {
            command.arg("--log-format").arg(log_format);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let expected = fs::read_to_string(expected).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{name}");
    }
}

#[test]
fn every_folder_is_in_the_list() {
    let folders: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, SCENARIOS.map(|(name, _)| name.to_owned()).into());
}
