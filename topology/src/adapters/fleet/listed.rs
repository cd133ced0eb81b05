//! From ZooKeeper's list of agents to those that a fleet calls.

use zk_config::{AgentData, ListedAgent};

use super::{AgentConfig, AgentTls};

/// The agents of a list, named as their nodes are, which is their address. All of them share `mkey`; those that want
/// TLS are spoken to by `tls`. Left out, and told in the log: nodes that can't be read, and agents that want TLS
/// where `tls` is `None`, for the key mustn't go to them in clear text.
#[must_use]
pub fn agents_of(list: &[ListedAgent], mkey: &str, tls: Option<&AgentTls>) -> Vec<AgentConfig> {
    let agent = |listed: &ListedAgent| {
        let wants_tls = match &listed.data {
            AgentData::Original => false,
            AgentData::Ours(agent) => agent.tls,
            AgentData::Unreadable(why) => {
                tracing::warn!(node = ?listed.node, why, "no agent: its node in ZooKeeper can't be read");
                return None;
            }
        };
        if wants_tls && tls.is_none() {
            tracing::warn!(
                agent = listed.node,
                "left out: it wants TLS, and no authority for agents is configured"
            );
            return None;
        }
        Some(AgentConfig {
            name: listed.node.as_str().into(),
            address: listed.address()?,
            mkey: mkey.to_owned(),
            tls: tls.filter(|_| wants_tls).cloned(),
        })
    };
    list.iter().filter_map(agent).collect()
}

#[cfg(test)]
mod tests {
    use zk_config::AgentNode;

    use super::*;

    #[test]
    fn each_is_called_as_it_wants_or_not_at_all() {
        let ours = |tls| {
            AgentData::Ours(AgentNode {
                address: "192.0.2.7:19090".parse().unwrap(),
                version: String::new(),
                enforcer: String::new(),
                tls,
                ready: false,
            })
        };
        let listed = |node: &str, data| ListedAgent { node: node.to_owned(), data };
        let list = [
            listed("10.0.0.1", AgentData::Original),
            listed("10.0.0.2", ours(false)),
            listed("10.0.0.3", ours(true)),
            listed("\u{1b}", AgentData::Unreadable("no".to_owned())),
        ];
        let agents = agents_of(&list, "key", None);
        let called: Vec<_> = agents
            .iter()
            .map(|agent| (&*agent.name, agent.address.to_string(), agent.tls.is_some()))
            .collect();
        assert_eq!(
            called,
            [("10.0.0.1", "10.0.0.1:9090".into(), false), ("10.0.0.2", "192.0.2.7:19090".into(), false)]
        );
    }
}
