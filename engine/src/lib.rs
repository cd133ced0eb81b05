#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod anchor;
mod blueprint;
mod bolt;
mod bolt_task;
mod builder;
mod config;
mod context;
mod edge;
mod exchange;
mod histogram;
mod layout;
mod metrics;
mod node;
mod pending;
mod reorder;
mod runtime;
mod single;
mod spout;
mod spout_task;
mod stop;
mod task;
pub mod testing;
mod time;
mod topology;
mod tuple;

pub use anchor::Anchor;
pub use bolt::{Bolt, Collector};
pub use builder::{BoltHandle, Stream, TopologyBuilder};
pub use config::Config;
pub use context::TaskContext;
pub use histogram::HistogramSnapshot;
pub use layout::{BuildError, BuildErrors};
pub use metrics::{ComponentKind, ComponentSnapshot, Metrics, MetricsSnapshot, SpoutSnapshot, TaskMetrics};
pub use runtime::{LocalRuntime, Running};
pub use spout::{BatchId, Next, Spout};
pub use stop::StopHandle;
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use topology::{ComponentDrain, DrainReport, Topology};
pub use tuple::{Keyed, Partition, Tuple, Wire, stable_hash, task_for};
