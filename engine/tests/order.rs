//! The strong property: results don't depend on the number of tasks, nor on the threads' luck.

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{MODES, Mode, each, pass, run};
use engine::testing::{Capture, Feed};
use engine::{Collector, Next, Spout, TaskContext, Timestamp, TopologyBuilder};
use proptest::prelude::*;

/// A word, and how often it has been seen with this one.
type Counted = Vec<(String, u64)>;

/// Counts the words of 300 sentences, and returns the counts in their order of arrival, by word.
fn count_words(mode: Mode, split_tasks: usize, count_tasks: usize) -> BTreeMap<String, Vec<u64>> {
    let (feed, seen) = (Feed::new(), Capture::<Counted>::new());
    for i in 0..300 {
        feed.push(vec![format!("w{} w{} w{}", i % 7, i % 5, i % 3), "the end".to_owned()]);
    }
    feed.end();
    let mut t = TopologyBuilder::new("word-count");
    let sentences = t.spout("sentences", 1, feed.spout());
    let split = |lines: Vec<String>, out: &mut Collector<'_, Vec<String>>| {
        out.emit(lines.iter().flat_map(|line| line.split(' ')).map(str::to_owned).collect());
    };
    let words = t.bolt("split", split_tasks, move |_| each(split)).shuffle(&sentences);
    let count = |_: &TaskContext| {
        let mut counts = HashMap::<String, u64>::new();
        each(move |words: Vec<String>, out: &mut Collector<'_, Counted>| {
            let counted = words.into_iter().map(|word| {
                let count = counts.entry(word.clone()).or_default();
                *count += 1;
                (word, *count)
            });
            out.emit(counted.collect());
        })
    };
    let counts = t.bolt("count", count_tasks, count).fields(&words);
    let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&counts);
    let report = run(mode, t.build().expect("it is sound"));
    assert!(report.is_clean(), "{report}");
    assert_eq!(feed.acked().len(), 300);
    let mut by_word = BTreeMap::<String, Vec<u64>>::new();
    for (word, count) in seen.take().concat() {
        by_word.entry(word).or_default().push(count);
    }
    by_word
}

#[test]
fn word_count_is_the_same_with_any_number_of_tasks() {
    let expect = count_words(Mode::Driver, 1, 1);
    assert_eq!(expect["the"], (1..=300).collect::<Vec<_>>());
    assert_eq!(expect.values().map(Vec::len).sum::<usize>(), 300 * 5);
    for mode in MODES {
        for (split_tasks, count_tasks) in [(1, 1), (2, 1), (1, 2), (2, 3), (3, 2)] {
            assert_eq!(count_words(mode, split_tasks, count_tasks), expect, "{mode:?}");
        }
    }
}

/// A key, and where it is from: spout task, batch.
type Record = (u64, (usize, usize));

/// Emits the task's batches, each of so many records.
struct Batches {
    task: usize,
    sizes: Vec<u64>,
    next: usize,
}

impl Spout for Batches {
    type Out = Vec<Record>;

    fn next(&mut self, _now: Timestamp) -> Next<Vec<Record>> {
        let batch = self.next;
        self.next += 1;
        match self.sizes.get(batch) {
            None => Next::End,
            Some(&size) => Next::Emit((0..size).map(|i| (i * 31 % 17, (self.task, batch))).collect()),
        }
    }
}

/// Passes on, after giving way to other threads now and then.
fn dawdle() -> impl engine::Bolt<In = Vec<Record>, Out = Vec<Record>> {
    each(|records: Vec<Record>, out: &mut Collector<'_, Vec<Record>>| {
        for _ in 0..records.len() % 4 {
            std::thread::yield_now();
        }
        // In two parts, or none at all for an empty batch.
        let half = records.len() / 2;
        for part in [&records[..half], &records[half..]] {
            if !part.is_empty() {
                out.emit(part.to_vec());
            }
        }
    })
}

/// Every task must see each spout task's batches in order, and all tasks together each record so often.
fn check_arrivals(seen: &Capture<Vec<Record>>, sizes: &[Vec<u64>], times: usize) {
    let mut latest = HashMap::new();
    let mut counts = HashMap::<(usize, usize), usize>::new();
    for (task, records) in seen.take_with_task() {
        for (_, (spout_task, batch)) in records {
            let latest = latest.entry((task, spout_task)).or_insert(batch);
            assert!(*latest <= batch, "task {task}: batch {batch} came after {latest}");
            *latest = batch;
            *counts.entry((spout_task, batch)).or_default() += 1;
        }
    }
    for (spout_task, sizes) in sizes.iter().enumerate() {
        for (batch, &size) in sizes.iter().enumerate() {
            let count = counts.get(&(spout_task, batch)).copied().unwrap_or(0);
            assert_eq!(count, size as usize * times, "spout task {spout_task}, batch {batch}");
        }
    }
}

fn check_order(mode: Mode, sizes: &[Vec<u64>], tasks: [usize; 4]) {
    let (met, told, dealt) = (Capture::new(), Capture::new(), Capture::new());
    let mut t = TopologyBuilder::new("order");
    let cuts = sizes.to_owned();
    let records = t.spout("records", sizes.len(), move |context| Batches {
        task: context.task(),
        sizes: cuts[context.task()].clone(),
        next: 0,
    });
    let kept = t.local_bolt("keep", &records, |_| pass::<Vec<Record>>());
    let first = t.bolt("first", tasks[0], |_| dawdle()).shuffle(&kept);
    let second = t.bolt("second", tasks[1], |_| dawdle()).fields(&first);
    let local = t.local_bolt("local", &second, |_| pass::<Vec<Record>>());
    let both = t.bolt("both", tasks[2], |_| dawdle()).shuffle(&local).fields(&first);
    let _met = t.local_bolt("met", &both, met.bolt());
    let _told = t.bolt("told", tasks[3], told.bolt()).all(&local);
    let _dealt = t.bolt("dealt", tasks[3], dealt.bolt()).shuffle(&both).fields(&kept);
    let report = run(mode, t.build().expect("it is sound"));
    assert!(report.is_clean(), "{report}");
    check_arrivals(&met, sizes, 2);
    check_arrivals(&told, sizes, tasks[3]);
    check_arrivals(&dealt, sizes, 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_sees_each_batch_in_order_and_once(
        sizes in prop::collection::vec(prop::collection::vec(0_u64..12, 0..25), 1..4),
        tasks in prop::array::uniform4(1_usize..4),
        mode in prop::sample::select(&MODES[..]),
    ) {
        check_order(mode, &sizes, tasks);
    }
}
