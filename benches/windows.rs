//! Counting requests: our table and windows beside a map of queues of times.
//!
//! The baseline does less: no bans, no lateness, no order by time, no tallies for records, no cap of memory.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;

use ahash::RandomState;
use benches::{TRAFFIC, lines, log};
use criterion::{BatchSize, Criterion, Throughput};
use model::key::KeyScheme;
use model::key_state::{Findings, Hit, KeyState, Version};
use model::line::{LineParser, LogFormat};
use model::rule::RuleId;
use model::settings::Settings;
use model::table::KeyTable;
use model::verdict::{Decision, Record};

const REQUESTS: usize = 500_000;
const GIB: usize = 1 << 30;

/// What the default settings say.
const COUNT: usize = 200;
const WITHIN: i64 = 10;

#[derive(Default)]
struct Found(u64);

impl Findings for Found {
    fn decision(&mut self, _: Decision) {
        self.0 += 1;
    }
    fn record(&mut self, _: Record) {}
    fn late(&mut self, _: u32) {}
    fn while_banned(&mut self, _: u32) {}
}

/// Whose requests came when, as the generated log has them: some clients come often, most rarely.
fn hits() -> Vec<Hit> {
    let mut parser = LineParser::new(LogFormat::combined());
    let keys = KeyScheme::new(64);
    lines(&log(REQUESTS))
        .map(|line| {
            let parsed = parser.parse(line).expect("generated lines parse");
            Hit {
                key: keys.key(parsed.remote),
                second: parsed.second,
                rule: RuleId::GLOBAL,
                requests: 1,
            }
        })
        .collect()
}

fn ours(hits: &[Hit], settings: &Settings) -> (KeyTable<KeyState>, u64) {
    let version = Version { settings, number: 1 };
    let mut table = KeyTable::new(GIB, RandomState::with_seeds(1, 2, 3, 4));
    let mut found = Found::default();
    for &hit in hits {
        let hash = table.hash(hit.key);
        let id = table.find(hit.key, hash);
        let id = id.unwrap_or_else(|| table.insert(hit.key, hash, TRAFFIC.start, |_| {}));
        table.update(id, |state: &mut KeyState| state.observe(hit, version, &mut found));
    }
    (table, found.0)
}

fn baseline(hits: &[Hit]) -> (HashMap<u128, VecDeque<i64>>, u64) {
    let mut windows: HashMap<u128, VecDeque<i64>> = HashMap::new();
    let mut decisions = 0;
    for hit in hits {
        let times = windows.entry(hit.key.bits()).or_default();
        if times.len() == COUNT {
            times.pop_front();
        }
        times.push_back(hit.second.0);
        if times.len() == COUNT
            && times
                .back()
                .zip(times.front())
                .is_some_and(|(new, old)| new - old <= WITHIN)
        {
            times.clear();
            decisions += 1;
        }
    }
    (windows, decisions)
}

fn benches(c: &mut Criterion) {
    let hits = hits();
    let settings = Settings::default();
    let mut group = c.benchmark_group("windows");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("ours", |bench| {
        bench.iter_batched(
            || (),
            |()| ours(black_box(&hits), &settings),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("baseline", |bench| {
        bench.iter_batched(|| (), |()| baseline(black_box(&hits)), BatchSize::PerIteration);
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
