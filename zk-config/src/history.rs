//! The history of the settings: a node below `config_history` for each accepted version.
//!
//! Its name is made of what created `config` and of its version, so that everybody who records the same version
//! means the same node, and the second finds it there.

use model::units::Moment;
use serde::{Deserialize, Serialize};
use zookeeper_client::{Client, Error as Cause, Stat};

use crate::session::{ensure, persistent};
use crate::settings::LARGEST;
use crate::{ConfigNode, Ensemble, Error};

/// How many versions are kept; older ones are deleted when another one is recorded.
pub const KEPT_VERSIONS: usize = 1000;
/// The folder, below the root.
const HISTORY: &str = "config_history";
/// How many versions are read at once.
const AT_ONCE: usize = 16;

/// An accepted version, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The node's name; names sort by age.
    pub name: String,
    /// The version of `config` that it was.
    pub version: i32,
    /// Which `config`, where it was deleted and created again.
    pub czxid: i64,
    /// When it was written.
    pub at: Moment,
    /// By whom.
    pub who: String,
}

/// An accepted version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryVersion {
    /// Which one.
    pub entry: HistoryEntry,
    /// The settings.
    pub settings: String,
}

/// What is in a node.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) at: Moment,
    pub(crate) who: String,
    pub(crate) version: i32,
    pub(crate) settings: String,
    /// Tells two writers apart that mean to write the same, in the same millisecond.
    #[serde(default)]
    pub(crate) id: String,
}

impl Record {
    pub(crate) fn new(at: Moment, who: &str, version: i32, settings: &str) -> Self {
        let id = format!("{:016x}", fastrand::u64(..));
        Self { at, who: who.to_owned(), version, settings: settings.to_owned(), id }
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let bytes = serde_json::to_vec(self).expect("plain fields are always JSON");
        if bytes.len() > LARGEST {
            return Err(Error::TooLarge { bytes: bytes.len(), limit: LARGEST });
        }
        Ok(bytes)
    }
}

/// The name of a version. Both numbers have all their digits, so that names sort.
pub(crate) fn name(czxid: i64, version: i32) -> String {
    format!("{czxid:016x}-{:010}", version.cast_unsigned())
}

/// The numbers in a name; `None` for what somebody else put there.
fn numbers(node: &str) -> Option<(i64, i32)> {
    let (czxid, version) = node.split_once('-')?;
    let numbers = (i64::from_str_radix(czxid, 16).ok()?, version.parse::<u32>().ok()?.cast_signed());
    (name(numbers.0, numbers.1) == node).then_some(numbers)
}

pub(crate) fn path(ensemble: &Ensemble, name: &str) -> String {
    format!("{}/{name}", ensemble.path(HISTORY))
}

pub(crate) async fn ensure_folder(client: &Client, ensemble: &Ensemble) -> Result<(), Error> {
    let folder = ensemble.path(HISTORY);
    ensure(client, ensemble, &folder).await.map_err(|cause| Error::of(&folder, cause))
}

/// Records a version, unless it is recorded already.
pub(crate) async fn record(
    client: &Client,
    ensemble: &Ensemble,
    node: &ConfigNode,
    who: &str,
) -> Result<(), Error> {
    let settings = str::from_utf8(&node.text)
        .map_err(|_| Error::Invalid("what isn't UTF-8 can't be recorded as settings".to_owned()))?;
    let record = Record::new(node.modified_at, who, node.version, settings).bytes()?;
    ensure_folder(client, ensemble).await?;
    let path = path(ensemble, &name(node.czxid, node.version));
    match client.create(&path, &record, &persistent(ensemble)).await {
        Ok(_) => {
            prune(client, ensemble).await;
            Ok(())
        }
        Err(Cause::NodeExists) => Ok(()),
        Err(cause) => Err(Error::of(&path, cause)),
    }
}

/// Deletes the oldest beyond what is kept. Where that fails, the next record does it.
pub(crate) async fn prune(client: &Client, ensemble: &Ensemble) {
    let Ok(names) = names(client, ensemble).await else { return };
    let oldest: Vec<_> =
        names.iter().skip(KEPT_VERSIONS).map(|name| client.delete(&path(ensemble, name), None)).collect();
    let mut deleted = 0;
    for delete in oldest {
        deleted += usize::from(delete.await.is_ok());
    }
    if deleted > 0 {
        tracing::info!(deleted, kept = KEPT_VERSIONS, "the oldest versions of the settings were forgotten");
    }
}

/// The names of all versions, newest first.
async fn names(client: &Client, ensemble: &Ensemble) -> Result<Vec<String>, Error> {
    let folder = ensemble.path(HISTORY);
    client.sync(&folder).await.map_err(|cause| Error::of(&folder, cause))?;
    let mut names = match client.list_children(&folder).await {
        Err(Cause::NoNode) => Vec::new(),
        names => names.map_err(|cause| Error::of(&folder, cause))?,
    };
    names.retain(|name| numbers(name).is_some());
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

pub(crate) async fn entries(client: &Client, ensemble: &Ensemble) -> Result<Vec<HistoryEntry>, Error> {
    let mut entries = Vec::new();
    for names in names(client, ensemble).await?.chunks(AT_ONCE) {
        let asked: Vec<_> = names.iter().map(|name| client.get_data(&path(ensemble, name))).collect();
        for (name, answer) in names.iter().zip(asked) {
            match answer.await {
                Ok((data, stat)) => entries.extend(entry(name, &data, &stat)),
                Err(Cause::NoNode) => {}
                Err(cause) => return Err(Error::of(&path(ensemble, name), cause)),
            }
        }
    }
    Ok(entries)
}

pub(crate) async fn version(
    client: &Client,
    ensemble: &Ensemble,
    version: i32,
) -> Result<Option<HistoryVersion>, Error> {
    let names = names(client, ensemble).await?;
    let Some(name) = names.iter().find(|name| numbers(name).is_some_and(|(_, found)| found == version))
    else {
        return Ok(None);
    };
    named(client, ensemble, name).await
}

/// The version that has this name.
pub(crate) async fn named(
    client: &Client,
    ensemble: &Ensemble,
    name: &str,
) -> Result<Option<HistoryVersion>, Error> {
    Ok(read(client, ensemble, name).await?.and_then(|(data, stat)| {
        // A record that can't be read holds no settings, not empty ones.
        let settings = serde_json::from_slice::<Record>(&data).ok()?.settings;
        Some(HistoryVersion { entry: entry(name, &data, &stat)?, settings })
    }))
}

/// A node of the history as it is.
pub(crate) async fn read(
    client: &Client,
    ensemble: &Ensemble,
    name: &str,
) -> Result<Option<(Vec<u8>, Stat)>, Error> {
    let path = path(ensemble, name);
    match client.get_data(&path).await {
        Err(Cause::NoNode) => Ok(None),
        read => read.map(Some).map_err(|cause| Error::of(&path, cause)),
    }
}

/// What is known of a node of the history: where somebody else wrote into it, at least that it is there.
fn entry(name: &str, data: &[u8], stat: &Stat) -> Option<HistoryEntry> {
    let (czxid, version) = numbers(name)?;
    let (at, who) = serde_json::from_slice::<Record>(data).map_or_else(
        |_| (Moment(stat.ctime), "unknown: its record can't be read".to_owned()),
        |record| (record.at, record.who),
    );
    Some(HistoryEntry { name: name.to_owned(), version, czxid, at, who })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_creation_and_version() {
        let names: Vec<String> =
            [(1, 0), (1, 9), (1, 10), (1, i32::MAX), (16, 0), (0x1_0000_0000, 3), (i64::MAX, 0)]
                .map(|(czxid, version)| name(czxid, version))
                .to_vec();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(numbers(&names[2]), Some((1, 10)));
        for strange in
            ["", "-", "1-1", "lost+found", "000000000000000G-0000000001", "0000000000000001-00000000010"]
        {
            assert_eq!(numbers(strange), None, "{strange}");
        }
    }

    #[test]
    fn the_record_is_what_is_limited() {
        let bytes = |settings: String| Record::new(Moment(1), "a", 1, &settings).bytes();
        assert!(bytes("x".repeat(900_000)).is_ok());
        assert!(matches!(bytes("\n".repeat(600_000)), Err(Error::TooLarge { bytes: 1_200_000.., .. })));
    }
}
