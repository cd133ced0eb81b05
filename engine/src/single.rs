//! The same task groups as on threads, polled on one thread, upstream before downstream.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::Config;
use crate::task::{Group, Progress};
use crate::topology::{DrainReport, Endings, Topology};

pub(crate) struct SingleThread {
    spouts: Vec<Box<dyn Group>>,
    bolts: Vec<Box<dyn Group>>,
    has_feedback: bool,
    endings: Endings,
}

impl SingleThread {
    pub(crate) fn new(topology: Topology, config: &Config, through_wire: bool) -> Self {
        // A bounded queue could not be waited for here. It needs no bound: it is emptied for each batch.
        let abort = Arc::new(AtomicBool::new(false));
        let assembly = topology.assemble(config, None, &abort, through_wire);
        let mut groups = assembly.groups;
        groups.iter_mut().for_each(|group| group.prepare());
        let (spouts, bolts) = groups.into_iter().partition(|group| group.is_spout());
        SingleThread { spouts, bolts, has_feedback: assembly.has_feedback, endings: assembly.endings }
    }

    /// Works until there is nothing to do without waiting; says whether anything may come later.
    pub(crate) fn run_until_idle(&mut self) -> bool {
        loop {
            let mut worked = false;
            let mut i = 0;
            while i < self.spouts.len() {
                match self.spouts[i].poll() {
                    Progress::Done => {
                        let spout = self.spouts.remove(i);
                        let id = spout.id();
                        let ending = spout.finish(true);
                        self.endings.ended(id, true, ending);
                        worked = true;
                    }
                    progress => {
                        worked |= progress != Progress::Idle;
                        i += 1;
                    }
                }
                worked |= self.run_bolts();
            }
            if self.spouts.is_empty() {
                worked |= self.run_bolts();
            }
            if !worked {
                return !(self.spouts.is_empty() && self.bolts.is_empty());
            }
        }
    }

    /// Lets the batch that was just emitted go all the way, and says whether there was anything to do.
    fn run_bolts(&mut self) -> bool {
        let mut ever_worked = false;
        loop {
            let mut worked = false;
            let mut i = 0;
            while i < self.bolts.len() {
                match self.bolts[i].poll() {
                    Progress::More => worked = true,
                    Progress::Worked => {
                        worked = true;
                        i += 1;
                    }
                    Progress::Idle => i += 1,
                    Progress::Done => {
                        let bolt = self.bolts.remove(i);
                        let id = bolt.id();
                        let ending = bolt.finish(true);
                        self.endings.ended(id, true, ending);
                        worked = true;
                    }
                }
            }
            ever_worked |= worked;
            // The bolts come in topology order, so once is enough, unless feedback leads back up.
            if !(worked && self.has_feedback) {
                return ever_worked;
            }
        }
    }

    /// Waits for something that comes from outside: input, a clock, an anchor held elsewhere.
    pub(crate) fn wait(&mut self) {
        if let Some(spout) = self.spouts.first_mut() {
            spout.wait(Duration::from_millis(1));
        }
    }

    /// Ends what is left, drained or not, upstream before downstream.
    pub(crate) fn finish(mut self) -> DrainReport {
        self.run_until_idle();
        for spout in std::mem::take(&mut self.spouts) {
            let id = spout.id();
            let ending = spout.finish(true);
            self.endings.ended(id, true, ending);
        }
        self.run_bolts();
        self.endings.report()
    }
}
