//! The lane of one agent: a thread that connects, sends the full state, then every change, and looks now and then
//! whether the agent holds what it should. An agent that nobody lists any more isn't called: its lane only sees that
//! what is owed for it is told.

mod apart;
mod original;
mod work;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::ledger::Ledger;
use model::units::Moment;

use super::alarms::Alarms;
use super::books::{Books, Wish};
use super::view::{AgentState, AgentView};
use super::{AgentConfig, Options, World};

pub(super) use work::run;

/// What all lanes have in common.
pub(super) struct Shared {
    pub(super) world: World,
    pub(super) options: Options,
    pub(super) alarms: Alarms,
}

impl Shared {
    fn now(&self) -> Moment {
        Moment(i64::try_from(self.world.clock.now().as_millis()).unwrap_or(i64::MAX))
    }
}

/// What is known of an agent. The fleet's callers and the lane's thread share it.
pub(super) struct Lane {
    /// The agent's name.
    pub(super) name: Arc<str>,
    state: Mutex<State>,
    /// Notified when something waits, when the list of agents says something new of it, at the stop, and when the
    /// thread ends.
    changed: Condvar,
}

struct State {
    config: AgentConfig,
    /// The agent is to be connected to anew, and now: where it is has changed, or it was listed again.
    renewed: bool,
    /// Nobody lists it any more, since then.
    left: Option<Instant>,
    books: Books,
    view: AgentView,
    /// Once it is set: what waits is sent until then.
    stop: Option<Instant>,
    /// The thread is over; whether nothing waited then.
    ended: Option<bool>,
}

impl Lane {
    pub(super) fn new(
        config: AgentConfig,
        ledger: &Ledger,
        shared: &Shared,
        state: AgentState,
        newcomer: bool,
    ) -> Self {
        let books = if newcomer { Books::of_newcomer } else { Books::new };
        let mut books = books(Arc::clone(&config.name), ledger, shared.now());
        if config.original {
            books.expect_original();
        }
        let view = AgentView::new(Arc::clone(&config.name), config.address, state);
        let alone = state == AgentState::DryRun;
        if alone {
            books.connected();
            books.queue_all();
        }
        let state = State {
            renewed: false,
            left: None,
            books,
            view,
            stop: None,
            ended: alone.then_some(true),
            config: config.clone(),
        };
        Self { name: config.name, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self) -> AgentView {
        let state = self.lock();
        let mut view = state.view.clone();
        view.wanted = state.books.wanted() as u64;
        view.queue = state.books.waiting() as u64;
        view
    }

    /// Takes changes in.
    pub(super) fn wish(&self, wishes: &[Wish], now: Moment, shared: &Shared) {
        let mut state = self.lock();
        wishes.iter().for_each(|wish| state.books.wish(wish, now));
        shared.world.outcomes.push(state.books.outcomes());
        drop(state);
        self.changed.notify_all();
    }

    /// Answers everything that waits itself, in place of the agent.
    pub(super) fn answer_all(&self, shared: &Shared, flag: i32, result: &str) {
        let mut state = self.lock();
        let now = shared.now();
        loop {
            if state.books.is_overflowed() {
                state.books.queue_all();
            }
            let delta = state.books.take(now, shared.options.batch);
            if delta.is_empty() {
                break;
            }
            state.books.answered_alike(&delta, flag, result, now);
        }
        shared.world.outcomes.push(state.books.outcomes());
    }

    /// The list of agents has it, as `config` says.
    pub(super) fn listed(&self, config: AgentConfig) {
        let mut state = self.lock();
        let is_back = state.left.take().is_some();
        let is_well = state.view.state == AgentState::InSync;
        if (is_back && !is_well) || !state.config.is_same(&config) {
            state.renewed = true;
            state.view.address = config.address;
            state.config = config;
            self.changed.notify_all();
        }
    }

    /// The list of agents doesn't have it.
    pub(super) fn unlisted(&self) {
        self.lock().left.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    /// Whether it can be forgotten: it left before `before`, and nothing is owed.
    pub(super) fn is_done_with(&self, before: Instant) -> bool {
        let state = self.lock();
        state.left.is_some_and(|since| since < before) && state.books.owes_nothing()
    }

    pub(super) fn stop(&self, until: Instant) {
        self.lock().stop = Some(until);
        self.changed.notify_all();
    }

    /// Waits until the thread is over; whether it is, and nothing waited then.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match state.ended {
                Some(all_sent) => return all_sent,
                None if left.is_zero() => return false,
                None => state = self.wait(state, left),
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, at_most).unwrap_or_else(PoisonError::into_inner).0
    }
}
