//! A look at what is there, for whoever diagnoses: a short session that changes nothing, not even where the root is
//! missing.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;
use zookeeper_client::{Client, Error as Cause};

use crate::agents::AGENTS;
use crate::session::{connect, within};
use crate::{ConfigNode, Ensemble, Error, Holder, ListedAgent, children, election, settings};

/// What is there. What an ACL forbids to read is an error of its own.
#[derive(Debug)]
pub struct Look {
    /// Whether the root is there. Without it nothing else is.
    pub root: bool,
    /// The settings, where there are some.
    pub settings: Result<Option<ConfigNode>, Error>,
    /// The agents, sorted by name.
    pub agents: Result<Vec<ListedAgent>, Error>,
    /// Who holds the node that was asked for.
    pub holder: Result<Option<Holder>, Error>,
}

/// Looks, and takes no longer than twice `patience`. `election` is the node, below the root, whose holder is told.
///
/// # Errors
/// Where `ensemble` can't be right, or there is no session or no answer in time.
pub fn look(ensemble: &Ensemble, election: &str, patience: Duration) -> Result<Look, Error> {
    ensemble.check()?;
    let no_runtime = |error: std::io::Error| Error::Closed(format!("no means for it: {error}"));
    let runtime = Builder::new_current_thread().enable_time().build().map_err(no_runtime)?;
    runtime.block_on(async {
        let away = |why| Error::Away { servers: ensemble.servers.clone(), waited: patience, why };
        let client = within(patience, connect(ensemble)).await.map_err(away)?;
        let read = timeout(patience, read(&client, ensemble, election)).await;
        read.map_err(|_| away("it is connected, but slow".to_owned()))?
    })
}

async fn read(client: &Client, ensemble: &Ensemble, election: &str) -> Result<Look, Error> {
    let root = match client.check_stat(&ensemble.root).await {
        Ok(stat) => stat.is_some(),
        Err(Cause::NoAuth) => true,
        Err(cause) => return Err(Error::of(&ensemble.root, cause)),
    };
    let (agents, node) = (ensemble.path(AGENTS), ensemble.path(election));
    let listed = children::list(client, &agents).await.map_err(|cause| Error::of(&agents, cause));
    Ok(Look {
        root,
        settings: settings::read(client, ensemble).await,
        agents: listed.map(|children| children.into_iter().map(ListedAgent::of).collect()),
        holder: election::holder(client, &node).await,
    })
}
