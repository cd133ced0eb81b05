//! Commits offsets on a thread of its own: librdkafka tells only whoever waits for it whether the broker took them.
//!
//! What is wanted is kept in its newest state, and is sent when the commit before is answered. What the broker refuses is
//! dropped, for whoever commits says it again; nothing is ever committed that is behind what the broker took.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::context::Context;
use super::error::KafkaError;

/// What is to be committed, and what was.
pub(super) struct Committer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: HashMap<i32, (i64, String)>,
    /// By partition the newest offset that the broker took.
    taken: HashMap<i32, i64>,
    /// Why it didn't take the last ones.
    refused: Option<String>,
    is_busy: bool,
    is_over: bool,
}

/// What was refused is tried again so soon by whoever waits for it.
const AGAIN: Duration = Duration::from_millis(100);

impl Committer {
    /// Commits for that consumer, until either is gone.
    pub(super) fn start(consumer: Weak<BaseConsumer<Context>>) -> Result<Self, KafkaError> {
        let shared = Arc::<Shared>::default();
        let work = shared.clone();
        let thread = thread::Builder::new().name("kafka-commit".to_owned());
        let started = thread.spawn(move || work.run(&consumer));
        started.map_err(|error| KafkaError::Commit(format!("the system has no thread to give: {error}")))?;
        Ok(Self(shared))
    }

    /// Wants these; returns at once.
    pub(super) fn want<'p>(&self, positions: impl IntoIterator<Item = &'p (i32, i64, &'p str)>) {
        let mut state = self.0.lock();
        for &(partition, offset, metadata) in positions {
            if state.taken.get(&partition).is_none_or(|&taken| taken < offset) {
                state.wanted.insert(partition, (offset, metadata.to_owned()));
            }
        }
        self.0.changed.notify_all();
    }

    /// Wants these, and waits until the broker has taken them.
    pub(super) fn want_now(
        &self,
        positions: &[(i32, i64, &str)],
        patience: Duration,
    ) -> Result<(), KafkaError> {
        let end = Instant::now() + patience;
        self.0.lock().refused = None;
        loop {
            self.want(positions);
            let mut state = self.0.lock();
            // Until this try is answered.
            while (state.is_busy || !state.wanted.is_empty()) && Instant::now() < end {
                state = self.0.wait(state, end.saturating_duration_since(Instant::now()));
            }
            let is_taken = |&(partition, offset, _): &(i32, i64, &str)| {
                state.taken.get(&partition).is_some_and(|&taken| taken >= offset)
            };
            if positions.iter().all(is_taken) {
                return Ok(());
            }
            if Instant::now() >= end {
                let reason = state.refused.clone().unwrap_or_else(|| "no answer in time".to_owned());
                return Err(KafkaError::Commit(reason));
            }
            drop(state);
            thread::sleep(AGAIN.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Waits until nothing is under way, so that nothing is committed any more of what others own then.
    pub(super) fn settle(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = self.0.lock();
        while state.is_busy && Instant::now() < end {
            state = self.0.wait(state, end.saturating_duration_since(Instant::now()));
        }
    }

    /// What is known of a partition counts no more, but for what is committed of it.
    pub(super) fn begin(&self, partition: i32, taken: Option<i64>) {
        let mut state = self.0.lock();
        state.wanted.remove(&partition);
        state.taken.remove(&partition);
        state.taken.extend(taken.map(|taken| (partition, taken)));
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, consumer: &Weak<BaseConsumer<Context>>) {
        loop {
            let mut state = self.lock();
            while state.wanted.is_empty() && !state.is_over {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_over {
                return;
            }
            let wanted = std::mem::take(&mut state.wanted);
            state.is_busy = true;
            drop(state);
            // The consumer is only held while it works, so that who drops it leaves the group at once.
            let Some(consumer) = consumer.upgrade() else { return };
            let topic = consumer.context().topic.clone();
            let result = consumer.commit(&list(&topic, &wanted), CommitMode::Sync);
            drop(consumer);
            let mut state = self.lock();
            state.is_busy = false;
            match result {
                Ok(()) => {
                    state.refused = None;
                    state
                        .taken
                        .extend(wanted.into_iter().map(|(partition, (offset, _))| (partition, offset)));
                }
                Err(error) => {
                    tracing::debug!(%error, "offsets weren't committed; they are tried again");
                    let code = error.rdkafka_error_code();
                    state.refused = Some(code.map_or_else(|| error.to_string(), |code| code.to_string()));
                }
            }
            self.changed.notify_all();
        }
    }
}

fn list(topic: &str, wanted: &HashMap<i32, (i64, String)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (&partition, (offset, metadata)) in wanted {
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(*offset)).expect("an offset that isn't negative is one");
        element.set_metadata(metadata);
    }
    list
}
