//! The agent's node in ZooKeeper: an ephemeral one below `agent_list/iptables`, by which topologies find it. It is kept
//! over sessions that expire, and goes when the agent stops.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use zk_config::{AgentNode, Ensemble, Ephemeral, ZooKeeper};

use crate::ready::Ready;

/// Where an agent registers itself, and as what.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The ensemble.
    pub ensemble: Ensemble,
    /// Where owners reach the agent; `None`: where it listens.
    pub advertise: Option<SocketAddr>,
}

/// A node that is there as long as this is, whenever ZooKeeper is.
pub(crate) struct Registered {
    /// `None` once it is on its way out.
    node: Arc<Mutex<Option<Ephemeral>>>,
    _zookeeper: ZooKeeper,
}

impl Registered {
    /// Begins to register, and returns at once, whether or not ZooKeeper can be reached. When the agent is ready, its
    /// node says so.
    pub(crate) fn start(
        ensemble: Ensemble,
        agent: AgentNode,
        ready: &Arc<Ready>,
    ) -> Result<Self, zk_config::Error> {
        let zookeeper = ZooKeeper::start(ensemble)?;
        let name = agent.address.ip().to_canonical().to_string();
        tracing::info!(node = name, address = %agent.address, "registers in ZooKeeper");
        let node = Arc::new(Mutex::new(Some(zookeeper.register_agent(&name, &agent)?)));
        let same = Arc::clone(&node);
        ready.then(move || {
            if let Some(node) = &*same.lock().unwrap_or_else(PoisonError::into_inner) {
                let agent = AgentNode { ready: true, ..agent };
                node.update(serde_json::to_vec(&agent).expect("plain fields are always JSON"));
            }
        });
        Ok(Self { node, _zookeeper: zookeeper })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // Topologies shouldn't call in vain until the session expires.
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(node) = node
            && let Err(error) = node.remove()
        {
            tracing::info!(%error, "the node in ZooKeeper goes with its session");
        }
    }
}
