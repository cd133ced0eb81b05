//! Everything in, the state of a live run out: counters, rates, clock skew, alarms, and the totals of each minute
//! for the store.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use engine::{Bolt, Collector, Timestamp};
use model::ban::{Cap, Change, Order, Outcome};
use model::event::Event;
use model::network::Network;
use model::units::Moment;
use model::verdict::Alert;
use serde::{Deserialize, Serialize};

use crate::ports::{Alarm, Notifier, StatusSink};
use crate::tuples::{LineCounts, LiveReported, LiveStatus, Ruling, Timed};

/// The bolt. One task.
pub struct LiveReport {
    sink: Arc<dyn StatusSink>,
    notifier: Arc<dyn Notifier>,
    status: LiveStatus,
    rate: Rate,
    skews: BTreeMap<Arc<str>, Skew>,
    alarms: BTreeMap<&'static str, String>,
    held: HashSet<Network>,
    held_by: Option<Cap>,
    /// From decision to answer, the newest ones.
    answer_ms: VecDeque<u64>,
    /// When totals were kept last.
    since: Moment,
    counts: Counts,
    /// Lines of the last minute, to tell a format that doesn't fit.
    parsed: (u64, u64),
}

/// So many unparsed lines are kept as samples.
const SAMPLES: usize = 20;
/// So many of the newest answers count for the percentiles.
const ANSWERS: usize = 1_000;
/// From so much skew on there is an alarm, in milliseconds.
const SKEW_ALARM: i64 = 2_000;
/// An interval of totals, in milliseconds.
const INTERVAL: i64 = 60_000;

impl LiveReport {
    /// Shows the state to `sink` and tells `notifier` of alarms.
    #[must_use]
    pub fn new(sink: Arc<dyn StatusSink>, notifier: Arc<dyn Notifier>) -> Self {
        Self {
            sink,
            notifier,
            status: LiveStatus::default(),
            rate: Rate::default(),
            skews: BTreeMap::new(),
            alarms: BTreeMap::new(),
            held: HashSet::new(),
            held_by: None,
            answer_ms: VecDeque::new(),
            since: Moment::default(),
            counts: Counts::default(),
            parsed: (0, 0),
        }
    }

    /// The same, with what a run before counted and didn't keep.
    #[must_use]
    pub fn going_on_from(self, counts: Counts) -> Self {
        Self { counts, ..self }
    }

    fn lines(&mut self, counts: LineCounts) {
        let Some(mark) = &counts.mark else { return };
        let source = self.status.sources.entry(mark.source.clone()).or_default();
        // What was there already when it was read has an age that says nothing of clocks.
        let fresh = source.caught_up && mark.caught_up && !mark.rebuild;
        source.rebuilding = mark.rebuild;
        source.caught_up = mark.caught_up;
        source.read_at = source.read_at.max(mark.read_at);
        if mark.rebuild {
            return;
        }
        source.lines += counts.lines;
        if let Some((_, newest)) = counts.span.filter(|_| fresh) {
            let skew = self.skews.entry(mark.source.clone()).or_default();
            skew.seen(mark.read_at, Moment::from(newest));
        }
        self.rate.lines += counts.lines;
        self.parsed.0 += counts.parsed;
        self.parsed.1 += counts.lines;
        let all = &mut self.status.lines;
        all.lines += counts.lines;
        all.parsed += counts.parsed;
        all.unattributed += counts.unattributed;
        all.future += counts.future;
        for (all, n) in all.unparsed.iter_mut().zip(counts.unparsed) {
            *all += n;
        }
        all.samples.extend(counts.samples);
        all.samples.drain(..all.samples.len().saturating_sub(SAMPLES));
    }

    fn ruling(&mut self, ruling: &Ruling) {
        let status = &mut self.status;
        status.late += ruling.late;
        status.while_banned += ruling.while_banned;
        status.records += ruling.records.len() as u64;
        let warned = ruling.records.iter().filter(|ruled| ruled.record.alert == Alert::Warned);
        status.warns += warned.count() as u64;
        for change in &ruling.changes {
            self.counts.change(change);
            match change {
                Change::Banned(_) => status.bans += 1,
                Change::Extended(_) => status.extensions += 1,
                Change::Unbanned { .. } => status.unbans += 1,
                Change::Held { ban, cap } => {
                    status.holds += 1;
                    self.held.insert(ban.target);
                    self.held_by = Some(*cap);
                }
                Change::Unheld { ban, .. } => {
                    self.held.remove(&ban.target);
                }
            }
        }
    }

    fn look_at_held(&mut self) {
        let text = self.held_by.filter(|_| !self.held.is_empty()).map(|cap| {
            format!(
                "{cap} holds bans back; look at them with `ccfirewall bans held`, then release or discard them, or \
                 mend the settings"
            )
        });
        self.alarm("held_bans", text);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.counts.outcome(outcome);
        let counts = self.status.answers.entry(outcome.agent.clone()).or_default();
        if !matches!(outcome.flag, 1 | -1) {
            counts.failed += 1;
            return;
        }
        counts.done += 1;
        if outcome.order == Order::Block {
            self.answer_ms.push_back(outcome.ban.start.until(outcome.at).as_millis() as u64);
            if self.answer_ms.len() > ANSWERS {
                self.answer_ms.pop_front();
            }
        }
    }

    /// Begins an alarm, changes its text, or ends it.
    fn alarm(&mut self, kind: &'static str, text: Option<String>) {
        match (text, self.alarms.get(kind)) {
            (Some(text), known) if known != Some(&text) => {
                self.alarms.insert(kind, text.clone());
                self.notifier.notify(Alarm { kind, text, over: false });
            }
            (None, Some(_)) => {
                let text = self.alarms.remove(kind).unwrap_or_default();
                self.notifier.notify(Alarm { kind, text, over: true });
            }
            _ => {}
        }
    }

    fn look_at_skew(&mut self, now: Moment) {
        let mut worst = None::<(i64, Arc<str>)>;
        for (source, skew) in &mut self.skews {
            let estimate = skew.estimate(now);
            if let Some(source) = self.status.sources.get_mut(source) {
                source.skew_ms = estimate;
            }
            if let Some(estimate) = estimate
                && estimate.abs() >= SKEW_ALARM
                && worst.as_ref().is_none_or(|(known, _)| known.abs() < estimate.abs())
            {
                worst = Some((estimate, source.clone()));
            }
        }
        let text = worst.map(|(estimate, source)| {
            let side = if estimate > 0 { "ahead of" } else { "behind" };
            format!(
                "the times in {source} are {} s {side} this machine's clock; synchronise the clocks (NTP), or look \
                 for what delays the lines",
                estimate.abs() / 1000
            )
        });
        self.alarm("clock_skew", text);
    }

    fn look_at_minute(&mut self, now: Moment, out: &mut Collector<'_, Timed>) {
        if self.since == Moment::default() {
            self.since = now;
        }
        if (now.0 - self.since.0).abs() < INTERVAL {
            return;
        }
        self.since = now;
        let Counts { agents, rules } = std::mem::take(&mut self.counts);
        let of_agent =
            |(agent, bans): (Arc<str>, u64)| Event::AgentTotal { at: now, agent: agent.to_string(), bans };
        let of_rule =
            |(rule, bans): (Arc<str>, u64)| Event::RuleTotal { at: now, rule: rule.to_string(), bans };
        let events: Vec<Event> =
            agents.into_iter().map(of_agent).chain(rules.into_iter().map(of_rule)).collect();
        if !events.is_empty() {
            out.emit(Timed { at: now, events });
        }
        let (parsed, lines) = std::mem::take(&mut self.parsed);
        let misfit = (lines >= 10 && parsed * 2 < lines).then(|| {
            format!(
                "of the {lines} lines of the last minute only {parsed} could be read: does `format` say what nginx \
                 writes? `ccfirewall explain` shows what is wrong with a line"
            )
        });
        self.alarm("unparsed_lines", misfit);
    }
}

impl Bolt for LiveReport {
    type In = LiveReported;
    type Out = Timed;

    fn execute(&mut self, input: LiveReported, _: &mut Collector<'_, Timed>) {
        match input {
            LiveReported::Lines(counts) => self.lines(counts),
            LiveReported::Ruling(ruling) => self.ruling(&ruling),
            LiveReported::Outcomes(outcomes) => outcomes.0.iter().for_each(|outcome| self.outcome(outcome)),
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Collector<'_, Timed>) {
        let now = Moment(now.as_millis() as i64);
        self.look_at_skew(now);
        self.look_at_held();
        self.look_at_minute(now, out);
        self.status.at = now;
        self.status.lines_per_second = self.rate.at(now);
        self.status.answer_ms = percentiles(&self.answer_ms);
        self.sink.status(&self.status);
    }

    fn cleanup(&mut self, out: &mut Collector<'_, Timed>) {
        let now = self.status.at;
        self.since = Moment(now.0 - INTERVAL);
        self.look_at_minute(now, out);
        self.sink.status(&self.status);
    }
}

/// Bans since the last totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    agents: BTreeMap<Arc<str>, u64>,
    rules: BTreeMap<Arc<str>, u64>,
}

impl Counts {
    /// Counts a ban for its rule.
    pub fn change(&mut self, change: &Change) {
        if let Change::Banned(ban) = change {
            *self.rules.entry(ban.rule.clone()).or_default() += 1;
        }
    }

    /// Counts a ban for the agent that has it in force.
    pub fn outcome(&mut self, outcome: &Outcome) {
        if outcome.order == Order::Block && matches!(outcome.flag, 1 | -1) {
            *self.agents.entry(outcome.agent.clone()).or_default() += 1;
        }
    }

    /// An agent's total is kept.
    pub fn agent_kept(&mut self, agent: &str) {
        self.agents.remove(agent);
    }

    /// A rule's total is kept.
    pub fn rule_kept(&mut self, rule: &str) {
        self.rules.remove(rule);
    }
}

fn percentiles(values: &VecDeque<u64>) -> Option<(u64, u64)> {
    let mut sorted: Vec<u64> = values.iter().copied().collect();
    sorted.sort_unstable();
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).max(1) - 1).copied();
    Some((at(0.5)?, at(0.99)?))
}

/// Lines a second, over the last five.
#[derive(Default)]
struct Rate {
    lines: u64,
    seen: VecDeque<(Moment, u64)>,
}

impl Rate {
    fn at(&mut self, now: Moment) -> f64 {
        while self.seen.len() > 1 && self.seen.front().is_some_and(|(at, _)| now.0 - at.0 > 5_000) {
            self.seen.pop_front();
        }
        self.seen.push_back((now, self.lines));
        match self.seen.front() {
            Some(&(since, lines)) if now > since => {
                (self.lines - lines) as f64 * 1000.0 / (now.0 - since.0) as f64
            }
            _ => 0.0,
        }
    }
}

/// How far a source's clock is ahead of ours: the least age that a line had lately, the other way round.
///
/// A line's age is its way to us, the part of the second that its time leaves out, and the skew. The first two
/// are never negative and nearly nothing for the freshest line; so the least age is the skew.
#[derive(Default)]
struct Skew {
    /// Least ages by spans of ten seconds, the newest last; times in milliseconds.
    ages: VecDeque<(i64, i64)>,
}

impl Skew {
    const SPAN: i64 = 10_000;

    fn seen(&mut self, read_at: Moment, newest: Moment) {
        let (span, age) = (read_at.0 / Self::SPAN, read_at.0 - newest.0);
        match self.ages.back_mut() {
            Some((last, least)) if *last == span => *least = age.min(*least),
            _ => self.ages.push_back((span, age)),
        }
    }

    /// `None` without lines in the last half minute.
    fn estimate(&mut self, now: Moment) -> Option<i64> {
        while self.ages.front().is_some_and(|(span, _)| now.0 / Self::SPAN - span > 3) {
            self.ages.pop_front();
        }
        self.ages.iter().map(|(_, least)| -least).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_the_least_age() {
        let mut skew = Skew::default();
        assert_eq!(skew.estimate(Moment(0)), None);
        for (read_at, newest) in [(20_400, 17_000), (20_900, 18_000), (23_950, 21_000)] {
            skew.seen(Moment(read_at), Moment(newest));
        }
        assert_eq!(skew.estimate(Moment(24_000)), Some(-2_900));
        skew.seen(Moment(31_000), Moment(34_000));
        assert_eq!(skew.estimate(Moment(31_000)), Some(3_000));
        assert_eq!(skew.estimate(Moment(80_000)), None, "nothing is known any more");
    }

    #[test]
    fn percentiles_of_few() {
        assert_eq!(percentiles(&VecDeque::new()), None);
        assert_eq!(percentiles(&[7].into()), Some((7, 7)));
        assert_eq!(percentiles(&(1..=100).collect()), Some((50, 99)));
    }

    #[test]
    fn rate_of_the_last_seconds() {
        let mut rate = Rate::default();
        assert!(rate.at(Moment(0)).abs() < 1e-9);
        rate.lines = 500;
        assert!((rate.at(Moment(1_000)) - 500.0).abs() < 1e-9);
        assert!((rate.at(Moment(5_000)) - 100.0).abs() < 1e-9);
        assert!(rate.at(Moment(60_000)).abs() < 1e-9, "what is over doesn't count");
    }
}
