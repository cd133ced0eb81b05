//! What workers send each other when there is more than one, so that the fleet counts as exactly as one machine.
//!
//! ```text
//!  access-log ─▶ match workers ─▶ ccfirewall.hits ─▶ analysing workers ─▶ ccfirewall.findings ─▶ the owner ─▶ agents
//!                                 (by address)              ▲                                       │
//!                                                           └────────── ccfirewall.key_bans ◀───────┘
//! ```
//!
//! These are the edges of one topology, carried by topics of Kafka. On the first two, what is sent and how far was read
//! are one transaction ([`Transactions`]), and readers see committed messages only: whoever is killed when, nothing
//! counts twice and nothing is left out.
//!
//! The lines of one client lie in many partitions of the access log, which are read by several workers at different
//! speeds. So hits don't count as they come. Each message tells up to which second its worker has read each partition,
//! and [`Merge`] lets hits through in the order of their seconds, as far as all partitions have come. What it lets
//! through depends on nothing but the messages before: a worker that takes a partition over reads the same ones and
//! gets the same windows, and what its predecessor has decided on is known by the offset.

mod findings;
mod handoff;
mod hits;
mod key_bans;
mod merge;
mod message;
mod reader;
mod send_findings;
mod send_hits;
mod send_key_bans;
mod transactions;

pub use findings::FindingsMessage;
pub use handoff::Handoff;
pub use hits::{HitsMessage, SentHit, SourcePart};
pub use key_bans::{KeyBansMessage, KeyBansView};
pub use merge::{Merge, Released};
pub use message::MessageError;
pub use reader::{From, Read, Reader};
pub use send_findings::SendFindings;
pub use send_hits::SendHits;
pub use send_key_bans::{ALL_EVERY, SendKeyBans};
pub use transactions::{Member, Outgoing, Parcel, Transactions, TransactionsFailed};
