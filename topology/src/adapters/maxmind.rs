//! GeoIP databases in MaxMind's format: country, city and ASN, several at once; and the one that comes along.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;
use bolts::ports::PlaceLookup;
use maxminddb::Reader;
use model::place::Place;
use serde::Deserialize;

/// Countries by address, so that they work without any file. See `NOTICE` for where they come from, and
/// `scripts/renew-countries` for how to renew them.
const COUNTRIES: &[u8] = include_bytes!("../../data/country.mmdb.zst");

/// Looks places up in some databases; what the first one doesn't know the next may.
pub struct MaxMind {
    databases: Vec<Reader<Vec<u8>>>,
}

/// The database that comes along, unpacked when it's asked for the first time: most runs find nobody to look up.
#[derive(Default)]
pub struct Countries {
    database: OnceLock<Option<MaxMind>>,
}

/// The fields of the databases that we know: MaxMind's GeoIP2 and GeoLite2 (country, city, ASN), DB-IP's, and
/// ip-location-db's flat ones.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    country: Option<Country<'a>>,
    #[serde(borrow, default)]
    registered_country: Option<Country<'a>>,
    #[serde(default)]
    country_code: Option<&'a str>,
    #[serde(borrow, default)]
    city: Option<City<'a>>,
    #[serde(borrow, default)]
    subdivisions: Option<Vec<Subdivision<'a>>>,
    #[serde(default)]
    autonomous_system_organization: Option<&'a str>,
}

#[derive(Deserialize)]
struct Country<'a> {
    #[serde(default)]
    iso_code: Option<&'a str>,
}

/// An object in MaxMind's databases, a bare name in flat ones.
#[derive(Deserialize)]
#[serde(untagged)]
enum City<'a> {
    #[serde(borrow)]
    Named(NamedCity<'a>),
    Flat(&'a str),
}

#[derive(Deserialize)]
struct NamedCity<'a> {
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(default)]
    en: Option<&'a str>,
}

#[derive(Deserialize)]
struct Subdivision<'a> {
    #[serde(default)]
    iso_code: Option<&'a str>,
}

impl MaxMind {
    /// Opens databases.
    ///
    /// # Errors
    /// Where one can't be read or isn't one.
    pub fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let open = |path: &PathBuf| {
            let bytes = std::fs::read(path)
                .with_context(|| format!("can't read the GeoIP database {}", path.display()))?;
            Self::reader(bytes, path)
        };
        Ok(Self { databases: paths.iter().map(open).collect::<anyhow::Result<_>>()? })
    }

    fn reader(bytes: Vec<u8>, path: &Path) -> anyhow::Result<Reader<Vec<u8>>> {
        Reader::from_source(bytes)
            .with_context(|| format!("{} isn't a database in MaxMind's format (.mmdb)", path.display()))
    }

    fn unpack(packed: &[u8]) -> io::Result<Self> {
        let bytes = zstd::decode_all(packed)?;
        let database = Reader::from_source(bytes).map_err(io::Error::other)?;
        Ok(Self { databases: vec![database] })
    }
}

impl PlaceLookup for MaxMind {
    fn place(&self, address: IpAddr) -> Option<Place> {
        let mut place = Place::default();
        for database in &self.databases {
            let found = database.lookup(address).and_then(|found| found.decode::<Fields<'_>>());
            let Ok(Some(fields)) = found else { continue };
            let country = fields.country.or(fields.registered_country).and_then(|country| country.iso_code);
            let province = fields.subdivisions.and_then(|list| list.first().and_then(|first| first.iso_code));
            let city = match fields.city {
                Some(City::Named(city)) => city.names.en,
                Some(City::Flat(name)) => Some(name),
                None => None,
            };
            let known = |text: &&str| !text.is_empty();
            place.country = place.country.or(country.or(fields.country_code).filter(known).map(Into::into));
            place.province = place.province.or(province.filter(known).map(Into::into));
            let area = city.or(fields.autonomous_system_organization);
            place.area = place.area.or(area.filter(known).map(Into::into));
        }
        (place != Place::default()).then_some(place)
    }
}

/// Whether an address can be anywhere at all. Databases have countries for documentation's addresses, too.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmarks = a == 198 && (18..20).contains(&b);
            let protocols = a == 192 && b == 0 && c == 0;
            !(a == 0 || a >= 224 || shared || benchmarks || protocols || v4.is_documentation())
                && !(v4.is_private() || v4.is_loopback() || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            a & 0xe000 == 0x2000 && (a, b) != (0x2001, 0xdb8) && a != 0x3fff
        }
    }
}

impl PlaceLookup for Countries {
    fn place(&self, address: IpAddr) -> Option<Place> {
        if !is_public(address) {
            return None;
        }
        let database = self.database.get_or_init(|| {
            let unpacked = MaxMind::unpack(COUNTRIES);
            unpacked.inspect_err(|error| tracing::error!(%error, "the built-in countries can't be read")).ok()
        });
        database.as_ref()?.place(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_countries_that_come_along_know_famous_addresses() {
        let countries = Countries::default();
        let country =
            |address: &str| countries.place(address.parse().unwrap()).and_then(|place| place.country);
        assert_eq!(country("193.0.6.139").as_deref(), Some("NL"));
        assert_eq!(country("2001:67c:2e8:22::c100:68b").as_deref(), Some("NL"));
        assert_eq!(country("203.0.113.1"), None);
        assert_eq!(country("127.0.0.1"), None);
        assert_eq!(country("2001:db8::1"), None);
        assert_eq!(country("10.1.2.3"), None);
    }

    #[test]
    fn what_isnt_a_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.mmdb");
        std::fs::write(&path, b"no").unwrap();
        let error = MaxMind::open(&[path]).err().unwrap();
        assert!(error.to_string().contains("no.mmdb"), "{error:#}");
        assert!(MaxMind::open(&[folder.path().join("missing")]).is_err());
    }
}
