//! From analysing workers to the owner: decisions and records, with the lines that completed them.

use bolts::tuples::FindingBatch;

use super::MessageError;
use super::hits::FORMAT;

/// What was found in a batch of hits, or a part of it. Its mark is of the topic of hits.
#[derive(Clone, Debug, PartialEq)]
pub struct FindingsMessage(pub FindingBatch);

impl FindingsMessage {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(&self.0, vec![FORMAT]).expect("a vector takes whatever comes")
    }

    /// From bytes.
    ///
    /// # Errors
    /// Where they are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        match bytes {
            [FORMAT, rest @ ..] => {
                let batch = postcard::from_bytes(rest);
                batch.map(Self).map_err(|error| MessageError::Broken(error.to_string()))
            }
            [format, ..] => Err(MessageError::Format(*format)),
            [] => Err(MessageError::Broken("it is empty".to_owned())),
        }
    }
}
