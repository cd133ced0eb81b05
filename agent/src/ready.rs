//! Whether the agent is ready: whether it holds all that it should since its start, so that nobody is missing.
//!
//! What the kernel kept over the start may lack what was banned meanwhile; only an owner knows. So the agent is ready
//! once an owner's first full state is in force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

type Then = Box<dyn FnOnce() + Send>;

/// Becomes so once, and stays so.
#[derive(Default)]
pub(crate) struct Ready {
    is: AtomicBool,
    then: Mutex<Vec<Then>>,
}

impl Ready {
    pub(crate) fn is(&self) -> bool {
        self.is.load(Ordering::SeqCst)
    }

    /// It is ready.
    pub(crate) fn become_so(&self) {
        if self.is.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::info!("ready: an owner's full state is in force");
        let then = std::mem::take(&mut *self.then.lock().unwrap_or_else(PoisonError::into_inner));
        then.into_iter().for_each(|then| then());
    }

    /// Has `then` done when it is ready; at once, where it is.
    pub(crate) fn then(&self, then: impl FnOnce() + Send + 'static) {
        self.then.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(then));
        if self.is() {
            let then = std::mem::take(&mut *self.then.lock().unwrap_or_else(PoisonError::into_inner));
            then.into_iter().for_each(|then| then());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn each_is_told_once() {
        let (ready, told) = (Ready::default(), Arc::<AtomicU32>::default());
        let tell = || {
            let told = Arc::clone(&told);
            ready.then(move || {
                told.fetch_add(1, Ordering::SeqCst);
            });
        };
        tell();
        assert_eq!((ready.is(), told.load(Ordering::SeqCst)), (false, 0));
        ready.become_so();
        ready.become_so();
        assert_eq!((ready.is(), told.load(Ordering::SeqCst)), (true, 1));
        tell();
        assert_eq!(told.load(Ordering::SeqCst), 2);
    }
}
