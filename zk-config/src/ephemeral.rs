//! Ephemeral nodes that are kept.

use crate::Error;

/// An ephemeral node that is kept over every session until this is dropped.
#[derive(Debug)]
pub struct Ephemeral {}

/// Whether an ephemeral node is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is, and it is ours.
    Yes,
    /// Not now, and why.
    No(String),
}

impl Ephemeral {
    /// Puts other data in it, now and in every session that follows. Returns at once.
    pub fn update(&self, data: impl Into<Vec<u8>>) {
        let _ = data.into();
        todo!()
    }

    /// Whether it is there.
    #[must_use]
    pub fn held(&self) -> Held {
        todo!()
    }

    /// Waits until it is there.
    ///
    /// # Errors
    /// Where it isn't within `patience`.
    pub fn wait_held(&self, patience: std::time::Duration) -> Result<(), Error> {
        let _ = patience;
        todo!()
    }

    /// Deletes it, and says when that is done. (Where this is dropped, the same is done without waiting.)
    ///
    /// # Errors
    /// Where ZooKeeper is away; then the node goes with the session.
    pub fn remove(self) -> Result<(), Error> {
        todo!()
    }
}
