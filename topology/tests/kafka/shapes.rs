//! What messages may be, and how compressed.

use std::time::Duration;

use model::line::LogFormat;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::json;
use topology::spouts::kafka::envelope::{Envelope, Shape};

use crate::common::*;

#[test]
fn all_codecs() {
    let Some(topic) = Topic::shared("codecs", 2) else { return };
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (at, codec) in codecs.iter().enumerate() {
        let producer = producer(&topic.brokers, codec);
        for n in at * 200..(at + 1) * 200 {
            let message = line(n, now());
            send(&producer, &topic.name, i32::try_from(n % 2).unwrap(), Some(message.as_bytes()));
        }
        producer.flush(PATIENCE).unwrap();
    }
    let mut worker = topic.worker();
    worker.read(1000);
    check_once(worker.numbers(), 1000);
    worker.check_marks();
}

#[test]
fn all_shippers() {
    let Some(topic) = Topic::shared("shippers", 1) else { return };
    let line = |n| line(n, now());
    let messages = [
        line(0),
        format!("{}\n{}\n", line(1), line(2)),
        json!([{"headers": {"h": "web1"}, "body": line(3)}, {"headers": {}, "body": line(4)}]).to_string(),
        json!({"@timestamp": "2026-11-22T10:09:00.000Z", "host": {"name": "web1"}, "message": line(5)})
            .to_string(),
        json!({"@timestamp": 1_763_805_600.5, "log": format!("{}\n", line(6))}).to_string(),
        json!({"host": "web1", "message": line(7), "timestamp": "2026-11-22T10:09:00Z"}).to_string(),
    ];
    messages.iter().for_each(|message| topic.send(0, message));
    topic.flush();
    let mut worker = topic.worker();
    worker.read(8);
    assert_eq!(worker.numbers(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn json_lines_in_json() {
    let Some(topic) = Topic::shared("json", 1) else { return };
    let inner =
        json!({"remote_addr": "192.0.2.1", "msec": "1.0", "request": "GET / HTTP/1.1", "status": 200});
    topic.send(0, &json!({"message": inner.to_string(), "@timestamp": "2026-11-22T10:09:00Z"}).to_string());
    topic.send(0, &inner.to_string());
    topic.flush();
    let format: LogFormat = "json".parse().unwrap();
    let mut lines = topic.lines();
    lines.envelope = Envelope::new(Shape::Auto, &Envelope::KEYS, &format);
    lines.format = format;
    let mut worker = Worker::new(lines, journal(&[]));
    let bytes = |worker: &Worker| worker.batches.iter().flat_map(|b| b.bytes.to_vec()).collect::<Vec<u8>>();
    worker.run_until("both", |worker| bytes(worker).iter().filter(|&&byte| byte == b'\n').count() >= 2);
    assert_eq!(String::from_utf8(bytes(&worker)).unwrap(), format!("{inner}\n{inner}\n"));
}

#[test]
fn only_what_is_committed_is_read() {
    let Some(topic) = Topic::shared("transactions", 1) else { return };
    let mut client = rdkafka::ClientConfig::new();
    client.set("bootstrap.servers", &topic.brokers).set("transactional.id", &topic.name);
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    for transaction in 0..6_usize {
        producer.begin_transaction().unwrap();
        for n in 0..10 {
            let line = line(transaction / 2 * 10 + n, now());
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&topic.name).partition(0).payload(&line);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        match transaction % 2 {
            0 => producer.commit_transaction(PATIENCE).unwrap(),
            _ => producer.abort_transaction(PATIENCE).unwrap(),
        }
    }
    let mut worker = topic.worker();
    worker.read(30);
    worker.run_for(Duration::from_millis(300));
    assert_eq!(worker.numbers(), (0..30).collect::<Vec<_>>());
    assert_eq!(worker.health.now().lost, 0, "the ends of transactions have offsets and are no lines");
}

#[test]
fn what_is_no_line_stops_nothing() {
    let Some(topic) = Topic::shared("broken", 1) else { return };
    let producer = producer(&topic.brokers, "none");
    let big = vec![b'x'; 900_000];
    for payload in [None, Some(&b""[..]), Some(b"\xff\x00\xfe"), Some(b"{\"message\":"), Some(&big)] {
        send(&producer, &topic.name, 0, payload);
    }
    send(&producer, &topic.name, 0, Some(line(0, now()).as_bytes()));
    producer.flush(PATIENCE).unwrap();
    let mut worker = topic.worker();
    let lines = |worker: &Worker| worker.batches.iter().map(engine::Tuple::records).sum::<u64>();
    worker.run_until("six lines", |worker| lines(worker) >= 6);
    worker.ack();
    worker.run_until("they are committed", |_| topic.committed(1) == [Some(6)]);
}
