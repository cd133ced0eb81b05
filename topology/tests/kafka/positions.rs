//! Where reading begins, how far it is committed, and in which order lines come.

use std::time::Duration;

use topology::config::Start;

use crate::common::*;

#[test]
fn commits_are_never_ahead_of_acks() {
    let Some(topic) = Topic::shared("commits", 2) else { return };
    topic.send_lines(0..100, 2);
    let mut worker = topic.worker();
    worker.acks = false;
    worker.read(100);
    worker.run_for(Duration::from_millis(2500));
    assert_eq!(topic.committed(2), [Some(0), Some(0)], "where it began, for nothing is acked");
    worker.ack();
    worker.run_until("what is acked is committed", |_| topic.committed(2) == [Some(50), Some(50)]);
    topic.send_lines(100..200, 2);
    worker.read(200);
    // Killed: what wasn't acked comes again, to whoever has no journal.
    drop(worker);
    let mut next = topic.worker();
    next.read(100);
    assert_eq!(next.numbers().len(), 100);
    assert!(next.numbers().iter().all(|n| (100..200).contains(n)));
    assert_eq!(next.rebuilt().len(), 100, "and what was, to fill windows");
    next.spout_close();
    assert_eq!(topic.committed(2), [Some(100), Some(100)], "an end in order commits");
}

#[test]
fn the_journal_says_where_to_go_on() {
    let Some(topic) = Topic::shared("journal", 2) else { return };
    let old = now() - 7200;
    for n in 0..10 {
        topic.send(0, &line(n, old));
    }
    topic.send_lines(10..100, 2);
    // Partition 0 has 10 + 45 messages, partition 1 has 45.
    let mut worker = Worker::new(topic.lines(), journal(&[(0, 40), (1, 20)]));
    worker.read(40);
    worker.run_for(Duration::from_millis(300));
    assert_eq!((worker.numbers().len(), worker.rebuilt().len()), (40, 60));
    let first_live = worker.batches.iter().position(|batch| !mark(batch).rebuild).unwrap();
    assert!(worker.batches[first_live..].iter().all(|batch| !mark(batch).rebuild), "first all windows");
    check_once([worker.numbers(), worker.rebuilt()].concat(), 100);
    worker.check_marks();
}

#[test]
fn from_the_end() {
    let Some(topic) = Topic::shared("end", 3) else { return };
    topic.send_lines(0..30, 3);
    let mut lines = topic.lines();
    lines.start = Start::End;
    let mut worker = Worker::new(lines.clone(), journal(&[]));
    worker.run_until("it is live", |worker| !worker.spout.is_filling());
    worker.run_until("the beginning is committed", |_| topic.committed(3) == [Some(10); 3]);
    topic.send_lines(30..60, 3);
    worker.read(30);
    assert!(worker.numbers().iter().all(|n| *n >= 30));
    worker.spout_close();
    // A partition that is added is read from its beginning, also where nobody was looking.
    drop(worker);
    topic.grow(4);
    topic.send(3, &line(60, now()));
    topic.flush();
    let mut next = Worker::new(lines, journal(&[]));
    next.read(1);
    assert_eq!(next.numbers(), [60]);
    topic.grow(5);
    topic.send(4, &line(61, now()));
    topic.flush();
    next.read(2);
    assert_eq!(next.numbers(), [60, 61]);
}

#[test]
fn partitions_30_s_apart_go_in_step() {
    let Some(topic) = Topic::shared("apart", 2) else { return };
    let begin = now() - 600;
    for n in 0..300_usize {
        let second = begin + i64::try_from(n).unwrap();
        topic.send(0, &line(n, second));
        topic.send(1, &line(1000 + n, second - 30));
    }
    topic.flush();
    let mut worker = topic.worker();
    worker.read(600);
    let mut newest = [0_i64; 2];
    for number in worker.numbers() {
        let n = i64::try_from(number % 1000).unwrap();
        newest[number / 1000] = n - 30 * i64::from(number >= 1000);
        let through = newest[1] == 269;
        assert!(
            newest[0] <= newest[1].max(0) + 31 && (through || newest[0] <= newest[1].max(-1) + 2),
            "{newest:?}"
        );
    }
}

#[test]
fn a_partition_that_is_far_ahead_waits() {
    let Some(topic) = Topic::shared("ahead", 2) else { return };
    let begin = now() - 600;
    // More than a partition may hold, of a later time than all of the other.
    for n in 0..800 {
        let filler = "x".repeat(100_000);
        topic.send(0, &line(1000 + n, begin + 500).replace("GET /", &format!("GET /{filler}")));
        if n % 50 == 49 {
            topic.flush();
        }
    }
    for n in 0..500_usize {
        topic.send(1, &line(n, begin + i64::try_from(n).unwrap()));
    }
    topic.flush();
    let mut worker = topic.worker();
    worker.read(1300);
    let numbers = worker.numbers();
    assert!(numbers[..499].iter().all(|n| *n < 500), "the other first");
    let mut sorted = numbers;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..500).chain(1000..1800).collect::<Vec<_>>(), "each once, though it was paused");
}
