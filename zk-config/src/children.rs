//! Watching the children of a node, with their data.

/// A child of a node that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name, without the path.
    pub name: String,
    /// What is in it.
    pub data: Vec<u8>,
    /// What created it.
    pub czxid: i64,
    /// What wrote it last.
    pub mzxid: i64,
}
