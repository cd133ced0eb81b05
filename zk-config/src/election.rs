//! Elections.

use crate::Error;

/// What happens to a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Election {
    /// It is the owner from here on, and `epoch` is greater than that of every owner before.
    Won {
        /// The zxid that created the node.
        epoch: u64,
    },
    /// It isn't any more, or can't be sure any more. It goes on campaigning.
    Lost {
        /// What happened.
        why: String,
    },
}

/// Who holds an election's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its epoch.
    pub epoch: u64,
    /// What it says about itself.
    pub data: Vec<u8>,
}

/// A candidacy; it goes on, over every loss and every session, until this is dropped or resigned.
#[derive(Debug)]
pub struct Campaign {}

impl Campaign {
    /// The epoch, where we are the owner and that is certain: the quorum said so less than two thirds of the session
    /// timeout ago. Ask right before each act of an owner; unlike the callback this can't come late, not even after
    /// the process was paused.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        todo!()
    }

    /// Gives it up: the node is deleted, so that another one can follow at once. (Where this is dropped, the same is
    /// done without waiting.)
    ///
    /// # Errors
    /// Where ZooKeeper is away; then the node goes with the session.
    pub fn resign(self) -> Result<(), Error> {
        todo!()
    }
}
