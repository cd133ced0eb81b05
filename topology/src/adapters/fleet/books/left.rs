//! The books of an agent that nobody lists any more. Who was told of a ban before, or should have been, still gets
//! its two outcomes; bans that begin later are none of its business until it comes back, and then are in the full
//! state that it gets.

use ccfirewall_thrift::flag;
use model::units::Moment;

use super::{Book, Books};

impl Books {
    /// Nobody lists it any more: what wasn't answered by now is told so.
    pub(in super::super) fn leave(&mut self, now: Moment) {
        if std::mem::replace(&mut self.left, true) {
            return;
        }
        self.disconnected();
        let open: Vec<_> =
            self.bans.values().filter(|book| !book.told).map(|book| book.ban.clone()).collect();
        for ban in open {
            self.tell_block(&ban, flag::FAILED, "the agent left before it answered", now);
        }
    }

    /// It is listed again.
    pub(in super::super) fn come_back(&mut self) {
        self.left = false;
    }

    /// Whether nothing is owed for it any more, so that the books can be closed.
    pub(in super::super) fn owes_nothing(&self) -> bool {
        self.ended.is_empty() && self.bans.values().all(|book| self.never_asked(book))
    }

    /// Whether all of a ban is beside the time in which the agent was listed.
    pub(super) fn never_asked(&self, book: &Book) -> bool {
        self.left && !book.sent && !book.told
    }
}
