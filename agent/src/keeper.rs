//! Keeps the bans: does what owners ask for with the one enforcer, in turn, and remembers what it holds.
//!
//! What is asked for is read and checked before the lock is taken, and logged and answered behind it, so a slow
//! caller holds up nobody. What is remembered only says which flag an answer has; the truth is the enforcer's, and
//! every order goes there.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ccfirewall_thrift::flag;
use model::network::Network;

use crate::Observer;
use crate::clock::Clock;
use crate::enforcer::{Enforcer, EnforcerError};
use snapshot::Snapshot;

/// Times that differ by no more are the same: owner and agent don't hear of each other at once.
const SAME: Duration = Duration::from_secs(1);

/// A ban that an owner wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) target: Network,
    pub(crate) until: Instant,
    /// For the log.
    pub(crate) id: String,
}

/// What became of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) flag: i32,
    pub(crate) result: String,
}

impl Outcome {
    pub(crate) fn new(flag: i32, result: impl Into<String>) -> Self {
        Self { flag, result: result.into() }
    }
}

/// A target or a ban, or why it is none.
pub(crate) type Read<T> = Result<T, Outcome>;

/// What became of a call; where all of it failed, an outcome instead.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) result: String,
    pub(crate) blocked: Vec<Outcome>,
    pub(crate) unblocked: Vec<Outcome>,
}

/// What is desired of a target: to be banned until then, or not at all.
type Orders = HashMap<Network, Option<Instant>>;

pub(crate) struct Keeper {
    state: Mutex<State>,
    clock: Clock,
}

struct State {
    enforcer: Box<dyn Enforcer>,
    observer: Option<Observer>,
    clock: Clock,
    /// When each ban that we know of ends; those that are over may still be among them.
    known: HashMap<Network, Instant>,
    /// Those that are over are forgotten when there are so many.
    tidy_at: usize,
    epoch: Option<i64>,
    snapshot: Option<Snapshot>,
}

impl Keeper {
    /// Keeps what the enforcer holds already.
    pub(crate) fn new(
        enforcer: Box<dyn Enforcer>,
        observer: Option<Observer>,
        clock: Clock,
    ) -> Result<Self, EnforcerError> {
        let mut state = State {
            enforcer,
            observer,
            clock: clock.clone(),
            known: HashMap::new(),
            tidy_at: 1024,
            epoch: None,
            snapshot: None,
        };
        state.read_held()?;
        Ok(Self { state: Mutex::new(state), clock })
    }

    pub(crate) fn now(&self) -> Instant {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked here left nothing half done that the enforcer wouldn't know better.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call of 2016: bans an address for `length`, or longer where it is banned for longer.
    pub(crate) fn block_ip(&self, target: Network, length: Duration) -> Outcome {
        let (already, outcome) = {
            let mut state = self.lock();
            let wanted = self.now() + length;
            let known = state.banned_until(&target);
            let until = known.map_or(wanted, |until| until.max(wanted));
            (known.is_some(), state.carry_out(&Orders::from([(target, Some(until))])))
        };
        match outcome {
            Err(failed) => failed,
            Ok(()) if already => Outcome::new(flag::ALREADY, format!("{target} is banned already")),
            Ok(()) => {
                log_ban(&target, length, "");
                Outcome::new(flag::DONE, format!("{target} is banned for {} s", length.as_secs()))
            }
        }
    }

    /// The call of 2016: lifts an address' ban.
    pub(crate) fn unblock_ip(&self, target: Network) -> Outcome {
        let (banned, outcome) = {
            let mut state = self.lock();
            (state.banned_until(&target).is_some(), state.carry_out(&Orders::from([(target, None)])))
        };
        match outcome {
            Err(failed) => failed,
            Ok(()) if !banned => Outcome::new(flag::ALREADY, format!("{target} isn't banned")),
            Ok(()) => {
                log_unban(&target);
                Outcome::new(flag::DONE, format!("{target} isn't banned any more"))
            }
        }
    }

    /// Puts bans in force, or sets when they end, and lifts others; as if it were done one by one.
    pub(crate) fn apply(
        &self,
        epoch: i64,
        block: &[Read<Wanted>],
        unblock: &[Read<Network>],
    ) -> Result<Applied, Outcome> {
        let applied = {
            let mut state = self.lock();
            state.accept(epoch)?;
            let now = self.now();
            let mut orders = Orders::with_capacity(block.len() + unblock.len());
            let blocked = block.iter().map(|wanted| state.order_ban(&mut orders, wanted, now)).collect();
            let unblocked = unblock.iter().map(|target| state.order_unban(&mut orders, target)).collect();
            state.carry_out(&orders)?;
            Applied { result: "done".to_owned(), blocked, unblocked }
        };
        let now = self.now();
        log_each(done(&applied.blocked, block), |wanted| {
            log_ban(&wanted.target, wanted.until.saturating_duration_since(now), &wanted.id);
        });
        log_each(done(&applied.unblocked, unblock), log_unban);
        Ok(applied)
    }

    /// Takes a part of the full desired state; with the `last` one, repairs what differs from it.
    pub(crate) fn sync(
        &self,
        connection: u64,
        epoch: i64,
        bans: &[Read<Wanted>],
        first: bool,
        last: bool,
    ) -> Result<Applied, Outcome> {
        let (mut applied, repairs) = {
            let mut state = self.lock();
            state.accept(epoch)?;
            let now = self.now();
            if first {
                state.snapshot = Some(Snapshot::new(connection, epoch));
            }
            let blocked = state.take_part(connection, epoch, bans, now)?;
            let repairs = if last { Some(state.repair()?) } else { None };
            (Applied { result: "taken".to_owned(), blocked, unblocked: Vec::new() }, repairs)
        };
        if let Some(repairs) = repairs {
            applied.result = repairs.to_string();
            let now = self.now();
            log_each(repairs.added.iter(), |(target, until)| {
                log_ban(target, until.saturating_duration_since(now), "");
            });
            log_each(repairs.lifted.iter(), log_unban);
            tracing::info!(epoch, "in step with the owner: {}", applied.result);
        }
        Ok(applied)
    }

    /// What is held by the enforcer, in the order of targets.
    pub(crate) fn held(&self) -> Result<Vec<(Network, Duration)>, Outcome> {
        let mut held = self.lock().read_held().map_err(|error| failed(&error))?;
        held.sort_unstable();
        Ok(held)
    }

    /// The enforcer's name, the newest epoch (0 before there was one) and how many bans are held.
    pub(crate) fn status(&self) -> (&'static str, i64, usize) {
        let mut state = self.lock();
        let now = self.now();
        state.known.retain(|_, until| *until > now);
        (state.enforcer.name(), state.epoch.unwrap_or(0), state.known.len())
    }

    /// A connection is over, and with it a snapshot that it hasn't ended.
    pub(crate) fn forget(&self, connection: u64) {
        let mut state = self.lock();
        if state.snapshot.as_ref().is_some_and(|snapshot| snapshot.connection == connection) {
            state.snapshot = None;
        }
    }
}

impl State {
    /// Refuses owners that another one has followed.
    fn accept(&mut self, epoch: i64) -> Result<(), Outcome> {
        match self.epoch {
            Some(newest) if epoch < newest => Err(Outcome::new(
                flag::OLD_EPOCH,
                format!("epoch {epoch} is over: an owner of epoch {newest} has followed"),
            )),
            _ => {
                self.epoch = Some(epoch);
                Ok(())
            }
        }
    }

    /// When a target's ban ends, where it is banned.
    fn banned_until(&self, target: &Network) -> Option<Instant> {
        let now = (self.clock)();
        self.known.get(target).copied().filter(|until| *until > now)
    }

    fn order_ban(&self, orders: &mut Orders, wanted: &Read<Wanted>, now: Instant) -> Outcome {
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(outcome) => return outcome.clone(),
        };
        if wanted.until <= now {
            return over();
        }
        let before = orders.insert(wanted.target, Some(wanted.until));
        let before = before.unwrap_or_else(|| self.banned_until(&wanted.target));
        match before {
            Some(before) if apart(before, wanted.until) <= SAME => {
                Outcome::new(flag::ALREADY, "banned already, for as long")
            }
            Some(_) => Outcome::new(flag::DONE, "banned already; now for this long"),
            None => Outcome::new(flag::DONE, "banned"),
        }
    }

    fn order_unban(&self, orders: &mut Orders, target: &Read<Network>) -> Outcome {
        let target = match target {
            Ok(target) => target,
            Err(outcome) => return outcome.clone(),
        };
        let before = orders.insert(*target, None).unwrap_or_else(|| self.banned_until(target));
        if before.is_some() {
            Outcome::new(flag::DONE, "not banned any more")
        } else {
            Outcome::new(flag::ALREADY, "wasn't banned")
        }
    }

    /// Has the enforcer do what is ordered, and remembers it; in a snapshot that comes in meanwhile, too.
    fn carry_out(&mut self, orders: &Orders) -> Result<(), Outcome> {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.overtaken(orders.keys());
        }
        let block: Vec<_> = orders.iter().filter_map(|(&target, until)| Some((target, (*until)?))).collect();
        let unblock: Vec<_> =
            orders.iter().filter(|(_, until)| until.is_none()).map(|(&target, _)| target).collect();
        self.enforce(&block, &unblock)
    }

    fn enforce(&mut self, block: &[(Network, Instant)], unblock: &[Network]) -> Result<(), Outcome> {
        if block.is_empty() && unblock.is_empty() {
            return Ok(());
        }
        let now = (self.clock)();
        let spans: Vec<_> =
            block.iter().map(|&(target, until)| (target, until.saturating_duration_since(now))).collect();
        if let Err(error) = self.enforcer.apply(&spans, unblock) {
            tracing::error!(%error, bans = block.len(), unbans = unblock.len(), "the enforcer failed");
            // Some of it may be done. Where that can't be read either, the next who asks gets told.
            let _ = self.read_held();
            return Err(failed(&error));
        }
        if self.known.len() >= self.tidy_at {
            self.known.retain(|_, until| *until > now);
            self.tidy_at = 1024.max(2 * self.known.len());
        }
        self.known.extend(block.iter().copied());
        for target in unblock {
            self.known.remove(target);
        }
        if let Some(observer) = &self.observer {
            observer(&spans, unblock);
        }
        Ok(())
    }

    /// Asks the enforcer what it holds, and remembers it.
    fn read_held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        let now = (self.clock)();
        let held = self.enforcer.held()?;
        self.known = held.iter().map(|&(target, left)| (target, now + left)).collect();
        Ok(held)
    }
}

fn apart(one: Instant, other: Instant) -> Duration {
    one.max(other) - one.min(other)
}

pub(crate) fn over() -> Outcome {
    Outcome::new(flag::ALREADY, "its time is over already: nothing to block")
}

fn failed(error: &EnforcerError) -> Outcome {
    Outcome::new(flag::FAILED, error.to_string())
}

/// Those for which something was done.
fn done<'a, T>(outcomes: &'a [Outcome], read: &'a [Read<T>]) -> impl Iterator<Item = &'a T> {
    let done =
        |(outcome, read): (&Outcome, &'a Read<T>)| read.as_ref().ok().filter(|_| outcome.flag == flag::DONE);
    outcomes.iter().zip(read).filter_map(done)
}

/// So many lines are written for one call; a crowd's worth of them would say no more.
const MAX_LINES: usize = 100;

fn log_each<'a, T: 'a>(items: impl Iterator<Item = &'a T>, line: impl Fn(&'a T)) {
    let mut more = 0usize;
    for (count, item) in items.enumerate() {
        if count < MAX_LINES {
            line(item);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        tracing::info!("and {more} more");
    }
}

fn log_ban(target: &Network, left: Duration, id: &str) {
    // Whatever an owner sends as an id is shown escaped and cut.
    let id: String = id.chars().take(64).collect();
    tracing::info!(%target, seconds = left.as_millis().div_ceil(1000), ?id, "ban");
}

fn log_unban(target: &Network) {
    tracing::info!(%target, "unban");
}
