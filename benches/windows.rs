//! Counting requests: our table and windows beside a map of queues of times.
//!
//! The baseline does less: no bans, no lateness, no order by time, no tallies for records, no cap of memory.

use std::collections::{HashMap, VecDeque};
use std::hint::black_box;

use benches::{lines, log};
use bolts::Analysis;
use bolts::ports::SettingsPort;
use bolts::tuples::HitBatch;
use criterion::{BatchSize, Criterion, Throughput};
use engine::Bolt as _;
use engine::testing::TestCollector;
use model::distinct::EXACT_TO;
use model::key::KeyScheme;
use model::key_state::Hit;
use model::line::{LineParser, LogFormat};
use model::rule::RuleId;
use model::settings::Settings;

const REQUESTS: usize = 500_000;
/// Hits of a batch of lines.
const BATCH: usize = 1_600;
const GIB: usize = 1 << 30;

/// What the default settings say.
const COUNT: usize = 200;
const WITHIN: i64 = 10;

/// Whose requests came when, as the generated log has them: some clients come often, most rarely.
fn hits() -> Vec<Hit> {
    let mut parser = LineParser::new(LogFormat::combined());
    let keys = KeyScheme::new(64);
    lines(&log(REQUESTS))
        .map(|line| {
            let parsed = parser.parse(line).expect("generated lines parse");
            Hit { key: keys.key(parsed.remote), second: parsed.second, rule: RuleId::GLOBAL, requests: 1 }
        })
        .collect()
}

/// Through the bolt, in batches as match emits them.
fn ours(batches: Vec<HitBatch>) -> (Analysis, u64) {
    let mut analysis = Analysis::new(SettingsPort::new(Settings::default()), GIB, EXACT_TO);
    let mut out = TestCollector::new();
    let mut decisions = 0;
    for batch in batches {
        analysis.execute(batch.into(), &mut out.collector());
        decisions += out.take().iter().map(|found| found.decisions.len() as u64).sum::<u64>();
    }
    (analysis, decisions)
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
            && times.back().zip(times.front()).is_some_and(|(new, old)| new - old <= WITHIN)
        {
            times.clear();
            decisions += 1;
        }
    }
    (windows, decisions)
}

fn benches(c: &mut Criterion) {
    let hits = hits();
    let batches: Vec<HitBatch> =
        hits.chunks(BATCH).map(|hits| HitBatch { hits: hits.to_vec(), ..HitBatch::default() }).collect();
    let mut group = c.benchmark_group("windows");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("ours", |bench| {
        bench.iter_batched(|| batches.clone(), ours, BatchSize::PerIteration);
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
