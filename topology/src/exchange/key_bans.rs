//! From the owner back to analysing workers: what became of the bans of keys.
//!
//! The owner sends changes as they happen and, now and then, how all of them are, so that a worker needs to read the
//! topic's last minutes only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bolts::tuples::{BanNow, KeyBan, KeyBans};
use model::key::Key;
use model::units::Second;
use serde::{Deserialize, Serialize};

use super::message::{self, MessageError};

/// Bans that are over are remembered for so many seconds: as long as windows are filled again with what came then.
const REMEMBERED: i64 = 900;

/// How bans are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBansMessage {
    /// The owner's. What a former one still sends is passed over.
    pub epoch: u64,
    /// Which part of all bans it is, of how many; `None` for what has just changed.
    pub part: Option<(u32, u32)>,
    /// In order.
    pub bans: KeyBans,
}

impl KeyBansMessage {
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
}

/// How the bans of all keys are, as far as was heard.
#[derive(Debug, Default)]
pub struct KeyBansView {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    epoch: u64,
    bans: HashMap<Key, (BanNow, Second)>,
}

impl KeyBansView {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what an owner said at that second. Gives what is new of it; nothing where it is a former owner.
    pub fn take(&self, message: KeyBansMessage, at: Second) -> KeyBans {
        let mut state = self.lock();
        if message.epoch < state.epoch {
            return KeyBans::default();
        }
        state.epoch = message.epoch;
        let mut new = KeyBans::default();
        for ban in message.bans.0 {
            let known = state.bans.insert(ban.key, (ban.now, at));
            if known.is_none_or(|(now, _)| now != ban.now) {
                new.0.push(ban);
            }
        }
        if message.part.is_some_and(|(part, of)| part + 1 == of) {
            state.bans.retain(|_, (now, said)| {
                let over = if let BanNow::Until(end) = now { *end } else { *said };
                over.0 + REMEMBERED >= at.0
            });
        }
        new
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> KeyBans {
        let state = self.lock();
        KeyBans(state.bans.iter().map(|(&key, &(now, _))| KeyBan { key, now }).collect())
    }

    /// The newest owner's epoch; 0 where none was heard of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::key::KeyScheme;

    fn message(epoch: u64, part: Option<(u32, u32)>, bans: &[(u8, BanNow)]) -> KeyBansMessage {
        let key = |client| KeyScheme::new(64).key([10, 0, 0, client].into());
        let bans = bans.iter().map(|&(client, now)| KeyBan { key: key(client), now }).collect();
        KeyBansMessage { epoch, part, bans: KeyBans(bans) }
    }

    #[test]
    fn the_newest_owners_word_holds_and_what_is_long_over_is_forgotten() {
        let view = KeyBansView::default();
        let until = |second| BanNow::Until(Second(second));
        let first = message(7, None, &[(1, until(50)), (2, until(9_000))]);
        assert_eq!(KeyBansMessage::decode(&first.encode()).unwrap(), first);
        assert_eq!(view.take(first.clone(), Second(40)).0.len(), 2);
        assert_eq!(view.take(first, Second(40)).0.len(), 0, "nothing new");
        assert_eq!(
            view.take(message(6, None, &[(1, BanNow::NotEnforced)]), Second(41)).0.len(),
            0,
            "a former owner"
        );
        assert_eq!(view.take(message(8, None, &[(3, BanNow::Lifted(Second(41)))]), Second(41)).0.len(), 1);
        view.take(message(8, Some((0, 2)), &[(2, until(9_000))]), Second(1_000));
        assert_eq!(view.all().0.len(), 3, "the other part may still name them");
        view.take(message(8, Some((1, 2)), &[]), Second(1_000));
        assert_eq!(view.all().0.len(), 1);
        assert_eq!(view.epoch(), 8);
        assert!(KeyBansMessage::decode(&[]).is_err());
    }
}
