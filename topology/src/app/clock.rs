//! The clock of a run. It goes on evenly, whatever is done to the machine's clock; and where that was set, follows
//! it together with the bans, so that they last as long as they should.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bolts::tuples::CommandOrder;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use engine::{Clock, SystemClock, Timestamp};

use crate::spouts::commands::Commander;

/// The machine's clock as it was at the start, and the time that passed since.
pub(super) struct SteadyClock {
    started: (Timestamp, Instant),
    /// By how many milliseconds the machine's clock was set since.
    stepped: AtomicI64,
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self { started: (SystemClock.now(), Instant::now()), stepped: AtomicI64::new(0) }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (started, instant) = self.started;
        let millis = self.stepped.load(Ordering::Relaxed);
        let step = Duration::from_millis(millis.unsigned_abs());
        let now = started + instant.elapsed();
        if millis < 0 { Timestamp::default() + now.since(Timestamp::default() + step) } else { now + step }
    }
}

impl SteadyClock {
    /// How far the machine's clock is ahead of this one (behind, where negative), in milliseconds.
    fn deviation(&self) -> i64 {
        SystemClock.now().as_millis() as i64 - self.now().as_millis() as i64
    }

    fn follow(&self, millis: i64) {
        self.stepped.fetch_add(millis, Ordering::Relaxed);
    }
}

/// How often the clocks are compared.
const COMPARE: Duration = Duration::from_millis(250);
/// From so many milliseconds on the clock was set. Less is followed without a word: bans may be off by as much.
const STEP: i64 = 500;
/// So often it must have been the same, before it is believed.
const TIMES: u32 = 4;

/// Watches whether the machine's clock is set, until it is dropped.
pub(super) struct ClockSteps {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClockSteps {
    /// Begins to watch.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn watch(clock: Arc<SteadyClock>, commander: Commander) -> io::Result<Self> {
        let (stop, stopped) = bounded::<()>(0);
        let watch = move || {
            let mut steps = Steps::default();
            while stopped.recv_timeout(COMPARE) == Err(RecvTimeoutError::Timeout) {
                if let Some(millis) = steps.see(clock.deviation()) {
                    follow(&clock, &commander, millis);
                }
            }
        };
        let thread = Builder::new().name("clock".to_owned()).spawn(watch)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// Bans are never to look as if they were over: where the clock goes ahead they are told first, where it goes back
/// last.
fn follow(clock: &SteadyClock, commander: &Commander, millis: i64) {
    if millis.abs() < STEP {
        return clock.follow(millis);
    }
    tracing::warn!(millis, "the machine's clock was set; bans last as long as they should all the same");
    let patience = Duration::from_secs(5);
    let tell = || {
        if let Err(error) = commander.ask(CommandOrder::ClockStep { millis }, patience) {
            tracing::error!("bans don't know of it: {error}");
        }
    };
    if millis > 0 {
        tell();
        clock.follow(millis);
    } else {
        clock.follow(millis);
        tell();
    }
}

impl Drop for ClockSteps {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the watch over the clock had stopped");
        }
    }
}

/// Believes a deviation once it stays.
#[derive(Default)]
struct Steps {
    seen: i64,
    times: u32,
}

impl Steps {
    fn see(&mut self, deviation: i64) -> Option<i64> {
        // A machine that stood still between two readings looks as if its clock had been set.
        if (deviation - self.seen).abs() > STEP {
            (self.seen, self.times) = (deviation, 0);
        }
        self.times += 1;
        if self.times < TIMES {
            return None;
        }
        *self = Self::default();
        (deviation != 0).then_some(deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_stays() {
        let mut steps = Steps::default();
        let seen: Vec<Option<i64>> =
            [0, 0, 7_200_000, 0, 0, 0, 0].into_iter().map(|deviation| steps.see(deviation)).collect();
        assert_eq!(seen, [None; 7], "one reading says nothing");
        let mut steps = Steps::default();
        let seen: Vec<Option<i64>> = [-3_600_000, -3_600_010, -3_600_000, -3_600_005]
            .into_iter()
            .map(|deviation| steps.see(deviation))
            .collect();
        assert_eq!(seen, [None, None, None, Some(-3_600_005)]);
    }

    #[test]
    fn goes_ahead_and_back() {
        let clock = SteadyClock::default();
        let start = clock.now();
        clock.follow(60_000);
        assert!(clock.now().since(start) >= Duration::from_secs(60));
        clock.follow(-120_000);
        assert!(start.since(clock.now()) > Duration::from_secs(50));
        assert!((clock.deviation() - 60_000).abs() < 5_000);
    }
}
