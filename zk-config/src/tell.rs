//! Callbacks: a thread for each, so that a slow one holds up neither the session nor another callback.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use crate::Error;

/// What becomes of values that come faster than the callback takes them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Each is told.
    All,
    /// Only the newest is.
    Newest,
}

/// Tells a callback, in its own thread and in order, until this is dropped.
pub(crate) struct Teller<T> {
    waiting: Arc<Waiting<T>>,
    keep: Keep,
}

struct Waiting<T> {
    /// `None` once nobody is to be told any more.
    values: Mutex<Option<VecDeque<T>>>,
    changed: Condvar,
}

impl<T> Waiting<T> {
    fn values(&self) -> MutexGuard<'_, Option<VecDeque<T>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<T> {
        let mut values = self.values();
        loop {
            if let Some(value) = values.as_mut()?.pop_front() {
                return Some(value);
            }
            values = self.changed.wait(values).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        // Values are dropped outside the lock: what they hold may want to tell something itself.
        let rest = self.values().take();
        self.changed.notify_all();
        drop(rest);
    }
}

impl<T: Send + 'static> Teller<T> {
    pub(crate) fn start(
        name: &str,
        keep: Keep,
        mut callback: impl FnMut(T) + Send + 'static,
    ) -> Result<Self, Error> {
        let waiting =
            Arc::new(Waiting { values: Mutex::new(Some(VecDeque::new())), changed: Condvar::new() });
        let source = Arc::clone(&waiting);
        let tell = move || {
            while let Some(value) = source.next() {
                if catch_unwind(AssertUnwindSafe(|| callback(value))).is_err() {
                    tracing::error!("what was to happen on a change in ZooKeeper ended with a panic");
                }
            }
        };
        Builder::new()
            .name(name.to_owned())
            .spawn(tell)
            .map_err(|error| Error::Closed(format!("no thread for its changes: {error}")))?;
        Ok(Self { waiting, keep })
    }

    pub(crate) fn tell(&self, value: T) {
        if let Some(values) = self.waiting.values().as_mut() {
            if self.keep == Keep::Newest {
                values.clear();
            }
            values.push_back(value);
            self.waiting.changed.notify_all();
        }
    }

    /// What ends the telling: once it was called, no new call of the callback begins.
    pub(crate) fn ender(&self) -> Box<dyn Fn() + Send + Sync> {
        let waiting = Arc::clone(&self.waiting);
        Box::new(move || waiting.end())
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.waiting.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn all_or_the_newest_in_order_and_over_a_panic() {
        for (keep, expected) in [(Keep::All, vec![1, 2, 3, 4]), (Keep::Newest, vec![1, 4])] {
            let (begun, first) = mpsc::channel();
            let (go_on, wait) = mpsc::channel::<()>();
            let (told, seen) = mpsc::channel();
            let teller = Teller::start("test", keep, move |value| {
                told.send(value).unwrap();
                if value == 1 {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                    panic!("a callback that panics");
                }
            })
            .unwrap();
            teller.tell(1);
            first.recv_timeout(PATIENCE).unwrap();
            for value in 2..=4 {
                teller.tell(value);
            }
            go_on.send(()).unwrap();
            let seen: Vec<i32> = expected.iter().map(|_| seen.recv_timeout(PATIENCE).unwrap()).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn once_ended_nothing_is_told() {
        let (told, seen) = mpsc::channel();
        let teller = Teller::start("test", Keep::All, move |value| told.send(value).unwrap()).unwrap();
        teller.ender()();
        teller.tell(1);
        assert!(seen.recv_timeout(PATIENCE).is_err(), "the thread ends, and its end of the channel with it");
    }
}
