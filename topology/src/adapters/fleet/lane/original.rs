//! A lane whose agent is one of 2016: a call for each address, over a few connections at once where much waits.
//!
//! Some of these agents serve one connection at a time. So further connections are only used once they have
//! answered, and where one doesn't, no more are tried.

use std::time::{Duration, Instant};

use ccfirewall_thrift::flag;

use super::super::books::Call;
use super::super::calls::{Calls, Trouble};
use super::AgentState;
use super::work::{End, Next, Thread};

/// So many targets must wait before a further connection is worth it.
const WORTH_ANOTHER: usize = 16;
/// It is looked at so much more seldom than ours: the look is a call that it doesn't know.
const SELDOM: u32 = 5;
/// What everybody should know of such an agent.
const WARNING: &str = "an agent of 2016: it holds single addresses only, ends no ban by itself, and obeys former \
                       owners; install ccfirewall-agent there";

/// A further connection.
enum Further {
    Untried,
    Usable(Box<Calls>),
    /// The agent doesn't answer to so many.
    Useless,
}

impl Thread<'_> {
    /// Keeps an agent of 2016 in step, until the stop or something goes wrong.
    pub(super) fn serve_original(&mut self, mut calls: Calls) -> Result<End, Trouble> {
        let options = &self.shared.options;
        {
            let mut state = self.lane.lock();
            let view = &mut state.view;
            (view.original, view.held, view.clock_skew_ms) = (true, 0, 0);
            (view.enforcer, view.version, view.instance) = (String::new(), "2016".to_owned(), String::new());
            view.warnings = vec![WARNING.to_owned()];
            state.books.connected_to_original();
        }
        tracing::info!(agent = %self.lane.name, "it knows only the calls of 2016, and is served by them");
        let further = options.connections_of_2016.saturating_sub(1);
        let mut further: Vec<Further> = (0..further).map(|_| Further::Untried).collect();
        let mut in_step = false;
        let mut checked = Instant::now();
        loop {
            match self.next(checked + options.check_every * SELDOM) {
                Next::Sync => self.lane.lock().books.queue_again_all(),
                Next::Deltas => self.call_all(&mut calls, &mut further)?,
                Next::Check => {
                    calls.is_original_still()?;
                    self.lane.lock().books.queue_failed();
                    checked = Instant::now();
                }
                Next::Stop => return Ok(End::Stop),
                Next::Relisted => return Ok(End::Relisted),
            }
            let mut state = self.lane.lock();
            state.view.held = state.books.taken_in() as u64;
            let (waiting, failed, prefixes) =
                (state.books.waiting(), state.books.failed(), state.books.prefixes());
            drop(state);
            self.tell_prefixes(prefixes);
            if waiting == 0 {
                let all_well = failed == 0;
                self.tell_failed(failed);
                if all_well && !in_step {
                    self.in_step();
                }
                in_step = all_well;
            }
        }
    }

    fn tell_prefixes(&self, prefixes: usize) {
        let text = format!(
            "it can't hold {prefixes} of the bans: an agent of 2016 takes single addresses, and these are prefixes \
             (IPv6 is banned by /64); install ccfirewall-agent there"
        );
        self.alarm("agent_prefix", (prefixes > 0).then_some(text.as_str()));
    }

    fn tell_failed(&self, failed: usize) {
        if failed > 0 {
            let mut state = self.lane.lock();
            if !matches!(state.view.state, AgentState::Failing { .. }) {
                state.view.state = AgentState::Failing { since: self.shared.now() };
            }
            let error = state.view.last_error.clone().unwrap_or_default();
            drop(state);
            let text = format!("it can't do it for {failed} addresses, and is asked again: {error}");
            self.alarm("agent_unreachable", Some(&text));
        }
    }

    /// Makes all calls that wait, on further connections too where there are many.
    fn call_all(&self, calls: &mut Calls, further: &mut [Further]) -> Result<(), Trouble> {
        let many = self.lane.lock().books.waiting() / WORTH_ANOTHER;
        std::thread::scope(|scope| {
            for further in further.iter_mut().take(many) {
                scope.spawn(|| self.call_on(further));
            }
            self.call_until_none(calls)
        })
    }

    fn call_on(&self, further: &mut Further) {
        if matches!(further, Further::Untried) {
            *further = self.try_another().map_or(Further::Useless, Further::Usable);
        }
        if let Further::Usable(calls) = further
            && let Err(trouble) = self.call_until_none(calls)
        {
            tracing::debug!(agent = %self.lane.name, ?trouble, "one of its connections broke");
            *further = Further::Untried;
        }
    }

    fn try_another(&self) -> Option<Box<Calls>> {
        // Only as long as nobody would wait for it.
        let brief = Duration::from_millis(500).min(self.shared.options.call);
        let config = self.lane.lock().config.clone();
        let options = super::super::Options { connect: brief, call: brief, ..self.shared.options.clone() };
        let mut calls = Calls::connect(&config, self.shared.world.epoch, &options, 0).ok()?;
        calls.is_original_still().ok()?;
        Some(Box::new(calls))
    }

    /// One call after the other, until none waits.
    fn call_until_none(&self, calls: &mut Calls) -> Result<(), Trouble> {
        while let Some(call) = self.take_call() {
            let said = calls.original(&call.target, call.block.is_some());
            let mut state = self.lane.lock();
            let result = match said {
                Ok(said) => {
                    if said.0 == flag::FAILED {
                        state.view.last_error = Some(format!("{}: {}", call.target, said.1));
                    }
                    state.books.call_answered(&call, &said, self.shared.now());
                    Ok(())
                }
                Err(trouble) => {
                    state.books.call_lost(&call);
                    Err(trouble)
                }
            };
            self.tell(state);
            self.lane.changed.notify_all();
            result?;
        }
        Ok(())
    }

    /// The next call; `None` where nothing waits, or this isn't the time for calls any more.
    fn take_call(&self) -> Option<Call> {
        let mut state = self.lane.lock();
        loop {
            let is_over = state.stop.is_some_and(|until| Instant::now() >= until);
            if is_over || state.renewed || self.is_over(&state) {
                return None;
            }
            if let Some(call) = state.books.take_call(self.shared.now()) {
                return Some(call);
            }
            if state.books.waiting() == 0 || !state.books.is_busy() {
                self.shared.world.outcomes.push(state.books.outcomes());
                return None;
            }
            // All that waits is behind calls that are under way.
            state = self.lane.wait(state, Duration::from_millis(100));
        }
    }
}
