//! Ticks, drain, cleanup and stop.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{MODES, each, pass, run};
use crossbeam_channel::{Receiver, Sender, unbounded};
use engine::testing::{Capture, Feed, TopologyTestDriver};
use engine::{
    BatchId, Bolt, Collector, Config, LocalRuntime, TaskContext, Timestamp, Topology, TopologyBuilder,
};

type Numbers = Vec<u64>;

/// Emits the sum of what it got at each tick, and at cleanup.
#[derive(Default)]
struct Sum {
    sum: u64,
    name: String,
    cleaned_up: Arc<Mutex<Vec<String>>>,
}

impl Bolt for Sum {
    type In = Numbers;
    type Out = Numbers;

    fn prepare(&mut self, context: &TaskContext) {
        self.name = format!("{}-{}", context.component(), context.task());
        context.metrics().gauge("tasks", context.tasks() as u64);
    }

    fn execute(&mut self, input: Numbers, _out: &mut Collector<'_, Numbers>) {
        self.sum += input.iter().sum::<u64>();
    }

    fn tick(&mut self, now: Timestamp, out: &mut Collector<'_, Numbers>) {
        assert!(out.anchor().is_none());
        out.emit(vec![now.as_millis(), std::mem::take(&mut self.sum)]);
    }

    fn cleanup(&mut self, out: &mut Collector<'_, Numbers>) {
        out.emit(vec![self.sum]);
        self.cleaned_up.lock().expect("nobody panics").push(self.name.clone());
    }
}

#[test]
fn ticks_go_on_when_the_clock_is_set_back() {
    let (feed, outer, inner) = (Feed::new(), Capture::<Numbers>::new(), Capture::<Numbers>::new());
    let mut t = TopologyBuilder::new("set-back");
    let numbers = t.spout("numbers", 1, feed.spout());
    let sums = t.bolt("outer", 1, |_| Sum::default()).shuffle(&numbers);
    let of_spout = t.local_bolt("inner", &numbers, |_| Sum::default());
    let _outer = t.bolt("outer-seen", 1, outer.bolt()).shuffle(&sums);
    let _inner = t.local_bolt("inner-seen", &of_spout, inner.bolt());
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    feed.push(vec![5]);
    driver.run_until_idle();
    driver.advance(Duration::from_secs(7_200));
    let seen = |capture: &Capture<Numbers>| capture.take().iter().map(|tick| tick[0]).collect::<Vec<_>>();
    assert_eq!((seen(&outer), seen(&inner)), (vec![7_200_000], vec![7_200_000]));
    driver.set_back(Duration::from_secs(7_100));
    for _ in 0..3 {
        driver.advance(Duration::from_millis(100));
    }
    for ticks in [seen(&outer), seen(&inner)] {
        assert!(ticks.len() >= 3 && ticks.iter().all(|&at| (100_000..=100_300).contains(&at)), "{ticks:?}");
    }
}

#[test]
fn ticks_come_when_their_interval_has_passed() {
    let (feed, fast, slow) = (Feed::new(), Capture::<Numbers>::new(), Capture::<Numbers>::new());
    let mut t = TopologyBuilder::new("ticks");
    let numbers = t.spout("numbers", 1, feed.spout());
    let sums = t.bolt("fast", 1, |_| Sum::default()).shuffle(&numbers);
    let local = t.local_bolt("slow", &numbers, |_| Sum::default());
    let local = local.tick_every(Duration::from_secs(1));
    let _fast = t.bolt("fast-seen", 1, fast.bolt()).shuffle(&sums);
    let _slow = t.local_bolt("slow-seen", &local, slow.bolt());
    let mut driver = TopologyTestDriver::new(t.build().expect("it is sound"));
    feed.push(vec![5]);
    driver.run_until_idle();
    for (advance, expect_fast, expect_slow) in [
        (99, vec![], vec![]),
        (1, vec![[100, 5]], vec![]),
        (50, vec![], vec![]),
        // Once, however often the interval has passed.
        (850, vec![[1000, 0]], vec![[1000, 5]]),
        (100, vec![[1100, 0]], vec![]),
    ] {
        driver.advance(Duration::from_millis(advance));
        assert_eq!(fast.take(), expect_fast);
        assert_eq!(slow.take(), expect_slow);
    }
    let snapshot = driver.metrics().snapshot();
    assert_eq!(snapshot.component("fast").map(|c| c.gauges["tasks"]), Some(1));
}

#[test]
fn cleanup_comes_in_order_and_what_it_emits_still_arrives() {
    for mode in MODES {
        let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
        (1..=10).for_each(|n| feed.push(vec![n]));
        feed.end();
        let cleaned_up = Arc::new(Mutex::new(Vec::new()));
        let sum = || {
            let cleaned_up = cleaned_up.clone();
            move |_: &TaskContext| Sum { cleaned_up: cleaned_up.clone(), ..Sum::default() }
        };
        let hour = Duration::from_secs(3600);
        let mut t = TopologyBuilder::new("drain");
        let numbers = t.spout("numbers", 1, feed.spout());
        let parts = t.bolt("parts", 3, sum()).shuffle(&numbers).tick_every(hour);
        let whole = t.bolt("whole", 1, sum()).shuffle(&parts).tick_every(hour);
        let again = t.local_bolt("again", &whole, sum()).tick_every(hour);
        let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&again);
        let report = run(mode, t.build().expect("it is sound"));
        assert!(report.is_clean(), "{report}");
        assert_eq!(seen.take(), [[55]], "{mode:?}");
        let mut order = cleaned_up.lock().expect("nobody panics").clone();
        order[..3].sort();
        assert_eq!(order, ["parts-0", "parts-1", "parts-2", "whole-0", "again-0"]);
        assert_eq!(feed.closed(), 1);
    }
}

#[test]
fn stop_drains_what_is_pending() {
    let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
    let (told, executed) = unbounded();
    (0..1000).for_each(|n| feed.push(vec![n]));
    let mut t = TopologyBuilder::new("stopped");
    let numbers = t.spout("numbers", 1, feed.spout());
    let passed = t
        .bolt("pass", 2, move |_| {
            let told = told.clone();
            each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
                out.emit(numbers);
                let _ = told.send(());
            })
        })
        .shuffle(&numbers);
    let _seen = t.bolt("seen", 2, seen.bolt()).shuffle(&passed);
    let running = LocalRuntime::new(Config::default()).start(t.build().expect("it is sound"));
    executed.recv().expect("batches come");
    let report = running.stop(Duration::from_secs(60));
    assert!(report.is_clean(), "{report}");
    let arrived = seen.take().len();
    assert_eq!(arrived, 1000 - feed.waiting());
    assert_eq!(feed.acked().len(), arrived);
    assert_eq!(feed.committed().last(), Some(&BatchId(arrived as u64)));
}

/// `feed` → a bolt that says when it begins, and then waits until the gate is closed → two tasks.
fn stuck_topology(feed: &Feed<Numbers>, told: Sender<()>, gate: Receiver<()>) -> Topology {
    let mut t = TopologyBuilder::new("stuck");
    let numbers = t.spout("numbers", 1, feed.spout());
    let stuck = move |_: &TaskContext| {
        let (told, gate) = (told.clone(), gate.clone());
        each(move |numbers: Numbers, out: &mut Collector<'_, Numbers>| {
            told.send(()).expect("the test listens");
            let _ = gate.recv();
            out.emit(numbers);
        })
    };
    let stuck = t.bolt("stuck", 1, stuck).shuffle(&numbers);
    let _after = t.bolt("after", 2, |_| pass::<Numbers>()).shuffle(&stuck);
    t.build().expect("it is sound")
}

#[test]
fn stop_with_a_deadline_says_what_was_not_drained() {
    let feed = Feed::new();
    (0..3).for_each(|n| feed.push(vec![n]));
    let (told, entered) = unbounded();
    let (release, gate) = unbounded::<()>();
    let topology = stuck_topology(&feed, told, gate);
    let metrics = topology.metrics();
    let running = LocalRuntime::new(Config::default()).start(topology);
    entered.recv().expect("the first batch arrives");
    while metrics.snapshot().components[0].emitted_batches < 3 {
        std::thread::yield_now();
    }
    let report = running.stop(Duration::from_millis(1));
    assert!(!report.is_drained());
    let spout = report.component("numbers").expect("it is there");
    assert_eq!((spout.pending, &spout.undrained_tasks[..]), (3, &[0][..]));
    let stuck = report.component("stuck").expect("it is there");
    assert_eq!(stuck.undrained_tasks, [0]);
    assert!(report.to_string().contains("stuck: tasks [0] not drained"), "{report}");
    // When the bolt comes back its thread ends, without executing the rest, which must not count as acked.
    drop(release);
    assert!(entered.recv().is_err(), "the bolt was dropped");
    assert!(feed.acked().iter().all(|id| *id == BatchId(0)), "only the first was executed");
}

#[test]
fn threads_tick_and_idle_spouts_wait() {
    let (feed, told) = (Feed::<Numbers>::new(), unbounded());
    let mut t = TopologyBuilder::new("idle");
    let numbers = t.spout("numbers", 1, feed.spout());
    let sums = t.bolt("sum", 1, |_| Sum::default()).shuffle(&numbers);
    let sender = told.0.clone();
    let tell = move |_: &TaskContext| {
        let sender = sender.clone();
        each(move |numbers: Numbers, _: &mut Collector<'_, ()>| {
            let _ = sender.send(numbers);
        })
    };
    let _told = t.bolt("told", 1, tell).all(&sums);
    let config = Config { tick_interval: Duration::from_millis(1), ..Config::default() };
    let mut running = LocalRuntime::new(config).start(t.build().expect("it is sound"));
    assert_eq!(told.1.recv().map(|numbers| numbers[1]), Ok(0));
    feed.push(vec![7]);
    while told.1.recv().expect("ticks come").get(1) != Some(&7) {}
    assert!(!running.wait_timeout(Duration::ZERO));
    running.stop_handle().stop();
    assert!(running.wait().is_clean());
}

#[test]
fn metrics_serialise_and_come_back() {
    let (feed, seen) = (Feed::new(), Capture::<Numbers>::new());
    feed.push(vec![1, 2, 3]);
    let mut t = TopologyBuilder::new("metrics");
    let numbers = t.spout("numbers", 1, feed.spout());
    let passed = t.local_bolt("pass", &numbers, |_| pass::<Numbers>());
    let _seen = t.bolt("seen", 1, seen.bolt()).shuffle(&passed);
    let report = TopologyTestDriver::new(t.build().expect("it is sound")).finish();
    let written = serde_json::to_string(&report.metrics).expect("it can be written");
    let read: engine::MetricsSnapshot = serde_json::from_str(&written).expect("it can be read");
    assert_eq!(read, report.metrics);
    let pass = read.component("pass").expect("it is there");
    assert_eq!((pass.batches, pass.records, pass.emitted_records), (1, 3, 3));
    assert_eq!((pass.execute_time.count(), pass.queue_depth), (1, 0));
}
