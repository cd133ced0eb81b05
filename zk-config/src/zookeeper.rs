//! The handle: everything that one can ask for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::agents::{AGENTS, same_agent};
use crate::children::WatchedChildren;
use crate::election::{Candidate, Standing};
use crate::ensemble::check_path;
use crate::ephemeral::{Kept, Predecessor};
use crate::running::{Inner, Running};
use crate::session::now;
use crate::settings::{Replacement, WatchedSettings};
use crate::tell::{Keep, Teller};
use crate::{
    AgentNode, Campaign, Child, ConfigNode, Election, Ensemble, Ephemeral, Error, Expected, Held,
    HistoryEntry, HistoryVersion, Holder, ListedAgent, SettingsSeen, State, election, history, settings,
};

/// A supervised connection to an ensemble. Clones share it; it is closed, and its ephemeral nodes go, when the last
/// clone and the last thing that was made by one are dropped.
#[derive(Clone)]
pub struct ZooKeeper {
    inner: Arc<Inner>,
}

/// A subscription; it ends when this is dropped (a call that is under way goes on to its end).
#[must_use = "it ends when it is dropped"]
pub struct Watch {
    end: Box<dyn Fn() + Send + Sync>,
    _running: Running,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        (self.end)();
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeper")
            .field("ensemble", &self.inner.ensemble)
            .field("state", &self.state())
            .finish()
    }
}

impl ZooKeeper {
    /// Begins to connect, and returns at once, whether or not the ensemble can be reached.
    ///
    /// # Errors
    /// Where `ensemble` can't be right, or the system has no thread left.
    pub fn start(ensemble: Ensemble) -> Result<Self, Error> {
        ensemble.check()?;
        Ok(Self { inner: Arc::new(Inner::start(ensemble)?) })
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.state.borrow().clone()
    }

    /// Calls with how it stands, now and at each change; of several that come fast only with the newest.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn watch_state(&self, callback: impl FnMut(State) + Send + 'static) -> Result<Watch, Error> {
        let teller = Teller::start("zk-state", Keep::Newest, callback)?;
        let telling = teller.ender();
        Ok(Watch { end: telling, _running: self.inner.tell_state(teller) })
    }

    /// Waits for a session.
    ///
    /// # Errors
    /// [`Error::Away`] where there is none within `patience`.
    pub fn wait_connected(&self, patience: Duration) -> Result<(), Error> {
        let mut states = self.inner.state.clone();
        let connected = self.inner.wait(patience, async move {
            states.wait_for(|state| matches!(state, State::Connected { .. })).await.is_ok()
        });
        if connected == Some(true) { Ok(()) } else { Err(self.inner.away(patience, String::new())) }
    }

    /// The settings, or `None` where there are none.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn read_settings(&self) -> Result<Option<ConfigNode>, Error> {
        self.inner.call(|client, ensemble| async move { settings::read(&client, &ensemble).await })
    }

    /// Calls with the settings: now, at each change, and after each reconnection if they changed meanwhile. The newest
    /// is never missed; of several that come fast some may be left out.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn watch_settings(
        &self,
        callback: impl FnMut(SettingsSeen) + Send + 'static,
    ) -> Result<Watch, Error> {
        let teller = Teller::start("zk-settings", Keep::Newest, callback)?;
        let end = teller.ender();
        let duty = WatchedSettings { ensemble: Arc::clone(&self.inner.ensemble), teller, told: None };
        Ok(Watch { end, _running: self.inner.perform(duty) })
    }

    /// Creates the settings unless there are some; returns those that are there then.
    ///
    /// # Errors
    /// Away, denied, or too large.
    pub fn create_settings_if_absent(&self, text: &str, who: &str) -> Result<ConfigNode, Error> {
        let (text, who) = (text.to_owned(), who.to_owned());
        self.inner.call(move |client, ensemble| {
            let (text, who) = (text.clone(), who.clone());
            async move { settings::create_if_absent(&client, &ensemble, &text, &who).await }
        })
    }

    /// Replaces the version `expected` by `text`, and records it in the history by `who`, both or neither. (Beyond
    /// about 450 KB that is too much for one transaction, and the record follows.) Whether `text` is in order is for
    /// the caller to say before.
    ///
    /// # Errors
    /// [`Error::Conflict`] where `expected` isn't what is there, [`Error::TooLarge`] beyond about 900 KB, away, or
    /// denied.
    pub fn write_settings(&self, text: &str, expected: Expected, who: &str) -> Result<ConfigNode, Error> {
        let replacement = Arc::new(Replacement::new(text, expected, who, now())?);
        self.inner.call(move |client, ensemble| {
            let replacement = Arc::clone(&replacement);
            async move { replacement.write(&client, &ensemble).await }
        })
    }

    /// Records a version that somebody wrote by other means (`zkCli.sh`), and that was found to be in order. Nothing
    /// happens where it is recorded already, so whoever accepts a version may call this.
    ///
    /// # Errors
    /// Away, denied, or no text.
    pub fn record_accepted(&self, node: &ConfigNode, who: &str) -> Result<(), Error> {
        let (node, who) = (Arc::new(node.clone()), who.to_owned());
        self.inner.call(move |client, ensemble| {
            let (node, who) = (Arc::clone(&node), who.clone());
            async move { history::record(&client, &ensemble, &node, &who).await }
        })
    }

    /// The accepted versions, newest first; the newest [`KEPT_VERSIONS`](crate::KEPT_VERSIONS) are kept.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, Error> {
        self.inner.call(|client, ensemble| async move { history::entries(&client, &ensemble).await })
    }

    /// An accepted version by its number (the newest of that number, where `config` was created more than once).
    ///
    /// # Errors
    /// Away, or denied.
    pub fn history_version(&self, version: i32) -> Result<Option<HistoryVersion>, Error> {
        self.inner
            .call(move |client, ensemble| async move { history::version(&client, &ensemble, version).await })
    }

    /// The settings of a version of [`history`](Self::history); `None` where it is forgotten by now, or its record
    /// can't be read.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn history_settings(&self, entry: &HistoryEntry) -> Result<Option<String>, Error> {
        let name = entry.name.clone();
        let found = self.inner.call(move |client, ensemble| {
            let name = name.clone();
            async move { history::named(&client, &ensemble, &name).await }
        })?;
        Ok(found.map(|found| found.settings))
    }

    /// Keeps an ephemeral node at `path` below the root. Where somebody else has one there, ours follows it.
    ///
    /// # Errors
    /// Where `path` can't name a node.
    pub fn keep_ephemeral(&self, path: &str, data: impl Into<Vec<u8>>) -> Result<Ephemeral, Error> {
        self.keep(path, data.into(), |_, _| false)
    }

    fn keep(&self, path: &str, data: Vec<u8>, predecessor: Predecessor) -> Result<Ephemeral, Error> {
        check_path(path)?;
        let (sender, data) = watch::channel(data);
        let (held, is_held) = watch::channel(Held::No("not created yet".to_owned()));
        let ensemble = Arc::clone(&self.inner.ensemble);
        let duty = Kept { path: ensemble.path(path), ensemble, data, held, predecessor, past: Vec::new() };
        Ok(Ephemeral { data: sender, held: is_held, running: self.inner.perform(duty) })
    }

    /// Calls with all children of the node at `path` below the root, sorted by name: now, and at each change; of
    /// several that come fast only with the newest.
    ///
    /// # Errors
    /// Where `path` can't name a node, or the system has no thread left.
    pub fn watch_children(
        &self,
        path: &str,
        callback: impl FnMut(Vec<Child>) + Send + 'static,
    ) -> Result<Watch, Error> {
        check_path(path)?;
        let teller = Teller::start("zk-children", Keep::Newest, callback)?;
        let end = teller.ender();
        let duty = WatchedChildren::new(self.inner.ensemble.path(path), teller);
        Ok(Watch { end, _running: self.inner.perform(duty) })
    }

    /// Keeps an agent's node, named by its address. A node that an agent of the same address left behind (`kill -9`)
    /// is replaced at once, any other's is waited for.
    ///
    /// # Errors
    /// Where `node` is no IP address.
    pub fn register_agent(&self, node: &str, agent: &AgentNode) -> Result<Ephemeral, Error> {
        if node.parse::<IpAddr>().is_err() {
            let node = node.escape_debug();
            return Err(Error::Invalid(format!(
                "`{node}` is no IP address, and so no name for an agent's node"
            )));
        }
        self.keep(&format!("{AGENTS}/{node}"), agent.bytes(), same_agent)
    }

    /// Calls with all agents, sorted by name: now, and at each change; of several that come fast only with the newest.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub fn watch_agents(
        &self,
        mut callback: impl FnMut(Vec<ListedAgent>) + Send + 'static,
    ) -> Result<Watch, Error> {
        self.watch_children(AGENTS, move |children| {
            callback(children.into_iter().map(ListedAgent::of).collect());
        })
    }

    /// Campaigns for the node at `path` below the root (`owner`), with `data` to be shown as the holder's. Every event
    /// is told, in order.
    ///
    /// # Errors
    /// Where `path` can't name a node, or the system has no thread left.
    pub fn campaign(
        &self,
        path: &str,
        data: impl Into<Vec<u8>>,
        callback: impl FnMut(Election) + Send + 'static,
    ) -> Result<Campaign, Error> {
        check_path(path)?;
        let teller = Teller::start("zk-election", Keep::All, callback)?;
        let end = teller.ender();
        let standing = Arc::new(Standing::default());
        let ensemble = Arc::clone(&self.inner.ensemble);
        let duty = Candidate {
            path: ensemble.path(path),
            ensemble,
            data: data.into(),
            teller,
            standing: Arc::clone(&standing),
            spent: None,
        };
        Ok(Campaign { standing, end, running: self.inner.perform(duty) })
    }

    /// Who holds the node at `path`.
    ///
    /// # Errors
    /// Away, or denied.
    pub fn holder(&self, path: &str) -> Result<Option<Holder>, Error> {
        check_path(path)?;
        let path = self.inner.ensemble.path(path);
        self.inner.call(move |client, _| {
            let path = path.clone();
            async move { election::holder(&client, &path).await }
        })
    }
}
