//! What can go wrong, and what to do about it.

use std::time::Duration;

use thiserror::Error;
use zookeeper_client::Error as Cause;

/// Why something with ZooKeeper couldn't be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for can't be right, whatever the ensemble says.
    #[error("{0}")]
    Invalid(String),
    /// A file of the TLS settings can't be used.
    #[error("{file}: {problem}: check `[zookeeper]` in the configuration")]
    Tls {
        /// Which file, or "TLS" where it isn't about one.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No answer in time. A change that was asked for may have been made, or may still be.
    #[error(
        "ZooKeeper ({servers}) hasn't answered for {}: {why}: check that it runs and can be reached",
        seconds(.waited)
    )]
    Away {
        /// The ensemble.
        servers: String,
        /// How long we waited.
        waited: Duration,
        /// What is known of the reason.
        why: String,
    },
    /// Somebody else wrote the settings since they were read.
    #[error(
        "the settings were changed by somebody else in the meantime (expected {expected}, found {found}): read them \
         again, look at the difference, and decide anew"
    )]
    Conflict {
        /// The version that was to be replaced.
        expected: String,
        /// The version that is there now.
        found: String,
    },
    /// More than a node can hold.
    #[error(
        "the settings take {bytes} bytes with their history, and a node of ZooKeeper holds {limit}: shorten the lists \
         in them (several addresses as one prefix)"
    )]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// An access list forbids it.
    #[error(
        "ZooKeeper forbids it ({path}): set the digest that its nodes were created with, or have their ACL changed"
    )]
    Denied {
        /// The node.
        path: String,
    },
    /// Anything else that ZooKeeper says.
    #[error("ZooKeeper can't do it ({path}): {cause}: its log says more")]
    Refused {
        /// The node.
        path: String,
        /// What it says.
        cause: Cause,
    },
    /// The handle was closed, or its thread couldn't be started.
    #[error("the connection to ZooKeeper isn't kept any more: {0}")]
    Closed(String),
}

fn seconds(waited: &Duration) -> String {
    format!("{:.1} s", waited.as_secs_f64())
}

impl Error {
    /// `cause`, about `path`.
    pub(crate) fn of(path: &str, cause: Cause) -> Self {
        let path = path.to_owned();
        match cause {
            Cause::NoAuth | Cause::AuthFailed | Cause::InvalidAcl => Self::Denied { path },
            cause => Self::Refused { path, cause },
        }
    }
}
