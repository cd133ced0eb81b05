//! ZooKeeper for ccfirewall: what every process of the fleet has to agree on.
//!
//! [`ZooKeeper`] keeps one session with the ensemble, in a thread of its own. A session that expires is gone, so the
//! supervisor (`session`) makes another one, and every duty that was asked for goes on with it: watches read again,
//! ephemeral nodes are created again, elections are joined again. Callers are plain threads; calls block, and
//! callbacks run on a thread of their own each, one at a time and in order.
//!
//! All paths are given relative to the [root](Ensemble::root), `/ccfirewall` unless told otherwise:
//!
//! | node | what it is | here |
//! |---|---|---|
//! | `config` | the settings | [`ZooKeeper::watch_settings`], [`ZooKeeper::write_settings`] |
//! | `config_history` | every accepted version, with who and when | [`ZooKeeper::history`] |
//! | `agent_list/iptables/<ip>` | an ephemeral node for each agent | [`ZooKeeper::register_agent`], [`ZooKeeper::watch_agents`] |
//! | any | an ephemeral node that is kept | [`ZooKeeper::keep_ephemeral`], [`ZooKeeper::watch_children`] |
//! | any | an election; the winner's epoch is the zxid that created the node | [`ZooKeeper::campaign`] |

mod agents;
mod children;
mod duty;
mod election;
mod ensemble;
mod ephemeral;
mod error;
mod history;
mod look;
mod running;
mod session;
mod settings;
mod tell;
mod watcher;
mod zookeeper;

pub use agents::{AgentData, AgentNode, ListedAgent, ORIGINAL_PORT};
pub use children::Child;
pub use election::{Campaign, Election, Holder};
pub use ensemble::{Ensemble, Tls};
pub use ephemeral::{Ephemeral, Held};
pub use error::Error;
pub use history::{HistoryEntry, HistoryVersion, KEPT_VERSIONS};
pub use look::{Look, look};
pub use session::State;
pub use settings::{ConfigNode, Expected, SettingsSeen};
pub use zookeeper::{Watch, ZooKeeper};
