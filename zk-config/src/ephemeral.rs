//! Ephemeral nodes that are kept: one node, there as long as its handle, over every session.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zookeeper_client::{Client, Error as Cause, Stat};

use crate::duty::Duty;
use crate::running::Running;
use crate::session::{ensure_parent, ephemeral};
use crate::watcher::Watcher;
use crate::{Ensemble, Error};

/// An ephemeral node that is kept over every session until this is dropped.
#[derive(Debug)]
pub struct Ephemeral {
    pub(crate) data: watch::Sender<Vec<u8>>,
    pub(crate) held: watch::Receiver<Held>,
    pub(crate) running: Running,
}

/// Whether an ephemeral node is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is, and it is ours.
    Yes,
    /// Not now, and why.
    No(String),
}

impl Ephemeral {
    /// Puts other data in it, now and in every session that follows. Returns at once.
    pub fn update(&self, data: impl Into<Vec<u8>>) {
        self.data.send_replace(data.into());
    }

    /// Whether it is there. Over a connection that is lost for a moment it stays held: the session still has it.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// Waits until it is there.
    ///
    /// # Errors
    /// [`Error::Away`] where it isn't within `patience`, and why.
    pub fn wait_held(&self, patience: Duration) -> Result<(), Error> {
        let mut held = self.held.clone();
        let is_held = self
            .running
            .wait(patience, async move { held.wait_for(|held| *held == Held::Yes).await.is_ok() });
        if is_held == Some(true) {
            return Ok(());
        }
        let why = match self.held() {
            Held::Yes => return Ok(()),
            Held::No(why) => why,
        };
        Err(self.running.away(patience, why))
    }

    /// Deletes it, and returns when that is done. (Where this is dropped, the same is done without waiting.)
    ///
    /// # Errors
    /// Where ZooKeeper is away; then the node goes with the session.
    pub fn remove(self) -> Result<(), Error> {
        self.running.finish()
    }
}

/// Whether a node that is in the way was left behind by whom we are now: what is in it, and what is to be.
pub(crate) type Predecessor = fn(&[u8], &[u8]) -> bool;

/// The duty of keeping it.
pub(crate) struct Kept {
    pub(crate) ensemble: Arc<Ensemble>,
    pub(crate) path: String,
    pub(crate) data: watch::Receiver<Vec<u8>>,
    pub(crate) held: watch::Sender<Held>,
    pub(crate) predecessor: Predecessor,
    /// The sessions in which we had it; what is left of them is ours to delete.
    pub(crate) past: Vec<i64>,
}

impl Kept {
    /// Whether the node that somebody else's session owns may be deleted: it is of an earlier session of ours, or
    /// of an earlier process. The latter only until we had it once, or two of the same name would delete each other's
    /// for ever.
    fn may_replace(&self, data: &[u8], stat: &Stat) -> bool {
        let wanted = self.data.borrow();
        self.past.contains(&stat.ephemeral_owner)
            || (stat.ephemeral_owner != 0 && self.past.is_empty() && (self.predecessor)(data, &wanted))
    }

    fn have(&mut self, session: i64) {
        if self.past.last() != Some(&session) {
            self.past.push(session);
            // Older ones have long expired.
            self.past.drain(..self.past.len().saturating_sub(8));
        }
        self.set_held(Held::Yes);
    }

    fn set_held(&self, held: Held) {
        self.held.send_if_modified(|known| {
            let changed = *known != held;
            if changed {
                *known = held;
            }
            changed
        });
    }

    /// One step towards having it: `true` where there is nothing to do but to wait for a change.
    async fn step(&mut self, client: &Client, session: i64) -> Result<bool, Cause> {
        let wanted = self.data.borrow_and_update().clone();
        let (data, stat) = match client.get_data(&self.path).await {
            Err(Cause::NoNode) => {
                match client.create(&self.path, &wanted, &ephemeral(&self.ensemble)).await {
                    Err(Cause::NoNode) => ensure_parent(client, &self.ensemble, &self.path).await?,
                    Err(Cause::NodeExists) | Ok(_) => {}
                    Err(cause) => return Err(cause),
                }
                return Ok(false);
            }
            read => read?,
        };
        if stat.ephemeral_owner == session {
            self.have(session);
            if data == wanted {
                return Ok(true);
            }
            return passed_over(client.set_data(&self.path, &wanted, None).await.map(drop), false);
        }
        if self.may_replace(&data, &stat) {
            tracing::info!(path = self.path, "a node that an earlier session left behind is replaced");
            return passed_over(client.delete(&self.path, Some(stat.version)).await, false);
        }
        self.set_held(Held::No(if stat.ephemeral_owner == 0 {
            format!("{} is there already and doesn't go by itself: delete it with zkCli.sh", self.path)
        } else {
            format!(
                "{} is held by another session ({:#x}), we wait until it goes",
                self.path, stat.ephemeral_owner
            )
        }));
        Ok(true)
    }
}

/// What to go on with where somebody else was faster.
pub(crate) fn passed_over<T>(done: Result<(), Cause>, go_on: T) -> Result<T, Cause> {
    match done {
        Ok(()) | Err(Cause::NoNode | Cause::BadVersion) => Ok(go_on),
        Err(cause) => Err(cause),
    }
}

impl Duty for Kept {
    async fn serve(&mut self, client: &Client) -> Result<(), Cause> {
        let session = client.session_id().0;
        let path = self.path.clone();
        let mut watcher = Watcher::new(client, &path).await?;
        loop {
            if self.step(client, session).await? {
                tokio::select! {
                    changed = watcher.event() => changed?,
                    _ = self.data.changed() => {}
                }
            }
        }
    }

    async fn finish(&mut self, client: &Client) -> Result<(), Cause> {
        if let Some(stat) = client.check_stat(&self.path).await?
            && stat.ephemeral_owner == client.session_id().0
        {
            passed_over(client.delete(&self.path, Some(stat.version)).await, ())?;
        }
        self.set_held(Held::No("it was given up".to_owned()));
        Ok(())
    }

    fn interrupted(&mut self, why: &str) {
        self.set_held(Held::No(why.to_owned()));
    }
}
