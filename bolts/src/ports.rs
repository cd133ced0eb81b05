//! What bolts need of the world. The program fills these ports with adapters; tests fill them with values.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use model::ban::Change;
use model::event::Entry;
use model::key_state::Version;
use model::place::Place;
use model::settings::Settings;
use model::units::Moment;

use crate::tuples::{LiveStatus, Reply, Summary};

/// The settings as they hold now. A change is seen at the next batch.
#[derive(Clone, Debug)]
pub struct SettingsPort {
    held: Arc<ArcSwap<Numbered>>,
    versions: Arc<AtomicU32>,
}

/// A version of the settings with its number, from 1.
#[derive(Debug)]
pub struct Numbered {
    settings: Settings,
    number: u32,
}

impl Numbered {
    /// For the model.
    #[must_use]
    pub fn version(&self) -> Version<'_> {
        Version { settings: &self.settings, number: self.number }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl SettingsPort {
    /// A port that holds `settings` as version 1.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let held = Arc::new(ArcSwap::from_pointee(Numbered { settings, number: 1 }));
        Self { held, versions: Arc::new(AtomicU32::new(1)) }
    }

    /// What holds now: load it once a batch.
    #[must_use]
    pub fn load(&self) -> Arc<Numbered> {
        self.held.load_full()
    }

    /// Puts new settings in force, for all who hold this port.
    pub fn store(&self, settings: Settings) {
        let number = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        self.held.store(Arc::new(Numbered { settings, number }));
    }
}

/// Knows where addresses are.
pub trait PlaceLookup: Send + Sync {
    /// Where an address is; `None` where it isn't known.
    fn place(&self, address: IpAddr) -> Option<Place>;
}

/// Knows of no place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl PlaceLookup for Nowhere {
    fn place(&self, _: IpAddr) -> Option<Place> {
        None
    }
}

/// Takes the report of a whole run.
pub trait SummarySink: Send + Sync {
    /// Called once, at drain.
    fn summary(&self, summary: Summary);
}

/// Keeps what happened, in order and for good.
pub trait EventStore: Send + Sync {
    /// Writes an entry: when this returns, it survives the end of this process. Where it can't be written at the
    /// moment (the disk is full), the store keeps it in memory and tries again.
    fn append(&self, entry: Entry);
}

/// Puts the desired state of bans in force: agents over Thrift, and whatever else can drop a client.
pub trait BanSink: Send + Sync {
    /// The desired state has changed. Returns at once, for a slow agent must not hold up the others. `now` is the
    /// clock.
    fn apply(&self, changes: &[Change], now: Moment);
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about, for machines: `held_bans`, `clock_skew`, `store_behind`, …
    pub kind: &'static str,
    /// What happened and what to do, in a sentence.
    pub text: String,
    /// Whether it is over.
    pub over: bool,
}

/// Tells people what they should know.
pub trait Notifier: Send + Sync {
    /// Called when an alarm begins, when its text changes, and when it is over.
    fn notify(&self, alarm: Alarm);
}

/// Gets what became of commands. Whoever asked is told once it is kept.
pub trait CommandReplies: Send + Sync {
    /// What became of the command with that id.
    fn reply(&self, id: u64, reply: Reply);
}

/// Shows people how the program is doing.
pub trait StatusSink: Send + Sync {
    /// How it is now; called about every tenth of a second.
    fn status(&self, status: &LiveStatus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_every_holder_under_a_new_number() {
        let port = SettingsPort::new(Settings::default());
        let bolt = port.clone();
        assert_eq!(bolt.load().version().number, 1);
        port.store(Settings::parse("{\"count\": 7}").unwrap().settings);
        let held = bolt.load();
        assert_eq!((held.version().number, held.settings().count.get()), (2, 7));
    }
}
