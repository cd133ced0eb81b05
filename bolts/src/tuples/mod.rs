//! What flows between the bolts: batches, in the order of the picture. Bolts know these, and not each other.

mod bans;
mod findings;
mod lines;
mod status;
mod summary;

pub use bans::{
    Analysed, BanNow, Blocked, Command, CommandOrder, Due, KeyBan, KeyBans, Outcomes, Reply, Ruled,
    RuledRecord, Ruling, Stored, Timed,
};
pub use findings::{FindingBatch, HitBatch, HitLines, LivePart, TableTotals};
pub use lines::{
    Formatted, LineBatch, LineCounts, MAX_LINE, Request, RequestBatch, Requests, SAMPLE_LEN, Span,
};
pub use status::{AnswerCounts, LiveReported, LiveStatus, SourceStatus};
pub use summary::{Reported, Summary, Surveyed};
