//! Something behind a lock that a thread looks after when it is time: bans that end, rules that somebody took away.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::EnforcerError;

/// What needs looking after.
pub(super) trait Tend: Send + 'static {
    /// Does what is due, and says when to come again.
    fn tend(&mut self) -> Instant;
}

/// What is tended, until it is dropped.
pub(super) struct Tended<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    value: T,
    stopped: bool,
    /// Something was done since the last look: it may be time earlier.
    touched: bool,
}

impl<T: Tend> Tended<T> {
    /// Starts to look after it.
    pub(super) fn start(name: &str, value: T) -> Result<Self, EnforcerError> {
        let state = Mutex::new(State { value, stopped: false, touched: true });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || theirs.work())
            .map_err(|error| EnforcerError::Failed(format!("can't start a thread: {error}")))?;
        Ok(Self(shared))
    }

    /// Works with it, and has it looked after anew.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.0.lock();
        let outcome = work(&mut state.value);
        state.touched = true;
        self.0.changed.notify_one();
        outcome
    }
}

impl<T: Tend> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Whoever panicked here left nothing half done that the kernel wouldn't know better.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut next = Instant::now();
        let mut state = self.lock();
        while !state.stopped {
            let left = next.saturating_duration_since(Instant::now());
            if state.touched || left.is_zero() {
                state.touched = false;
                next = state.value.tend();
            } else {
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl<T> Drop for Tended<T> {
    fn drop(&mut self) {
        // Not joined: it may just be with a program that takes its time.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    struct Count(u32, Duration, mpsc::Sender<u32>);

    impl Tend for Count {
        fn tend(&mut self) -> Instant {
            self.0 += 1;
            let _ = self.2.send(self.0);
            Instant::now() + self.1
        }
    }

    #[test]
    fn it_is_looked_after_when_it_is_time_and_until_it_is_dropped() {
        let second = Duration::from_secs(10);
        let (say, hear) = mpsc::channel();
        let tended = Tended::start("test", Count(0, Duration::from_millis(1), say)).unwrap();
        (1..=3).for_each(|turn| assert_eq!(hear.recv_timeout(second), Ok(turn)));
        tended.with(|count| (count.0, count.1) = (100, Duration::from_secs(3600)));
        while hear.recv_timeout(second).unwrap() < 100 {}
        tended.with(|count| count.0 = 200);
        assert_eq!(hear.recv_timeout(second), Ok(201), "a change is looked at");
        drop(tended);
        // The thread is over where nobody can say anything any more.
        assert_eq!(hear.recv_timeout(second), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
