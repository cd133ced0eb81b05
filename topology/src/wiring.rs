//! The picture of the topology, in code. Nothing else builds topologies.
//!
//! ```text
//!  lines ─shuffle─▶ format ─local─▶ match ─fields─▶ analysis ─local─▶ geoip ─shuffle─▶ report
//!                     │ counts ─────────────────────────────────────────────shuffle──────▲
//!                     └─local─▶ survey (where a report for people is asked for) ─shuffle─┘
//! ```

use std::sync::Arc;

use bolts::ports::{PlaceLookup, SettingsPort, SummarySink};
use bolts::tuples::Formatted;
use bolts::{Analysis, Format, GeoIp, Match, Report, Survey};
use engine::{BuildErrors, Topology, TopologyBuilder};
use model::distinct::EXACT_TO;
use model::line::LogFormat;

use crate::spouts::log_files::{Lines, LogFiles};

/// What a replay is made of.
pub struct Replay {
    /// The logs.
    pub lines: Lines,
    /// How lines are written.
    pub log_format: LogFormat,
    /// What rules hold.
    pub settings: SettingsPort,
    /// Where addresses are.
    pub places: Arc<dyn PlaceLookup>,
    /// Who gets the report.
    pub summary: Arc<dyn SummarySink>,
    /// Whether the busiest addresses, URLs and countries are counted too.
    pub survey: bool,
    /// How many tasks format, and how many analyse.
    pub tasks: usize,
    /// Bytes that the state of all keys may take.
    pub window_memory: usize,
}

/// Logs in, a report out, in event time.
///
/// # Errors
/// None that isn't a mistake in here.
pub fn replay(parts: Replay) -> Result<Topology, BuildErrors> {
    let Replay { lines, log_format, settings, places, summary, survey, tasks, window_memory } = parts;
    let mut t = TopologyBuilder::new("replay");

    let lines = t.spout("lines", 1, move |_| LogFiles::new(lines.clone()));

    let held = settings.clone();
    let formatted =
        t.bolt("format", tasks, move |_| Format::new(log_format.clone(), held.clone())).shuffle(&lines);
    let counts = formatted.stream("counts", Formatted::counts);

    let held = settings.clone();
    let hits = t.local_bolt("match", &formatted, move |_| Match::new(held.clone()));

    let held = settings.clone();
    let analysis = move |_: &_| Analysis::new(held.clone(), window_memory / tasks, EXACT_TO / tasks);
    let findings = t.bolt("analysis", tasks, analysis).fields(&hits);

    let known = places.clone();
    let located = t.local_bolt("geoip", &findings, move |_| GeoIp::new(known.clone()));

    let mut report =
        t.bolt("report", 1, move |_| Report::new(summary.clone())).shuffle(&counts).shuffle(&located);
    if survey {
        let surveyed =
            t.local_bolt("survey", &formatted, move |_| Survey::new(settings.clone(), places.clone()));
        report = report.shuffle(&surveyed);
    }
    drop(report);
    t.build()
}
