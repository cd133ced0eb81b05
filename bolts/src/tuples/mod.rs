//! What flows between the bolts: batches, in the order of the picture. Bolts know these, and not each other.

mod findings;
mod lines;
mod summary;

pub use findings::{FindingBatch, HitBatch, TableTotals};
pub use lines::{
    Formatted, LineBatch, LineCounts, MAX_LINE, Request, RequestBatch, Requests, SAMPLE_LEN, Span,
};
pub use summary::{Reported, Summary, Surveyed};
