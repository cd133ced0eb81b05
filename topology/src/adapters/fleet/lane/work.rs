//! A lane's thread: what is done with the connection, and without one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use ccfirewall_thrift::{Status, flag};
use model::network::Network;
use model::units::Moment;

use super::super::calls::{Calls, Trouble, offset};
use super::super::pauses::Pauses;
use super::{AgentState, Lane, Shared, State};

/// What a lane in step does next.
pub(super) enum Next {
    Deltas,
    Sync,
    Check,
    Stop,
    /// The list of agents says something new.
    Relisted,
}

/// Why a connection isn't used any more where nothing is wrong with it.
pub(super) enum End {
    Stop,
    Relisted,
}

/// From so many milliseconds on, clocks that differ are an alarm.
const SKEW_ALARM: u64 = 2_000;
/// Differences are repaired at most so often.
const REPAIR_EVERY: Duration = Duration::from_secs(5);

/// The lane's thread: until it is stopped.
pub(in super::super) fn run(lane: &Lane, shared: &Shared, number: u64) {
    let options = &shared.options;
    let seed = options.seed.wrapping_add(number);
    let mut thread = Thread {
        lane,
        shared,
        pauses: Pauses::new(options.first_pause, options.longest_pause, seed),
        failures: 0,
        known: false,
        down_since: Some((Instant::now(), shared.now())),
        compared: Instant::now(),
        repaired: None,
        drifted: false,
    };
    loop {
        // A lane that panics begins again, like one whose connection broke.
        let served = catch_unwind(AssertUnwindSafe(|| thread.serve()));
        match served.unwrap_or_else(|_| Err(Trouble::Failing("the lane panicked: a mistake in here".into())))
        {
            Ok(End::Stop) => break,
            Ok(End::Relisted) => {
                lane.lock().books.disconnected();
                if thread.has_left() && !thread.stay_apart() {
                    break;
                }
            }
            Err(Trouble::Fenced(result)) => {
                thread.fenced(&result);
                break;
            }
            Err(trouble) => {
                if !thread.pause(&trouble) {
                    break;
                }
            }
        }
    }
    let mut state = lane.lock();
    state.ended = Some(state.books.waiting() == 0);
    drop(state);
    lane.changed.notify_all();
}

pub(super) struct Thread<'a> {
    pub(super) lane: &'a Lane,
    pub(super) shared: &'a Shared,
    pub(super) pauses: Pauses,
    /// How many attempts failed in a row.
    pub(super) failures: u32,
    /// Whether the agent was in step once in this run: then what it holds besides is no news from before us.
    known: bool,
    pub(super) down_since: Option<(Instant, Moment)>,
    pub(super) compared: Instant,
    repaired: Option<Instant>,
    drifted: bool,
}

impl Thread<'_> {
    /// Connects and keeps the agent in step, until the stop or something goes wrong.
    fn serve(&mut self) -> Result<End, Trouble> {
        if self.has_left() {
            return Ok(End::Relisted);
        }
        let options = &self.shared.options;
        let mut calls = self.connect()?;
        let status = match self.ask(&mut calls) {
            Err(Trouble::Original) => return self.serve_original(calls),
            status => status?,
        };
        {
            let mut state = self.lane.lock();
            state.view.original = false;
            state.view.instance = status.instance.unwrap_or_default();
            state.books.connected();
        }
        if !self.known && !self.offer(&mut calls)? {
            return Ok(End::Stop);
        }
        self.sync(&mut calls)?;
        self.known = true;
        self.in_step();
        let mut checked = Instant::now();
        loop {
            match self.next(checked + options.check_every) {
                Next::Deltas => self.send(&mut calls)?,
                Next::Sync => self.sync(&mut calls)?,
                Next::Check => {
                    self.check(&mut calls)?;
                    checked = Instant::now();
                }
                Next::Stop => return Ok(End::Stop),
                Next::Relisted => return Ok(End::Relisted),
            }
        }
    }

    pub(super) fn connect(&self) -> Result<Calls, Trouble> {
        let (config, wanted) = {
            let mut state = self.lane.lock();
            state.renewed = false;
            (state.config.clone(), state.books.wanted())
        };
        Calls::connect(&config, self.shared.world.epoch, &self.shared.options, wanted)
    }

    pub(super) fn next(&self, check_at: Instant) -> Next {
        let mut state = self.lane.lock();
        loop {
            let now = Instant::now();
            if let Some(until) = state.stop
                && (now >= until || (state.books.waiting() == 0 && !state.books.is_overflowed()))
            {
                return Next::Stop;
            }
            if state.renewed || self.is_over(&state) {
                return Next::Relisted;
            }
            if state.books.is_overflowed() {
                return Next::Sync;
            }
            if now >= check_at {
                return Next::Check;
            }
            if state.books.waiting() > 0 {
                return Next::Deltas;
            }
            state = self.lane.wait(state, check_at - now);
        }
    }

    /// Tells what there is to tell, and gives the lock back.
    pub(super) fn tell(&self, mut state: MutexGuard<'_, State>) {
        self.shared.world.outcomes.push(state.books.outcomes());
    }

    pub(super) fn alarm(&self, kind: &'static str, text: Option<&str>) {
        self.shared.alarms.set(kind, &self.lane.name, text);
    }

    /// Asks the agent how it is.
    fn ask(&self, calls: &mut Calls) -> Result<Status, Trouble> {
        let asked = Instant::now();
        let status = calls.status()?;
        let skew = status.clock_ms.map_or(0, |clock| offset(clock, asked, self.shared.now()).0);
        let mut state = self.lane.lock();
        let view = &mut state.view;
        view.enforcer = status.enforcer.clone().unwrap_or_default();
        view.version = status.version.clone().unwrap_or_default();
        view.held = u64::try_from(status.held.unwrap_or(0)).unwrap_or(0);
        view.warnings = status.warnings.clone().unwrap_or_default();
        // Milliseconds come and go; an alarm says how it was when it began.
        let was_off = view.clock_skew_ms.unsigned_abs() >= SKEW_ALARM;
        view.clock_skew_ms = skew;
        drop(state);
        let off = skew.unsigned_abs() >= SKEW_ALARM;
        if off != was_off {
            let way = if skew > 0 { "ahead of" } else { "behind" };
            let text = format!(
                "its clock is {} s {way} ours; bans last as long as they should, but logs don't agree (is NTP on?)",
                skew.unsigned_abs() / 1000
            );
            self.alarm("agent_clock", off.then_some(text.as_str()));
        }
        Ok(status)
    }

    /// Offers what the agent holds and nobody here knows of, and waits a moment for what is adopted. `false` where
    /// the stop came before: then nothing of it may be lifted.
    fn offer(&self, calls: &mut Calls) -> Result<bool, Trouble> {
        let held = calls.held()?;
        let now = self.shared.now();
        let mut unknown: Vec<(Network, Moment)> = {
            let state = self.lane.lock();
            let unknown = held.into_iter().filter(|(target, left)| *left > 0 && !state.books.knows(target));
            unknown.map(|(target, left)| (target, Moment(now.0.saturating_add(left)))).collect()
        };
        if unknown.is_empty() {
            return Ok(true);
        }
        unknown.sort_unstable();
        tracing::info!(agent = %self.lane.name, bans = unknown.len(), "holds bans that nobody here knows of");
        (self.shared.world.adopt)(unknown.clone());
        let until = Instant::now() + self.shared.options.adopt_within;
        loop {
            let state = self.lane.lock();
            unknown.retain(|(target, _)| !state.books.knows(target));
            let left = until.saturating_duration_since(Instant::now());
            if state.stop.is_some() {
                return Ok(false);
            }
            if unknown.is_empty() || left.is_zero() {
                if !unknown.is_empty() {
                    let (agent, bans) = (&self.lane.name, unknown.len());
                    tracing::warn!(%agent, bans, "holds bans that nobody adopted: they are lifted");
                }
                return Ok(true);
            }
            if state.books.waiting() > 0 {
                drop(state);
                // New bans don't wait for old ones.
                self.send(calls)?;
            } else {
                drop(self.lane.wait(state, left));
            }
        }
    }

    /// Sends the full state. Between its parts go the changes that came meanwhile: they are newer, and the agent
    /// knows that.
    fn sync(&self, calls: &mut Calls) -> Result<(), Trouble> {
        let mut state = self.lane.lock();
        let snapshot = state.books.snapshot(self.shared.now());
        self.tell(state);
        let mut answers = Vec::new();
        let part = self.shared.options.part.max(1);
        let parts = snapshot.bans.len().div_ceil(part).max(1);
        for number in 0..parts {
            if number > 0 {
                self.send(calls)?;
            }
            let bans = &snapshot.bans[number * part..snapshot.bans.len().min((number + 1) * part)];
            match calls.sync(bans, number == 0, number + 1 == parts, self.shared.now()) {
                Ok(said) => answers.extend(said),
                Err(trouble) => {
                    if let Trouble::Failing(result) = &trouble {
                        let mut state = self.lane.lock();
                        state.books.sync_refused(&snapshot, flag::FAILED, result, self.shared.now());
                        self.tell(state);
                    }
                    return Err(trouble);
                }
            }
        }
        let mut state = self.lane.lock();
        let now = self.shared.now();
        state.books.taken(snapshot.bans.iter().zip(answers), now);
        state.books.synced(&snapshot, now);
        self.tell(state);
        Ok(())
    }

    /// Sends what waits, as much as fits into one call.
    fn send(&self, calls: &mut Calls) -> Result<(), Trouble> {
        let delta = self.lane.lock().books.take(self.shared.now(), self.shared.options.batch);
        let answered = if delta.is_empty() {
            None
        } else {
            Some(calls.apply(&delta.block, &delta.unblock, self.shared.now()))
        };
        let mut state = self.lane.lock();
        let now = self.shared.now();
        let result = match answered {
            None => Ok(()),
            Some(Ok(answer)) => {
                state.books.answered(&delta, &answer.blocked, &answer.unblocked, now);
                Ok(())
            }
            Some(Err(trouble)) => {
                if let Trouble::Failing(result) = &trouble {
                    state.books.answered_alike(&delta, flag::FAILED, result, now);
                }
                Err(trouble)
            }
        };
        self.tell(state);
        result
    }

    /// Looks whether the agent is the one that got the full state, and still holds what it should.
    fn check(&mut self, calls: &mut Calls) -> Result<(), Trouble> {
        let status = self.ask(calls)?;
        let instance = status.instance.unwrap_or_default();
        let held = usize::try_from(status.held.unwrap_or(0)).unwrap_or(0);
        let (plausible, renewed) = {
            let mut state = self.lane.lock();
            let renewed = !state.view.instance.is_empty() && state.view.instance != instance;
            state.view.instance = instance;
            let (least, most) = state.books.plausible(self.shared.now());
            ((least..=most).contains(&held), renewed)
        };
        if renewed {
            return self.sync(calls);
        }
        let soon = self.repaired.is_some_and(|at| at.elapsed() < REPAIR_EVERY);
        if (plausible || soon) && self.compared.elapsed() < self.shared.options.compare_every {
            return Ok(());
        }
        let asked = self.shared.now();
        let held = calls.held()?;
        self.compared = Instant::now();
        let differences = self.lane.lock().books.differences(&held, asked, self.shared.now());
        if differences > 0 {
            tracing::warn!(agent = %self.lane.name, differences, "holds something else than it should");
            self.sync(calls)?;
            self.repaired = Some(Instant::now());
            self.lane.lock().view.repaired += differences as u64;
            let text = format!(
                "{differences} of its bans weren't as they should be, and were repaired: does something \
                                else change the firewall there?"
            );
            self.alarm("agent_drift", Some(&text));
        } else if self.drifted {
            self.alarm("agent_drift", None);
        }
        self.drifted = differences > 0;
        Ok(())
    }

    pub(super) fn in_step(&mut self) {
        self.pauses.reset();
        self.down_since = None;
        self.failures = 0;
        self.compared = Instant::now();
        let mut state = self.lane.lock();
        state.view.state = AgentState::InSync;
        state.view.failures = 0;
        state.view.breaker_open = false;
        drop(state);
        for kind in ["agent_unreachable", "agent_key"] {
            self.alarm(kind, None);
        }
        tracing::info!(agent = %self.lane.name, "in step");
    }
}
