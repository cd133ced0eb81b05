//! Being the one owner of the bans, by ZooKeeper: who created the node `owner` is it, and the zxid of that is its epoch,
//! which agents and database check.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use zk_config::{Campaign, Election, ZooKeeper};

/// The node below the root.
pub(crate) const NODE: &str = "owner";

/// A candidacy for the ownership.
pub(super) struct Candidacy {
    campaign: Campaign,
    events: Receiver<Election>,
}

impl Candidacy {
    /// Begins one under the worker's name. It goes on over every loss until it is dropped.
    ///
    /// # Errors
    /// Where the system has no thread left.
    pub(super) fn begin(zookeeper: &ZooKeeper, name: &str) -> anyhow::Result<Self> {
        let (tell, events) = unbounded();
        let told = move |event| drop(tell.send(event));
        let campaign = zookeeper.campaign(NODE, name.as_bytes().to_vec(), told);
        Ok(Self { campaign: campaign.context("no candidacy in ZooKeeper")?, events })
    }

    /// Waits for the ownership, so long at most; its epoch.
    pub(super) fn won(&self, patience: Duration) -> Option<i64> {
        let until = Instant::now() + patience;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Election::Won { epoch }) => return i64::try_from(epoch).ok(),
                Ok(Election::Lost { why }) => tracing::debug!(why, "not the owner"),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Whether the ownership of that epoch is certain still.
    pub(super) fn holds(&self, epoch: i64) -> bool {
        self.campaign.epoch().and_then(|now| i64::try_from(now).ok()) == Some(epoch)
    }

    /// Gives it up at once, so that another worker can follow.
    pub(super) fn resign(self) {
        if let Err(error) = self.campaign.resign() {
            tracing::debug!(%error, "the ownership ends with the session");
        }
    }
}

/// The ownership of a process that does everything itself: it must have it before it does anything.
///
/// # Errors
/// Where ZooKeeper is away, or somebody else is the owner, for longer than a session outlives its process.
pub(super) fn alone(
    zookeeper: &ZooKeeper,
    name: &str,
    session: Duration,
) -> anyhow::Result<(Candidacy, i64)> {
    let patience = session * 2 + Duration::from_secs(5);
    zookeeper.wait_connected(patience).context("who owns the bans isn't known")?;
    let candidacy = Candidacy::begin(zookeeper, name)?;
    let Some(epoch) = candidacy.won(patience) else {
        let other = zookeeper.holder(NODE)?.map(|holder| String::from_utf8_lossy(&holder.data).into_owned());
        bail!(
            "another process owns the bans below this root of ZooKeeper ({}); stop that one, give this one another \
             `root` in [zookeeper], or run workers with the roles `match` and `analyse`",
            other.unwrap_or_else(|| "unknown".to_owned())
        );
    };
    Ok((candidacy, epoch))
}
