//! Rulings in, handed on to whatever puts bans in force. Each sink has a lane of its own, so that a slow one holds
//! up nobody.

use std::sync::Arc;

use engine::{Bolt, Collector};

use crate::ports::BanSink;
use crate::tuples::Ruling;

/// The bolt. One task.
pub struct Enforce {
    sinks: Vec<Arc<dyn BanSink>>,
}

impl Enforce {
    /// Hands changes to `sinks`, which know already what was in force at the start.
    #[must_use]
    pub fn new(sinks: Vec<Arc<dyn BanSink>>) -> Self {
        Self { sinks }
    }
}

impl Bolt for Enforce {
    type In = Ruling;
    type Out = ();

    fn execute(&mut self, ruling: Ruling, _: &mut Collector<'_, ()>) {
        if !ruling.changes.is_empty() {
            self.sinks.iter().for_each(|sink| sink.apply(&ruling.changes, ruling.at));
        }
    }
}
