//! Elections: whoever creates the one ephemeral node is the owner, and the zxid of its creation is its epoch.
//!
//! ZooKeeper promises that there is one such node, not that its owner knows in time that it is gone: an owner may be
//! paused, or cut off. So an owner proves at intervals that the node is still its own, by a transaction that only
//! checks it: unlike a read, that needs the leader and a majority. Two thirds of the session timeout after the
//! beginning of the last proof it takes itself for no owner any more, and by then nobody else can be one. Whoever acts
//! in spite of all that (a call that was under way) does it with an older epoch, and is refused.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use zookeeper_client::{Client, Error as Cause, MultiWriteError};

use crate::duty::Duty;
use crate::ephemeral::passed_over;
use crate::running::Running;
use crate::session::{ensure_parent, ephemeral};
use crate::tell::Teller;
use crate::watcher::Watcher;
use crate::{Ensemble, Error};

/// What happens to a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Election {
    /// It is the owner from here on, and `epoch` is greater than that of every owner before.
    Won {
        /// The zxid that created the node.
        epoch: u64,
    },
    /// It isn't any more, or can't be sure any more. It goes on campaigning.
    Lost {
        /// What happened.
        why: String,
    },
}

/// Who holds an election's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its epoch.
    pub epoch: u64,
    /// What it says about itself.
    pub data: Vec<u8>,
}

/// Who holds the node at `path`, which is a whole one.
pub(crate) async fn holder(client: &Client, path: &str) -> Result<Option<Holder>, Error> {
    match client.get_data(path).await {
        Ok((data, stat)) => Ok(Some(Holder { epoch: stat.czxid.cast_unsigned(), data })),
        Err(Cause::NoNode) => Ok(None),
        Err(cause) => Err(Error::of(path, cause)),
    }
}

/// A candidacy; it goes on, over every loss and every session, until this is dropped or resigned.
pub struct Campaign {
    pub(crate) standing: Arc<Standing>,
    pub(crate) end: Box<dyn Fn() + Send + Sync>,
    pub(crate) running: Running,
}

impl fmt::Debug for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Campaign").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

impl Campaign {
    /// The epoch, where we are the owner and that is certain: the quorum said so less than two thirds of the session
    /// timeout ago. Ask right before each act of an owner; unlike the callback this can't come late, not even after
    /// the process was paused.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.standing.epoch(Instant::now())
    }

    /// Gives it up: the node is deleted, so that another one can follow at once. (Where this is dropped, the same is
    /// done without waiting.) The callback isn't called any more.
    ///
    /// # Errors
    /// Where ZooKeeper is away; then the node goes with the session.
    pub fn resign(self) -> Result<(), Error> {
        self.give_up();
        self.running.finish()
    }

    fn give_up(&self) {
        (self.end)();
        self.standing.end();
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// What is certain at the moment.
#[derive(Default)]
pub(crate) struct Standing(Mutex<Certain>);

#[derive(Default)]
struct Certain {
    /// The epoch, and until when.
    epoch: Option<(u64, Instant)>,
    /// The candidacy was given up: whatever comes, we aren't the owner.
    given_up: bool,
}

impl Standing {
    fn certain(&self) -> MutexGuard<'_, Certain> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self, now: Instant) -> Option<u64> {
        let certain = self.certain();
        certain.epoch.filter(|(_, until)| now < *until && !certain.given_up).map(|(epoch, _)| epoch)
    }

    fn set(&self, epoch: Option<(u64, Instant)>) {
        self.certain().epoch = epoch;
    }

    fn end(&self) {
        self.certain().given_up = true;
    }
}

/// The duty of campaigning.
pub(crate) struct Candidate {
    pub(crate) ensemble: Arc<Ensemble>,
    pub(crate) path: String,
    pub(crate) data: Vec<u8>,
    pub(crate) teller: Teller<Election>,
    pub(crate) standing: Arc<Standing>,
    /// The czxid of the last node with which we were the owner. Each win has a node of its own.
    pub(crate) spent: Option<i64>,
}

impl Duty for Candidate {
    async fn serve(&mut self, client: &Client) -> Result<(), Cause> {
        let session = client.session_id().0;
        let path = self.path.clone();
        let mut watcher = Watcher::new(client, &path).await?;
        loop {
            let Some(stat) = client.check_stat(&self.path).await? else {
                match client.create(&self.path, &self.data, &ephemeral(&self.ensemble)).await {
                    Err(Cause::NoNode) => ensure_parent(client, &self.ensemble, &self.path).await?,
                    Err(Cause::NodeExists) | Ok(_) => {}
                    Err(cause) => return Err(cause),
                }
                continue;
            };
            if self.spent == Some(stat.czxid) {
                // Ours of before, in this session or one that is gone.
                passed_over(client.delete(&self.path, Some(stat.version)).await, ())?;
            } else if stat.ephemeral_owner == session {
                self.spent = Some(stat.czxid);
                self.reign(client, &mut watcher, stat.czxid).await?;
            } else {
                watcher.event().await?;
            }
        }
    }

    async fn finish(&mut self, client: &Client) -> Result<(), Cause> {
        self.standing.set(None);
        if let Some(stat) = client.check_stat(&self.path).await?
            && (stat.ephemeral_owner == client.session_id().0 || self.spent == Some(stat.czxid))
        {
            passed_over(client.delete(&self.path, Some(stat.version)).await, ())?;
        }
        Ok(())
    }
}

impl Candidate {
    /// Is the owner for as long as that is certain, and tells when it begins and when it ends.
    async fn reign(&self, client: &Client, watcher: &mut Watcher<'_>, czxid: i64) -> Result<(), Cause> {
        let epoch = czxid.cast_unsigned();
        let certain_for = client.session_timeout() * 2 / 3;
        let interval = client.session_timeout() / 6;
        let mut until = Instant::now() + certain_for;
        let mut won = false;
        let ended = loop {
            let begun = Instant::now();
            let proof = tokio::select! {
                // A deadline that is over counts, whatever has come since.
                biased;
                () = sleep(until.saturating_duration_since(begun)) => break Ok(unheard(certain_for)),
                proof = prove(client, &self.path, czxid) => proof,
            };
            let rest = match proof {
                // The process may have been paused since the last look at the clock.
                Ok(true) if Instant::now() < until => {
                    until = begun + certain_for;
                    self.standing.set(Some((epoch, until)));
                    if !won {
                        won = true;
                        self.teller.tell(Election::Won { epoch });
                    }
                    interval
                }
                Ok(true) => break Ok(unheard(certain_for)),
                Ok(false) => break Ok("the node was deleted by somebody else".to_owned()),
                Err(cause @ (Cause::SessionExpired | Cause::ClientClosed | Cause::AuthFailed)) => {
                    break Err(cause);
                }
                Err(_) => interval.min(Duration::from_millis(100)),
            };
            tokio::select! {
                biased;
                () = sleep(until.saturating_duration_since(Instant::now())) => break Ok(unheard(certain_for)),
                changed = watcher.event() => if let Err(cause) = changed { break Err(cause) },
                () = sleep(rest) => {}
            }
        };
        self.standing.set(None);
        if won {
            let why = ended.as_ref().map_or_else(ToString::to_string, String::clone);
            self.teller.tell(Election::Lost { why });
        }
        ended.map(drop)
    }
}

fn unheard(certain_for: Duration) -> String {
    format!("ZooKeeper hasn't confirmed it for {:.1} s", certain_for.as_secs_f64())
}

/// Whether the node is still the one that `czxid` created, by the word of the quorum.
async fn prove(client: &Client, path: &str, czxid: i64) -> Result<bool, Cause> {
    let mut writer = client.new_multi_writer();
    writer.add_check_version(path, -1)?;
    // Both are sent at once. The answers come in order, so the read is at least as new as the check.
    let (checked, read) = (writer.commit(), client.check_stat(path));
    match checked.await {
        Ok(_) => {}
        Err(MultiWriteError::OperationFailed { source: Cause::NoNode, .. }) => return Ok(false),
        Err(cause) => return Err(cause.into()),
    }
    Ok(read.await?.is_some_and(|stat| stat.czxid == czxid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_ends_by_the_clock_alone() {
        let standing = Standing::default();
        let now = Instant::now();
        assert_eq!(standing.epoch(now), None);
        standing.set(Some((7, now + Duration::from_secs(4))));
        assert_eq!(standing.epoch(now), Some(7));
        assert_eq!(standing.epoch(now + Duration::from_millis(3999)), Some(7));
        assert_eq!(standing.epoch(now + Duration::from_secs(4)), None);
        standing.end();
        assert_eq!(standing.epoch(now), None);
    }
}
