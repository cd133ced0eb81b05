//! Where an address is, as a GeoIP database tells.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where an address is. What a database doesn't know stays empty.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// ISO 3166-1 code of the country: `DE`.
    pub country: Option<Arc<str>>,
    /// ISO 3166-2 code of the province within it: `BY`.
    pub province: Option<Arc<str>>,
    /// A name for people: the city, else the network's owner.
    pub area: Option<Arc<str>>,
}
