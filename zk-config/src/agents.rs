//! The agents of the fleet: an ephemeral node for each, below `agent_list/iptables`, named by its address.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::Child;

/// Where agents of 2016 listen, which say nothing about themselves.
pub const ORIGINAL_PORT: u16 = 9090;
/// Where agents are listed, below the root.
pub(crate) const AGENTS: &str = "agent_list/iptables";
/// The most that an agent may say about itself, in bytes.
const LONGEST: usize = 64 * 1024;

/// What our agents say about themselves. Keys that aren't known are passed over, so that newer agents can say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentNode {
    /// Where it can be reached.
    pub address: SocketAddr,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// By what means it blocks: `nftables`, `ipset`, ….
    #[serde(default)]
    pub enforcer: String,
    /// Whether it wants TLS.
    #[serde(default)]
    pub tls: bool,
    /// Whether it holds its bans already; an agent that doesn't say is.
    #[serde(default = "yes")]
    pub ready: bool,
}

fn yes() -> bool {
    true
}

/// What a node in the list of agents says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentData {
    /// Nothing: an agent of 2016, which listens on [`ORIGINAL_PORT`] of the address that names the node.
    Original,
    /// One of ours.
    Ours(AgentNode),
    /// Something that can't be used, and why.
    Unreadable(String),
}

/// A node in the list of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAgent {
    /// The node's name; an address, unless the data is [`AgentData::Unreadable`].
    pub node: String,
    /// What it says.
    pub data: AgentData,
}

impl ListedAgent {
    /// Where the agent can be reached, unless its node is unreadable.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.data {
            AgentData::Original => Some(SocketAddr::new(self.node.parse().ok()?, ORIGINAL_PORT)),
            AgentData::Ours(agent) => Some(agent.address),
            AgentData::Unreadable(_) => None,
        }
    }

    pub(crate) fn of(child: Child) -> Self {
        let data = if child.name.parse::<IpAddr>().is_err() {
            AgentData::Unreadable(format!("`{}` is no IP address", child.name.escape_debug()))
        } else {
            AgentData::of(&child.data)
        };
        Self { node: child.name, data }
    }
}

impl AgentData {
    /// What the bytes of a node say.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        if data.is_empty() {
            return Self::Original;
        }
        if data.len() > LONGEST {
            return Self::Unreadable(format!(
                "{} bytes are more than an agent says about itself",
                data.len()
            ));
        }
        match serde_json::from_slice::<AgentNode>(data) {
            Ok(agent) if agent.address.port() == 0 => Self::Unreadable("port 0 can't be reached".to_owned()),
            Ok(agent) if agent.address.ip().is_unspecified() => {
                Self::Unreadable(format!("{} is the address of no host", agent.address.ip()))
            }
            Ok(agent) => Self::Ours(agent),
            Err(error) => Self::Unreadable(format!("what it says is no agent's JSON: {error}")),
        }
    }
}

impl AgentNode {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields are always JSON")
    }
}

/// Whether both nodes are of agents at the same address.
pub(crate) fn same_agent(old: &[u8], new: &[u8]) -> bool {
    match (AgentData::of(old), AgentData::of(new)) {
        (AgentData::Ours(old), AgentData::Ours(new)) => old.address == new.address,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, data: &[u8]) -> ListedAgent {
        ListedAgent::of(Child { name: name.to_owned(), data: data.to_vec(), czxid: 1, mzxid: 1 })
    }

    fn unreadable(name: &str, data: &[u8]) -> bool {
        let agent = listed(name, data);
        matches!(agent.data, AgentData::Unreadable(_)) && agent.address().is_none()
    }

    #[test]
    fn both_kinds_of_agents_are_read() {
        assert_eq!(listed("10.0.0.1", b"").address(), Some("10.0.0.1:9090".parse().unwrap()));
        assert_eq!(listed("2001:db8::1", b"").address(), Some("[2001:db8::1]:9090".parse().unwrap()));
        let node =
            br#"{"address":"192.0.2.7:19090","version":"1","enforcer":"nftables","tls":true,"later":[1]}"#;
        let agent = AgentNode {
            address: "192.0.2.7:19090".parse().unwrap(),
            version: "1".to_owned(),
            enforcer: "nftables".to_owned(),
            tls: true,
            ready: true,
        };
        assert_eq!(listed("10.0.0.1", node).data, AgentData::Ours(agent.clone()));
        assert_eq!(AgentData::of(&agent.bytes()), AgentData::Ours(agent));
    }

    #[test]
    fn anything_else_is_unreadable() {
        for data in [
            &b"\0"[..],
            b" ",
            b"{}",
            b"[]",
            b"null",
            b"{\"address\":",
            b"\xff\xfe\x00",
            br#"{"address":"host:1"}"#,
            br#"{"address":"10.0.0.1"}"#,
            br#"{"address":"10.0.0.1:0"}"#,
            br#"{"address":"0.0.0.0:9090"}"#,
            br#"{"address":"10.0.0.1:9090","tls":"perhaps"}"#,
            &[b' '; LONGEST + 1],
            &[b'['; 4096],
        ] {
            assert!(unreadable("10.0.0.1", data), "{}", data.escape_ascii());
        }
        for name in ["", "host", "10.0.0.1:9090", "10.0.0", "10.0.0.1/32", "[::1]", "\u{202e}1.1.1.1"] {
            assert!(unreadable(name, b""), "{name}");
        }
    }
}
