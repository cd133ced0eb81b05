//! The time that passes, as an argument: so that tests needn't wait.

use std::sync::Arc;
use std::time::Instant;

/// Says what time it is, on a clock that nobody sets back.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn machine() -> Clock {
    Arc::new(Instant::now)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// A clock that is moved by hand.
    #[derive(Clone)]
    pub(crate) struct Hand(Arc<Mutex<Instant>>);

    impl Default for Hand {
        fn default() -> Self {
            Self(Arc::new(Mutex::new(Instant::now())))
        }
    }

    impl Hand {
        pub(crate) fn clock(&self) -> Clock {
            let time = Arc::clone(&self.0);
            Arc::new(move || *time.lock().unwrap())
        }

        pub(crate) fn forward(&self, length: Duration) {
            *self.0.lock().unwrap() += length;
        }
    }
}
