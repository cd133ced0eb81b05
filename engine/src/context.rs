//! What a task knows about itself.

use std::sync::Arc;

use crate::metrics::{ComponentMetrics, TaskMetrics};

/// Which task of which component this is. Factories, `prepare` and `open` get it.
#[derive(Clone, Debug)]
pub struct TaskContext {
    component: Arc<str>,
    task: usize,
    tasks: usize,
    metrics: TaskMetrics,
}

impl TaskContext {
    pub(crate) fn new(metrics: &Arc<ComponentMetrics>, task: usize, tasks: usize) -> Self {
        TaskContext {
            component: metrics.name().clone(),
            task,
            tasks,
            metrics: TaskMetrics::new(metrics.clone(), task),
        }
    }

    /// A context for trying a spout or bolt without a topology.
    #[must_use]
    pub fn standalone(component: &str) -> Self {
        Self::new(&Arc::new(ComponentMetrics::new(component)), 0, 1)
    }

    /// The component's name in the topology.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// This task's index, from 0.
    #[must_use]
    pub fn task(&self) -> usize {
        self.task
    }

    /// How many tasks the component has.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// Where the task counts what the engine can't see.
    #[must_use]
    pub fn metrics(&self) -> &TaskMetrics {
        &self.metrics
    }
}
