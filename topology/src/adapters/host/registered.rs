//! Where the agents are that register in ZooKeeper. While it is away, the last list counts.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;
use zk_config::{Error, ListedAgent, Watch, ZooKeeper};

/// The list of agents, followed until this is dropped.
#[derive(Debug)]
pub struct RegisteredAgents {
    addresses: Arc<Mutex<Vec<IpAddr>>>,
    _watch: Watch,
}

/// The first list is waited for so long.
const FIRST_LIST: Duration = Duration::from_secs(5);

impl RegisteredAgents {
    /// Follows the list. It is known when this returns, unless ZooKeeper is away.
    ///
    /// # Errors
    /// Where the system has no threads.
    pub fn follow(zookeeper: &ZooKeeper) -> Result<Self, Error> {
        let addresses = Arc::<Mutex<Vec<IpAddr>>>::default();
        let (first, comes) = bounded(1);
        let kept = Arc::clone(&addresses);
        let watch = zookeeper.watch_agents(move |listed| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) =
                listed.iter().flat_map(addresses_of).collect();
            let _known_already = first.try_send(());
        })?;
        if comes.recv_timeout(FIRST_LIST).is_err() {
            tracing::warn!(
                "the list of agents hasn't come yet, so registered agents may be banned until it has"
            );
        }
        Ok(Self { addresses, _watch: watch })
    }

    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The address by which an agent is listed, and that at which it can be reached. Who can't be called is an agent all
/// the same.
fn addresses_of(listed: &ListedAgent) -> impl Iterator<Item = IpAddr> {
    listed.node.parse().ok().into_iter().chain(listed.address().map(|address| address.ip()))
}
