//! Rulings in, targets out whose time is over: the timer of bans. They go back to block, which knows whether a ban
//! was extended meanwhile.

use std::collections::{BTreeSet, HashMap};

use engine::{Bolt, Collector, Timestamp};
use model::ban::{Ban, Change};
use model::ledger::Ledger;
use model::network::Network;
use model::units::Moment;

use crate::tuples::{Due, Ruling};

/// The bolt. One task.
#[derive(Debug, Default)]
pub struct Unblock {
    in_force: Timers,
    held: Timers,
}

/// One moment for each target.
#[derive(Debug, Default)]
struct Timers {
    order: BTreeSet<(Moment, Network)>,
    ends: HashMap<Network, Moment>,
}

impl Timers {
    fn set(&mut self, ban: &Ban) {
        self.clear(&ban.target);
        self.ends.insert(ban.target, ban.end);
        self.order.insert((ban.end, ban.target));
    }

    fn clear(&mut self, target: &Network) {
        if let Some(end) = self.ends.remove(target) {
            self.order.remove(&(end, *target));
        }
    }

    /// Targets whose moment has come. They stay set until somebody clears them: who is told may be gone by then.
    fn due(&self, now: Moment) -> impl Iterator<Item = Network> {
        self.order.iter().take_while(move |(end, _)| *end <= now).take(AT_ONCE).map(|(_, target)| *target)
    }
}

/// So many bans end at a tick; the others at the next ones.
const AT_ONCE: usize = 50_000;

impl Unblock {
    /// Goes on with the bans of the time before the start.
    #[must_use]
    pub fn new(ledger: &Ledger) -> Self {
        let mut unblock = Self::default();
        ledger.bans().for_each(|ban| unblock.in_force.set(ban));
        ledger.held().for_each(|held| unblock.held.set(&held.ban));
        unblock
    }
}

impl Bolt for Unblock {
    type In = Ruling;
    type Out = Due;

    fn execute(&mut self, ruling: Ruling, _: &mut Collector<'_, Due>) {
        for change in &ruling.changes {
            match change {
                Change::Banned(ban) | Change::Extended(ban) => self.in_force.set(ban),
                Change::Unbanned { ban, .. } => self.in_force.clear(&ban.target),
                Change::Held { ban, .. } => self.held.set(ban),
                Change::Unheld { ban, .. } => self.held.clear(&ban.target),
            }
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Collector<'_, Due>) {
        let now = Moment(now.as_millis() as i64);
        let targets: Vec<Network> = self.in_force.due(now).chain(self.held.due(now)).collect();
        if !targets.is_empty() {
            out.emit(Due { now, targets });
        }
    }
}
