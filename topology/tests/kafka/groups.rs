//! Several members of a group.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use topology::spouts::kafka::{ByJournal, ByTransaction, GroupChange, Mode, refuse_second_member};

use crate::common::*;

fn shared(name: &str) -> ByJournal {
    ByJournal { worker: name.to_owned(), shared: true, ..journal(&[]) }
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
