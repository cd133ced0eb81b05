//! Where Kafka is, and what librdkafka is told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as Cause;
use rdkafka::types::RDKafkaConfRes;

/// Where Kafka is and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Brokers to begin with, `host:port`, by commas.
    pub brokers: String,
    /// A member of a group that isn't heard of for so long is taken for dead.
    pub session_timeout: Duration,
    /// What tells this member of groups from all others, over restarts. Whoever comes again under the same name is given
    /// what it had at once, and nobody waits for the session of the one before to end. One that ends for good is taken
    /// for alive until its session ends.
    pub instance: Option<String>,
    /// Keys of librdkafka, as the operator gives them; [`check_property`] has taken each.
    pub properties: BTreeMap<String, String>,
}

/// Values of properties may be secret.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("session_timeout", &self.session_timeout)
            .field("instance", &self.instance)
            .field("properties", &keys)
            .finish()
    }
}

impl KafkaConfig {
    /// How long a silent member counts as alive, where nobody says otherwise.
    pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

    /// Brokers, and everything else as it is by default.
    #[must_use]
    pub fn new(brokers: &str) -> Self {
        let (brokers, properties) = (brokers.to_owned(), BTreeMap::new());
        Self { brokers, session_timeout: Self::SESSION_TIMEOUT, instance: None, properties }
    }

    /// What every client is told: consumers, producers, admin.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Info);
        // What a property may say otherwise.
        client.set("client.id", "ccfirewall");
        client.set("reconnect.backoff.ms", "100");
        client.set("reconnect.backoff.max.ms", "500");
        // A topic that is created and a partition that is added are noticed so soon.
        client.set("topic.metadata.refresh.interval.ms", "10000");
        for (key, value) in &self.properties {
            client.set(key, value);
        }
        client.set("bootstrap.servers", &self.brokers);
        client.set("allow.auto.create.topics", "false");
        client
    }

    /// What a property may say otherwise.
    pub(super) fn by_default(&self, client: &mut ClientConfig, key: &str, value: &str) {
        if !self.properties.contains_key(key) {
            client.set(key, value);
        }
    }
}

/// Keys that we set ourselves, each with what to do instead.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "it is `brokers` in `[kafka]`"),
    ("metadata.broker.list", "it is `brokers` in `[kafka]`"),
    ("group.id", "it is `group` in `[kafka]`"),
    ("session.timeout.ms", "it is `session_timeout` in `[kafka]`"),
    ("heartbeat.interval.ms", "it follows from `session_timeout` in `[kafka]`"),
    ("auto.offset.reset", "it is `start` in `[kafka]`"),
    ("enable.auto.commit", "offsets are committed once what came of the lines is kept"),
    ("auto.commit.interval.ms", "offsets are committed once what came of the lines is kept"),
    ("auto.commit.enable", "offsets are committed once what came of the lines is kept"),
    ("enable.auto.offset.store", "offsets are committed once what came of the lines is kept"),
    ("isolation.level", "what isn't committed must not count, so it is always read_committed"),
    ("transactional.id", "each worker has one of its own"),
    ("enable.idempotence", "without it lines would count twice, so it is always true"),
    ("acks", "what one broker alone has may be lost, so it is always all"),
    ("request.required.acks", "what one broker alone has may be lost, so it is always all"),
    ("partition.assignment.strategy", "workers of one group must agree, so it is always cooperative-sticky"),
    ("group.protocol", "workers of one group must agree, so it is always classic"),
    ("group.remote.assignor", "workers of one group must agree, so partitions are always cooperative-sticky"),
    ("group.instance.id", "each worker has one of its own"),
    ("enable.partition.eof", "it is how the end of a partition is noticed, so it is always true"),
    ("statistics.interval.ms", "it is how lag is noticed, so it is always 1000"),
    ("allow.auto.create.topics", "a topic that is mistyped must not come to be"),
    ("plugin.library.paths", "no code is loaded from elsewhere"),
    ("log.queue", "what librdkafka logs is in our log"),
    ("consume.callback.max.messages", "it means nothing here"),
];

/// Whether librdkafka knows the key and may be told the value. The message names no value, for it may be secret.
///
/// # Errors
/// Why not, and what to do.
pub fn check_property(key: &str, value: &str) -> Result<(), String> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == key) {
        return Err(format!("can't be set here: {instead}; leave it out"));
    }
    if key.contains('\0') || value.contains('\0') {
        return Err("has a NUL byte in it".to_owned());
    }
    let mut client = ClientConfig::new();
    client.set(key, value);
    match client.create_native_config() {
        Ok(_) => Ok(()),
        Err(Cause::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            let known =
                "https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md has them all";
            Err(format!("is no key of librdkafka that this program was built with; {known}"))
        }
        Err(_) => Err("has a value that librdkafka doesn't take for this key".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties() {
        let check = |key: &str, value: &str, expect: Option<&str>| {
            let found = check_property(key, value).err();
            assert!(
                match (&found, expect) {
                    (None, None) => true,
                    (Some(found), Some(expect)) => found.contains(expect),
                    _ => false,
                },
                "{key}: {found:?}"
            );
        };
        check("security.protocol", "sasl_ssl", None);
        check("sasl.mechanism", "SCRAM-SHA-512", None);
        check("sasl.password", "secret", None);
        check("ssl.ca.location", "/etc/ca.pem", None);
        check("fetch.wait.max.ms", "100", None);
        check("compression.type", "zstd", None);
        check("fetch.wait.max.ms", "soon", Some("has a value"));
        check("security.protocol", "tls", Some("has a value"));
        check("sasl.pasword", "secret", Some("is no key"));
        check("", "x", Some("is no key"));
        check("group.id", "x", Some("`group`"));
        check("enable.auto.commit", "true", Some("is kept"));
        check("ssl.key.password", "a\0b", Some("NUL"));
        for (key, _) in OURS {
            check(key, "1", Some("can't be set here"));
        }
    }

    #[test]
    fn librdkafka_has_what_we_promise() {
        let native = ClientConfig::new().create_native_config().unwrap();
        let features = native.get("builtin.features").unwrap();
        for feature in ["gzip", "snappy", "ssl", "sasl_plain", "sasl_scram", "lz4", "zstd"] {
            assert!(features.contains(feature), "{features}");
        }
    }

    #[test]
    fn no_secret_in_debug() {
        let mut config = KafkaConfig::new("k:9092");
        config.properties.insert("sasl.password".to_owned(), "hush".to_owned());
        assert!(!format!("{config:?}").contains("hush"));
    }
}
