//! Drives a whole topology on the test's own thread, with a clock that the test moves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::single::SingleThread;
use crate::stop::StopHandle;
use crate::time::{Clock, ManualClock, Timestamp};
use crate::topology::{DrainReport, Topology};

/// Tests a topology: feed it, let it run, move the time, look at what came out.
///
/// The tasks are those of [`LocalRuntime`](crate::LocalRuntime), polled one after the other. The clock starts
/// at zero, or where [`TopologyTestDriver::with_config`] is told.
pub struct TopologyTestDriver {
    single: SingleThread,
    clock: ManualClock,
    metrics: Metrics,
    stop: StopHandle,
}

impl TopologyTestDriver {
    /// With default settings, and a clock that starts at zero.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self::with_config(topology, Config::default(), Timestamp::default())
    }

    /// With these settings (but for the clock, which is the driver's own), starting at this time.
    #[must_use]
    pub fn with_config(topology: Topology, config: Config, start: Timestamp) -> Self {
        Self::make(topology, config, start, false)
    }

    /// Like [`TopologyTestDriver::new`], but every tuple that crosses an edge between tasks is written as
    /// JSON and read back, as it would be between machines. A bolt must not be able to tell.
    #[must_use]
    pub fn over_the_wire(topology: Topology) -> Self {
        Self::make(topology, Config::default(), Timestamp::default(), true)
    }

    fn make(topology: Topology, mut config: Config, start: Timestamp, wire: bool) -> Self {
        let clock = ManualClock::new(start);
        config.clock = Arc::new(clock.clone());
        TopologyTestDriver {
            metrics: topology.metrics(),
            stop: topology.stop_handle(),
            single: SingleThread::new(topology, &config, wire),
            clock,
        }
    }

    /// Works until there is nothing to do: the spouts are idle, and every batch went as far as it can.
    pub fn run_until_idle(&mut self) {
        self.single.run_until_idle();
    }

    /// Moves the clock, ticks each bolt whose interval has passed (once, however often it has), fails what
    /// has timed out, and works until there is nothing to do.
    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.run_until_idle();
    }

    /// Sets the clock back, as may happen to any machine's, and works until there is nothing to do.
    pub fn set_back(&mut self, by: Duration) {
        let now = self.clock.now().since(Timestamp::default() + by);
        self.clock.set(Timestamp::default() + now);
        self.run_until_idle();
    }

    /// The time on the driver's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The numbers of the components.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Works until there is nothing to do, then stops the spouts, drains and cleans up. What can't be
    /// finished, because an anchor is held, is in the report.
    #[must_use]
    pub fn finish(mut self) -> DrainReport {
        self.run_until_idle();
        self.stop.stop();
        self.single.finish()
    }
}

impl fmt::Debug for TopologyTestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyTestDriver").field("now", &self.now()).finish_non_exhaustive()
    }
}
