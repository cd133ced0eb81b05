//! A task group: one task with queues of its own, and the local bolts below it. Either runtime drives it.

use std::time::Duration;

/// What came of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It worked, and there may be more at once.
    More,
    /// It worked, and all is done for now.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There will never be anything again.
    Done,
}

/// How a task group ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Batches, in part or whole, that it had but didn't execute.
    pub left: usize,
    /// A spout that panicked too often.
    pub gave_up: bool,
}

pub(crate) trait Group: Send {
    /// The index of its component, and of its task.
    fn id(&self) -> (usize, usize);

    fn is_spout(&self) -> bool;

    /// Called once, first, on the thread that polls.
    fn prepare(&mut self);

    /// Does what can be done without waiting.
    fn poll(&mut self) -> Progress;

    /// Waits for something to do, at most this long.
    fn wait(&mut self, at_most: Duration);

    /// Ends the group and lets go of its downstream tasks. Cleans up only if it is drained.
    fn finish(self: Box<Self>, drained: bool) -> Ending;
}
