//! Tables of lines, and property tests with a fixed seed.
#![allow(dead_code, reason = "each test file uses its part")]

use model::line::{Line, LineParser, LogFormat, Unparsed};
use model::time::Civil;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

/// `$time_local` of most lines here; tables name the time only where it is another.
pub(crate) const NOW: &str = "22/Nov/2026:10:09:00 +0000";
const NOW_ISO: &str = "2026-11-22T10:09:00Z";

/// The seed of all property tests; `SEED` chooses another.
pub(crate) fn runner(cases: u32) -> TestRunner {
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

pub(crate) fn format(text: &str) -> LogFormat {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Expects what a line is read as: `address target`, then `at=`, `status=`, `host=`, `uri=`, `xff=` where they are
/// not the usual; or the reason why it is unparsed.
#[track_caller]
pub(crate) fn check(format_text: &str, line: impl AsRef<[u8]>, expect: &str) {
    let line = line.as_ref();
    let mut parser = LineParser::new(format(format_text));
    let found = shown(&parser.parse(line));
    assert_eq!(found, expect, "{}", line[..line.len().min(300)].escape_ascii());
}

pub(crate) fn shown(parsed: &Result<Line<'_>, Unparsed>) -> String {
    let line = match parsed {
        Err(reason) => return reason.name().to_owned(),
        Ok(line) => line,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let target = line.target.as_deref().map_or("none".to_owned(), text);
    let mut shown = format!("{} {target}", line.remote);
    let at = Civil::of(line.second).to_string();
    if at != NOW_ISO {
        shown += &format!(" at={at}");
    }
    // (A format may have none: then it is 0.)
    if ![0, 200].contains(&line.status) {
        shown += &format!(" status={}", line.status);
    }
    for (name, value) in [("host", &line.host), ("uri", &line.uri), ("xff", &line.forwarded_for)] {
        // What nginx writes for no value is as good as none.
        if let Some(value) = value.as_deref().filter(|value| !matches!(*value, b"" | b"-")) {
            shown += &format!(" {name}={}", text(value));
        }
    }
    shown
}
