//! Findings in, findings with their places out.
//!
//! It stands behind analysis, not before it: a place is needed for the few addresses that a decision or record is
//! about, and a look-up costs as much as counting a request.

use std::sync::Arc;

use engine::{Bolt, Collector};

use crate::ports::PlaceLookup;
use crate::tuples::FindingBatch;

/// The bolt.
pub struct GeoIp {
    places: Arc<dyn PlaceLookup>,
}

impl GeoIp {
    /// Asks `places`.
    #[must_use]
    pub fn new(places: Arc<dyn PlaceLookup>) -> Self {
        Self { places }
    }
}

impl Bolt for GeoIp {
    type In = FindingBatch;
    type Out = FindingBatch;

    fn execute(&mut self, mut findings: FindingBatch, out: &mut Collector<'_, FindingBatch>) {
        for decision in &mut findings.decisions {
            decision.place = self.places.place(decision.target.first());
        }
        for record in &mut findings.records {
            record.place = self.places.place(record.target.first());
        }
        out.emit(findings);
    }
}
