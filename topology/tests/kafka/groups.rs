//! Several members of a group.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topology::spouts::kafka::{
    ByJournal, ByTransaction, GroupChange, KafkaLinesConfig, Mode, refuse_second_member,
};

use crate::common::*;

fn shared(name: &str) -> ByJournal {
    ByJournal { worker: name.to_owned(), ..journal(&[]) }
}

#[test]
fn each_line_once_whoever_joins_and_leaves() {
    let Some(topic) = Topic::shared("rebalance", 4) else { return };
    topic.send_lines(0..200, 4);
    let mut one = Worker::new(topic.lines(), shared("one"));
    one.read(200);
    let mut two = Worker::new(topic.lines(), shared("two"));
    until("both have partitions", || {
        one.step();
        two.step();
        let owned = [&one, &two].map(|worker| worker.health.now().partitions.len());
        owned == [2, 2]
    });
    topic.send_lines(200..400, 4);
    until("400 lines", || {
        one.step();
        two.step();
        one.numbers().len() + two.numbers().len() >= 400
    });
    assert!(two.numbers().len() >= 100);
    // One leaves in order, and what it had goes on with the other.
    two.spout_close();
    let second = two.numbers();
    topic.send_lines(400..600, 4);
    one.run_until("600 lines", |one| one.numbers().len() + second.len() >= 600);
    one.run_for(Duration::from_millis(300));
    check_once([one.numbers(), second].concat(), 600);
    one.check_marks();
    two.check_marks();
}

#[test]
fn a_partition_goes_only_when_it_is_finished() {
    let Some(topic) = Topic::shared("finish", 2) else { return };
    topic.send_lines(0..100, 2);
    let mut one = Worker::new(topic.lines(), shared("one"));
    one.acks = false;
    one.read(100);
    let mut two = Worker::new(topic.lines(), shared("two"));
    // For a while nothing of the first is acked: the second must not get what isn't finished.
    let wait = std::time::Instant::now();
    while wait.elapsed() < Duration::from_secs(2) {
        one.step();
        two.step();
    }
    assert!(two.batches.is_empty());
    one.acks = true;
    one.ack();
    until("the second has a partition", || {
        one.step();
        two.step();
        two.health.now().partitions.len() == 1
    });
    topic.send_lines(100..200, 2);
    until("200 lines", || {
        one.step();
        two.step();
        one.numbers().len() + two.numbers().len() >= 200
    });
    check_once([one.numbers(), two.numbers()].concat(), 200);
}

#[test]
fn a_second_member_is_refused() {
    let Some(topic) = Topic::shared("second", 2) else { return };
    assert!(refuse_second_member(&topic.config(), &topic.name, &topic.name).is_ok());
    let mut one = topic.worker();
    one.run_until("it has both", |worker| worker.health.now().partitions.len() == 2);
    let refused = std::thread::scope(|scope| {
        let asked = scope.spawn(|| refuse_second_member(&topic.config(), &topic.name, &topic.name));
        one.run_until("it is refused", |_| asked.is_finished());
        asked.join().unwrap()
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("keyed_by_client = true") && text.contains(&topic.name), "{text}");
    // One that comes all the same is told of while it is there.
    let mut two = topic.worker();
    until("it is told", || {
        one.step();
        two.step();
        one.health.problem().is_some_and(|text| text.contains("another member"))
    });
    two.spout_close();
    one.run_until("it is over", |one| one.health.problem().is_none());
}

/// A member that ends without a word, and comes again under its name, has at once what it had; nobody else hears of it.
#[test]
fn a_member_that_comes_again_is_not_waited_for() {
    let Some(topic) = Topic::shared("again", 2) else { return };
    topic.send_lines(0..20, 2);
    let member = |name: &str| {
        let mut lines = topic.lines();
        lines.kafka.instance = Some(name.to_owned());
        // Far longer than this test may take.
        lines.kafka.session_timeout = Duration::from_secs(300);
        lines
    };
    let moves = Arc::<Mutex<Vec<String>>>::default();
    let tell = {
        let moves = moves.clone();
        move |change: GroupChange<'_>| moves.lock().unwrap().push(format!("{change:?}"))
    };
    let by_transaction = ByTransaction { changes: Some(Box::new(tell)) };
    let mut one = Worker::with(member("one"), Mode::Transaction(by_transaction));
    let mut two = Worker::new(member("two"), shared("two"));
    until("both have a partition", || {
        one.step();
        two.step();
        [&one, &two].map(|worker| worker.health.now().partitions.len()) == [1, 1]
    });
    let before = moves.lock().unwrap().len();
    drop(two);
    let mut two = Worker::new(member("two"), shared("two"));
    until("it has its partition again", || {
        one.step();
        two.step();
        two.health.now().partitions.len() == 1
    });
    topic.send_lines(20..40, 2);
    until("the new lines are read", || {
        one.step();
        two.step();
        one.numbers().iter().chain(&two.numbers()).filter(|&&number| number >= 20).count() >= 20
    });
    let moves = moves.lock().unwrap();
    let moved = moves[before..].iter().filter(|change| !change.starts_with("CaughtUp"));
    assert_eq!(moved.count(), 0, "{moves:?}");
}

#[test]
fn two_under_one_name_are_told() {
    let Some(topic) = Topic::shared("twice", 1) else { return };
    let member = || {
        let mut lines = topic.lines();
        lines.kafka.instance = Some("one".to_owned());
        Worker::new(lines, shared("one"))
    };
    let mut first = member();
    first.run_until("it has the partition", |first| first.health.now().partitions.len() == 1);
    let mut second = member();
    until("the first is told", || {
        first.step();
        second.step();
        first.health.problem().is_some_and(|text| text.contains("state folder of its own"))
    });
    topic.send_lines(0..10, 1);
    second.read(10);
    assert!(first.numbers().is_empty());
}

/// Whoever hears that nothing more is there may rely on it that all that was there is emitted.
#[test]
fn a_partition_is_only_through_when_all_of_it_is_emitted() {
    let Some(topic) = Topic::shared("through", 2) else { return };
    topic.send_lines(0..400, 2);
    let emitted = Arc::new(AtomicUsize::new(0));
    let through = Arc::<Mutex<Vec<usize>>>::default();
    let (known, told) = (emitted.clone(), through.clone());
    let tell = move |change: GroupChange<'_>| {
        if matches!(change, GroupChange::CaughtUp(_)) {
            told.lock().unwrap().push(known.load(Ordering::Relaxed));
        }
    };
    let lines = KafkaLinesConfig { batch_bytes: 1000, ..topic.lines() };
    let by_transaction = ByTransaction { changes: Some(Box::new(tell)) };
    let mut worker = Worker::with(lines, Mode::Transaction(by_transaction));
    worker.run_until("both partitions are through", |worker| {
        emitted.store(worker.numbers().len(), Ordering::Relaxed);
        through.lock().unwrap().len() == 2
    });
    let through = through.lock().unwrap();
    assert!(through[0] >= 200 && through[1] == 400, "{through:?} of 200 and 400 lines");
}

#[test]
fn by_transaction_nothing_is_filled_and_nothing_committed() {
    let Some(topic) = Topic::shared("transaction", 2) else { return };
    topic.send_lines(0..40, 2);
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let worker = || {
        let seen = seen.clone();
        let tell = move |change: GroupChange<'_>| seen.lock().unwrap().push(format!("{change:?}"));
        Worker::with(topic.lines(), Mode::Transaction(ByTransaction { changes: Some(Box::new(tell)) }))
    };
    let mut one = worker();
    assert!(!one.spout.is_filling());
    one.read(40);
    one.run_for(Duration::from_millis(1500));
    assert!(one.rebuilt().is_empty());
    assert_eq!(topic.committed(2), [None, None]);
    let handle = one.spout.handle().unwrap();
    assert!(handle.group_metadata().is_some());
    assert!(seen.lock().unwrap()[0].starts_with("Came("));
    drop(one);
    assert!(handle.group_metadata().is_none());
    let mut next = worker();
    next.read(40);
    check_once(next.numbers(), 40);
}
