//! What the owner says of bans, for an analysing worker.

use std::sync::Arc;

use bolts::tuples::KeyBans;
use engine::{Next, Spout, Timestamp};
use model::units::Moment;

use crate::exchange::{KeyBansMessage, KeyBansView, Reader};

/// The spout. One task. What it emits is in the view before.
pub struct ToldBans {
    reader: Reader,
    view: Arc<KeyBansView>,
}

impl ToldBans {
    /// Reads on with `reader`.
    #[must_use]
    pub fn new(reader: Reader, view: Arc<KeyBansView>) -> Self {
        Self { reader, view }
    }
}

impl Spout for ToldBans {
    type Out = KeyBans;

    fn next(&mut self, _: Timestamp) -> Next<KeyBans> {
        while let Some(read) = self.reader.poll() {
            match KeyBansMessage::decode(&read.payload) {
                Ok(message) => {
                    let new = self.view.take(message, Moment(read.at).second());
                    if !new.0.is_empty() {
                        return Next::Emit(new);
                    }
                }
                Err(error) => {
                    tracing::error!(offset = read.offset, %error, "a message about bans is passed over");
                }
            }
        }
        Next::Idle
    }
}
