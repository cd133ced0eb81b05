//! The agents' service in Thrift: the interface (`ccfirewall.thrift`), the code that the Thrift compiler makes of
//! it, a client with deadlines, TLS for both sides, and what a server needs to read messages that it can't trust.

pub mod flag;
#[allow(
    missing_docs,
    unused,
    unexpected_cfgs,
    clippy::all,
    clippy::unwrap_used,
    clippy::needless_pass_by_value
)]
#[allow(unreachable_pub, clippy::explicit_iter_loop, clippy::semicolon_if_nothing_returned)]
pub mod generated;
pub mod message;
pub mod tls;

mod client;
mod timed;

pub use client::{CallError, Client, Timeouts};
pub use generated::{Answer, Ban, Held, Outcome, Status};
pub use timed::Timed;

/// The port of an agent where nobody says otherwise.
pub const DEFAULT_PORT: u16 = 9090;
