//! The demo's agents: each in this process, spoken to over Thrift, and where we may with a network namespace of
//! its own, so that its bans stand in a real nftables and touch nobody.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use agent::enforcer::Enforcer;
use agent::enforcer::nftables::Nftables;
use agent::key::Key;
use agent::{Choice, Config, Running};
use nix::sched::{CloneFlags, unshare};

use super::AGENTS;
use super::story::Story;
use crate::adapters::fleet::AgentConfig;
use crate::app::random_key;

pub(super) struct DemoAgents {
    running: Vec<(AgentConfig, Running)>,
}

impl DemoAgents {
    pub(super) fn start(story: &Arc<Story>) -> anyhow::Result<Self> {
        let mut running = Vec::new();
        for number in 0..AGENTS {
            let mkey = random_key()?;
            let enforcer = match in_a_namespace() {
                Ok(enforcer) => Choice::Own(enforcer),
                Err(why) => {
                    if number == 0 {
                        story.say(&format!("no nftables of their own ({why}), so the agents only run dry"));
                    }
                    Choice::DryRun
                }
            };
            let config = Config {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                enforcer,
                observer: Some(story.observer(number)),
                ..Config::new(Key::new(&mkey)?)
            };
            let agent = agent::start(config)?;
            let name = format!("agent-{}", number + 1).into();
            running.push((
                AgentConfig { name, address: agent.address(), mkey, tls: None, original: false },
                agent,
            ));
        }
        Ok(Self { running })
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let line = |(config, agent): &(AgentConfig, Running)| {
            format!("{} at {}: {}", config.name, config.address, agent.enforcer_name())
        };
        self.running.iter().map(line).collect()
    }

    pub(super) fn addresses(&self) -> Vec<AgentConfig> {
        self.running.iter().map(|(config, _)| config.clone()).collect()
    }

    pub(super) fn stop(self) {
        self.running.into_iter().for_each(|(_, agent)| agent.stop());
    }
}

/// An nftables in a new network namespace. A thread goes there and opens its socket, which stays in it and keeps it
/// alive; with the socket the namespace is gone, and the table with it.
fn in_a_namespace() -> Result<Box<dyn Enforcer>, String> {
    let open = || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
        Nftables::open()
            .map(|nftables| Box::new(nftables) as Box<dyn Enforcer>)
            .map_err(|error| error.to_string())
    };
    let thread = thread::Builder::new().name("namespace".to_owned()).spawn(open);
    let opened = thread.map_err(|error| error.to_string())?.join();
    opened.map_err(|_| "it broke".to_owned())?
}
