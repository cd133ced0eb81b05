//! What bolts need of the world. The program fills these ports with adapters; tests fill them with values.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use model::key_state::Version;
use model::place::Place;
use model::settings::Settings;

use crate::report::Summary;

/// The settings as they hold now. A change is seen at the next batch.
#[derive(Clone, Debug)]
pub struct SettingsPort(Arc<ArcSwap<Numbered>>);

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
        Version {
            settings: &self.settings,
            number: self.number,
        }
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
        Self(Arc::new(ArcSwap::from_pointee(Numbered { settings, number: 1 })))
    }

    /// What holds now: load it once a batch.
    #[must_use]
    pub fn load(&self) -> Arc<Numbered> {
        self.0.load_full()
    }

    /// Puts new settings in force.
    pub fn store(&self, settings: Settings) {
        self.0.rcu(|held| Numbered {
            settings: settings.clone(),
            number: held.number + 1,
        });
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
