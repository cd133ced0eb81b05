//! Kafka: away, not ours, without the topic, and with things in it that are no lines.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::kafka_common::{Topic, line, now};
use crate::site::{Nobody, Site, silent};

fn config(topic: &Topic) -> String {
    config_of(&topic.brokers, &topic.name)
}

fn config_of(brokers: &str, topic: &str) -> String {
    format!(
        "[[source]]\nkafka = \"{topic}\"\n[kafka]\nbrokers = \"{brokers}\"\ngroup = \"{topic}\"\n[agent]\nenforcer = \"dry-run\"\n"
    )
}

#[test]
fn a_topic_that_is_missing() {
    let Some(topic) = Topic::shared("doctor-access-log", 1) else { return };
    let wanted = topic.name.replace("access-log", "access_log");
    let said = Site::new().doctor(&config_of(&topic.brokers, &wanted));
    assert_eq!(said.code, Some(1));
    said.has("kafka", "ok", &topic.brokers, "");
    said.has(
        "topic",
        "bad",
        &format!("there is no topic {wanted}"),
        &format!("--create --topic {wanted} --partitions 8"),
    );
    said.has("topic", "bad", &format!("similar ones are there: {}", topic.name), "[[source]]");
    // Looking hasn't made it.
    let admin = topology::adapters::kafka::Admin::new(&topic.config()).unwrap();
    assert!(admin.partition_count(&wanted, Duration::from_secs(10)).is_err());
}

#[test]
fn a_broker_that_is_not_there() {
    let nobody = Nobody::new();
    let began = Instant::now();
    let said = Site::new().doctor(&config_of(&nobody.address().to_string(), "access-log"));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(said.code, Some(1));
    said.has(
        "kafka",
        "bad",
        &format!("no broker of Kafka can be reached at {}", nobody.address()),
        "`brokers` in [kafka]",
    );
    said.has("kafka", "bad", "refused", "");
    said.has("topic", "skipped", "", "");
    let silent = silent();
    let said = Site::new().doctor(&config_of(&silent.local_addr().unwrap().to_string(), "access-log"));
    said.has("kafka", "bad", "can be reached", "see that Kafka runs");
    let said = Site::new().doctor(&config_of("no-such-host.invalid:9092", "access-log"));
    said.has("kafka", "bad", "no-such-host.invalid", "host and port");
}

#[test]
fn a_broker_that_speaks_otherwise() {
    let Some(topic) = Topic::shared("doctor-plain", 1) else { return };
    for properties in [
        "\"security.protocol\" = \"ssl\"",
        "\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\"sasl.username\" = \"u\"\n\"sasl.password\" = \"hush\"",
    ] {
        let said = Site::new().doctor(&format!("{}[kafka.properties]\n{properties}\n", config(&topic)));
        said.has("kafka", "bad", "doesn't let us in", "[kafka.properties]");
        assert!(!format!("{said:?}").contains("hush"), "{said:?}");
    }
}

#[test]
fn lines_that_are_none() {
    let Some(topic) = Topic::shared("doctor-lines", 2) else { return };
    let said = Site::new().doctor(&config(&topic));
    said.has("lines", "warn", "the topic is empty", "shipper");
    for n in 0..60 {
        topic.send(n % 2, &format!("{n} this is the log of something else"));
    }
    topic.flush();
    let said = Site::new().doctor(&config(&topic));
    assert_eq!(said.code, Some(1));
    said.has("lines", "bad", "60 of the last 60 can't be read", "log_format");
    said.has("lines", "bad", "such as:", "");
    // A format that fits is named, and so is the key that has the line.
    let json = Topic::shared("doctor-json", 1).unwrap();
    for n in 0..40 {
        json.send(0, &json!({"time": "x", "text": line(n, now())}).to_string());
    }
    json.flush();
    let said = Site::new().doctor(&config(&json));
    said.has("lines", "bad", "text, time", "`message_key`");
    let said = Site::new().doctor(&config(&json).replace("[kafka]", "message_key = \"text\"\n[kafka]"));
    said.has("lines", "ok", "the last 40 can all be read", "");
    let said = Site::new()
        .doctor(&config(&json).replace("[kafka]", "format = \"json\"\nmessage_key = \"text\"\n[kafka]"));
    said.has("lines", "bad", "40 of the last 40", "'combined'");
}

#[test]
fn hosts_whose_clocks_are_off() {
    let Some(topic) = Topic::shared("doctor-clocks", 1) else { return };
    for (host, ahead) in [("web1", 0), ("web2", 8)] {
        for n in 0..20 {
            let line = line(n, now() + ahead);
            topic.send(0, &json!({"host": {"name": host}, "message": line}).to_string());
        }
    }
    topic.flush();
    let said = Site::new().doctor(&config(&topic));
    said.has("clock", "warn", "the newest line of web2 is", "timedatectl");
    assert!(!format!("{said:?}").contains("line of web1"), "{said:?}");
}

#[test]
fn how_far_the_group_is_and_nothing_is_changed() {
    let Some(topic) = Topic::shared("doctor-lag", 2) else { return };
    topic.send_lines(0..50, 2);
    let said = Site::new().doctor(&config(&topic));
    said.has("lag", "skipped", "has never read", "");
    assert_eq!(topic.committed(2), [None, None]);
    {
        let mut worker = topic.worker();
        worker.read(50);
        worker.run_until("committed", |_| topic.committed(2) == [Some(25), Some(25)]);
        worker.spout_close();
    }
    topic.send_lines(50..60, 2);
    let said = Site::new().doctor(&config(&topic));
    said.has("lag", "ok", "10 messages of", "");
    assert_eq!(topic.committed(2), [Some(25), Some(25)]);
}
