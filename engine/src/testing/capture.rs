//! The bolt at the end of a test: it keeps what arrives.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bolt::{Bolt, Collector};
use crate::context::TaskContext;
use crate::tuple::Tuple;

/// What arrived at a [`CaptureBolt`]. Clones show the same.
pub struct Capture<T>(Arc<Mutex<Vec<(usize, T)>>>);

/// A bolt that keeps what arrives for its [`Capture`].
pub struct CaptureBolt<T> {
    capture: Capture<T>,
    task: usize,
}

impl<T: Tuple> Capture<T> {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The factory to declare the bolt with: `t.bolt("seen", 1, capture.bolt())`.
    pub fn bolt(&self) -> impl Fn(&TaskContext) -> CaptureBolt<T> + Send + Sync + 'static {
        let capture = self.clone();
        move |context| CaptureBolt { capture: capture.clone(), task: context.task() }
    }

    /// Takes what has arrived since the last `take`, in the order of arrival.
    #[must_use]
    pub fn take(&self) -> Vec<T> {
        self.lock().drain(..).map(|(_, tuple)| tuple).collect()
    }

    /// Like [`take`](Self::take), each tuple with the index of the task that it arrived at.
    #[must_use]
    pub fn take_with_task(&self) -> Vec<(usize, T)> {
        self.lock().drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Tuple> Bolt for CaptureBolt<T> {
    type In = T;
    type Out = ();

    fn execute(&mut self, input: T, _out: &mut Collector<'_, ()>) {
        self.capture.lock().push((self.task, input));
    }
}

impl<T> Clone for Capture<T> {
    fn clone(&self) -> Self {
        Capture(self.0.clone())
    }
}

impl<T> Default for Capture<T> {
    fn default() -> Self {
        Capture(Arc::default())
    }
}

impl<T> fmt::Debug for Capture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for CaptureBolt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureBolt").field("task", &self.task).finish_non_exhaustive()
    }
}
