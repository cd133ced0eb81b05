//! Messages and positions committed together, and what others see of those that aren't.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use topology::adapters::kafka::{Fetched, Isolation, KafkaConfig, KafkaHealth, Partitions};
use topology::exchange::{From, Handoff, Outgoing, Parcel, Reader, Transactions, TransactionsFailed};

use crate::common::*;

/// A member of a group that reads two partitions, and sends to a topic of one.
struct Sender {
    read: Topic,
    sent: Topic,
    partitions: Partitions,
    handoff: Arc<Handoff>,
    transactions: Transactions,
}

impl Sender {
    fn new(name: &str) -> Option<Self> {
        let (read, sent) = (Topic::shared(name, 2)?, Topic::shared(name, 1)?);
        // What is left open is open for longer than a test may take.
        let config = KafkaConfig { session_timeout: Duration::from_secs(300), ..read.config() };
        let health = Arc::new(KafkaHealth::new(&read.brokers));
        let mut partitions =
            Partitions::subscribe(&config, &read.name, &read.name, Isolation::Committed, health).unwrap();
        until("partitions are ours", || matches!(partitions.poll(), Fetched::Assigned(_)));
        let handoff = Arc::<Handoff>::default();
        let member = partitions.handle();
        let transactions = Transactions::new(
            &config,
            &read.name,
            read.name.as_str().into(),
            Box::new(move || member.group_metadata()),
            handoff.clone(),
            Arc::<AtomicBool>::default(),
        );
        Some(Self { transactions: transactions.unwrap(), read, sent, partitions, handoff })
    }

    fn send(&mut self, text: &str, positions: &[(i32, i64)]) -> Result<(), TransactionsFailed> {
        self.partitions.poll();
        let topic = self.sent.name.as_str().into();
        let message = Outgoing { topic, partition: 0, payload: text.into() };
        let positions = positions.iter().map(|&(partition, next)| (partition, next, String::new())).collect();
        self.transactions.send(&Parcel { messages: vec![message], positions })
    }

    /// What is there for others, who wait behind what is open.
    fn seen(&self, count: usize) -> Vec<String> {
        let mut reader = Reader::open(&self.sent.config(), &self.sent.name, From::Beginning).unwrap();
        let mut seen = Vec::new();
        until(&format!("{count} messages"), || {
            seen.extend(reader.poll().map(|read| String::from_utf8(read.payload).unwrap()));
            seen.len() >= count
        });
        seen
    }
}

#[test]
fn only_who_owns_a_partition_commits_it() {
    let Some(mut sender) = Sender::new("owned") else { return };
    sender.handoff.assigned(0, 0);
    sender.send("one", &[(0, 5)]).unwrap();
    assert_eq!(sender.read.committed(2), [Some(5), None]);
    let refused = sender.send("not ours", &[(0, 6), (1, 6)]);
    assert!(matches!(refused, Err(TransactionsFailed::Moved)), "{refused:?}");
    sender.send("two", &[(0, 7)]).unwrap();
    assert_eq!(sender.read.committed(2), [Some(7), None]);
    assert_eq!(sender.seen(2), ["one", "two"]);
}

#[test]
fn nobody_waits_behind_what_is_given_up() {
    let Some(mut sender) = Sender::new("given-up") else { return };
    sender.handoff.assigned(0, 0);
    sender.send("one", &[(0, 5)]).unwrap();
    sender.handoff.fail("a part of the worker broke".to_owned());
    sender.send("never", &[(0, 6)]).unwrap_err();
    assert_eq!(sender.read.committed(2)[0], Some(5));
    sender.sent.send(0, "of another");
    sender.sent.flush();
    assert_eq!(sender.seen(2), ["one", "of another"]);
}
