//! A watch over a node that outlives lost connections.
//!
//! The library means to renew its persistent watches when it reconnects, and doesn't: its version 0.11.2 sends the
//! list without them (`resend_watches` takes the maximum of `index` with itself). And what changed while there was no
//! connection isn't told by such a watch in any case (ZOOKEEPER-4698). So we watch anew after each reconnection, and
//! take it for a change.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use zookeeper_client::{AddWatchMode, Client, Error as Cause, EventType, PersistentWatcher, SessionState};

/// How long changes that come together are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// A watch in one session.
pub(crate) struct Watcher<'a> {
    client: &'a Client,
    path: &'a str,
    mode: AddWatchMode,
    watcher: PersistentWatcher,
    /// The connection is another one than when the watch was set.
    stale: bool,
}

impl<'a> Watcher<'a> {
    /// Watches the node at `path`, whether or not there is one.
    pub(crate) async fn new(client: &'a Client, path: &'a str) -> Result<Self, Cause> {
        Self::with_mode(client, path, AddWatchMode::Persistent).await
    }

    /// Watches the node at `path` and all below it.
    pub(crate) async fn recursive(client: &'a Client, path: &'a str) -> Result<Self, Cause> {
        Self::with_mode(client, path, AddWatchMode::PersistentRecursive).await
    }

    async fn with_mode(client: &'a Client, path: &'a str, mode: AddWatchMode) -> Result<Self, Cause> {
        let watcher = client.watch(path, mode).await?;
        Ok(Self { client, path, mode, watcher, stale: false })
    }

    /// Waits until something may have changed. Nothing is lost where the waiting is given up.
    pub(crate) async fn event(&mut self) -> Result<(), Cause> {
        loop {
            if self.stale {
                // The new one is there before the old one goes, so the server is never told to watch no more.
                self.watcher = self.client.watch(self.path, self.mode).await?;
                self.stale = false;
                return Ok(());
            }
            let event = self.watcher.changed().await;
            if event.event_type != EventType::Session {
                return Ok(());
            }
            if event.session_state.is_terminated() {
                return Err(Cause::SessionExpired);
            }
            self.stale = event.session_state == SessionState::SyncConnected;
        }
    }

    /// The same, with all that comes right behind the first change.
    pub(crate) async fn events(&mut self) -> Result<(), Cause> {
        self.event().await?;
        let until = Instant::now() + GATHER;
        while let Ok(more) = timeout_at(until, self.event()).await {
            more?;
        }
        Ok(())
    }
}
