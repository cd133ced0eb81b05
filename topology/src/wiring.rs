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
//!
//! With more than one worker the same picture is cut in three, and topics carry what crosses the cuts (see
//! [`exchange`](crate::exchange)):
//!
//! ```text
//!  matching    lines ─shuffle─▶ format ─local─▶ match ─shuffle─▶ send ─▶ (hits)
//!  analysing   (hits) ─▶ hits ─fields─▶ analysis ─local─▶ geoip ─shuffle─▶ send ─▶ (findings)
//!              (bans) ─▶ told_bans ─fields─▲
//!  owning      (findings) ─▶ findings ─▶ block and all behind it, as above; key_bans ─shuffle─▶ tell ─▶ (bans)
//! ```

use std::sync::Arc;
use std::time::Duration;

use bolts::block::key_bans;
use bolts::live_report::Counts;
use bolts::ports::{
    BanSink, CommandReplies, EventStore, Notifier, PlaceLookup, SettingsPort, StatusSink, SummarySink,
};
use bolts::tuples::{
    Command, FindingBatch, Formatted, HitBatch, KeyBans, LineBatch, LineCounts, Outcomes, Ruled,
};
use bolts::{Analysis, Block, Enforce, Format, GeoIp, LiveReport, Match, Report, Store, Survey, Unblock};
use engine::{BuildErrors, Spout, Stream, TaskContext, Topology, TopologyBuilder};
use model::distinct::EXACT_TO;
use model::ledger::Ledger;
use model::line::LogFormat;

use crate::exchange::{SendFindings, SendHits, SendKeyBans};
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
    /// How many tasks format, and how many analyse.
    pub tasks: usize,
    /// Bytes that the state of all keys may take.
    pub window_memory: usize,
    /// Everything behind analysis.
    pub ruling: Ruling,
}

/// What rules on findings is made of.
pub struct Ruling {
    /// The sources' names, each with the format of its lines, which records show the fields of.
    pub formats: Vec<(Arc<str>, LogFormat)>,
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
    let Live { sources, settings, places, tasks, window_memory, ruling } = parts;
    let mut t = TopologyBuilder::new("live");

    let lines = t.spout("lines", sources.len(), spouts.lines);
    let commands = t.spout("commands", 1, spouts.commands);
    let outcomes = t.spout("outcomes", 1, spouts.outcomes);

    let (counts, hits) = matched(&mut t, &lines, sources, &settings, tasks);

    let bans = key_bans(&ruling.ledger, settings.load().settings());
    let held = settings.clone();
    let analysis =
        move |_: &_| Analysis::new(held.clone(), window_memory / tasks, EXACT_TO / tasks).knowing(&bans);
    let findings = t.bolt("analysis", tasks, analysis).fields(&hits);

    let known = places.clone();
    let located = t.local_bolt("geoip", &findings, move |_| GeoIp::new(known.clone()));

    let back = ruled(&mut t, ruling, &settings, &places, &located, &commands, &outcomes, Some(&counts));
    t.feedback_fields(&back, &findings);
    t.build()
}

/// What a worker is made of that reads lines for others.
pub struct Matching {
    /// The access log's name, with the format of its lines.
    pub source: (Arc<str>, LogFormat),
    /// What rules hold.
    pub settings: SettingsPort,
    /// Who shows how it goes.
    pub status: Arc<dyn StatusSink>,
    /// Who tells people what they should know.
    pub notifier: Arc<dyn Notifier>,
    /// How many tasks format.
    pub tasks: usize,
}

/// Lines in, hits out to a topic, until it is stopped.
///
/// # Errors
/// None that isn't a mistake in here.
pub fn matching<L>(
    parts: Matching,
    lines: impl Fn(&TaskContext) -> L + Send + Sync + 'static,
    send: impl Fn(&TaskContext) -> SendHits + Send + Sync + 'static,
) -> Result<Topology, BuildErrors>
where
    L: Spout<Out = LineBatch>,
{
    let Matching { source, settings, status, notifier, tasks } = parts;
    let mut t = TopologyBuilder::new("matching");
    let lines = t.spout("lines", 1, lines);
    let (counts, hits) = matched(&mut t, &lines, vec![source], &settings, tasks);
    let _send = t.bolt("send_hits", 1, send).shuffle(&hits).tick_every(SEND_EVERY);
    let report = move |_: &_| LiveReport::new(status.clone(), notifier.clone());
    let _report = t.bolt("match_report", 1, report).shuffle(&counts);
    t.build()
}

/// What a worker is made of that owns keys.
pub struct Analysing {
    /// Its name.
    pub worker: Arc<str>,
    /// What rules hold.
    pub settings: SettingsPort,
    /// Where addresses are.
    pub places: Arc<dyn PlaceLookup>,
    /// How many tasks analyse.
    pub tasks: usize,
    /// Bytes that the state of all keys may take.
    pub window_memory: usize,
}

/// Hits in from a topic, findings out to another, until it is stopped.
///
/// # Errors
/// None that isn't a mistake in here.
pub fn analysing<H, K>(
    parts: Analysing,
    hits: impl Fn(&TaskContext) -> H + Send + Sync + 'static,
    told_bans: impl Fn(&TaskContext) -> K + Send + Sync + 'static,
    send: impl Fn(&TaskContext) -> SendFindings + Send + Sync + 'static,
) -> Result<Topology, BuildErrors>
where
    H: Spout<Out = HitBatch>,
    K: Spout<Out = KeyBans>,
{
    let Analysing { worker, settings, places, tasks, window_memory } = parts;
    let mut t = TopologyBuilder::new("analysing");
    let hits = t.spout("hits", 1, hits);
    let told_bans = t.spout("told_bans", 1, told_bans);
    let analysis = move |_: &_| {
        Analysis::new(settings.clone(), window_memory / tasks, EXACT_TO / tasks).of_worker(worker.clone())
    };
    let findings = t.bolt("analysis", tasks, analysis).fields(&hits).fields(&told_bans);
    let located = t.local_bolt("geoip", &findings, move |_| GeoIp::new(places.clone()));
    let _send = t.bolt("send_findings", 1, send).shuffle(&located).tick_every(SEND_EVERY);
    t.build()
}

/// What the owner is made of.
pub struct Owning {
    /// What rules hold.
    pub settings: SettingsPort,
    /// Where addresses are.
    pub places: Arc<dyn PlaceLookup>,
    /// Everything behind block.
    pub ruling: Ruling,
}

/// Findings in from a topic, bans out, until it is stopped.
///
/// # Errors
/// None that isn't a mistake in here.
pub fn owning<F, C, O>(
    parts: Owning,
    findings: impl Fn(&TaskContext) -> F + Send + Sync + 'static,
    commands: impl Fn(&TaskContext) -> C + Send + Sync + 'static,
    outcomes: impl Fn(&TaskContext) -> O + Send + Sync + 'static,
    tell: impl Fn(&TaskContext) -> SendKeyBans + Send + Sync + 'static,
) -> Result<Topology, BuildErrors>
where
    F: Spout<Out = FindingBatch>,
    C: Spout<Out = Command>,
    O: Spout<Out = Outcomes>,
{
    let Owning { settings, places, ruling } = parts;
    let mut t = TopologyBuilder::new("owning");
    let findings = t.spout("findings", 1, findings);
    let commands = t.spout("commands", 1, commands);
    let outcomes = t.spout("outcomes", 1, outcomes);
    let key_bans = ruled(&mut t, ruling, &settings, &places, &findings, &commands, &outcomes, None);
    let _tell = t.bolt("tell", 1, tell).shuffle(&key_bans);
    t.build()
}

/// What is gathered for a transaction is sent so often: a transaction takes Kafka a few milliseconds, however much is
/// in it.
const SEND_EVERY: Duration = Duration::from_millis(50);

/// From lines to hits, and to the counts of lines.
fn matched(
    t: &mut TopologyBuilder,
    lines: &Stream<LineBatch>,
    sources: Vec<(Arc<str>, LogFormat)>,
    settings: &SettingsPort,
    tasks: usize,
) -> (Stream<LineCounts>, Stream<HitBatch>) {
    let held = settings.clone();
    let formatted =
        t.bolt("format", tasks, move |_| Format::of_sources(sources.clone(), held.clone())).shuffle(lines);
    let counts = formatted.stream("counts", Formatted::counts);
    let held = settings.clone();
    let hits = t.local_bolt("match", &formatted, move |_| Match::new(held.clone()));
    (counts, hits)
}

/// From findings to bans in force. Gives what analysis must hear of bans.
#[expect(clippy::too_many_arguments, reason = "they are the picture's arrows into block and report")]
fn ruled(
    t: &mut TopologyBuilder,
    parts: Ruling,
    settings: &SettingsPort,
    places: &Arc<dyn PlaceLookup>,
    located: &Stream<FindingBatch>,
    commands: &Stream<Command>,
    outcomes: &Stream<Outcomes>,
    counts: Option<&Stream<LineCounts>>,
) -> Stream<KeyBans> {
    let Ruling { formats, ledger, counts: kept_counts, events, sinks, replies, status, notifier } = parts;
    let (held, kept, places) = (settings.clone(), ledger.clone(), places.clone());
    let block = move |_: &_| Block::new(held.clone(), places.clone(), replies.clone(), kept.clone());
    let block = t.bolt("block", 1, block).shuffle(located).shuffle(commands);
    let key_bans = block.stream("key_bans", Ruled::key_bans);

    let report =
        move |_: &_| LiveReport::new(status.clone(), notifier.clone()).going_on_from(kept_counts.clone());
    let mut report = t.bolt("report", 1, report);
    if let Some(counts) = counts {
        report = report.shuffle(counts);
    }
    let report = report.shuffle(&block).shuffle(outcomes);

    let held = settings.clone();
    let store = t
        .bolt("store", 1, move |_| Store::new(events.clone(), held.clone(), formats.clone()))
        .shuffle(&block)
        .shuffle(outcomes)
        .shuffle(&report);
    t.local_bolt("enforce", &store, move |_| Enforce::new(sinks.clone()));
    let due = t.local_bolt("unblock", &store, move |_| Unblock::new(&ledger));
    t.feedback_all(&due, &block);
    key_bans
}
