//! The full desired state, as it comes in part by part, and what differs from it.
//!
//! Orders may come in between the parts; they are newer than the snapshot. So their targets are left as they are:
//! the snapshot has been overtaken there.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use ccfirewall_thrift::flag;
use model::network::Network;

use super::{Outcome, Read, SAME, State, Wanted, apart, failed, over};

/// More bans than this aren't taken in one snapshot.
const MAX_BANS: usize = 2_000_000;

pub(super) struct Snapshot {
    pub(super) connection: u64,
    epoch: i64,
    desired: HashMap<Network, Instant>,
    overtaken: HashSet<Network>,
}

impl Snapshot {
    pub(super) fn new(connection: u64, epoch: i64) -> Self {
        Self { connection, epoch, desired: HashMap::new(), overtaken: HashSet::new() }
    }

    /// Newer orders have come for these.
    pub(super) fn overtaken<'a>(&mut self, targets: impl Iterator<Item = &'a Network>) {
        self.overtaken.extend(targets);
    }
}

/// What differed from a snapshot, and doesn't any more.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    /// Bans that were missing.
    pub(super) added: Vec<(Network, Instant)>,
    /// Bans that nobody wants.
    pub(super) lifted: Vec<Network>,
    /// How many ended at another time.
    changed: usize,
}

impl fmt::Display for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (added, lifted, changed) = (self.added.len(), self.lifted.len(), self.changed);
        let all = added + lifted + changed;
        write!(f, "{all} differences repaired: {added} added, {lifted} lifted, {changed} set to another end")
    }
}

impl State {
    pub(super) fn take_part(
        &mut self,
        connection: u64,
        epoch: i64,
        bans: &[Read<Wanted>],
        now: Instant,
    ) -> Result<Vec<Outcome>, Outcome> {
        let known = &self.known;
        let Some(snapshot) =
            self.snapshot.as_mut().filter(|open| open.connection == connection && open.epoch == epoch)
        else {
            let text = "no snapshot was begun on this connection, or another one has followed: begin again with \
                        the first part";
            return Err(Outcome::new(flag::FAILED, text));
        };
        if snapshot.desired.len() + bans.len() > MAX_BANS {
            self.snapshot = None;
            return Err(Outcome::new(flag::FAILED, format!("a snapshot holds at most {MAX_BANS} bans")));
        }
        let mut take = |wanted: &Read<Wanted>| {
            let wanted = match wanted {
                Ok(wanted) if wanted.until <= now => return over(),
                Ok(wanted) => wanted,
                Err(outcome) => return outcome.clone(),
            };
            // Where a target comes twice, neither ban ends early.
            let until = snapshot.desired.entry(wanted.target).or_insert(wanted.until);
            *until = wanted.until.max(*until);
            match known.get(&wanted.target) {
                Some(before) if *before > now && apart(*before, *until) <= SAME => {
                    Outcome::new(flag::ALREADY, "banned already, for as long")
                }
                _ => Outcome::new(flag::DONE, "taken"),
            }
        };
        Ok(bans.iter().map(&mut take).collect())
    }

    /// Ends the snapshot: makes the enforcer hold what is desired.
    pub(super) fn repair(&mut self) -> Result<Repairs, Outcome> {
        let Some(Snapshot { mut desired, overtaken, .. }) = self.snapshot.take() else {
            return Ok(Repairs::default());
        };
        desired.retain(|target, _| !overtaken.contains(target));
        // What is left of a ban was read somewhere between these two.
        let before = (self.clock)();
        let held = self.read_held().map_err(|error| failed(&error))?;
        let after = (self.clock)();
        let mut repairs = Repairs::default();
        let mut block = Vec::new();
        for (target, left) in held {
            if overtaken.contains(&target) || left.is_zero() {
                continue;
            }
            match desired.remove(&target) {
                // Over for the owner, for whom it began a little earlier; it ends here by itself.
                None if left <= SAME => {}
                None => repairs.lifted.push(target),
                Some(until) if until + SAME < before + left || until > after + left + SAME => {
                    repairs.changed += 1;
                    block.push((target, until));
                }
                Some(_) => {}
            }
        }
        repairs.added.extend(desired.into_iter().filter(|(_, until)| *until > after));
        block.extend(&repairs.added);
        self.enforce(&block, &repairs.lifted)?;
        Ok(repairs)
    }
}
