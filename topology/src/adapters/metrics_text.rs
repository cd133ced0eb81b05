//! The program's numbers as Prometheus reads them: text format 0.0.4,
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! `ccfirewall_component_*` are the engine's numbers under the names of `docs/component-spec.md`, the others are
//! about the firewall. Counters count from the program's start and end in `_total`; times are in seconds.

use std::fmt::{Display, Write as _};

use engine::{ComponentKind, ComponentSnapshot, MetricsSnapshot, SpoutSnapshot};
use model::line::Unparsed;
use model::units::Moment;

use crate::control::{AgentState, AgentView, Health, Status};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All numbers. `now` is the clock.
#[must_use]
pub fn text(status: &Status, health: &Health, metrics: &MetricsSnapshot, now: Moment) -> String {
    let mut page = Page(String::with_capacity(32 * 1024));
    program(&mut page, status, health);
    lines(&mut page, status);
    bans(&mut page, status);
    sources(&mut page, status, now);
    agents(&mut page, status);
    kept(&mut page, status);
    components(&mut page, &metrics.components);
    page.0
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type Labels<'a> = [(&'a str, &'a str)];

/// The page while it is written.
struct Page(String);

impl Page {
    /// Begins a family. Help texts are our own, without backslashes and line feeds.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes everything");
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{close} {value}").expect("a String takes everything");
    }

    /// A family of one number.
    fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with a number for each thing, where there are any.
    fn each<'a, T, V: Display>(
        &mut self,
        (name, kind, help): (&str, Kind, &str),
        label: &str,
        things: impl IntoIterator<Item = (&'a str, T)>,
        value: impl Fn(T) -> Option<V>,
    ) {
        let mut begun = false;
        for (thing, of) in things {
            let Some(value) = value(of) else { continue };
            if !begun {
                self.family(name, kind, help);
                begun = true;
            }
            self.sample(name, &[(label, thing)], value);
        }
    }
}

fn flag(flag: bool) -> u8 {
    u8::from(flag)
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn program(page: &mut Page, status: &Status, health: &Health) {
    use Kind::Gauge;
    page.family("ccfirewall_build_info", Gauge, "Always 1; the version is in the label.");
    page.sample("ccfirewall_build_info", &[("version", &status.version)], 1);
    page.one(
        "ccfirewall_start_time_seconds",
        Gauge,
        "When the program started, in seconds since 1970.",
        seconds(status.started_at.0),
    );
    page.one("ccfirewall_healthy", Gauge, "1 where /healthz says ok, else 0.", flag(health.ok));
    page.one("ccfirewall_dry_run", Gauge, "1 where nobody is really blocked.", flag(status.dry_run));
    let mut kinds: Vec<&str> = status.alarms.iter().map(|alarm| alarm.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let alarm = ("ccfirewall_alarm", Gauge, "1 for each kind of alarm that isn't over.");
    page.each(alarm, "kind", kinds.into_iter().map(|kind| (kind, ())), |()| Some(1));
    page.one(
        "ccfirewall_settings_version",
        Gauge,
        "The version of the settings that holds, from 1.",
        status.settings.version,
    );
    page.one(
        "ccfirewall_settings_errors",
        Gauge,
        "Errors in newer settings, which therefore don't hold.",
        status.settings.errors.len(),
    );
}

fn lines(page: &mut Page, status: &Status) {
    let live = &status.live;
    let counts = &live.lines;
    let unparsed: u64 = counts.unparsed.iter().sum();
    let counted = counts.parsed.saturating_sub(counts.unattributed).saturating_sub(counts.future);
    let name = "ccfirewall_lines_total";
    page.family(
        name,
        Kind::Counter,
        "Lines by what became of them: attributed to a client, unattributed, in the future, or unparsed.",
    );
    for (outcome, n) in [
        ("attributed", counted),
        ("unattributed", counts.unattributed),
        ("future", counts.future),
        ("unparsed", unparsed),
    ] {
        page.sample(name, &[("outcome", outcome)], n);
    }
    let reasons = Unparsed::ALL.iter().zip(counts.unparsed).map(|(reason, n)| (reason.name(), n));
    let family =
        ("ccfirewall_unparsed_lines_total", Kind::Counter, "Lines that couldn't be read, by reason.");
    page.each(family, "reason", reasons, Some);
    let rate = if live.lines_per_second.is_finite() { live.lines_per_second } else { 0.0 };
    page.one("ccfirewall_lines_per_second", Kind::Gauge, "Lines a second over the last five.", rate);
    for (name, help, n) in [
        ("ccfirewall_late_requests_total", "Requests that came too late to count.", live.late),
        (
            "ccfirewall_requests_while_banned_total",
            "Requests that came while their address was banned.",
            live.while_banned,
        ),
        ("ccfirewall_frequency_records_total", "Frequency records.", live.records),
    ] {
        page.one(name, Kind::Counter, help, n);
    }
}

fn bans(page: &mut Page, status: &Status) {
    let live = &status.live;
    for (name, help, n) in [
        ("ccfirewall_bans_total", "Bans put in force.", live.bans),
        ("ccfirewall_ban_extensions_total", "Bans in force that were extended.", live.extensions),
        ("ccfirewall_unbans_total", "Bans that ended.", live.unbans),
        ("ccfirewall_holds_total", "Bans that caps held back.", live.holds),
        ("ccfirewall_warnings_total", "Warnings.", live.warns),
    ] {
        page.one(name, Kind::Counter, help, n);
    }
    page.one("ccfirewall_bans_in_force", Kind::Gauge, "Bans in force now.", status.bans_in_force);
    page.one("ccfirewall_bans_held", Kind::Gauge, "Bans that caps hold back now.", status.held);
    if let Some((median, p99)) = live.answer_ms {
        for (name, share, millis) in [
            ("ccfirewall_answer_latency_median_seconds", "median", median),
            ("ccfirewall_answer_latency_p99_seconds", "99th percentile", p99),
        ] {
            let help = format!("From a ban's decision to an agent's answer: {share} of the newest thousand.");
            page.one(name, Kind::Gauge, &help, millis as f64 / 1000.0);
        }
    }
}

fn sources(page: &mut Page, status: &Status, now: Moment) {
    use Kind::{Counter, Gauge};
    let sources = || status.live.sources.iter().map(|(name, source)| (&**name, source));
    let name = "source";
    page.each(("ccfirewall_source_lines_total", Counter, "Lines of a source."), name, sources(), |source| {
        Some(source.lines)
    });
    page.each(
        ("ccfirewall_source_caught_up", Gauge, "1 where there was nothing more to read."),
        name,
        sources(),
        |source| Some(flag(source.caught_up)),
    );
    page.each(
        (
            "ccfirewall_source_rebuilding",
            Gauge,
            "1 while windows are filled with what came before the start.",
        ),
        name,
        sources(),
        |source| Some(flag(source.rebuilding)),
    );
    page.each(
        ("ccfirewall_source_read_age_seconds", Gauge, "How long ago the newest lines were read."),
        name,
        sources(),
        |source| (source.read_at != Moment::default()).then(|| source.read_at.until(now).as_secs_f64()),
    );
    page.each(
        (
            "ccfirewall_source_clock_skew_seconds",
            Gauge,
            "How far a source's clock is ahead of ours (behind, where negative), as far as lines tell.",
        ),
        name,
        sources(),
        |source| source.skew_ms.map(seconds),
    );
    let known = || status.sources.iter().map(|source| (&*source.name, source));
    page.each(
        ("ccfirewall_source_behind_bytes", Gauge, "Bytes that wait to be read."),
        name,
        known(),
        |source| source.behind_bytes,
    );
    page.each(
        ("ccfirewall_source_behind_messages", Gauge, "Messages of a partition that wait to be read."),
        name,
        known(),
        |source| source.behind_messages,
    );
    page.each(
        ("ccfirewall_source_up", Gauge, "0 while something is wrong with a source."),
        name,
        known(),
        |source| Some(flag(source.last_error.is_none())),
    );
}

fn agents(page: &mut Page, status: &Status) {
    use Kind::{Counter, Gauge};
    let agents = || status.agents.iter().map(|agent| (agent.name.as_str(), agent));
    page.each(
        ("ccfirewall_agent_up", Gauge, "1 where an agent is reached and holds what it should."),
        "agent",
        agents(),
        |agent| Some(flag(agent.state == AgentState::Up)),
    );
    type Number = fn(&AgentView) -> u64;
    let numbers: [(&str, Kind, &str, Number); 6] = [
        ("ccfirewall_agent_failures", Gauge, "Attempts to reach an agent that failed in a row.", |agent| {
            agent.failures.into()
        }),
        (
            "ccfirewall_agent_breaker_open",
            Gauge,
            "1 where so many attempts failed that an agent is only probed now and then.",
            |agent| agent.breaker_open.into(),
        ),
        ("ccfirewall_agent_bans_held", Gauge, "Bans that an agent holds.", |agent| agent.held),
        ("ccfirewall_agent_bans_wanted", Gauge, "Bans that an agent should hold.", |agent| agent.wanted),
        ("ccfirewall_agent_queue", Gauge, "Orders that wait for an agent.", |agent| agent.queue),
        (
            "ccfirewall_agent_repaired_total",
            Counter,
            "Bans that an agent held or lacked against our will, and that were put right.",
            |agent| agent.repaired,
        ),
    ];
    for (name, kind, help, number) in numbers {
        page.each((name, kind, help), "agent", agents(), |agent| Some(number(agent)));
    }
    page.each(
        (
            "ccfirewall_agent_clock_skew_seconds",
            Gauge,
            "How far an agent's clock is ahead of ours (behind, where negative).",
        ),
        "agent",
        agents(),
        |agent| agent.clock_skew_ms.map(seconds),
    );
    if !status.live.answers.is_empty() {
        let name = "ccfirewall_agent_answers_total";
        page.family(name, Counter, "What agents answered to orders.");
        for (agent, answers) in &status.live.answers {
            page.sample(name, &[("agent", agent), ("result", "done")], answers.done);
            page.sample(name, &[("agent", agent), ("result", "failed")], answers.failed);
        }
    }
}

fn kept(page: &mut Page, status: &Status) {
    use Kind::{Counter, Gauge};
    let (store, journal) = (&status.store, &status.journal);
    for (name, kind, help, n) in [
        ("ccfirewall_store_rows_total", Counter, "Rows written to the database.", store.rows),
        (
            "ccfirewall_store_behind",
            Gauge,
            "Journal entries that the database doesn't have yet.",
            store.behind,
        ),
        ("ccfirewall_store_lost_total", Counter, "Rows that the database will never have.", store.lost),
        ("ccfirewall_store_up", Gauge, "0 while the database can't be written.", {
            u64::from(store.last_error.is_none())
        }),
        ("ccfirewall_journal_entries", Gauge, "The number of the journal's newest entry.", journal.entries),
        ("ccfirewall_journal_bytes", Gauge, "The journal's size on the disk.", journal.bytes),
        ("ccfirewall_journal_waiting", Gauge, "Entries that wait in memory for the disk.", journal.waiting),
        ("ccfirewall_journal_lost_total", Counter, "Events that were dropped.", journal.lost),
    ] {
        page.one(name, kind, help, n);
    }
}

fn components(page: &mut Page, components: &[ComponentSnapshot]) {
    use Kind::{Counter, Gauge};
    let all = || components.iter().map(|component| (component.name.as_str(), component));
    page.family("ccfirewall_component_tasks", Gauge, "In how many tasks a component runs, and what it is.");
    for component in components {
        let kind = match component.kind {
            ComponentKind::Spout => "spout",
            ComponentKind::Bolt => "bolt",
            ComponentKind::LocalBolt => "local_bolt",
        };
        let labels = [("component", component.name.as_str()), ("kind", kind)];
        page.sample("ccfirewall_component_tasks", &labels, component.tasks);
    }
    type Number = fn(&ComponentSnapshot) -> u64;
    let numbers: [(&str, Kind, &str, Number); 6] = [
        ("batches_total", Counter, "Tuples executed.", |c| c.batches),
        ("records_total", Counter, "Records in the tuples executed.", |c| c.records),
        ("emitted_batches_total", Counter, "Tuples emitted; a spout's without replays.", |c| {
            c.emitted_batches
        }),
        ("emitted_records_total", Counter, "Records in the tuples emitted.", |c| c.emitted_records),
        ("restarts_total", Counter, "New bolts or spouts that tasks got after a panic.", |c| c.restarts),
        ("queue_depth", Gauge, "Frames that wait before a component's tasks now.", |c| c.queue_depth),
    ];
    for (name, kind, help, number) in numbers {
        let name = format!("ccfirewall_component_{name}");
        page.each((&name, kind, help), "component", all(), |component| Some(number(component)));
    }
    named(page, "errors_total", "kind", Counter, "Errors by kind.", components, |c| &c.errors);
    named(page, "counts_total", "name", Counter, "Counters of a component's own.", components, |c| &c.counts);
    named(page, "gauges", "name", Gauge, "Gauges of a component's own.", components, |c| &c.gauges);
    spouts(page, components);
    execute_time(page, components);
}

/// A family with a number for each component and name.
fn named(
    page: &mut Page,
    name: &str,
    label: &str,
    kind: Kind,
    help: &str,
    components: &[ComponentSnapshot],
    numbers: impl Fn(&ComponentSnapshot) -> &std::collections::BTreeMap<String, u64>,
) {
    if components.iter().all(|component| numbers(component).is_empty()) {
        return;
    }
    let name = format!("ccfirewall_component_{name}");
    page.family(&name, kind, help);
    for component in components {
        for (which, n) in numbers(component) {
            page.sample(&name, &[("component", &component.name), (label, which)], n);
        }
    }
}

fn spouts(page: &mut Page, components: &[ComponentSnapshot]) {
    use Kind::{Counter, Gauge};
    let spouts = || components.iter().filter_map(|c| Some((c.name.as_str(), c.spout.as_ref()?)));
    type Number = fn(&SpoutSnapshot) -> u64;
    let numbers: [(&str, Kind, &str, Number); 6] = [
        ("emitted_total", Counter, "Batches emitted, without replays.", |s| s.emitted),
        ("acked_total", Counter, "Batches that are done, with all that came of them.", |s| s.acked),
        ("failed_total", Counter, "Failed attempts, timeouts among them.", |s| s.failed),
        ("replayed_total", Counter, "Attempts after the first.", |s| s.replayed),
        ("abandoned_total", Counter, "Batches given up after too many attempts.", |s| s.abandoned),
        ("pending", Gauge, "Batches neither acked nor abandoned yet.", |s| s.pending),
    ];
    for (name, kind, help, number) in numbers {
        let name = format!("ccfirewall_component_spout_{name}");
        page.each((&name, kind, help), "component", spouts(), |spout| Some(number(spout)));
    }
}

/// Buckets below a microsecond and above 8.6 s are put together: nobody tells them apart.
const BUCKETS: std::ops::RangeInclusive<usize> = 9..=32;

fn execute_time(page: &mut Page, components: &[ComponentSnapshot]) {
    let name = "ccfirewall_component_execute_time_seconds";
    if components.is_empty() {
        return;
    }
    page.family(
        name,
        Kind::Histogram,
        "The time in execute for a tuple, without the local bolts downstream.",
    );
    for component in components {
        let time = &component.execute_time;
        let labels = [("component", component.name.as_str())];
        for last in BUCKETS {
            // Bucket i ends below 2^(i+1) ns.
            let up_to: u64 = time.buckets.iter().take(last + 1).sum();
            let bound = format!("{}", (1u64 << (last + 1)) as f64 / 1e9);
            page.sample(&format!("{name}_bucket"), &[labels[0], ("le", &bound)], up_to);
        }
        page.sample(&format!("{name}_bucket"), &[labels[0], ("le", "+Inf")], time.count());
        page.sample(&format!("{name}_sum"), &labels, time.sum as f64 / 1e9);
        page.sample(&format!("{name}_count"), &labels, time.count());
    }
}
