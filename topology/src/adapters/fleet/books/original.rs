//! The books of an agent of 2016: it takes one address a call, ends nothing by itself, and can't say what it holds.
//!
//! So with each new connection all that is in force is asked for again (-1, already so, is what should come), and
//! what ended while it was away is lifted then, however late. Several calls may be under way at once, but only one
//! for a target, so that none overtakes another.

use std::sync::Arc;

use ccfirewall_thrift::flag;
use model::ban::Ban;
use model::network::Network;
use model::units::Moment;

use super::super::waiting::Urgency;
use super::{Books, Said};

/// Unblocks wait this long for it, in milliseconds: a week, for nobody else ends these bans.
const PATIENCE: i64 = 7 * 86_400_000;
/// But no more of them wait.
const MOST_ENDED: usize = 200_000;
/// What can't be tried again at once waits here, at most so many.
const MOST_AGAIN: usize = 200_000;

/// One call.
#[derive(Debug)]
pub(in super::super) struct Call {
    /// The address.
    pub(in super::super) target: Network,
    /// To be banned; else to be let through.
    pub(in super::super) block: Option<Arc<Ban>>,
    ended: u64,
}

fn is_single(target: &Network) -> bool {
    *target == Network::host(target.first())
}

impl Books {
    /// It is one of 2016, as the list says, though there was no connection yet.
    pub(in super::super) fn expect_original(&mut self) {
        self.original = true;
    }

    /// How many bans it may hold that only a call ends.
    pub(in super::super) fn held_without_end(&self) -> usize {
        if !self.original {
            return 0;
        }
        let ended = self.ended.values().flatten().map(|ended| &ended.book);
        let all = self.bans.values().chain(ended);
        all.filter(|book| book.sent && !book.invalid && is_single(&book.ban.target)).count()
    }

    /// There is a connection to an agent of 2016: everything waits for its call.
    pub(in super::super) fn connected_to_original(&mut self) {
        self.connected = true;
        self.original = true;
        self.queue_again_all();
    }

    /// All that is in force, and all that is over and wasn't answered.
    pub(in super::super) fn queue_again_all(&mut self) {
        self.overflowed = false;
        for target in self.bans.keys().chain(self.ended.keys()) {
            self.waiting.push(*target, Urgency::Ban);
        }
    }

    /// What failed is tried again.
    pub(in super::super) fn queue_failed(&mut self) {
        for target in self.again.drain() {
            self.waiting.push(target, Urgency::Ban);
        }
    }

    /// How many targets failed and wait for another attempt.
    pub(in super::super) fn failed(&self) -> usize {
        self.again.len()
    }

    /// Whether a call is under way.
    pub(in super::super) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Takes the next call, the most urgent first.
    pub(in super::super) fn take_call(&mut self, now: Moment) -> Option<Call> {
        let mut passed = Vec::new();
        let mut found = None;
        while let Some(target) = self.waiting.pop() {
            if self.busy.contains(&target) {
                passed.push(target);
            } else if !is_single(&target) {
                self.cant_hold(&target, now);
            } else {
                found = Some(target);
                break;
            }
        }
        // They are behind a call that is under way, and go next.
        passed.into_iter().for_each(|target| self.waiting.push(target, Urgency::ByHand));
        let target = found?;
        self.busy.insert(target);
        let block = match self.bans.get_mut(&target) {
            Some(book) if book.ban.end > now => {
                book.sent = true;
                Some(Arc::clone(&book.ban))
            }
            Some(book) if !book.told && !book.sent => {
                let ban = Arc::clone(&book.ban);
                self.tell_block(&ban, flag::ALREADY, "over before it was sent", now);
                None
            }
            _ => None,
        };
        Some(Call { target, block, ended: self.endings })
    }

    /// A prefix: a row each, and nothing is asked for.
    fn cant_hold(&mut self, target: &Network, now: Moment) {
        if let Some(book) = self.bans.get(target) {
            let ban = Arc::clone(&book.ban);
            self.tell_block(&ban, flag::INVALID, "an agent of 2016 holds single addresses only", now);
        }
        let said = (flag::ALREADY, "it was never in force");
        self.tell_ended_with(target, self.endings, Some((flag::INVALID, said.1)), said, now);
    }

    /// What the agent said to a call.
    pub(in super::super) fn call_answered(&mut self, call: &Call, said: &Said, now: Moment) {
        let Call { target, block, ended } = call;
        let (flag, result) = (said.0, said.1.as_str());
        self.busy.remove(target);
        if flag == flag::FAILED && self.again.len() < MOST_AGAIN {
            self.again.insert(*target);
        }
        match block {
            Some(ban) => {
                self.tell_block(ban, flag, result, now);
                if flag != flag::FAILED {
                    self.tell_ended(target, *ended, (flag::DONE, "another ban has followed"), now);
                }
            }
            None => self.tell_ended(target, *ended, (flag, result), now),
        }
    }

    /// No answer came: whether it was done isn't known, so it is asked for again.
    pub(in super::super) fn call_lost(&mut self, call: &Call) {
        self.busy.remove(&call.target);
        self.waiting.push(call.target, Urgency::Ban);
    }

    /// How many bans in force it took.
    pub(in super::super) fn taken_in(&self) -> usize {
        self.bans.values().filter(|book| book.sent && book.told && !book.invalid).count()
    }

    /// How many bans in force it can't hold.
    pub(in super::super) fn prefixes(&self) -> usize {
        self.bans.keys().filter(|target| !is_single(target)).count()
    }

    /// How long unblocks wait for an agent that can't be reached, in milliseconds.
    pub(super) fn patience(&self, of_ours: i64) -> i64 {
        if self.original && self.ended.len() <= MOST_ENDED { of_ours.max(PATIENCE) } else { of_ours }
    }

    /// What is said of a ban that nobody could lift.
    pub(super) fn not_lifted(&self) -> &'static str {
        if self.original {
            "not reached; an agent of 2016 ends nothing by itself: lift it there by hand"
        } else {
            "not reached; the kernel ends it by itself"
        }
    }
}
