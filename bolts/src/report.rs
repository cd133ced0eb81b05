//! Everything in, the report of a whole run out: counters, and all decisions in a fixed order.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use engine::{Bolt, Collector};
use model::verdict::Action;

use crate::ports::SummarySink;
use crate::tuples::{FindingBatch, LineCounts, Reported, Summary};

/// The bolt. One task.
pub struct Report {
    sink: Arc<dyn SummarySink>,
    summary: Summary,
}

/// So many unparsed lines are kept as samples.
const SAMPLES: usize = 20;

impl Report {
    /// Gives the summary to `sink` at the end.
    #[must_use]
    pub fn new(sink: Arc<dyn SummarySink>) -> Self {
        Self { sink, summary: Summary::default() }
    }

    fn lines(&mut self, counts: LineCounts) {
        let all = &mut self.summary.lines;
        all.lines += counts.lines;
        all.parsed += counts.parsed;
        all.unattributed += counts.unattributed;
        for (all, n) in all.unparsed.iter_mut().zip(counts.unparsed) {
            *all += n;
        }
        let room = SAMPLES.saturating_sub(all.samples.len());
        all.samples.extend(counts.samples.into_iter().take(room));
    }

    fn findings(&mut self, findings: FindingBatch) {
        let all = &mut self.summary;
        let blocks =
            findings.decisions.iter().filter(|decision| decision.action == Action::Block).count() as u64;
        all.blocks += blocks;
        all.warns += findings.decisions.len() as u64 - blocks;
        all.decisions.extend(findings.decisions);
        all.records += findings.records.len() as u64;
        all.late += findings.late;
        all.while_banned += findings.while_banned;
        if let Some(table) = findings.table {
            all.clients.keys += table.clients.keys;
            all.clients.estimated |= table.clients.estimated;
            all.evicted += table.evicted;
        }
    }
}

/// Adds up two lists of counts, the greatest first, then by name.
fn merge<T: Hash + Eq + Ord>(held: &mut Vec<(T, u64)>, more: Vec<(T, u64)>) {
    let mut sums: HashMap<T, u64> = HashMap::new();
    for (name, n) in held.drain(..).chain(more) {
        *sums.entry(name).or_default() += n;
    }
    held.extend(sums);
    held.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
}

impl Bolt for Report {
    type In = Reported;
    type Out = ();

    fn execute(&mut self, input: Reported, _: &mut Collector<'_, ()>) {
        match input {
            Reported::Lines(counts) => self.lines(counts),
            Reported::Findings(findings) => self.findings(findings),
            Reported::Survey(survey) => {
                let all = &mut self.summary.survey;
                merge(&mut all.addresses, survey.addresses);
                merge(&mut all.urls, survey.urls);
                merge(&mut all.countries, survey.countries);
            }
        }
    }

    fn cleanup(&mut self, _: &mut Collector<'_, ()>) {
        let mut summary = std::mem::take(&mut self.summary);
        // A stable sort: tasks deliver each address's decisions in order.
        summary.decisions.sort_by_cached_key(|d| (d.time, d.target.to_string(), d.rule.clone()));
        self.sink.summary(summary);
    }
}
