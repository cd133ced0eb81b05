//! The settings of a run: from ZooKeeper, or from a file.

use std::sync::Arc;

use anyhow::Context as _;
use bolts::ports::{Notifier, SettingsPort};
use model::units::Moment;
use zk_config::ZooKeeper;

use crate::adapters::host::{HostGuards, RegisteredAgents};
use crate::adapters::settings_file::SettingsFile;
use crate::adapters::settings_in_force::SettingsStatus;
use crate::adapters::settings_watch::SettingsWatch;
use crate::adapters::settings_zookeeper::SettingsZooKeeper;
use crate::config::Config;

/// What is in force, kept up to date.
pub(super) struct Settled {
    pub(super) port: SettingsPort,
    pub(super) status: SettingsStatus,
    pub(super) watch: SettingsWatch,
}

impl Settled {
    /// Loads the settings, and watches them from then on.
    ///
    /// # Errors
    /// Where there are none that can be used.
    pub(super) fn watch(
        config: &Config,
        zookeeper: Option<&ZooKeeper>,
        notifier: Arc<dyn Notifier>,
        now: Moment,
    ) -> anyhow::Result<Self> {
        let agents: Vec<_> = config.agents.iter().map(|agent| agent.address.ip()).collect();
        let mut guards = HostGuards::new("/".into(), config.protect, &agents)
            .with_ssh_environment(|name| std::env::var(name).ok());
        let cant = "the watch over the settings can't start";
        if let Some(zookeeper) = zookeeper.filter(|_| config.registered_agents.is_some()) {
            guards = guards.with_registered_agents(RegisteredAgents::follow(zookeeper)?);
        }
        if let Some(zookeeper) = zookeeper {
            let seed = config.settings.as_deref();
            let source = SettingsZooKeeper::open(zookeeper, &config.state, seed, notifier, now)?;
            let (port, status) = (source.port(), source.status());
            let watch = SettingsWatch::start(source, guards).context(cant)?;
            return Ok(Self { port, status, watch });
        }
        let source = SettingsFile::open(config.settings.clone(), &config.state, notifier, now)?;
        let (port, status) = (source.port(), source.status());
        let watch = SettingsWatch::start(source, guards).context(cant)?;
        Ok(Self { port, status, watch })
    }
}
