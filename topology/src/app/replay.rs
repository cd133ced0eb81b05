//! Runs a replay: on the calling thread where one is enough, else with a thread for each task.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bolts::ports::SummarySink;
use bolts::tuples::Summary;
use engine::{Config, DrainReport, LocalRuntime, Topology};

use crate::wiring::{self, Replay};

/// Keeps the summary that the report bolt gives it at the end.
#[derive(Default)]
pub struct KeptSummary(Mutex<Option<Summary>>);

impl SummarySink for KeptSummary {
    fn summary(&self, summary: Summary) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary);
    }
}

/// Runs a replay to its end.
///
/// # Errors
/// Where a part of the topology broke, so that the summary wouldn't be true.
pub fn replay(kept: &Arc<KeptSummary>, replay: Replay) -> anyhow::Result<Summary> {
    let on_one_thread = replay.tasks == 1;
    let drained = run(wiring::replay(replay)?, on_one_thread);
    let restarts: u64 = drained.metrics.components.iter().map(|component| component.restarts).sum();
    if !drained.is_clean() || restarts > 0 {
        bail!(
            "a part of the topology broke ({restarts} restarts), so the results can't be trusted\n{drained}"
        );
    }
    let summary = kept.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    summary.context("the report bolt gave no summary")
}

fn run(topology: Topology, on_one_thread: bool) -> DrainReport {
    // A batch that is tried again would be counted twice. So there are no second tries, and no time-outs either:
    // whoever stops the program for a minute gets the same results.
    let config =
        Config { max_replays: 0, message_timeout: Duration::from_secs(u32::MAX.into()), ..Config::default() };
    let runtime = LocalRuntime::new(config);
    if on_one_thread { runtime.run_on_this_thread(topology) } else { runtime.start(topology).wait() }
}
