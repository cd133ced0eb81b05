//! What one agent should hold, what it was told of that, and which answers are still owed. No socket and no clock:
//! the lane does the calls, and writes down here what came of them.
//!
//! For each ban there is one outcome for the block and one for the unblock, whatever happens in between. A ban in
//! force is in `bans`; when it is over it moves to `ended`, until both outcomes are given; then only its id is
//! remembered for a while.

mod compare;
mod left;
mod original;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ccfirewall_thrift::flag;
use model::ban::{Ban, Change, Ended, Order, Outcome, Reason};
use model::ledger::Ledger;
use model::network::Network;
use model::units::Moment;

use super::gone::Gone;
use super::waiting::{Urgency, Waiting};
pub(super) use original::Call;

/// A flag and the words that go with it.
pub(super) type Said = (i32, String);

/// A change of the desired state, shared between lanes.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// In force.
    Banned(Arc<Ban>),
    /// In force until another moment.
    Extended(Arc<Ban>),
    /// Over.
    Unbanned(Arc<Ban>, Moment, Ended),
}

impl Wish {
    /// `None` where agents needn't know.
    pub(super) fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::Banned(ban) => Self::Banned(Arc::new(ban.clone())),
            Change::Extended(ban) => Self::Extended(Arc::new(ban.clone())),
            Change::Unbanned { ban, at, cause } => Self::Unbanned(Arc::new(ban.clone()), *at, *cause),
            Change::Held { .. } | Change::Unheld { .. } => return None,
        })
    }
}

#[derive(Debug)]
struct Book {
    ban: Arc<Ban>,
    /// Whether it was in a call, answered or not: the agent may hold it.
    sent: bool,
    /// Whether the outcome of the block was given.
    told: bool,
    /// The agent can't hold such a target.
    invalid: bool,
}

#[derive(Debug)]
struct EndedBook {
    book: Book,
    at: Moment,
    /// Its number among all that ended: a call tells of those up to a number.
    number: u64,
}

/// What goes into one call: the newest state of each target.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) block: Vec<Arc<Ban>>,
    pub(super) unblock: Vec<Network>,
    ended: u64,
}

impl Delta {
    pub(super) fn is_empty(&self) -> bool {
        self.block.is_empty() && self.unblock.is_empty()
    }
}

/// The full desired state at a moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) bans: Vec<Arc<Ban>>,
    ended: u64,
}

#[derive(Debug)]
pub(super) struct Books {
    agent: Arc<str>,
    bans: HashMap<Network, Book>,
    ended: HashMap<Network, Vec<EndedBook>>,
    gone: Gone,
    waiting: Waiting,
    /// Without a connection nothing waits: the full state that is sent with the next one has it all.
    connected: bool,
    /// More waits than makes sense: the full state is shorter.
    overflowed: bool,
    endings: u64,
    outcomes: Vec<Outcome>,
    /// Nobody lists the agent any more; see `left`.
    left: bool,
    /// It knows only the calls of 2016; see `original`.
    original: bool,
    /// Of an agent of 2016: targets that a call is under way for, so that no other one overtakes it.
    busy: HashSet<Network>,
    /// Of an agent of 2016: targets for which it failed, to be tried again.
    again: HashSet<Network>,
}

/// When more targets wait, the full state is sent instead.
const MOST_WAITING: usize = 200_000;

impl Books {
    /// As it was before a restart. What of it the agent got isn't known; its outcomes are, where they were kept.
    pub(super) fn new(agent: Arc<str>, ledger: &Ledger, now: Moment) -> Self {
        Self::with(agent, ledger, now, false)
    }

    /// The same for an agent that comes later: bans that ended before are its business only where it had them.
    pub(super) fn of_newcomer(agent: Arc<str>, ledger: &Ledger, now: Moment) -> Self {
        Self::with(agent, ledger, now, true)
    }

    fn with(agent: Arc<str>, ledger: &Ledger, now: Moment, newcomer: bool) -> Self {
        let mut books = Self {
            bans: HashMap::new(),
            ended: HashMap::new(),
            gone: Gone::default(),
            waiting: Waiting::default(),
            connected: false,
            overflowed: false,
            endings: 0,
            outcomes: Vec::new(),
            left: false,
            original: false,
            busy: HashSet::new(),
            again: HashSet::new(),
            agent,
        };
        let told = |ban: &Ban, order| ledger.has_answered(&ban.id, order, &books.agent);
        let book = |ban: &Ban| Book {
            ban: Arc::new(ban.clone()),
            sent: !newcomer || told(ban, Order::Block),
            told: told(ban, Order::Block),
            invalid: false,
        };
        let bans = ledger.bans().map(|ban| (ban.target, book(ban))).collect();
        let ended: Vec<_> = ledger
            .ended()
            .filter(|ended| !newcomer || told(&ended.ban, Order::Block))
            .map(|ended| (book(&ended.ban), ended.at, told(&ended.ban, Order::Unblock)))
            .collect();
        books.bans = bans;
        for (book, at, unblock_told) in ended {
            if unblock_told {
                books.gone.insert(book.ban.target, book.ban.id, now);
            } else {
                books.end(book, at, now);
            }
        }
        books
    }

    /// Takes a change in.
    pub(super) fn wish(&mut self, wish: &Wish, now: Moment) {
        match wish {
            Wish::Banned(ban) => self.banned(ban, now, false),
            Wish::Extended(ban) => self.banned(ban, now, true),
            Wish::Unbanned(ban, at, cause) => self.unbanned(ban, *at, *cause, now),
        }
    }

    fn banned(&mut self, ban: &Arc<Ban>, now: Moment, extended: bool) {
        if self.is_over(ban) {
            return;
        }
        let by_hand = ban.reason == Reason::ByHand || ban.note.is_some();
        let urgency = if by_hand { Urgency::ByHand } else { Urgency::Ban };
        match self.bans.get_mut(&ban.target) {
            Some(book) if book.ban.id == ban.id => {
                // A beginning that comes again says nothing new of the end.
                if !extended && ban.end <= book.ban.end {
                    return;
                }
                book.ban = Arc::clone(ban);
            }
            _ => {
                let book = Book { ban: Arc::clone(ban), sent: false, told: false, invalid: false };
                if let Some(before) = self.bans.insert(ban.target, book) {
                    // Its time was over, and nobody said so before the next ban began.
                    self.end(before, now, now);
                }
            }
        }
        if ban.end <= now && self.bans.get(&ban.target).is_some_and(|book| !book.sent) {
            // An earlier ban of the target may have been replaced just now: that one may be held.
            if self.ended.contains_key(&ban.target) {
                self.queue(ban.target, Urgency::Over);
            }
            if !self.left {
                self.tell_block(ban, flag::ALREADY, "already over", now);
            }
        } else {
            self.queue(ban.target, urgency);
        }
    }

    fn unbanned(&mut self, ban: &Arc<Ban>, at: Moment, cause: Ended, now: Moment) {
        if self.is_over(ban) {
            return;
        }
        let book = match self.bans.get(&ban.target) {
            Some(book) if book.ban.id == ban.id => self.bans.remove(&ban.target),
            _ => None,
        };
        let book =
            book.unwrap_or_else(|| Book { ban: Arc::clone(ban), sent: false, told: false, invalid: false });
        if book.told && !book.sent {
            return self.tell_all(&book, (flag::ALREADY, "already over"), (flag::ALREADY, ""), now);
        }
        self.end(book, at, now);
        let urgency = if cause == Ended::Expired { Urgency::Over } else { Urgency::ByHand };
        self.queue(ban.target, urgency);
    }

    fn is_over(&self, ban: &Ban) -> bool {
        self.gone.contains(&ban.target, &ban.id)
            || self
                .ended
                .get(&ban.target)
                .is_some_and(|ended| ended.iter().any(|ended| ended.book.ban.id == ban.id))
    }

    fn end(&mut self, book: Book, at: Moment, now: Moment) {
        if self.never_asked(&book) {
            return self.gone.insert(book.ban.target, book.ban.id, now);
        }
        self.endings += 1;
        let ended = self.ended.entry(book.ban.target).or_default();
        ended.push(EndedBook { book, at, number: self.endings });
    }

    fn queue(&mut self, target: Network, urgency: Urgency) {
        if !self.connected || self.overflowed {
            return;
        }
        // An agent of 2016 ends nothing by itself.
        let urgency = if self.original { urgency.min(Urgency::Ban) } else { urgency };
        self.waiting.push(target, urgency);
        if self.waiting.len() > MOST_WAITING {
            self.waiting.clear();
            self.overflowed = true;
        }
    }

    /// Whether the full state must be sent, because too much waits.
    pub(super) fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// How many targets wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many bans are in force.
    pub(super) fn wanted(&self) -> usize {
        self.bans.len()
    }

    /// Whether it is a target of ours, now or lately.
    pub(super) fn knows(&self, target: &Network) -> bool {
        self.bans.contains_key(target) || self.ended.contains_key(target) || self.gone.knows(target)
    }

    /// From now on changes wait for their call.
    pub(super) fn connected(&mut self) {
        self.connected = true;
        self.original = false;
        self.again.clear();
    }

    /// What waits will be in the full state that is sent with the next connection.
    pub(super) fn disconnected(&mut self) {
        self.connected = false;
        self.overflowed = false;
        self.waiting.clear();
        self.busy.clear();
    }

    /// Everything that has no outcome yet waits: for a lane that calls nobody.
    pub(super) fn queue_all(&mut self) {
        self.overflowed = false;
        let open = self.bans.iter().filter(|(_, book)| !book.told).map(|(target, _)| *target);
        for target in open.chain(self.ended.keys().copied()) {
            self.waiting.push(target, Urgency::Ban);
        }
    }

    /// Takes what waits, the most urgent first, at most so many targets.
    pub(super) fn take(&mut self, now: Moment, at_most: usize) -> Delta {
        let mut delta = Delta { ended: self.endings, ..Delta::default() };
        while delta.block.len() + delta.unblock.len() < at_most
            && let Some(target) = self.waiting.pop()
        {
            match self.bans.get_mut(&target) {
                Some(book) if book.ban.end > now => {
                    book.sent = true;
                    delta.block.push(Arc::clone(&book.ban));
                }
                Some(book) if !book.told => {
                    let ban = Arc::clone(&book.ban);
                    self.tell_block(&ban, flag::ALREADY, "over before it was sent", now);
                    delta.unblock.push(target);
                }
                _ => delta.unblock.push(target),
            }
        }
        delta
    }

    /// The agent has answered: one flag for each ban, and one for each target to let through.
    pub(super) fn answered(&mut self, delta: &Delta, blocked: &[Said], unblocked: &[Said], now: Moment) {
        let none = (flag::FAILED, "the agent's answer says nothing of it".to_owned());
        for (at, ban) in delta.block.iter().enumerate() {
            let (flag, result) = blocked.get(at).unwrap_or(&none);
            self.tell_block(ban, *flag, result, now);
            self.tell_ended(&ban.target, delta.ended, (flag::DONE, "another ban has followed"), now);
        }
        for (at, target) in delta.unblock.iter().enumerate() {
            let (flag, result) = unblocked.get(at).unwrap_or(&none);
            self.tell_ended(target, delta.ended, (*flag, result), now);
        }
    }

    /// All of a call had one answer.
    pub(super) fn answered_alike(&mut self, delta: &Delta, flag: i32, result: &str, now: Moment) {
        for ban in &delta.block {
            self.tell_block(ban, flag, result, now);
            self.tell_ended_as(&ban.target, delta.ended, (flag, result), now);
        }
        for target in &delta.unblock {
            self.tell_ended_as(target, delta.ended, (flag, result), now);
        }
    }

    /// Everything that is in force, to be sent. What waited is in it.
    pub(super) fn snapshot(&mut self, now: Moment) -> Snapshot {
        self.waiting.clear();
        self.overflowed = false;
        let mut bans = Vec::with_capacity(self.bans.len());
        let mut missed = Vec::new();
        for book in self.bans.values_mut() {
            if book.ban.end > now {
                book.sent = true;
                bans.push(Arc::clone(&book.ban));
            } else if !book.told && !book.sent {
                missed.push(Arc::clone(&book.ban));
            }
        }
        for ban in missed {
            self.tell_block(&ban, flag::FAILED, "not reached while the ban held", now);
        }
        Snapshot { bans, ended: self.endings }
    }

    /// A part of the full state was taken in: one flag for each of its bans.
    pub(super) fn taken<'a>(&mut self, part: impl Iterator<Item = (&'a Arc<Ban>, Said)>, now: Moment) {
        for (ban, (flag, result)) in part {
            self.tell_block(ban, flag, &result, now);
        }
    }

    /// The full state is in force: what isn't in it is lifted.
    pub(super) fn synced(&mut self, snapshot: &Snapshot, now: Moment) {
        let targets: Vec<Network> = self.ended.keys().copied().collect();
        for target in targets {
            let said = (flag::DONE, "lifted: not in the full state that the agent got");
            self.tell_ended(&target, snapshot.ended, said, now);
        }
    }

    /// The full state was refused.
    pub(super) fn sync_refused(&mut self, snapshot: &Snapshot, flag: i32, result: &str, now: Moment) {
        for ban in &snapshot.bans {
            self.tell_block(ban, flag, result, now);
        }
        let targets: Vec<Network> = self.ended.keys().copied().collect();
        for target in targets {
            self.tell_ended_as(&target, snapshot.ended, (flag, result), now);
        }
    }

    /// There is no connection, for a reason: gives up on what the agent never got, and on unblocks that are older
    /// than `patience`, in milliseconds.
    pub(super) fn unreached(&mut self, why: (i32, &str), patience: i64, now: Moment) {
        let patience = self.patience(patience);
        let given_up = |ended: &EndedBook| !ended.book.sent || now.0.saturating_sub(ended.at.0) >= patience;
        let targets: Vec<Network> = self
            .ended
            .iter()
            .filter(|(_, all)| all.iter().any(given_up))
            .map(|(target, _)| *target)
            .collect();
        let (flag, cause) = why;
        for target in targets {
            let all = self.ended.remove(&target).unwrap_or_default();
            let (over, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(given_up);
            if !rest.is_empty() {
                self.ended.insert(target, rest);
            }
            for EndedBook { book, .. } in over {
                let (block, unblock) = if book.sent {
                    ("no answer came to it".to_owned(), self.not_lifted().to_owned())
                } else {
                    (format!("not reached while the ban held: {cause}"), "not reached".to_owned())
                };
                self.tell_all(&book, (flag, &block), (flag, &unblock), now);
            }
        }
    }

    /// What there is to tell.
    pub(super) fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    fn tell(&mut self, ban: &Ban, order: Order, flag: i32, result: &str, at: Moment) {
        let agent = Arc::clone(&self.agent);
        let result = result.to_owned();
        self.outcomes.push(Outcome { agent, order, ban: ban.clone(), at, flag, result });
    }

    fn tell_block(&mut self, ban: &Ban, flag: i32, result: &str, now: Moment) {
        let in_force = self.bans.get_mut(&ban.target).filter(|book| book.ban.id == ban.id);
        let ended = self.ended.get_mut(&ban.target).into_iter().flatten().map(|ended| &mut ended.book);
        let Some(book) = in_force.into_iter().chain(ended).find(|book| book.ban.id == ban.id) else { return };
        book.invalid = flag == flag::INVALID;
        if !std::mem::replace(&mut book.told, true) {
            let ban = Arc::clone(&book.ban);
            self.tell(&ban, Order::Block, flag, result, now);
        }
    }

    /// The agent did what ends all bans of a target up to a number.
    fn tell_ended(&mut self, target: &Network, up_to: u64, unblock: (i32, &str), now: Moment) {
        self.tell_ended_with(target, up_to, None, unblock, now);
    }

    /// The same, where a block that wasn't answered has the same answer.
    fn tell_ended_as(&mut self, target: &Network, up_to: u64, said: (i32, &str), now: Moment) {
        self.tell_ended_with(target, up_to, Some(said), said, now);
    }

    fn tell_ended_with(
        &mut self,
        target: &Network,
        up_to: u64,
        block: Option<(i32, &str)>,
        unblock: (i32, &str),
        now: Moment,
    ) {
        let Some(all) = self.ended.remove(target) else { return };
        let (told, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|ended| ended.number <= up_to);
        if !rest.is_empty() {
            self.ended.insert(*target, rest);
        }
        for EndedBook { book, .. } in told {
            let unanswered = if book.sent {
                (flag::FAILED, "no answer came to it")
            } else {
                (flag::ALREADY, "over before it was sent")
            };
            self.tell_all(&book, block.unwrap_or(unanswered), unblock, now);
        }
    }

    /// Gives the outcomes that a ban still lacks, and forgets it.
    fn tell_all(&mut self, book: &Book, block: (i32, &str), unblock: (i32, &str), now: Moment) {
        if !book.told {
            self.tell(&book.ban, Order::Block, block.0, block.1, now);
        }
        let result = if unblock.1.is_empty() { "it was never in force" } else { unblock.1 };
        self.tell(&book.ban, Order::Unblock, unblock.0, result, now);
        self.gone.insert(book.ban.target, book.ban.id, now);
    }
}
