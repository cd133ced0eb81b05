//! The agents that the configuration names, and what is needed to speak to them: keys and certificates are read here.

use std::collections::HashMap;
use std::sync::Arc;

use ccfirewall_thrift::tls::{ClientTls, TlsFiles};
use zk_config::ListedAgent;

use crate::adapters::fleet::{AgentConfig, AgentTls, agents_of};
use crate::config::{RegisteredAgents, RemoteAgent, RemoteTls};

/// Those under `[[agents]]`, in their order; of one that can't be spoken to, why.
pub(crate) fn configured(agents: &[RemoteAgent]) -> Vec<anyhow::Result<AgentConfig>> {
    // Agents with the same files share what was made of them.
    let mut known: HashMap<&TlsFiles, Arc<ClientTls>> = HashMap::new();
    let mut all = Vec::with_capacity(agents.len());
    for agent in agents {
        let tls = match &agent.tls {
            None => Ok(None),
            Some(RemoteTls { files, name }) => match known.get(files) {
                Some(files) => Ok(files.clone()),
                None => ClientTls::new(files.clone()).map(Arc::new),
            }
            .map(|made| {
                known.insert(files, made.clone());
                Some(AgentTls { files: made, name: name.clone() })
            }),
        };
        all.push(tls.map_err(anyhow::Error::from).and_then(|tls| {
            let mkey = agent.mkey.read()?;
            Ok(AgentConfig { name: agent.name().into(), address: agent.address, mkey, tls, original: false })
        }));
    }
    all
}

/// What is needed to speak to agents that register in ZooKeeper.
pub(crate) struct Registry {
    mkey: String,
    tls: Option<AgentTls>,
}

impl Registry {
    /// Reads it.
    ///
    /// # Errors
    /// Where the key isn't there, or the certificates can't be used.
    pub(crate) fn read(agents: &RegisteredAgents) -> anyhow::Result<Self> {
        let tls = match &agents.tls {
            None => None,
            Some(RemoteTls { files, name }) => {
                Some(AgentTls { files: Arc::new(ClientTls::new(files.clone())?), name: name.clone() })
            }
        };
        Ok(Self { mkey: agents.mkey.read()?, tls })
    }

    /// One without TLS.
    #[cfg(test)]
    pub(crate) fn plain(mkey: &str) -> Self {
        Self { mkey: mkey.to_owned(), tls: None }
    }

    /// Those of a list that can be spoken to, and why others can't. Those that the configuration names (`fixed`) are
    /// spoken to as it says.
    pub(crate) fn agents(
        &self,
        mut listed: Vec<ListedAgent>,
        fixed: &[AgentConfig],
    ) -> (Vec<AgentConfig>, Vec<String>) {
        listed.retain(|listed| fixed.iter().all(|fixed| Some(fixed.address) != listed.address()));
        agents_of(&listed, &self.mkey, self.tls.as_ref())
    }
}
