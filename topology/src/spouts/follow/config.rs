//! What a file is followed by, and why one can't be.

use std::path::PathBuf;
use std::sync::Arc;

use model::mark::{Mark, Position};

use super::{FollowStatus, RebuildPlan};

/// Which file to follow, and from where.
#[derive(Clone, Debug)]
pub struct FollowConfig {
    /// The file; symbolic links are followed, anew at every look.
    pub path: PathBuf,
    /// The source's name in marks.
    pub name: Arc<str>,
    /// Where live work begins.
    pub start: Start,
    /// About how many bytes a batch has at most; never less than a line.
    pub batch_bytes: usize,
    /// What to read again before that, if anything.
    pub rebuild: Option<RebuildPlan>,
    /// Is told how it goes.
    pub status: Arc<FollowStatus>,
}

/// Where live work begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Behind the last whole line that is there; or at the beginning of a file that isn't there yet.
    End,
    /// At the beginning of the file that is there.
    Beginning,
    /// Where a mark says, with the mark's older files.
    At {
        /// The mark's `next`.
        next: Position,
        /// The mark's `older`.
        older: Vec<Position>,
    },
}

impl From<&Mark> for Start {
    fn from(mark: &Mark) -> Self {
        Self::At { next: mark.next, older: mark.older.clone() }
    }
}

/// Why a path can't be followed at all.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It is something else than a file.
    #[error("{} is {what}, which can't be followed; name a regular file, or use `-` and pipe it in", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// It has no name.
    #[error("`{}` doesn't name a file; name the log file itself", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
}
