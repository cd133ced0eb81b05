//! The runtime's settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::{Clock, SystemClock};

/// How a runtime runs a topology. Start from `Config::default()` and change what differs.
#[derive(Clone)]
pub struct Config {
    /// How many batches of one spout task may be un-acked; past it the spout isn't asked for more.
    /// This is what bounds the memory of a topology. Nor is it asked while its newest batch is 64 times as
    /// many ahead of its oldest un-acked one. Zero is taken as one.
    pub max_spout_pending: usize,
    /// How many frames wait before a task until those who send to it wait too. Zero is taken as one.
    pub channel_capacity: usize,
    /// How often a bolt's `tick` is called, unless the builder says otherwise for that bolt.
    pub tick_interval: Duration,
    /// A batch that isn't acked after this long has failed.
    pub message_timeout: Duration,
    /// How often a failed batch is tried again before it is abandoned.
    pub max_replays: u32,
    /// How long a spout task that has nothing to emit waits until it is asked again.
    pub idle_wait: Duration,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_spout_pending: 16,
            channel_capacity: 64,
            tick_interval: Duration::from_millis(100),
            message_timeout: Duration::from_secs(30),
            max_replays: 3,
            idle_wait: Duration::from_millis(2),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_spout_pending", &self.max_spout_pending)
            .field("channel_capacity", &self.channel_capacity)
            .field("tick_interval", &self.tick_interval)
            .field("message_timeout", &self.message_timeout)
            .field("max_replays", &self.max_replays)
            .field("idle_wait", &self.idle_wait)
            .finish_non_exhaustive()
    }
}
