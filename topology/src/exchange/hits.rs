//! From match workers to analysing ones: combined hits, and how far the access log was read.

use model::key::Key;
use model::units::Second;
use serde::{Deserialize, Serialize};

use super::message::{self, MessageError};

/// In [`SentHit::rule`]: the request belongs to no rule.
pub(super) const NO_RULE: u32 = u32::MAX;

/// What a worker found in the partitions that it reads, of the keys of one partition of the topic. Every partition gets
/// a message whenever the worker has read something, and twice a second when not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitsMessage {
    /// How many partitions the access log has.
    pub sources: u32,
    /// By what length of IPv6 prefixes keys were made.
    pub ipv6_prefix: u8,
    /// The names of the rules that hits belong to: numbers differ between workers.
    pub rules: Vec<String>,
    /// One for each partition that the worker reads.
    pub parts: Vec<SourcePart>,
}

/// What comes of one partition of the access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePart {
    /// Which.
    pub source: u32,
    /// It is read up to this second: nothing older is expected of it.
    pub upto: Second,
    /// In the order of the lines.
    pub hits: Vec<SentHit>,
}

/// A hit with its rule by name, and its last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentHit {
    /// Whose.
    pub key: Key,
    /// When.
    pub second: Second,
    /// Which of the message's rules.
    pub rule: u32,
    /// How many requests.
    pub requests: u32,
    /// For the record that it may complete.
    #[serde(with = "serde_bytes")]
    pub line: Vec<u8>,
}

impl HitsMessage {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        message::encode(self)
    }

    /// From bytes.
    ///
    /// # Errors
    /// Where they are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        message::decode(bytes)
    }

    /// The newest second of its hits.
    #[must_use]
    pub fn newest(&self) -> Option<Second> {
        self.parts.iter().flat_map(|part| &part.hits).map(|hit| hit.second).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::key::KeyScheme;

    #[test]
    fn comes_back_as_it_was_and_what_is_broken_is_told() {
        let key = KeyScheme::new(64).key("2001:db8::1".parse().unwrap());
        let hit =
            |second| SentHit { key, second: Second(second), rule: 0, requests: 3, line: b"\xff\0".to_vec() };
        let part = SourcePart { source: 7, upto: Second(-4), hits: vec![hit(1), hit(i64::MAX)] };
        let message =
            HitsMessage { sources: 8, ipv6_prefix: 64, rules: vec!["global".to_owned()], parts: vec![part] };
        let bytes = message.encode();
        assert_eq!(HitsMessage::decode(&bytes).unwrap(), message);
        assert_eq!(message.newest(), Some(Second(i64::MAX)));
        for cut in 0..bytes.len() {
            assert!(HitsMessage::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(matches!(HitsMessage::decode(&[9, 1, 2]), Err(MessageError::Format(9))));
        // A length that promises more than there is takes no memory.
        assert!(
            HitsMessage::decode(&[message::FORMAT, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err()
        );
    }
}
