//! What a restart must know of all that happened: the desired state of bans, and where each source goes on.

use std::collections::HashMap;
use std::sync::Arc;

use bolts::live_report::Counts;
use model::event::{Entry, Event};
use model::ledger::Ledger;
use model::mark::Mark;
use serde::{Deserialize, Serialize};

use crate::adapters::journal::Fold;

/// What the entries of the journal come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The desired state of bans.
    pub ledger: Ledger,
    /// By source, the newest batch of lines that is dealt with.
    pub marks: HashMap<Arc<str>, Mark>,
    /// What happened since the last totals were kept.
    #[serde(default)]
    pub since_totals: Counts,
}

impl Fold for Kept {
    fn apply(&mut self, entry: &Entry) {
        for event in &entry.events {
            match event {
                Event::Change(change) => {
                    self.since_totals.change(change);
                    self.ledger.apply(change);
                }
                Event::Outcome(outcome) => {
                    self.since_totals.outcome(outcome);
                    self.ledger.answered(outcome);
                }
                Event::AgentTotal { agent, .. } => self.since_totals.agent_kept(agent),
                Event::RuleTotal { rule, .. } => self.since_totals.rule_kept(rule),
                Event::Record(_) => {}
            }
        }
        if let Some(mark) = &entry.mark {
            self.marks.insert(mark.source.clone(), mark.clone());
        }
    }
}
