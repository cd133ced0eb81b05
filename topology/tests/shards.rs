//! Whatever the number of tasks and however a log is cut into batches, the same comes of it.
//!
//! The seed is fixed (`SEED` chooses another) and printed, so that a failure can be seen again.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::PathBuf;

use common::{Case, counters, printed};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

fn runner(cases: u32) -> TestRunner {
    let seed = std::env::var("SEED").map_or(2026, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    })
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// One request, drawn by lot.
#[derive(Clone, Debug)]
struct Hit {
    address: usize,
    /// Seconds since the request before; mostly none, sometimes back.
    step: i64,
    path: usize,
    zone: usize,
    broken: bool,
}

fn hit() -> impl Strategy<Value = Hit> {
    let step = prop_oneof![4 => Just(0i64), 3 => 1i64..4, 1 => -15i64..0, 1 => 4i64..90];
    (0usize..8, step, 0usize..5, 0usize..3, prop::bool::weighted(0.03))
        .prop_map(|(address, step, path, zone, broken)| Hit { address, step, path, zone, broken })
}

const ADDRESSES: [&str; 8] = [
    "198.51.100.1",
    "198.51.100.2",
    "::ffff:198.51.100.1",
    "203.0.113.5",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:0:1::1",
    "10.0.0.1",
];
const PATHS: [&str; 5] = ["/", "/login", "/login?x", "/img/a.png", "http://www.Example.com/api/x"];

/// The log, as `combined` with X-Forwarded-For behind it.
fn log(hits: &[Hit]) -> String {
    let (mut text, mut now) = (String::new(), 0);
    for (number, hit) in hits.iter().enumerate() {
        now = (now + hit.step).max(0);
        let address = ADDRESSES[hit.address];
        if hit.broken {
            writeln!(text, "{address} - - [no time]").unwrap();
            continue;
        }
        let (zone, shift) = [("+0000", 0), ("+0130", 5400), ("-0200", -7200)][hit.zone];
        let local = 40_000 + now + shift;
        write!(
            text,
            "{address} - - [22/Nov/2026:{:02}:{:02}:{:02} {zone}] \"GET {} HTTP/1.1\" 200 5 \"-\" \"-\" \
             \"{}, 198.51.100.{}\"{}",
            local / 3600,
            local / 60 % 60,
            local % 60,
            PATHS[hit.path],
            if number % 3 == 0 { "x" } else { "1.1.1.1" },
            number % 4,
            if number % 7 == 0 { "\r\n" } else { "\n" },
        )
        .unwrap();
    }
    text
}

const FORMAT: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#;

fn settings() -> impl Strategy<Value = String> {
    (1u32..6, 0u32..8, 0u32..12, 0u32..20, 0u32..40, 0usize..4).prop_map(
        |(count, block_within, warn_within, block_for, lateness, rest)| {
            let rest = [
                "",
                r#", "trusted_proxies": ["10.0.0.0/8"], "ip_white_list": ["2001:db8::2"]"#,
                r#", "special_rule": {"/login": {"threshold_secound": 3}, "/img/*": {}}, "url_black_list": ["/"]"#,
                r#", "special_rule": {"www.example.com/*": {"block_second": 2}}, "if_block": "false""#,
            ][rest];
            format!(
                "{{\"count\": {count}, \"threshold_secound\": {block_within}, \"threshold_w_secound\": \
                 {warn_within}, \"block_second\": {block_for}, \"max_lateness\": {lateness}{rest}}}"
            )
        },
    )
}

#[test]
fn tasks_and_batches_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let strategy = (
        prop::collection::vec(hit(), 1..250),
        settings(),
        prop::collection::vec((2usize..4, 1usize..3_000), 3),
        0usize..250,
    );
    let decided = Cell::new(0);
    let result = runner(60).run(&strategy, |(hits, settings, cuts, split)| {
        let (first, second) = hits.split_at(split.min(hits.len()));
        let mut case = Case::new(&file(&folder, "first", log(first).trim_end()), &settings);
        case.logs.push(file(&folder, "second", &log(second)));
        case.log_format = FORMAT.parse().unwrap();
        let whole = case.run();
        prop_assert_eq!(whole.summary.lines.lines, hits.len() as u64);
        for (tasks, batch_bytes) in cuts.into_iter().chain([(1, 1)]) {
            let cut = case.cut(tasks, batch_bytes).run();
            let cut_as = format!("{tasks} tasks, batches of {batch_bytes} bytes, {settings}");
            prop_assert_eq!(
                printed(&cut.summary.decisions),
                printed(&whole.summary.decisions),
                "{}",
                &cut_as
            );
            prop_assert_eq!(counters(&cut.summary), counters(&whole.summary), "{}", &cut_as);
            prop_assert_eq!(cut.summary, whole.summary.clone(), "{}", &cut_as);
        }
        decided.set(decided.get() + whole.summary.decisions.len());
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(decided.get() > 100, "the logs lead to decisions: {}", decided.get());
}

/// A log in which one address is banned at the start and comes again at the end, with many others between.
fn crowd(others: u32) -> String {
    let line = |address: &str, second: u32| {
        format!(
            "{address} - - [22/Nov/2026:10:{:02}:{:02} +0000] \"GET / HTTP/1.1\" 200 5\n",
            second / 60,
            second % 60
        )
    };
    let mut text = line("198.51.100.7", 0).repeat(2);
    for other in 0..others {
        let address = format!("10.{}.{}.{}", other >> 16, other >> 8 & 255, other & 255);
        text.push_str(&line(&address, 1 + other * 100 / others));
    }
    text + &line("198.51.100.7", 100).repeat(3)
}

#[test]
fn when_memory_is_full_the_banned_stay_banned() {
    let folder = tempfile::tempdir().unwrap();
    let others = 40_000;
    let log = file(&folder, "log", &crowd(others));
    let settings = r#"{"count": 2, "threshold_secound": 0, "threshold_w_secound": 0, "block_second": 600}"#;
    for tasks in [1, 2, 3] {
        let mut case = Case::new(&log, settings).cut(tasks, 64 * 1024);
        let roomy = case.run().summary;
        case.window_memory = tasks << 20;
        let cramped = case.run().summary;
        assert_eq!((roomy.evicted, roomy.while_banned), (0, 3), "{tasks} tasks");
        assert!(cramped.evicted > 0, "{tasks} tasks");
        assert_eq!(cramped.while_banned, 3, "{tasks} tasks: the banned address was forgotten");
        assert_eq!((cramped.blocks, cramped.warns), (1, 0), "{tasks} tasks");
        assert_eq!(cramped.clients, roomy.clients, "{tasks} tasks: those that were evicted came too");
        assert_eq!(roomy.clients.keys, u64::from(others) + 1);
    }
}
