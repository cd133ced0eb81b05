//! What a store and its thread tell each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::StoreStatus;

/// Stopping one way, the status the other.
#[derive(Default)]
pub(super) struct Told {
    pub(super) stop: AtomicBool,
    /// When it must have stopped.
    deadline: Mutex<Option<Instant>>,
    stopped: Condvar,
    stopped_async: Notify,
    status: Mutex<StoreStatus>,
    changed: Condvar,
}

impl Told {
    pub(super) fn status(&self) -> MutexGuard<'_, StoreStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut StoreStatus)) {
        change(&mut self.status());
        self.changed.notify_all();
    }

    /// Waits until the tables have the entry `seq`; not for long, nor where they never will.
    pub(super) fn position_reached(&self, seq: u64, wait: Duration) -> bool {
        let waits = |status: &mut StoreStatus| status.position < seq && status.fenced_by.is_none();
        let waited = self.changed.wait_timeout_while(self.status(), wait, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.position >= seq
    }

    fn deadline(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self, deadline: Instant) {
        *self.deadline() = Some(deadline);
        self.stop.store(true, Ordering::Release);
        self.stopped.notify_all();
        self.stopped_async.notify_waiters();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Whether the time to stop is over.
    pub(super) fn give_up(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Comes back when the time to stop is over.
    pub(super) async fn given_up(&self) {
        loop {
            // Before the look, so that no word is missed.
            let stopped = self.stopped_async.notified();
            let deadline = *self.deadline();
            match deadline {
                Some(deadline) => return tokio::time::sleep_until(deadline.into()).await,
                None => stopped.await,
            }
        }
    }

    /// Waits before the next try; not for long once it is to stop.
    pub(super) fn pause(&self, pause: Duration) {
        const WHILE_STOPPING: Duration = Duration::from_millis(50);
        let deadline = self.deadline();
        if deadline.is_some() {
            drop(deadline);
            thread::sleep(pause.min(WHILE_STOPPING));
        } else {
            drop(self.stopped.wait_timeout(deadline, pause));
        }
    }
}
