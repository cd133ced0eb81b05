//! The pictures of the topologies, in code. Nothing else builds topologies.
//!
//! A replay of logs:
//!
//! ```text
//!  lines ─shuffle─▶ format ─local─▶ match ─fields─▶ analysis ─local─▶ geoip ─shuffle─▶ report
//!                     │ counts ─────────────────────────────────────────────shuffle──────▲
//!                     └─local─▶ survey (where a report for people is asked for) ─shuffle─┘
//! ```
//!
//! Live:
//!
//! ```text
//!  lines ─shuffle─▶ format ─local─▶ match ─fields─▶ analysis ─local─▶ geoip ─┐   ┌─local─▶ enforce ──▶ agents
//!                     │ counts                        ▲                      ▼   │
//!  commands ──────────┼───────────────────────────────┼─────────────────▶ block ─┴▶ store ─local─▶ unblock
//!                     │                               └─fields─ key_bans ─┘ ▲│      ▲  ▲              │
//!                     │                                                     └┼──────┼──┼── due ───────┘
//!                     └──────────────────────────────────────────────▶ report┘ totals  │
//!  outcomes ────────────────────────────────────────────────────────────▶└─────────────┘
//! ```

use std::sync::Arc;

use bolts::block::key_bans;
use bolts::live_report::Counts;
use bolts::ports::{
    BanSink, CommandReplies, EventStore, Notifier, PlaceLookup, SettingsPort, StatusSink, SummarySink,
};
use bolts::tuples::{Command, Formatted, LineBatch, Outcomes, Ruled};
use bolts::{Analysis, Block, Enforce, Format, GeoIp, LiveReport, Match, Report, Store, Survey, Unblock};
use engine::{BuildErrors, Spout, TaskContext, Topology, TopologyBuilder};
use model::distinct::EXACT_TO;
use model::ledger::Ledger;
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

/// What a live topology is made of.
pub struct Live {
    /// The sources' names, each with the format of its lines.
    pub sources: Vec<(Arc<str>, LogFormat)>,
    /// What rules hold.
    pub settings: SettingsPort,
    /// Where addresses are.
    pub places: Arc<dyn PlaceLookup>,
    /// The desired state of bans as it was before the start.
    pub ledger: Ledger,
    /// Bans of the time before the start that no totals tell of yet.
    pub counts: Counts,
    /// Who keeps what happens.
    pub events: Arc<dyn EventStore>,
    /// Who puts bans in force.
    pub sinks: Vec<Arc<dyn BanSink>>,
    /// Who hears what became of commands.
    pub replies: Arc<dyn CommandReplies>,
    /// Who shows how it goes.
    pub status: Arc<dyn StatusSink>,
    /// Who tells people what they should know.
    pub notifier: Arc<dyn Notifier>,
    /// How many tasks format, and how many analyse.
    pub tasks: usize,
    /// Bytes that the state of all keys may take.
    pub window_memory: usize,
}

/// The spouts of a live topology.
pub struct LiveSpouts<L, C, O> {
    /// Lines: a task for each source, in their order.
    pub lines: L,
    /// What people ask for.
    pub commands: C,
    /// What agents answer.
    pub outcomes: O,
}

/// Lines in, bans out, until it is stopped.
///
/// # Errors
/// None that isn't a mistake in here.
pub fn live<L, C, O>(
    parts: Live,
    spouts: LiveSpouts<
        impl Fn(&TaskContext) -> L + Send + Sync + 'static,
        impl Fn(&TaskContext) -> C + Send + Sync + 'static,
        impl Fn(&TaskContext) -> O + Send + Sync + 'static,
    >,
) -> Result<Topology, BuildErrors>
where
    L: Spout<Out = LineBatch>,
    C: Spout<Out = Command>,
    O: Spout<Out = Outcomes>,
{
    let Live {
        sources,
        settings,
        places,
        ledger,
        counts: kept_counts,
        events,
        sinks,
        replies,
        status,
        notifier,
        tasks,
        window_memory,
    } = parts;
    let mut t = TopologyBuilder::new("live");

    let lines = t.spout("lines", sources.len(), spouts.lines);
    let commands = t.spout("commands", 1, spouts.commands);
    let outcomes = t.spout("outcomes", 1, spouts.outcomes);

    let (held, formats) = (settings.clone(), sources.clone());
    let formatted =
        t.bolt("format", tasks, move |_| Format::of_sources(formats.clone(), held.clone())).shuffle(&lines);
    let counts = formatted.stream("counts", Formatted::counts);

    let held = settings.clone();
    let hits = t.local_bolt("match", &formatted, move |_| Match::new(held.clone()));

    let (held, bans) = (settings.clone(), key_bans(&ledger, settings.load().settings()));
    let analysis =
        move |_: &_| Analysis::new(held.clone(), window_memory / tasks, EXACT_TO / tasks).knowing(&bans);
    let findings = t.bolt("analysis", tasks, analysis).fields(&hits);

    let known = places.clone();
    let located = t.local_bolt("geoip", &findings, move |_| GeoIp::new(known.clone()));

    let (held, kept) = (settings.clone(), ledger.clone());
    let block = move |_: &_| Block::new(held.clone(), places.clone(), replies.clone(), kept.clone());
    let block = t.bolt("block", 1, block).shuffle(&located).shuffle(&commands);
    let back = block.stream("key_bans", Ruled::key_bans);
    t.feedback_fields(&back, &findings);

    let report =
        move |_: &_| LiveReport::new(status.clone(), notifier.clone()).going_on_from(kept_counts.clone());
    let report = t.bolt("report", 1, report).shuffle(&counts).shuffle(&block).shuffle(&outcomes);

    let store = t
        .bolt("store", 1, move |_| Store::new(events.clone(), settings.clone(), sources.clone()))
        .shuffle(&block)
        .shuffle(&outcomes)
        .shuffle(&report);
    t.local_bolt("enforce", &store, move |_| Enforce::new(sinks.clone()));
    let due = t.local_bolt("unblock", &store, move |_| Unblock::new(&ledger));
    t.feedback_all(&due, &block);
    t.build()
}
