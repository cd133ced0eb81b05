//! The settings in the node `config`: watched by everybody, replaced only by who has seen what is replaced.

use std::sync::Arc;

use model::units::Moment;
use tokio::time::timeout;
use zookeeper_client::{Client, Error as Cause, MultiWriteError, MultiWriteResult, Stat};

use crate::children::LOOK_AGAIN;
use crate::duty::Duty;
use crate::history::{self, Record};
use crate::session::{ensure, persistent};
use crate::tell::Teller;
use crate::watcher::Watcher;
use crate::{Ensemble, Error};

/// The node with the settings, below the root.
const CONFIG: &str = "config";
/// The most that a node takes. A server's limit for a whole request is 1 MiB (`jute.maxbuffer`).
pub(crate) const LARGEST: usize = 1_000_000;

/// The node with the settings, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNode {
    /// What is in it, whatever that is: nobody but the reader says whether these are settings.
    pub text: Vec<u8>,
    /// How often it was written since it was created. The first is 0.
    pub version: i32,
    /// What created it: another number where it was deleted and created again.
    pub czxid: i64,
    /// What wrote it last. Greater in every later version.
    pub mzxid: i64,
    /// When it was written, by the clock of ZooKeeper.
    pub modified_at: Moment,
}

/// Which version is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What created the node.
    pub czxid: i64,
    /// How often it was written since.
    pub version: i32,
}

/// What a watch over the settings sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsSeen {
    /// They are there.
    Node(ConfigNode),
    /// There is no such node.
    Missing,
    /// They can't be read, and why: mostly an access list.
    Unreadable(String),
}

impl ConfigNode {
    /// What to hand to [`write_settings`](crate::ZooKeeper::write_settings), so that nothing newer is overwritten.
    #[must_use]
    pub fn expected(&self) -> Expected {
        Expected { czxid: self.czxid, version: self.version }
    }

    fn new(text: Vec<u8>, stat: &Stat) -> Self {
        let Stat { version, czxid, mzxid, mtime, .. } = *stat;
        Self { text, version, czxid, mzxid, modified_at: Moment(mtime) }
    }
}

/// The duty of watching them.
pub(crate) struct WatchedSettings {
    pub(crate) ensemble: Arc<Ensemble>,
    pub(crate) teller: Teller<SettingsSeen>,
    pub(crate) told: Option<SettingsSeen>,
}

impl Duty for WatchedSettings {
    async fn serve(&mut self, client: &Client) -> Result<(), Cause> {
        let path = self.ensemble.path(CONFIG);
        let mut watcher = Watcher::recursive(client, &path).await?;
        loop {
            let seen = match client.get_data(&path).await {
                Ok((text, stat)) => SettingsSeen::Node(ConfigNode::new(text, &stat)),
                Err(Cause::NoNode) => SettingsSeen::Missing,
                Err(Cause::NoAuth) => SettingsSeen::Unreadable(Error::of(&path, Cause::NoAuth).to_string()),
                Err(cause) => return Err(cause),
            };
            if self.told.as_ref() != Some(&seen) {
                self.teller.tell(seen.clone());
                self.told = Some(seen);
            }
            if let Ok(changed) = timeout(LOOK_AGAIN, watcher.events()).await {
                changed?;
            }
        }
    }
}

pub(crate) async fn read(client: &Client, ensemble: &Ensemble) -> Result<Option<ConfigNode>, Error> {
    let path = ensemble.path(CONFIG);
    // Another server than the one that a change was made at may not have it yet.
    client.sync(&path).await.map_err(|cause| Error::of(&path, cause))?;
    match client.get_data(&path).await {
        Ok((text, stat)) => Ok(Some(ConfigNode::new(text, &stat))),
        Err(Cause::NoNode) => Ok(None),
        Err(cause) => Err(Error::of(&path, cause)),
    }
}

pub(crate) async fn create_if_absent(
    client: &Client,
    ensemble: &Ensemble,
    text: &str,
    who: &str,
) -> Result<ConfigNode, Error> {
    let path = ensemble.path(CONFIG);
    Record::new(Moment(0), who, 0, text).bytes()?;
    let of = |cause| Error::of(&path, cause);
    loop {
        if let Some(node) = read(client, ensemble).await? {
            // Created by us just now, or by somebody with the same defaults; recording twice changes nothing.
            if node.version == 0 && node.text == text.as_bytes() {
                history::record(client, ensemble, &node, who).await?;
            }
            return Ok(node);
        }
        ensure(client, ensemble, &ensemble.root).await.map_err(of)?;
        match client.create(&path, text.as_bytes(), &persistent(ensemble)).await {
            Ok(_) | Err(Cause::NodeExists) => {}
            Err(cause) => return Err(of(cause)),
        }
    }
}

/// A version that is to replace another one. Trying again after a lost connection is safe: what has come through
/// already is found by its record.
pub(crate) struct Replacement {
    expected: Expected,
    text: String,
    record: Vec<u8>,
    name: String,
    who: String,
}

impl Replacement {
    pub(crate) fn new(text: &str, expected: Expected, who: &str, at: Moment) -> Result<Self, Error> {
        let version = expected.version.wrapping_add(1);
        let record = Record::new(at, who, version, text).bytes()?;
        let name = history::name(expected.czxid, version);
        Ok(Self { expected, text: text.to_owned(), record, name, who: who.to_owned() })
    }

    pub(crate) async fn write(&self, client: &Client, ensemble: &Ensemble) -> Result<ConfigNode, Error> {
        let path = ensemble.path(CONFIG);
        let of = |cause| Error::of(&path, cause);
        let before = read(client, ensemble).await?;
        if before.as_ref().map(ConfigNode::expected) != Some(self.expected) {
            return self.has_come_through(client, ensemble, before).await;
        }
        history::ensure_folder(client, ensemble).await?;
        // One transaction, or where that would be too much for a request, one after the other: then, should the
        // second fail, whoever accepts the version records it.
        let together = self.text.len() + self.record.len() <= LARGEST;
        let written = if together {
            self.with_record(client, ensemble, &path).await
        } else {
            client.set_data(&path, self.text.as_bytes(), Some(self.expected.version)).await
        };
        let stat = match written {
            Ok(stat) => stat,
            Err(Cause::NoNode | Cause::BadVersion | Cause::NodeExists) => {
                let found = read(client, ensemble).await?;
                return self.has_come_through(client, ensemble, found).await;
            }
            Err(cause) => return Err(of(cause)),
        };
        let node = ConfigNode::new(self.text.clone().into_bytes(), &stat);
        if together {
            history::prune(client, ensemble).await;
        } else {
            history::record(client, ensemble, &node, &self.who).await?;
        }
        Ok(node)
    }

    /// The version and its record in one transaction.
    async fn with_record(&self, client: &Client, ensemble: &Ensemble, path: &str) -> Result<Stat, Cause> {
        let mut writer = client.new_multi_writer();
        writer.add_set_data(path, self.text.as_bytes(), Some(self.expected.version))?;
        writer.add_create(&history::path(ensemble, &self.name), &self.record, &persistent(ensemble))?;
        let mut results = writer.commit().await.map_err(|error| match error {
            MultiWriteError::RequestFailed { source } | MultiWriteError::OperationFailed { source, .. } => {
                source
            }
        })?;
        match results.drain(..).next() {
            Some(MultiWriteResult::SetData { stat }) => Ok(stat),
            other => Err(Cause::UnexpectedError(format!("no answer to a write, but {other:?}"))),
        }
    }

    /// What is there isn't what was expected: somebody else was faster, or an earlier try of ours was made after all.
    async fn has_come_through(
        &self,
        client: &Client,
        ensemble: &Ensemble,
        found: Option<ConfigNode>,
    ) -> Result<ConfigNode, Error> {
        if let Some((data, stat)) = history::read(client, ensemble, &self.name).await?
            && data == self.record
        {
            return Ok(ConfigNode {
                text: self.text.clone().into_bytes(),
                version: self.expected.version.wrapping_add(1),
                czxid: self.expected.czxid,
                // Written by the transaction that created the record.
                mzxid: stat.czxid,
                modified_at: Moment(stat.ctime),
            });
        }
        let said = |Expected { czxid, version }| format!("version {version} of {czxid:#x}");
        let found = found.map_or_else(|| "none at all".to_owned(), |node| said(node.expected()));
        Err(Error::Conflict { expected: said(self.expected), found })
    }
}
