//! A lane without a connection: between attempts, where nobody lists the agent any more, and where another owner
//! has taken over.

use std::time::{Duration, Instant};

use ccfirewall_thrift::flag;

use super::super::books::Books;
use super::super::calls::Trouble;
use super::work::Thread;
use super::{AgentState, State};

/// So often a lane without a connection looks at what it must give up.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What alarms may be of an agent.
const ALARMS: [&str; 5] = ["agent_unreachable", "agent_key", "agent_clock", "agent_drift", "agent_prefix"];
/// That of one that has left.
const LEFT: &str = "agent_left";

impl Thread<'_> {
    /// Waits until the next attempt, and gives up what can't wait so long. `false` at the stop.
    pub(super) fn pause(&mut self, trouble: &Trouble) -> bool {
        let (began, since) = *self.down_since.get_or_insert_with(|| (Instant::now(), self.shared.now()));
        let options = &self.shared.options;
        self.failures = self.failures.saturating_add(1);
        let breaker_open = self.failures >= options.breaker_after;
        let pause = match trouble {
            Trouble::WrongKey => options.refused_pause,
            _ if breaker_open => self.pauses.around(options.probe_every),
            _ => self.pauses.next(),
        };
        let (state, text, kind) = match trouble {
            Trouble::Unreachable(text) => {
                (AgentState::Unreachable { since }, text.clone(), "agent_unreachable")
            }
            Trouble::Hanging(text) => (AgentState::Hanging { since }, text.clone(), "agent_unreachable"),
            Trouble::Failing(text) => {
                (AgentState::Failing { since }, format!("it can't do it: {text}"), "agent_unreachable")
            }
            Trouble::Original => {
                let text = "it doesn't know a call any more that it knew: is it another agent now?";
                (AgentState::Unreachable { since }, text.to_owned(), "agent_unreachable")
            }
            Trouble::WrongKey => {
                let text = "it has another mkey: give both the same";
                (AgentState::WrongKey, text.to_owned(), "agent_key")
            }
            Trouble::Fenced(text) => (AgentState::Fenced, text.clone(), "agent_fenced"),
        };
        tracing::debug!(agent = %self.lane.name, text, "next attempt in {pause:?}");
        {
            let mut lane = self.lane.lock();
            lane.view.state = state;
            lane.view.last_error = Some(text.clone());
            lane.view.failures = self.failures;
            lane.view.breaker_open = breaker_open;
            lane.books.disconnected();
        }
        let why = match trouble {
            Trouble::WrongKey => (flag::WRONG_KEY, "wrong key"),
            _ => (flag::FAILED, text.as_str()),
        };
        let patience = i64::try_from(options.unblock_within.as_millis()).unwrap_or(i64::MAX);
        let until = Instant::now() + pause;
        loop {
            if kind != "agent_unreachable" || began.elapsed() >= options.alarm_after {
                self.alarm(kind, Some(&text));
            }
            let mut lane = self.lane.lock();
            lane.books.unreached(why, patience, self.shared.now());
            let (stopped, relisted) = (lane.stop.is_some(), lane.renewed || self.is_over(&lane));
            self.tell(lane);
            if relisted {
                // It may well be another agent.
                self.pauses.reset();
                self.failures = 0;
            }
            let left = until.saturating_duration_since(Instant::now());
            if stopped || relisted || left.is_zero() {
                return !stopped;
            }
            self.look_later(left.min(LOOK_EVERY));
        }
    }

    /// Waits, whatever changes come; but not longer than to the stop.
    fn look_later(&self, length: Duration) {
        let until = Instant::now() + length;
        let mut state = self.lane.lock();
        while state.stop.is_none() && !state.renewed && Instant::now() < until {
            state = self.lane.wait(state, until.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether nobody has listed the agent for so long that it isn't called any more.
    pub(super) fn is_over(&self, state: &State) -> bool {
        state.left.is_some_and(|since| since.elapsed() >= self.shared.options.leave_after)
    }

    pub(super) fn has_left(&self) -> bool {
        self.is_over(&self.lane.lock())
    }

    /// Nobody lists the agent any more: waits until somebody does, and tells what is owed. `false` at the stop.
    pub(super) fn stay_apart(&mut self) -> bool {
        let since = self.shared.now();
        self.down_since = None;
        {
            let mut state = self.lane.lock();
            state.view.state = AgentState::Left { since };
            state.view.failures = 0;
            state.view.breaker_open = false;
            state.books.leave(since);
            self.tell(state);
        }
        ALARMS.iter().for_each(|kind| self.alarm(kind, None));
        tracing::warn!(agent = %self.lane.name, "nobody lists it any more: it isn't called until somebody does");
        let patience = i64::try_from(self.shared.options.unblock_within.as_millis()).unwrap_or(i64::MAX);
        loop {
            let endless = self.lane.lock().books.held_without_end();
            self.tell_endless(endless);
            let mut state = self.lane.lock();
            if state.stop.is_some() {
                return false;
            }
            if state.left.is_none() {
                state.books.come_back();
                state.view.state = AgentState::Connecting;
                self.failures = 0;
                self.pauses.reset();
                drop(state);
                self.tell_endless(0);
                tracing::info!(agent = %self.lane.name, "it is listed again");
                return true;
            }
            state.books.unreached((flag::FAILED, "the agent has left"), patience, self.shared.now());
            self.shared.world.outcomes.push(state.books.outcomes());
            drop(self.lane.wait(state, LOOK_EVERY));
        }
    }

    fn tell_endless(&self, bans: usize) {
        let text = format!(
            "nobody lists it any more, and it may still hold {bans} bans: an agent of 2016 ends none by itself. Have it \
             listed again, or lift them there by hand"
        );
        self.alarm(LEFT, (bans > 0).then_some(text.as_str()));
    }

    /// Another owner has taken over: nothing is sent any more, for good.
    pub(super) fn fenced(&self, result: &str) {
        {
            let mut state = self.lane.lock();
            state.view.state = AgentState::Fenced;
            state.view.last_error = Some(result.to_owned());
            state.books.connected();
            state.books.queue_all();
        }
        let text = format!("another owner has taken over, so this one sends it nothing any more ({result})");
        self.alarm("agent_fenced", Some(&text));
        tracing::error!(agent = %self.lane.name, result, "another owner has taken over");
        (self.shared.world.superseded)(result);
        loop {
            self.lane.answer_all(self.shared, flag::OLD_EPOCH, "another owner has taken over");
            let mut state = self.lane.lock();
            let nothing = |books: &Books| books.waiting() == 0 && !books.is_overflowed();
            while state.stop.is_none() && nothing(&state.books) {
                state = self.lane.wait(state, Duration::from_secs(60));
            }
            if nothing(&state.books) {
                return;
            }
        }
    }
}
