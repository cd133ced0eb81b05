//! Replays through the real wiring, on the test's own thread, with every tuple between tasks written as JSON.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bolts::ports::{PlaceLookup, SettingsPort, SummarySink};
use bolts::tuples::Summary;
use engine::MetricsSnapshot;
use engine::testing::TopologyTestDriver;
use model::line::LogFormat;
use model::settings::Settings;
use model::verdict::{Action, Decision};
use serde::Serialize;
use topology::adapters::maxmind::Countries;
use topology::spouts::log_files::Lines;
use topology::wiring::{self, Replay};

/// What to replay, and how.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) logs: Vec<PathBuf>,
    pub(crate) settings: Settings,
    pub(crate) log_format: LogFormat,
    pub(crate) batch_bytes: usize,
    pub(crate) tasks: usize,
    pub(crate) window_memory: usize,
}

/// What came of it.
pub(crate) struct Replayed {
    /// Without the samples of unparsed lines: how many are kept goes by the batch.
    pub(crate) summary: Summary,
    pub(crate) metrics: MetricsSnapshot,
    pub(crate) failures: Vec<String>,
}

#[derive(Default)]
struct Kept(Mutex<Option<Summary>>);

impl SummarySink for Kept {
    fn summary(&self, summary: Summary) {
        *self.0.lock().unwrap() = Some(summary);
    }
}

impl Case {
    /// One `combined` log, by one task.
    pub(crate) fn new(log: &Path, settings: &str) -> Self {
        Self {
            logs: vec![log.to_owned()],
            settings: Settings::parse(settings).unwrap_or_else(|errors| panic!("{errors}")).settings,
            log_format: LogFormat::combined(),
            batch_bytes: 64 * 1024,
            tasks: 1,
            window_memory: 1 << 30,
        }
    }

    pub(crate) fn cut(&self, tasks: usize, batch_bytes: usize) -> Self {
        Self { tasks, batch_bytes, ..self.clone() }
    }

    pub(crate) fn run(&self) -> Replayed {
        self.run_with(Arc::new(bolts::ports::Nowhere))
    }

    pub(crate) fn run_with_countries(&self) -> Replayed {
        self.run_with(Arc::new(Countries::default()))
    }

    fn run_with(&self, places: Arc<dyn PlaceLookup>) -> Replayed {
        let kept = Arc::<Kept>::default();
        let failures = Arc::<Mutex<Vec<_>>>::default();
        let topology = wiring::replay(Replay {
            lines: Lines {
                inputs: self.logs.clone(),
                batch_bytes: self.batch_bytes,
                progress: Arc::new(|_| {}),
                failures: failures.clone(),
            },
            log_format: self.log_format.clone(),
            settings: SettingsPort::new(self.settings.clone()),
            places,
            summary: kept.clone(),
            survey: false,
            tasks: self.tasks,
            window_memory: self.window_memory,
        })
        .unwrap_or_else(|errors| panic!("{errors}"));
        let drained = TopologyTestDriver::over_the_wire(topology).finish();
        assert!(drained.is_clean(), "{drained}");
        let mut summary = kept.0.lock().unwrap().take().expect("report gave a summary");
        summary.lines.samples.clear();
        let failures = failures.lock().unwrap().iter().map(ToString::to_string).collect();
        Replayed { summary, metrics: drained.metrics, failures }
    }
}

/// A decision with the keys of `replay --output json`.
#[derive(Serialize)]
struct DecisionLine<'a> {
    time: String,
    ip: String,
    action: Action,
    rule: &'a str,
    reason: u8,
    count: u32,
    during: u32,
    seconds: u32,
    country: Option<&'a str>,
}

/// Decisions as `replay --output json` prints them.
pub(crate) fn printed(decisions: &[Decision]) -> String {
    let line = |decision: &Decision| {
        let line = DecisionLine {
            time: decision.time.to_string(),
            ip: decision.target.to_string(),
            action: decision.action,
            rule: &decision.rule,
            reason: decision.reason,
            count: decision.count,
            during: decision.during.0,
            seconds: decision.length.0,
            country: decision.place.as_ref().and_then(|place| place.country.as_deref()),
        };
        serde_json::to_string(&line).unwrap() + "\n"
    };
    decisions.iter().map(line).collect()
}

/// The counters of a summary that aren't 0, but for lines and parsed: `clients 3, records 2, blocks 1`.
pub(crate) fn counters(summary: &Summary) -> String {
    let counters = [
        ("unparsed", summary.lines.unparsed.iter().sum()),
        ("unattributed", summary.lines.unattributed),
        ("clients", summary.clients.keys),
        ("records", summary.records),
        ("blocks", summary.blocks),
        ("warns", summary.warns),
        ("while_banned", summary.while_banned),
        ("late", summary.late),
        ("evicted", summary.evicted),
    ];
    let shown = counters.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}"));
    shown.collect::<Vec<_>>().join(", ")
}
