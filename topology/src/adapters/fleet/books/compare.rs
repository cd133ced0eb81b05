//! What an agent holds against what it was sent. What is on its way, or ends about now, is no difference.

use std::collections::HashMap;

use model::network::Network;
use model::units::Moment;

use super::Books;

/// Times that differ by no more than this many milliseconds are the same: calls take time.
const SAME: i64 = 2_000;

impl Books {
    /// How many bans an agent may say that it holds, from and to, where all is well. What ends about now, or waits,
    /// may count or not.
    pub(in super::super) fn plausible(&self, now: Moment) -> (usize, usize) {
        let expected = || self.bans.values().filter(|book| book.sent && !book.invalid);
        let surely = expected()
            .filter(|book| book.ban.end.0 > now.0 + SAME && !self.waiting.contains(&book.ban.target));
        let maybe = expected().filter(|book| book.ban.end.0 > now.0 - SAME);
        (surely.count(), maybe.count() + self.ended.len())
    }

    /// In how many targets what is held, with the milliseconds that are left, differs from what was sent; the answer
    /// was asked for at `asked` and came `now`.
    pub(in super::super) fn differences(
        &self,
        held: &HashMap<Network, i64>,
        asked: Moment,
        now: Moment,
    ) -> usize {
        let expected = self.bans.values().filter(|book| book.sent && !book.invalid);
        let missing = expected.filter(|book| {
            let ban = &book.ban;
            let surely = ban.end.0 > now.0 + SAME && !self.waiting.contains(&ban.target);
            let right = |left: &i64| {
                asked.0.saturating_add(*left) <= ban.end.0.saturating_add(SAME)
                    && now.0.saturating_add(*left) >= ban.end.0 - SAME
            };
            surely && !held.get(&ban.target).is_some_and(right)
        });
        let extra = held.iter().filter(|(target, left)| {
            !self.bans.contains_key(target)
                && !self.ended.contains_key(target)
                && **left > SAME + now.0 - asked.0
        });
        missing.count() + extra.count()
    }
}
