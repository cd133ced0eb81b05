//! How messages between workers are written: a byte for the layout, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which layout messages have; the first byte of each.
pub(super) const FORMAT: u8 = 1;

/// A message that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Written by a version of the program that this one doesn't know.
    #[error("it has the format {0}, and this program knows {known}: run the same version on all workers", known = FORMAT)]
    Format(u8),
    /// Not what it should be.
    #[error("it can't be read ({0}): does anybody else write into this topic?")]
    Broken(String),
}

/// A message as bytes.
pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![FORMAT]).expect("a vector takes whatever comes")
}

/// A message from bytes, which may be anything.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    match bytes {
        [FORMAT, rest @ ..] => {
            postcard::from_bytes(rest).map_err(|error| MessageError::Broken(error.to_string()))
        }
        [format, ..] => Err(MessageError::Format(*format)),
        [] => Err(MessageError::Broken("it is empty".to_owned())),
    }
}
