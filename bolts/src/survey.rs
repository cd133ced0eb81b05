//! Requests in, the busiest addresses, URLs and countries out: for reports that people read. It counts every
//! request, so topologies have it only where somebody asked for such a report.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Bolt, Collector};
use model::key::{Key, KeyScheme};
use model::text::shown;
use model::top::Top;

use crate::ports::{PlaceLookup, SettingsPort};
use crate::tuples::{Requests, Surveyed};

/// The bolt.
pub struct Survey {
    settings: SettingsPort,
    places: Arc<dyn PlaceLookup>,
    addresses: Top<Key>,
    urls: Top<Vec<u8>>,
}

/// So many addresses and URLs are held; beyond that the rare ones are forgotten from time to time.
const HELD: usize = 200_000;
/// Longer URLs are cut.
const URL_LEN: usize = 200;
/// So many of each are reported.
const REPORTED: usize = 1_000;

impl Survey {
    /// Counts what comes.
    #[must_use]
    pub fn new(settings: SettingsPort, places: Arc<dyn PlaceLookup>) -> Self {
        Self { settings, places, addresses: Top::new(HELD), urls: Top::new(HELD) }
    }

    fn countries(&self, keys: &KeyScheme) -> Vec<(Option<Arc<str>>, u64)> {
        let mut countries: HashMap<Option<Arc<str>>, u64> = HashMap::new();
        for (key, requests) in self.addresses.iter() {
            let place = self.places.place(keys.network(*key).first());
            *countries.entry(place.and_then(|place| place.country)).or_default() += requests;
        }
        countries.into_iter().collect()
    }
}

impl Bolt for Survey {
    type In = Requests;
    type Out = Surveyed;

    fn execute(&mut self, Requests(batch): Requests, _: &mut Collector<'_, Surveyed>) {
        let held = self.settings.load();
        let default_host = held.settings().default_host.as_deref();
        let mut text = Vec::new();
        for request in &batch.requests {
            self.addresses.add(&request.key);
            if let Some(url) = batch.url_parts(request).url(default_host) {
                text.clear();
                text.extend_from_slice(url.host.as_deref().unwrap_or_default());
                text.extend_from_slice(url.path);
                // Clients choose how long URLs are, and many are held.
                text.truncate(URL_LEN);
                self.urls.add(&text);
            }
        }
    }

    fn cleanup(&mut self, out: &mut Collector<'_, Surveyed>) {
        let held = self.settings.load();
        let keys = &held.settings().keys;
        let addresses = self.addresses.most(REPORTED).into_iter();
        let urls = self.urls.most(REPORTED).into_iter();
        out.emit(Surveyed {
            addresses: addresses.map(|(key, requests)| (keys.network(key), requests)).collect(),
            urls: urls.map(|(url, requests)| (shown(&url, URL_LEN), requests)).collect(),
            countries: self.countries(keys),
        });
    }
}
