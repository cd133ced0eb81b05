//! `[kafka]`, and what a source says that is a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::KAFKA;
use super::reader::{Given, Reader, Table};
use super::{Input, Kafka, KafkaConfig, KafkaInput, Shape, Source, Start};
use crate::adapters::kafka::check_property;
use crate::spouts::kafka::envelope::Envelope;

/// What a source says of its messages.
pub(super) struct Messages {
    envelope: Shape,
    keys: Vec<String>,
}

impl Messages {
    pub(super) fn input(&self, topic: String, start: Start) -> KafkaInput {
        KafkaInput { topic, start, envelope: self.envelope, message_keys: self.keys.clone() }
    }
}

/// Reads what a source says of its messages.
pub(super) fn given<'t>(reader: &mut Reader<'t>, table: &Table<'t>) -> Messages {
    let envelope = table.get("envelope").and_then(|given| {
        reader.parsed(&given, |text| match text {
            "auto" => Some(Shape::Auto),
            "none" => Some(Shape::None),
            "json" => Some(Shape::Json),
            _ => None,
        })
    });
    let given = table.get("message_key").map(Reader::one_or_more).unwrap_or_default();
    let key = |text: &str| (!text.is_empty() && text.len() <= 255).then(|| text.to_owned());
    let mut keys: Vec<String> = given.iter().filter_map(|given| reader.parsed(given, key)).collect();
    if keys.is_empty() {
        keys = Envelope::KEYS.map(str::to_owned).into();
    }
    Messages { envelope: envelope.unwrap_or_default(), keys }
}

/// Reads the name of a topic.
pub(super) fn topic<'t>(reader: &mut Reader<'t>, given: &Given<'t>) -> Option<String> {
    reader.parsed(given, |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let fits = (1..=249).contains(&text.len()) && text.bytes().all(plain) && text != "." && text != "..";
        fits.then(|| text.to_owned())
    })
}

/// Reads `[kafka]`.
pub(super) fn kafka<'t>(reader: &mut Reader<'t>, top: &Table<'t>, sources: &[Source]) -> Option<Kafka> {
    let table = reader.table(top, &KAFKA);
    let source = sources.iter().find_map(|source| match &source.input {
        Input::Kafka(input) => Some(input.topic.as_str()),
        _ => None,
    });
    if !table.is_given() {
        if source.is_some() {
            let message = "a source reads a topic, so say where Kafka is: `brokers = \"host:9092\"`";
            reader.reject_table(&table, message);
        }
        return None;
    }
    let mut client = KafkaConfig::new(&brokers(reader, &table));
    if let Some(seconds) = table.get("session_timeout").and_then(|given| reader.whole(&given, 1..=1800)) {
        client.session_timeout = Duration::from_secs(seconds);
    }
    client.properties = properties(reader, &table);
    let group = table.get("group").and_then(|given| {
        let fits =
            |text: &&str| (1..=255).contains(&text.chars().count()) && !text.contains(char::is_control);
        reader.parsed(&given, |text| Some(text).filter(fits).map(str::to_owned))
    });
    let keyed_by_client = table.get("keyed_by_client").and_then(|given| reader.flag(&given));
    let mut seen: Vec<(String, &str)> =
        source.map(|topic| (topic.to_owned(), "the source")).into_iter().collect();
    let mut topic_of = |name, default: &str| {
        let given = table.get(name);
        let found =
            given.as_ref().and_then(|given| topic(reader, given)).unwrap_or_else(|| default.to_owned());
        match (seen.iter().find(|(other, _)| *other == found), &given) {
            (Some((_, other)), Some(given)) => {
                reader.reject(given, format!("is the topic of {other} already"));
            }
            (Some((_, other)), None) => {
                reader
                    .reject_table(&table, format!("`{name}` is the topic of {other} already; name another"));
            }
            _ => seen.push((found.clone(), name)),
        }
        found
    };
    Some(Kafka {
        hits_topic: topic_of("hits_topic", "ccfirewall.hits"),
        findings_topic: topic_of("findings_topic", "ccfirewall.findings"),
        key_bans_topic: topic_of("key_bans_topic", "ccfirewall.key_bans"),
        client,
        group: group.unwrap_or_else(|| "ccfirewall".to_owned()),
        keyed_by_client: keyed_by_client.unwrap_or_default(),
    })
}

fn brokers<'t>(reader: &mut Reader<'t>, table: &Table<'t>) -> String {
    let Some(given) = table.get("brokers") else {
        reader.reject_table(table, "must have `brokers`, such as \"kafka1:9092\"");
        return String::new();
    };
    let given = Reader::one_or_more(given);
    let broker = |text: &str| {
        let brokers: Option<Vec<&str>> = text.split(',').map(|broker| is_broker(broker.trim())).collect();
        brokers.map(|brokers| brokers.join(","))
    };
    let found: Vec<String> = given.iter().filter_map(|given| reader.parsed(given, broker)).collect();
    if given.is_empty() {
        reader.reject_table(table, "`brokers` is empty; name one, such as \"kafka1:9092\"");
    }
    found.join(",")
}

/// `host:port` or `[address]:port`, as librdkafka takes it.
fn is_broker(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let fits =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let port: u16 = port.parse().ok()?;
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(fits) && port > 0).then_some(text)
}

fn properties<'t>(reader: &mut Reader<'t>, table: &Table<'t>) -> BTreeMap<String, String> {
    let Some(given) = table.get("properties") else { return BTreeMap::new() };
    let mut properties = BTreeMap::new();
    for (given, key, value) in reader.properties(&given) {
        if let Err(message) = check_property(&key, &value) {
            reader.reject(&given, message);
        }
        properties.insert(key, value);
    }
    properties
}
