//! Watching the children of a node, with their data.

use std::time::Duration;

use tokio::time::timeout;
use zookeeper_client::{Client, Error as Cause};

use crate::duty::Duty;
use crate::tell::Teller;
use crate::watcher::Watcher;

/// After this time we look again, whether or not a change was told.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// A child of a node that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name, without the path.
    pub name: String,
    /// What is in it.
    pub data: Vec<u8>,
    /// What created it.
    pub czxid: i64,
    /// What wrote it last.
    pub mzxid: i64,
}

pub(crate) struct WatchedChildren {
    path: String,
    teller: Teller<Vec<Child>>,
    told: Option<Vec<Child>>,
}

impl WatchedChildren {
    pub(crate) fn new(path: String, teller: Teller<Vec<Child>>) -> Self {
        Self { path, teller, told: None }
    }
}

impl Duty for WatchedChildren {
    async fn serve(&mut self, client: &Client) -> Result<(), Cause> {
        let path = self.path.clone();
        let mut watcher = Watcher::recursive(client, &path).await?;
        loop {
            let children = list(client, &path).await?;
            if self.told.as_ref() != Some(&children) {
                self.teller.tell(children.clone());
                self.told = Some(children);
            }
            if let Ok(changed) = timeout(LOOK_AGAIN, watcher.events()).await {
                changed?;
            }
        }
    }
}

/// The children of the node at `path`, sorted by name; none where there is no such node.
pub(crate) async fn list(client: &Client, path: &str) -> Result<Vec<Child>, Cause> {
    let mut names = match client.list_children(path).await {
        Err(Cause::NoNode) => return Ok(Vec::new()),
        names => names?,
    };
    names.sort_unstable();
    // All are asked for before the first answer is waited for.
    let asked: Vec<_> = names.iter().map(|name| client.get_data(&format!("{path}/{name}"))).collect();
    let mut children = Vec::with_capacity(names.len());
    for (name, answer) in names.into_iter().zip(asked) {
        match answer.await {
            Ok((data, stat)) => children.push(Child { name, data, czxid: stat.czxid, mzxid: stat.mzxid }),
            // Gone since it was listed.
            Err(Cause::NoNode) => {}
            Err(Cause::NoAuth) => {
                // Somebody is there, but nothing that could be used is known of it: no JSON, and not nothing.
                children.push(Child { name, data: b"(forbidden by its ACL)".to_vec(), czxid: 0, mzxid: 0 });
            }
            Err(cause) => return Err(cause),
        }
    }
    Ok(children)
}
