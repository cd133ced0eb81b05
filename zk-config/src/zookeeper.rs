//! The handle: everything that one can ask for.

use std::time::Duration;

use crate::{
    AgentNode, Campaign, Child, ConfigNode, Election, Ensemble, Ephemeral, Error, Expected, HistoryEntry,
    HistoryVersion, Holder, ListedAgent, SettingsSeen, State,
};

/// A supervised connection to an ensemble. Clones share it; it is closed, and its ephemeral nodes go, when the last
/// clone and the last thing that was made by one are dropped.
#[derive(Clone, Debug)]
pub struct ZooKeeper {}

/// A subscription; it ends when this is dropped (a call that is under way goes on to its end).
#[derive(Debug)]
pub struct Watch {}

impl ZooKeeper {
    /// Begins to connect, and returns at once, whether or not the ensemble can be reached.
    ///
    /// # Errors
    /// Where `ensemble` can't be right, or the system has no thread left.
    pub fn start(ensemble: Ensemble) -> Result<Self, Error> {
        let _ = ensemble;
        todo!()
    }
    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        todo!()
    }
    /// Calls with how it stands, now and at each change.
    pub fn watch_state(&self, callback: impl FnMut(State) + Send + 'static) -> Watch {
        let _ = callback;
        todo!()
    }
    /// Waits for a session.
    ///
    /// # Errors
    /// [`Error::Away`] where there is none within `patience`.
    pub fn wait_connected(&self, patience: Duration) -> Result<(), Error> {
        let _ = patience;
        todo!()
    }
    /// The settings, or `None` where there are none.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn read_settings(&self) -> Result<Option<ConfigNode>, Error> {
        todo!()
    }
    /// Calls with the settings: now, at each change, and after each reconnection if they changed meanwhile. The newest
    /// is never missed; of several that come fast some may be left out.
    pub fn watch_settings(&self, callback: impl FnMut(SettingsSeen) + Send + 'static) -> Watch {
        let _ = callback;
        todo!()
    }
    /// Creates the settings unless there are some; returns those that are there then.
    ///
    /// # Errors
    /// Away, denied, or too large.
    pub fn create_settings_if_absent(&self, text: &str, who: &str) -> Result<ConfigNode, Error> {
        let _ = (text, who);
        todo!()
    }
    /// Replaces the version `expected` by `text`, and records it in the history, both or neither.
    ///
    /// # Errors
    /// [`Error::Conflict`] where `expected` isn't what is there, [`Error::TooLarge`], away, or denied.
    pub fn write_settings(&self, text: &str, expected: Expected, who: &str) -> Result<ConfigNode, Error> {
        let _ = (text, expected, who);
        todo!()
    }
    /// Records a version that somebody wrote with other means (`zkCli.sh`), and that was found to be in order. Nothing
    /// happens where it is recorded already, so whoever accepts a version may call this.
    ///
    /// # Errors
    /// Away, denied, or no text.
    pub fn record_accepted(&self, node: &ConfigNode, who: &str) -> Result<(), Error> {
        let _ = (node, who);
        todo!()
    }
    /// The accepted versions, newest first.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, Error> {
        todo!()
    }
    /// An accepted version by its number (the newest of that number, where `config` was created more than once).
    ///
    /// # Errors
    /// Away, or denied.
    pub fn history_version(&self, version: i32) -> Result<Option<HistoryVersion>, Error> {
        let _ = version;
        todo!()
    }
    /// Keeps an ephemeral node at `path` below the root. Where somebody else has one there, ours follows it.
    ///
    /// # Errors
    /// Where `path` can't name a node.
    pub fn keep_ephemeral(&self, path: &str, data: impl Into<Vec<u8>>) -> Result<Ephemeral, Error> {
        let _ = (path, data.into());
        todo!()
    }
    /// Calls with all children of the node at `path` below the root, sorted by name: now, and at each change.
    ///
    /// # Errors
    /// Where `path` can't name a node.
    pub fn watch_children(
        &self,
        path: &str,
        callback: impl FnMut(Vec<Child>) + Send + 'static,
    ) -> Result<Watch, Error> {
        let _ = (path, callback);
        todo!()
    }
    /// Keeps an agent's node, named by its address. A node that an agent of the same address left behind (`kill -9`)
    /// is replaced at once, any other's is waited for.
    ///
    /// # Errors
    /// Where `node` is no IP address.
    pub fn register_agent(&self, node: &str, agent: &AgentNode) -> Result<Ephemeral, Error> {
        let _ = (node, agent);
        todo!()
    }
    /// Calls with all agents, sorted by name: now, and at each change.
    pub fn watch_agents(&self, callback: impl FnMut(Vec<ListedAgent>) + Send + 'static) -> Watch {
        let _ = callback;
        todo!()
    }
    /// Campaigns for the node at `path` below the root (`owner`), with `data` to be shown as the holder's.
    ///
    /// # Errors
    /// Where `path` can't name a node.
    pub fn campaign(
        &self,
        path: &str,
        data: impl Into<Vec<u8>>,
        callback: impl FnMut(Election) + Send + 'static,
    ) -> Result<Campaign, Error> {
        let _ = (path, data.into(), callback);
        todo!()
    }
    /// Who holds the node at `path`.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn holder(&self, path: &str) -> Result<Option<Holder>, Error> {
        let _ = path;
        todo!()
    }
}
