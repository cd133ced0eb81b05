//! A worker's view of itself, and of the bans while it owns them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bolts::tuples::{CommandOrder, Reply};
use engine::MetricsSnapshot;
use model::ban::Ban;
use model::ledger::HeldBan;
use zk_config::State;

use super::Base;
use super::stage::StageView;
use crate::app::ownership::NODE;
use crate::app::room::{Room, history};
use crate::config::Part;
use crate::control::{
    self, AgentView, BanRow, Control, Health, HistoryFilter, Problem, SourceHealth, Status,
};

/// What is to be seen.
pub(super) struct WorkerRoom {
    base: Arc<Base>,
    /// What runs of its parts.
    stages: Mutex<BTreeMap<Part, StageView>>,
    owner: Mutex<Option<Arc<Room>>>,
}

impl WorkerRoom {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { base, stages: Mutex::default(), owner: Mutex::new(None) }
    }

    /// A part runs, or doesn't.
    pub(super) fn stage(&self, part: Part, stage: Option<StageView>) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        match stage {
            Some(stage) => drop(stages.insert(part, stage)),
            None => drop(stages.remove(&part)),
        }
    }

    /// The bans, while they are ours.
    pub(super) fn owner(&self, owner: Option<Arc<Room>>) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    }

    fn owned(&self) -> Option<Arc<Room>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn running(&self) -> Vec<StageView> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn sources(&self) -> Vec<SourceHealth> {
        self.running().iter().flat_map(|stage| stage.source.1.health(&stage.source.0)).collect()
    }

    fn alarms(&self) -> Vec<Problem> {
        let problem = |alarm: bolts::ports::Alarm| Problem { kind: alarm.kind.to_owned(), text: alarm.text };
        self.base.around.board.alarms().into_iter().map(problem).collect()
    }

    fn not_here(&self) -> String {
        let holder = self.base.zookeeper.holder(NODE);
        match holder {
            Ok(Some(holder)) => format!(
                "the worker {} owns the bans; ask there",
                String::from_utf8_lossy(&holder.data).escape_debug()
            ),
            Ok(None) => "no worker owns the bans at the moment; try again".to_owned(),
            Err(error) => format!("who owns the bans isn't known: {error}"),
        }
    }
}

impl Control for WorkerRoom {
    fn health(&self) -> Health {
        let problem = |kind: &str, text: String| Problem { kind: kind.to_owned(), text };
        let sources = self.sources().into_iter().filter_map(|source| source.last_error);
        let mut severe: Vec<Problem> = sources.map(|text| problem("source", text)).collect();
        if let State::Away { why, .. } = self.base.zookeeper.state() {
            severe.push(problem("zookeeper", format!("ZooKeeper is away: {why}")));
        }
        if self.running().len() < self.base.config.parts().len() {
            severe.push(problem(
                "worker",
                "lines aren't read at the moment; see what else is wrong".to_owned(),
            ));
        }
        let owner = self.owned().map(|room| room.health());
        severe.extend(owner.into_iter().filter(|health| !health.ok).flat_map(|health| health.problems));
        let ok = severe.is_empty();
        for alarm in self.alarms() {
            if !severe.contains(&alarm) {
                severe.push(alarm);
            }
        }
        Health { ok, problems: severe }
    }

    fn status(&self) -> Status {
        if let Some(room) = self.owned() {
            return Status { sources: self.sources(), ..room.status() };
        }
        let settings = self.base.settings_status.load();
        let texts =
            |findings: &[model::settings::Finding]| findings.iter().map(ToString::to_string).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.base.started.0,
            uptime: self.base.started.1.elapsed(),
            live: self.base.around.board.status(),
            alarms: self.alarms(),
            settings: control::SettingsStatus {
                version: settings.version,
                loaded_at: settings.loaded_at,
                errors: texts(&settings.errors),
                warnings: texts(&settings.warnings),
            },
            sources: self.sources(),
            ..Status::default()
        }
    }

    fn metrics(&self) -> MetricsSnapshot {
        let stages = self.running().into_iter().map(|stage| stage.metrics.snapshot());
        let owner = self.owned().map(|room| room.metrics());
        let topology = self.base.config.worker.role.name().to_owned();
        let components = stages.chain(owner).flat_map(|snapshot| snapshot.components).collect();
        MetricsSnapshot { topology, components }
    }

    fn bans(&self) -> Vec<Ban> {
        self.owned().map_or(Vec::new(), |room| room.bans())
    }

    fn held(&self) -> Vec<HeldBan> {
        self.owned().map_or(Vec::new(), |room| room.held())
    }

    fn agents(&self) -> Vec<AgentView> {
        self.owned().map_or(Vec::new(), |room| room.agents())
    }

    fn history(&self, filter: &HistoryFilter) -> Result<Vec<BanRow>, String> {
        history(&self.base.config.store.database, filter)
    }

    fn command(&self, order: CommandOrder) -> Result<Reply, String> {
        match self.owned() {
            Some(room) => room.command_shared(order),
            None => Err(self.not_here()),
        }
    }
}
