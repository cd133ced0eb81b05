//! The agent's node in ZooKeeper: an ephemeral one below `agent_list/iptables`, by which topologies find it. It is kept
//! over sessions that expire, and goes when the agent stops. Where ZooKeeper is there and the node isn't, mostly because
//! another agent is listed at the same address, no owner comes: then that is said.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use zk_config::{AgentNode, Ensemble, Ephemeral, Held, State, ZooKeeper};

use crate::ready::Ready;
use crate::start::StartError;

/// Where an agent registers itself, and as what.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The ensemble.
    pub ensemble: Ensemble,
    /// Where owners reach the agent; `None`: where it listens.
    pub advertise: Option<SocketAddr>,
}

/// Why the agent isn't listed, once that is no matter of moments.
#[derive(Default)]
pub(crate) struct Unlisted(Mutex<Option<String>>);

impl Unlisted {
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, why: Option<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &why) {
            (None, Some(why)) => tracing::warn!("{why}"),
            (Some(_), None) => tracing::info!("the agent is listed in ZooKeeper now"),
            _ => {}
        }
        *known = why;
    }
}

/// How often it is looked whether the node is there.
const LOOK: Duration = Duration::from_secs(1);
/// Without it for so long with ZooKeeper there, something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node that is there as long as this is, whenever ZooKeeper is.
pub(crate) struct Registered {
    /// `None` once it is on its way out.
    node: Arc<Mutex<Option<Ephemeral>>>,
    looks: Option<(Sender<()>, JoinHandle<()>)>,
    _zookeeper: ZooKeeper,
}

impl Registered {
    /// Begins to register, and returns at once, whether or not ZooKeeper can be reached. When the agent is ready, its
    /// node says so.
    pub(crate) fn start(
        ensemble: Ensemble,
        agent: AgentNode,
        ready: &Arc<Ready>,
        unlisted: &Arc<Unlisted>,
    ) -> Result<Self, StartError> {
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
        let (stop, stopped) = channel();
        let look = {
            let (zookeeper, node, unlisted) = (zookeeper.clone(), Arc::clone(&node), Arc::clone(unlisted));
            move || look(&zookeeper, &node, &unlisted, &stopped)
        };
        let looks = Builder::new().name("registered".to_owned()).spawn(look);
        let looks = looks.map_err(|error| StartError::System(error.to_string()))?;
        Ok(Self { node, looks: Some((stop, looks)), _zookeeper: zookeeper })
    }
}

/// Looks whether the node is there, until the stop.
fn look(zookeeper: &ZooKeeper, node: &Mutex<Option<Ephemeral>>, unlisted: &Unlisted, stopped: &Receiver<()>) {
    let mut missing: Option<Instant> = None;
    while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let held = node.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Ephemeral::held);
        match (held, zookeeper.state()) {
            (Some(Held::No(why)), State::Connected { .. }) => {
                if missing.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    unlisted.set(Some(format!(
                        "NOT LISTED in ZooKeeper, so no owner may come: {why} (does another agent have the same \
                         address? --advertise says another one)"
                    )));
                }
            }
            // While ZooKeeper is away nobody can say.
            (_, State::Away { .. }) => missing = None,
            (_, State::Connected { .. }) => {
                missing = None;
                unlisted.set(None);
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some((stop, looks)) = self.looks.take() {
            drop(stop);
            if looks.join().is_err() {
                tracing::error!("the look at the node in ZooKeeper panicked");
            }
        }
        // Topologies shouldn't call in vain until the session expires.
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(node) = node
            && let Err(error) = node.remove()
        {
            tracing::info!(%error, "the node in ZooKeeper goes with its session");
        }
    }
}
