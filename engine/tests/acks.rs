//! Acks, replays, abandoning, commits, timeouts, and the bound on what is pending.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{MODES, Mode, each, run};
use crossbeam_channel::{Receiver, Sender, unbounded};
use engine::testing::{Capture, Feed, TopologyTestDriver};
use engine::{
    Anchor, BatchId, Bolt, Collector, Config, LocalRuntime, Next, Spout, SpoutSnapshot, Timestamp, Topology,
    TopologyBuilder,
};

type Numbers = Vec<u64>;

fn fed(numbers: std::ops::Range<u64>) -> Feed<Numbers> {
    let feed = Feed::new();
    numbers.for_each(|n| feed.push(vec![n]));
    feed
}

fn ids(range: std::ops::Range<u64>) -> Vec<BatchId> {
    range.map(BatchId).collect()
}

/// `feed` → a bolt that panics on 3, so many times → `seen`.
fn panicking(feed: &Feed<Numbers>, seen: &Capture<Numbers>, panics: usize) -> Topology {
    let left = Arc::new(AtomicUsize::new(panics));
    let mut t = TopologyBuilder::new("panicking");
    let numbers = t.spout("numbers", 1, feed.spout());
    let passed = t
        .bolt("pass", 2, move |_| {
            let left = left.clone();
            each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
                let is_three = numbers == [3];
                out.emit(numbers);
                let panics = || left.try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                assert!(!is_three || panics().is_err(), "as the test wants");
            })
        })
        .shuffle(&numbers);
    let _seen = t.bolt("seen", 2, seen.bolt()).fields(&passed);
    t.build().expect("it is sound")
}

#[test]
fn a_panicking_bolt_has_its_batch_replayed() {
    for mode in MODES {
        let (feed, seen) = (fed(0..10), Capture::new());
        feed.end();
        let report = run(mode, panicking(&feed, &seen, 2));
        assert!(report.is_clean(), "{mode:?}: {report}");
        // What the panicking task had emitted was not sent on, so nothing is there twice.
        let mut numbers = seen.take().concat();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
        assert_eq!(feed.committed().last(), Some(&BatchId(10)));
        let bolt = report.metrics.component("pass").expect("it is there");
        assert_eq!((bolt.restarts, bolt.errors["panic"], bolt.batches), (2, 2, 12));
        let spout = report.metrics.component("numbers").and_then(|c| c.spout);
        let expect =
            SpoutSnapshot { emitted: 10, acked: 10, failed: 2, replayed: 2, abandoned: 0, pending: 0 };
        assert_eq!(spout, Some(expect));
    }
}

#[test]
fn a_batch_that_always_fails_is_abandoned() {
    for mode in MODES {
        let (feed, seen) = (fed(0..5), Capture::new());
        feed.end();
        let report = run(mode, panicking(&feed, &seen, usize::MAX));
        assert!(report.is_drained() && !report.is_clean(), "{mode:?}: {report}");
        assert_eq!(feed.abandoned(), [BatchId(3)]);
        assert_eq!(feed.acked().len(), 4);
        assert_eq!(feed.committed().last(), Some(&BatchId(5)));
        let spout = report.metrics.component("numbers").and_then(|c| c.spout).expect("a spout");
        assert_eq!((spout.failed, spout.replayed, spout.abandoned), (4, 3, 1));
    }
}

#[test]
fn a_bolt_can_fail_its_batch() {
    let (feed, seen) = (fed(0..2), Capture::<Numbers>::new());
    let mut t = TopologyBuilder::new("failing");
    let numbers = t.spout("numbers", 1, feed.spout());
    let failed = Arc::new(AtomicUsize::new(0));
    let passed = t.local_bolt("pass", &numbers, move |_| {
        let failed = failed.clone();
        each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
            out.emit(numbers);
            if failed.fetch_add(1, Ordering::SeqCst) == 0 {
                out.error("odd", 1);
                out.fail();
            }
        })
    });
    let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&passed);
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    driver.run_until_idle();
    assert_eq!(seen.take(), [[0], [1]]);
    assert_eq!(feed.acked(), ids(0..2));
    let bolt = driver.metrics().snapshot().component("pass").cloned().expect("it is there");
    assert_eq!((bolt.batches, bolt.restarts, bolt.errors["odd"]), (3, 0, 1));
}

/// `feed` → a bolt that hands the anchor of each batch to the test.
fn holding(feed: &Feed<Numbers>) -> (TopologyTestDriver, Receiver<Anchor>) {
    let (sender, anchors) = unbounded();
    let mut t = TopologyBuilder::new("holding");
    let numbers = t.spout("numbers", 1, feed.spout());
    let hold = move |_: &engine::TaskContext| {
        let sender = sender.clone();
        each(move |_: Numbers, out: &mut Collector<'_, ()>| {
            let anchor = out.anchor().expect("a batch has one");
            sender.send(anchor).expect("the test listens");
        })
    };
    let _held = t.bolt("hold", 1, hold).shuffle(&numbers);
    (TopologyTestDriver::new(t.build().expect("it is sound")), anchors)
}

#[test]
fn a_held_anchor_delays_the_ack_and_commits_follow_the_oldest() {
    let feed = fed(0..3);
    let (mut driver, anchors) = holding(&feed);
    driver.run_until_idle();
    let mut held: Vec<Anchor> = anchors.try_iter().collect();
    assert_eq!((held.len(), feed.acked().len()), (3, 0));
    for (index, acked, committed) in
        [(1, vec![1], vec![]), (0, vec![1, 0], vec![2]), (0, vec![1, 0, 2], vec![2, 3])]
    {
        drop(held.remove(index));
        driver.run_until_idle();
        assert_eq!(feed.acked(), acked.into_iter().map(BatchId).collect::<Vec<_>>());
        assert_eq!(feed.committed(), committed.into_iter().map(BatchId).collect::<Vec<_>>());
    }
}

#[test]
fn an_anchor_can_fail_its_batch_later() {
    let feed = fed(0..1);
    let (mut driver, anchors) = holding(&feed);
    driver.run_until_idle();
    anchors.try_recv().expect("it was executed").fail();
    driver.run_until_idle();
    assert_eq!(feed.acked(), []);
    drop(anchors.try_recv().expect("it was replayed"));
    driver.run_until_idle();
    assert_eq!(feed.acked(), ids(0..1));
}

#[test]
fn a_batch_that_takes_too_long_is_replayed_and_its_late_end_ignored() {
    let feed = fed(0..1);
    let (mut driver, anchors) = holding(&feed);
    driver.run_until_idle();
    let late = anchors.try_recv().expect("it was executed");
    driver.advance(Duration::from_millis(29_999));
    assert!(anchors.is_empty());
    driver.advance(Duration::from_millis(1));
    let again = anchors.try_recv().expect("it was replayed");
    drop(late);
    driver.run_until_idle();
    assert_eq!(feed.acked(), []);
    drop(again);
    driver.run_until_idle();
    assert_eq!(feed.acked(), ids(0..1));
}

#[test]
fn what_cannot_be_finished_is_reported() {
    let feed = fed(0..2);
    let (mut driver, anchors) = holding(&feed);
    driver.run_until_idle();
    let _held = anchors.try_recv();
    drop(anchors.try_recv());
    let report = driver.finish();
    assert!(!report.is_drained());
    let spout = report.component("numbers").expect("it is there");
    assert_eq!((spout.pending, &spout.undrained_tasks[..]), (1, &[0][..]));
    assert!(report.component("hold").is_some_and(engine::ComponentDrain::is_drained));
}

#[test]
fn anchors_of_a_panicking_bolt_fail_their_batches() {
    let (feed, executed) = (fed(0..3), Arc::new(AtomicUsize::new(0)));
    let mut t = TopologyBuilder::new("forgetful");
    let numbers = t.spout("numbers", 1, feed.spout());
    let count = executed.clone();
    let hold = move |_: &engine::TaskContext| {
        let (count, mut held) = (count.clone(), Vec::new());
        each(move |_: Numbers, out: &mut Collector<'_, ()>| {
            held.push(out.anchor());
            match count.fetch_add(1, Ordering::SeqCst) {
                2 => panic!("as the test wants"),
                // The three batches once more: only now are they done.
                5 => held.clear(),
                _ => {}
            }
        })
    };
    let _held = t.bolt("hold", 1, hold).shuffle(&numbers);
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    driver.run_until_idle();
    assert_eq!(executed.load(Ordering::SeqCst), 6);
    assert_eq!(feed.acked().len(), 3);
}

/// Emits at the tick what it was given, anchored to where it came from.
#[derive(Default)]
struct Later(Vec<(Numbers, Option<Anchor>)>);

impl Bolt for Later {
    type In = Numbers;
    type Out = Numbers;

    fn execute(&mut self, input: Numbers, out: &mut Collector<'_, Numbers>) {
        self.0.push((input, out.anchor()));
    }

    fn tick(&mut self, _now: Timestamp, out: &mut Collector<'_, Numbers>) {
        for (numbers, anchor) in self.0.drain(..) {
            out.emit_anchored(numbers, &anchor.expect("it was executed in a batch"));
        }
    }
}

#[test]
fn what_is_emitted_later_can_belong_to_its_batch() {
    let (feed, seen) = (fed(0..5), Capture::<Numbers>::new());
    let mut t = TopologyBuilder::new("later");
    let numbers = t.spout("numbers", 1, feed.spout());
    let later = t.local_bolt("later", &numbers, |_| Later::default());
    let failed = Arc::new(AtomicUsize::new(0));
    let passed = t
        .bolt("pass", 1, move |_| {
            let failed = failed.clone();
            each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
                let is_three = numbers == [3];
                out.emit(numbers);
                assert!(!is_three || failed.fetch_add(1, Ordering::SeqCst) > 0, "as the test wants");
            })
        })
        .shuffle(&later);
    let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&passed);
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    driver.run_until_idle();
    assert_eq!((seen.take().len(), feed.acked().len()), (0, 0));
    driver.advance(Duration::from_secs(1));
    assert_eq!((seen.take(), feed.acked().len()), (vec![vec![0], vec![1], vec![2], vec![4]], 4));
    driver.advance(Duration::from_secs(1));
    assert_eq!((seen.take(), feed.acked().len()), (vec![vec![3]], 5));
}

/// Emits ten batches, and notes the most that were un-acked when it was asked for more.
struct Watched {
    emitted: usize,
    acked: usize,
    most: Arc<AtomicUsize>,
    told: Sender<usize>,
}

impl Spout for Watched {
    type Out = Numbers;

    fn next(&mut self, _now: Timestamp) -> Next<Numbers> {
        if self.emitted == 10 {
            return Next::End;
        }
        self.emitted += 1;
        self.most.fetch_max(self.emitted - self.acked, Ordering::SeqCst);
        self.told.send(self.emitted).expect("the test listens");
        Next::Emit(vec![self.emitted as u64])
    }

    fn ack(&mut self, _id: BatchId, _tuple: Numbers) {
        self.acked += 1;
    }
}

#[test]
fn a_slow_bolt_holds_its_spout_back() {
    let most = Arc::new(AtomicUsize::new(0));
    let (told, emissions) = unbounded();
    let (release, gate) = unbounded::<()>();
    let mut t = TopologyBuilder::new("slow");
    let watched = most.clone();
    let numbers = t.spout("numbers", 1, move |_| Watched {
        emitted: 0,
        acked: 0,
        most: watched.clone(),
        told: told.clone(),
    });
    let slow = move |_: &engine::TaskContext| {
        let gate = gate.clone();
        each(move |_: Numbers, _: &mut Collector<'_, ()>| {
            gate.recv().expect("the test opens the gate");
        })
    };
    let _slow = t.bolt("slow", 1, slow).shuffle(&numbers);
    let config = Config { max_spout_pending: 3, ..Config::default() };
    let running = LocalRuntime::new(config).start(t.build().expect("it is sound"));
    // Three come at once; each further one only after a batch was let through.
    for expect in 1..=3 {
        assert_eq!(emissions.recv(), Ok(expect));
    }
    for expect in 4..=10 {
        release.send(()).expect("the bolt waits");
        assert_eq!(emissions.recv(), Ok(expect));
    }
    (0..3).for_each(|_| release.send(()).expect("the bolt waits"));
    assert!(running.wait().is_clean());
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

/// Panics whenever it is asked for a number that its shared list of panics names.
struct Shaky {
    next: Arc<AtomicUsize>,
    panics_below: usize,
}

impl Spout for Shaky {
    type Out = Numbers;

    fn next(&mut self, _now: Timestamp) -> Next<Numbers> {
        let next = self.next.fetch_add(1, Ordering::SeqCst);
        assert!(next >= self.panics_below, "as the test wants");
        if next < self.panics_below + 2 { Next::Emit(vec![next as u64]) } else { Next::End }
    }
}

#[test]
fn a_panicking_spout_is_made_anew_until_it_is_hopeless() {
    for (panics, restarts, emitted, gave_up) in
        [(1, 1, 2, false), (10, 10, 2, false), (11, 10, 0, true), (99, 10, 0, true)]
    {
        for mode in [Mode::Threads, Mode::OneThread] {
            let (next, seen) = (Arc::new(AtomicUsize::new(0)), Capture::<Numbers>::new());
            let mut t = TopologyBuilder::new("shaky");
            let numbers = t.spout("numbers", 1, move |_| Shaky { next: next.clone(), panics_below: panics });
            let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&numbers);
            let report = run(mode, t.build().expect("it is sound"));
            assert!(report.is_drained());
            assert_eq!(report.is_clean(), !gave_up);
            assert_eq!(seen.take().len(), emitted);
            let spout = report.metrics.component("numbers").expect("it is there");
            assert_eq!((spout.restarts, spout.emitted_batches), (restarts, emitted as u64));
            assert_eq!(report.components[0].gave_up.is_empty(), !gave_up);
        }
    }
}
