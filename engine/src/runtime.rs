//! Runs a topology in this process: on a thread for each task, or all on the calling thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::single::SingleThread;
use crate::stop::StopHandle;
use crate::task::{Ending, Group, Progress};
use crate::topology::{Assembly, DrainReport, Endings, Topology};

/// How long a task waits for input before it looks whether the topology was given up.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// Runs topologies in this process.
#[derive(Clone, Debug, Default)]
pub struct LocalRuntime {
    config: Config,
}

impl LocalRuntime {
    /// A runtime with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        LocalRuntime { config }
    }

    /// Starts the topology: a thread for each task of each spout and each bolt that isn't local.
    ///
    /// # Panics
    /// If a factory panics, or the system has no more threads.
    #[must_use = "a running topology is given up when its handle is dropped"]
    pub fn start(&self, topology: Topology) -> Running {
        let abort = Arc::new(AtomicBool::new(false));
        let capacity = Some(self.config.channel_capacity);
        let (metrics, stop) = (topology.metrics(), topology.stop_handle());
        let Assembly { groups, endings, .. } = topology.assemble(&self.config, capacity, &abort, false);
        let (sender, finished) = bounded(groups.len());
        let awaited = groups.len();
        for group in groups {
            let (component, task) = group.id();
            let name = endings.name(component);
            let abort = abort.clone();
            let sender = sender.clone();
            thread::Builder::new()
                .name(format!("{name}-{task}"))
                .spawn(move || run(group, &abort, &sender))
                .expect("the system has threads left");
        }
        Running { endings: Some(endings), metrics, stop, abort, finished, awaited }
    }

    /// Runs the topology on the calling thread until its spouts end, or are stopped by the topology's
    /// [`StopHandle`], and everything is drained. Each batch goes all the way before the next is emitted.
    ///
    /// # Panics
    /// If a factory panics.
    #[must_use]
    pub fn run_on_this_thread(&self, topology: Topology) -> DrainReport {
        let mut single = SingleThread::new(topology, &self.config, false);
        while single.run_until_idle() {
            single.wait();
        }
        single.finish()
    }
}

struct Finished {
    id: (usize, usize),
    drained: bool,
    ending: Ending,
}

/// The life of a task's thread.
fn run(mut group: Box<dyn Group>, abort: &AtomicBool, finished: &Sender<Finished>) {
    group.prepare();
    let drained = loop {
        if abort.load(Ordering::Relaxed) {
            break false;
        }
        match group.poll() {
            Progress::More => {}
            Progress::Worked | Progress::Idle => group.wait(POLL_WAIT),
            Progress::Done => break true,
        }
    };
    let id = group.id();
    let ending = group.finish(drained);
    // Whoever gave the topology up isn't there to hear it.
    let _ = finished.send(Finished { id, drained, ending });
}

/// A topology that runs on threads. Dropping it gives the topology up: use [`Running::wait`] or
/// [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    endings: Option<Endings>,
    metrics: Metrics,
    stop: StopHandle,
    abort: Arc<AtomicBool>,
    finished: Receiver<Finished>,
    /// Tasks that have not ended.
    awaited: usize,
}

impl Running {
    /// The numbers of the components.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Asks the spouts to stop, from any thread. [`Running::wait`] then returns when all is drained.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Waits until all spouts have ended and everything is drained.
    #[must_use]
    pub fn wait(mut self) -> DrainReport {
        while self.awaited > 0 {
            match self.finished.recv() {
                Ok(finished) => self.note(&finished),
                Err(_) => break,
            }
        }
        self.report()
    }

    /// Waits like [`Running::wait`], but not longer than that; says whether all tasks have ended.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.awaited > 0 {
            match self.finished.recv_deadline(deadline) {
                Ok(finished) => self.note(&finished),
                Err(_) => break,
            }
        }
        self.awaited == 0
    }

    /// Stops the topology: the spouts emit no more, what is pending is finished, and the components drain
    /// and clean up in topology order. After `deadline` the rest is given up: tasks end without cleanup,
    /// what they had counts as failed and not as acked, and the report names them. A task that is stuck in
    /// a bolt keeps its thread until the bolt returns.
    #[must_use]
    pub fn stop(mut self, deadline: Duration) -> DrainReport {
        self.stop.stop();
        self.wait_timeout(deadline);
        self.report()
    }

    fn note(&mut self, finished: &Finished) {
        self.awaited -= 1;
        if let Some(endings) = &mut self.endings {
            endings.ended(finished.id, finished.drained, finished.ending);
        }
    }

    fn report(&mut self) -> DrainReport {
        self.abort.store(true, Ordering::Relaxed);
        let endings = self.endings.take();
        endings.expect("a report ends the handle").report()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        self.abort.store(true, Ordering::Relaxed);
    }
}
