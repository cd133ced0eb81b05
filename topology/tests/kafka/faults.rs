//! No topic, no broker, nothing there any more.

use std::sync::Arc;
use std::time::Duration;

use real_servers::Servers;
use topology::adapters::kafka::{Fetched, Isolation, KafkaHealth, Partitions};

use crate::common::*;

#[test]
fn a_topic_that_comes_later() {
    let Some(servers) = Servers::shared() else { return };
    let topic = Topic::unmade("missing", &servers.up("kafka"));
    let mut worker = topic.worker();
    worker.run_until("it is told", |worker| worker.health.problem().is_some());
    let text = worker.health.problem().unwrap();
    let expect =
        format!("topic {} doesn't exist on {}: create it: kafka-topics.sh", topic.name, topic.brokers);
    assert!(text.starts_with(&expect), "{text}");
    topic.make(2);
    topic.send_lines(0..10, 2);
    worker.read(10);
    check_once(worker.numbers(), 10);
    assert_eq!(worker.health.problem(), None);
}

#[test]
fn a_broker_that_is_killed_and_comes_back() {
    let Some(servers) = Servers::own("kafka-away") else { return };
    let brokers = servers.up("kafka");
    let topic = Topic::unmade("away", &brokers);
    topic.make(3);
    topic.send_lines(0..300, 3);
    let mut worker = topic.worker();
    worker.read(300);
    worker.run_until("it is committed", |_| topic.committed(3) == [Some(100); 3]);
    servers.kill("kafka");
    worker.run_until("it is told", |worker| worker.health.problem().is_some());
    let text = worker.health.problem().unwrap();
    assert!(text.contains(&brokers) && text.contains("can't be reached"), "{text}");
    // Longer than the session: the group has forgotten us.
    worker.run_for(Duration::from_secs(3));
    servers.up("kafka");
    topic.send_lines(300..600, 3);
    worker.read(600);
    worker.run_until("it is well", |worker| worker.health.problem().is_none());
    worker.run_until("it is committed", |_| topic.committed(3) == [Some(200); 3]);
    check_once(worker.numbers(), 600);
    assert!(worker.rebuilt().is_empty(), "it goes on where it was");
    worker.check_marks();
}

#[test]
fn a_broker_that_isnt_there_at_the_start() {
    let Some(servers) = Servers::own("kafka-late") else { return };
    let brokers = servers.up("kafka");
    let topic = Topic::unmade("late", &brokers);
    topic.make(1);
    topic.send_lines(0..10, 1);
    servers.down("kafka");
    let mut worker = topic.worker();
    worker.run_until("it is told", |worker| worker.health.problem().is_some());
    servers.up("kafka");
    worker.read(10);
    check_once(worker.numbers(), 10);
}

#[test]
fn what_is_deleted_before_it_is_read_is_a_loss() {
    let Some(topic) = Topic::shared("retention", 1) else { return };
    topic.send_lines(0..50, 1);
    let mut worker = topic.worker();
    worker.read(50);
    worker.spout_close();
    topic.send_lines(50..100, 1);
    topic.delete_before(0, 80);
    let mut worker = topic.worker();
    worker.read(20);
    assert_eq!(worker.numbers(), (80..100).collect::<Vec<_>>());
    let now = worker.health.now();
    assert_eq!(now.lost, 30);
    assert!(now.last_loss.unwrap().contains("offsets 50 to 79"));
    assert_eq!(worker.health.problem(), None);
}

#[test]
fn a_hole_while_it_is_read_is_a_loss() {
    let Some(topic) = Topic::shared("hole", 1) else { return };
    topic.send_lines(0..10, 1);
    let health = Arc::new(KafkaHealth::new(&topic.brokers));
    let config = topic.config();
    let mut partitions =
        Partitions::subscribe(&config, &topic.name, &topic.name, Isolation::Committed, health.clone())
            .unwrap();
    let mut offsets = Vec::new();
    let read = |partitions: &mut Partitions, offsets: &mut Vec<i64>, to: i64| {
        until("the messages", || {
            match partitions.poll() {
                Fetched::Assigned(assigned) => {
                    assert_eq!(partitions.start(0, assigned[0].low), 0);
                }
                Fetched::Message(message) => offsets.push(message.offset),
                _ => {}
            }
            offsets.last() == Some(&to)
        });
    };
    read(&mut partitions, &mut offsets, 9);
    // While it fetches nothing, messages come and go.
    partitions.pause(0);
    topic.send_lines(10..60, 1);
    topic.delete_before(0, 40);
    partitions.resume(0);
    read(&mut partitions, &mut offsets, 59);
    assert_eq!(offsets, (0..10).chain(40..60).collect::<Vec<_>>());
    assert_eq!(health.now().lost, 30);
    // What is committed is committed once, and never less.
    partitions.commit_now(&[(0, 50, "a")], PATIENCE).unwrap();
    partitions.commit_now(&[(0, 45, "b"), (7, 1, "not ours")], PATIENCE).unwrap();
    assert_eq!(topic.committed(1), [Some(50)]);
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let Some(topic) = Topic::shared("anew", 1) else { return };
    topic.send_lines(0..20, 1);
    // The journal is of an earlier topic of the same name.
    let mut worker = Worker::new(topic.lines(), journal(&[(0, 500)]));
    worker.read(20);
    check_once(worker.numbers(), 20);
    assert!(worker.health.now().last_loss.unwrap().contains("made anew"));
}

#[test]
fn who_isnt_let_in_is_told_why() {
    let Some(servers) = Servers::shared() else { return };
    let topic = Topic::unmade("tls", &servers.up("kafka"));
    let mut lines = topic.lines();
    lines.kafka.properties.insert("security.protocol".to_owned(), "ssl".to_owned());
    let mut worker = Worker::new(lines, journal(&[]));
    worker.run_until("it is told", |worker| worker.health.problem().is_some());
    let text = worker.health.problem().unwrap();
    assert!(text.contains("doesn't let us in") && text.contains("security.protocol"), "{text}");
}
