//! From ZooKeeper's list of agents to those that a fleet calls.

use zk_config::{AgentData, ListedAgent};

use super::{AgentConfig, AgentTls};

/// The agents of a list, named as their nodes are, which is their address; and why others are left out, in words. All
/// share `mkey`, and are spoken to by `tls` where that is there. Left out are nodes that can't be read, and agents that
/// have TLS where we don't or the other way round: whoever can write to the list mustn't get the key in clear text.
#[must_use]
pub fn agents_of(
    list: &[ListedAgent],
    mkey: &str,
    tls: Option<&AgentTls>,
) -> (Vec<AgentConfig>, Vec<String>) {
    let (mut agents, mut left_out) = (Vec::new(), Vec::new());
    for listed in list {
        let why = match (&listed.data, tls) {
            (AgentData::Unreadable(why), _) => why.clone(),
            (AgentData::Ours(agent), None) if agent.tls => {
                "it wants TLS, and `tls_ca` isn't in [registered_agents]".to_owned()
            }
            (AgentData::Ours(agent), Some(_)) if !agent.tls => {
                "it has no TLS, and `tls_ca` is in [registered_agents]: start it with --tls-cert".to_owned()
            }
            (AgentData::Original, Some(_)) => {
                "an agent of 2016 has no TLS, and `tls_ca` is in [registered_agents]: name it under [[agents]]".to_owned()
            }
            (data, _) => {
                agents.extend(listed.address().map(|address| AgentConfig {
                    name: listed.node.as_str().into(),
                    address,
                    mkey: mkey.to_owned(),
                    tls: tls.cloned(),
                    original: *data == AgentData::Original,
                }));
                continue;
            }
        };
        left_out.push(format!("agent {}: {why}", listed.node.escape_debug()));
    }
    (agents, left_out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ccfirewall_thrift::tls::{ClientTls, TlsFiles};
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
        let check = |tls: Option<&AgentTls>, expect: &[(&str, &str, bool, bool)], left: &[(&str, &str)]| {
            let (agents, left_out) = agents_of(&list, "key", tls);
            let called: Vec<_> = agents
                .iter()
                .map(|agent| (&*agent.name, agent.address.to_string(), agent.tls.is_some(), agent.original))
                .collect();
            let expect: Vec<_> = expect
                .iter()
                .map(|&(name, address, tls, old)| (name, address.to_owned(), tls, old))
                .collect();
            assert_eq!(called, expect);
            assert_eq!(left_out.len(), left.len(), "{left_out:?}");
            for (text, (agent, why)) in left_out.iter().zip(left) {
                assert!(text.starts_with(&format!("agent {agent}: ")) && text.contains(why), "{text}");
            }
        };
        check(
            None,
            &[("10.0.0.1", "10.0.0.1:9090", false, true), ("10.0.0.2", "192.0.2.7:19090", false, false)],
            &[("10.0.0.3", "wants TLS"), ("\\u{1b}", "no")],
        );
        let ca = rcgen::generate_simple_self_signed(["agents".to_owned()]).unwrap().cert.pem();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
        let files = TlsFiles { ca: Some(folder.path().join("ca.pem")), ..TlsFiles::default() };
        let tls = AgentTls { files: Arc::new(ClientTls::new(files).unwrap()), name: None };
        check(
            Some(&tls),
            &[("10.0.0.3", "192.0.2.7:19090", true, false)],
            &[("10.0.0.1", "2016"), ("10.0.0.2", "has no TLS"), ("\\u{1b}", "no")],
        );
    }
}
