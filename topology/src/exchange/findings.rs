//! From analysing workers to the owner: decisions and records, with the lines that completed them.

use bolts::tuples::FindingBatch;

use super::message::{self, MessageError};

/// What was found in a batch of hits, or a part of it. Its mark is of the topic of hits.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingsMessage(pub FindingBatch);

impl FindingsMessage {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        message::encode(&self.0)
    }

    /// From bytes.
    ///
    /// # Errors
    /// Where they are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        message::decode(bytes).map(Self)
    }
}
