//! Whatever panics and fails, a topology ends, and every batch is acked or abandoned.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{MODES, Mode, run};
use engine::testing::{Capture, Feed};
use engine::{Bolt, Collector, TaskContext, TopologyBuilder, stable_hash};
use proptest::prelude::*;

type Numbers = Vec<u64>;

/// A bolt that passes on; of every hundred executions, so many panic and as many fail.
fn shaky(
    seed: u64,
    percent: u64,
    calls: &Arc<AtomicU64>,
) -> impl Fn(&TaskContext) -> Shaky + Send + Sync + use<> {
    let calls = calls.clone();
    move |_| Shaky { seed, percent, calls: calls.clone() }
}

struct Shaky {
    seed: u64,
    percent: u64,
    calls: Arc<AtomicU64>,
}

impl Bolt for Shaky {
    type In = Numbers;
    type Out = Numbers;

    fn execute(&mut self, numbers: Numbers, out: &mut Collector<'_, Numbers>) {
        let dice = stable_hash(&(self.seed, self.calls.fetch_add(1, Ordering::Relaxed))) % 100;
        out.emit(numbers);
        assert!(dice >= self.percent, "as the test wants");
        if dice < 2 * self.percent {
            out.fail();
        }
    }
}

fn check_chaos(mode: Mode, batches: u64, tasks: [usize; 3], percent: u64, seed: u64) {
    let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
    (0..batches).for_each(|n| feed.push(vec![2 * n, 2 * n + 1]));
    feed.end();
    let calls = Arc::new(AtomicU64::new(0));
    let mut t = TopologyBuilder::new("chaos");
    let numbers = t.spout("numbers", 2, feed.spout());
    let first = t.bolt("first", tasks[0], shaky(seed, percent, &calls)).shuffle(&numbers);
    let second = t.bolt("second", tasks[1], shaky(seed, percent, &calls)).fields(&first);
    let _seen = t.bolt("seen", tasks[2], seen.bolt()).shuffle(&second);
    let report = run(mode, t.build().expect("it is sound"));
    assert!(report.is_drained(), "{report}");
    let spout = report.metrics.component("numbers").and_then(|c| c.spout).expect("a spout");
    assert_eq!((spout.emitted, spout.pending), (batches, 0));
    assert_eq!(spout.acked + spout.abandoned, batches);
    assert_eq!(spout.failed, spout.replayed + spout.abandoned);
    let mut times = BTreeMap::<u64, u64>::new();
    seen.take().concat().into_iter().for_each(|n| *times.entry(n).or_default() += 1);
    let missing = (0..2 * batches).filter(|n| !times.contains_key(n)).count() as u64;
    assert!(missing <= 2 * spout.abandoned, "only what was abandoned may be missing");
    assert!(times.values().all(|&n| n <= 4), "a batch is tried four times at most");
    if percent == 0 {
        assert!(report.is_clean() && times.values().all(|&n| n == 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_is_acked_or_abandoned(
        mode in prop::sample::select(&MODES[..]),
        batches in 0_u64..60,
        tasks in prop::array::uniform3(1_usize..4),
        percent in 0_u64..30,
        seed: u64,
    ) {
        check_chaos(mode, batches, tasks, percent, seed);
    }
}
