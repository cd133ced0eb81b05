//! Holds bans in nftables, by netlink: no program needs to be installed for it.
//!
//! All of it is in a table of our own (`inet ccfirewall`), which stays when the agent goes: bans that are in the
//! kernel end there, by the kernel's clock, and an agent that starts again adopts them. Packets are dropped in
//! prerouting before connection tracking, so those of established connections and those that are forwarded (to
//! containers) are dropped as well.
//!
//! What the kernel holds is remembered, for two things. A ban whose target is held already is lifted and put in
//! force again in one transaction, as kernels before 6.12 don't give a member of a set a new time. And where
//! somebody has flushed or changed our table, it is made anew with the bans that were in it.

mod attributes;
mod elements;
mod kernel;
mod layout;
mod message;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use model::network::Network;
use rustix::io::Errno;

use super::{Enforcer, EnforcerError};
use elements::LONGEST;
use kernel::Kernel;
use layout::Width;
use message::{Batch, CREATE, DELETE_ELEMENT, EXCLUSIVE, NEW_ELEMENT};

/// The table, where nothing else is asked for.
const TABLE: &str = "ccfirewall";
/// How long past its time a ban may still be held: our clock and the kernel's aren't read in the same moment.
const DOUBT: Duration = Duration::from_secs(2);
/// Targets in a transaction: enough that the transaction itself costs nothing, and few enough that others who
/// change the firewall needn't wait long.
const IN_TRANSACTION: usize = 10_000;
/// What a target takes in a transaction at most: to be touched, deleted and added.
const TARGET_BYTES: usize = 3 * elements::BYTES;
/// What everything else takes in a transaction at most: each set with its rule, and the frames of messages.
const FRAME_BYTES: usize = 192 << 10;

/// Holds bans in a table of nftables.
pub struct Nftables {
    table: String,
    kernel: Kernel,
    /// The sets that there are.
    sets: BTreeSet<Width>,
    /// What is held and until when, as far as we know.
    bans: HashMap<Network, Instant>,
    /// At how many bans those that have ended are forgotten.
    full: usize,
}

/// What a target shall have: a ban for a time, or none.
type Change = (Network, Option<Duration>);

impl Nftables {
    /// Opens the table `inet ccfirewall` in the network namespace of this thread: makes it, or adopts it with
    /// its bans.
    ///
    /// # Errors
    /// Without the rights, without nf_tables in the kernel, or where the kernel refused.
    pub fn open() -> Result<Self, EnforcerError> {
        Self::open_table(TABLE)
    }

    /// The same with a table of another name: a letter, then letters, digits and `_`.
    ///
    /// # Errors
    /// As for [`Nftables::open`], or because of the name.
    pub fn open_table(table: &str) -> Result<Self, EnforcerError> {
        let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if table.len() > 64
            || !table.starts_with(|c: char| c.is_ascii_alphabetic())
            || !table.chars().all(rest)
        {
            return Err(EnforcerError::Failed(format!(
                "`{}` is no name for a table (a letter, then letters, digits and _, 64 at most)",
                table.escape_debug()
            )));
        }
        let kernel = Kernel::open().map_err(|errno| refused("opening a netlink socket", errno))?;
        let table = table.to_owned();
        let mut nftables = Self { table, kernel, sets: BTreeSet::new(), bans: HashMap::new(), full: 1024 };
        nftables.adopt()?;
        Ok(nftables)
    }

    /// Looks what the kernel holds, and makes the table anew where it isn't as it should be.
    fn adopt(&mut self) -> Result<(), EnforcerError> {
        // Where somebody takes a set away while we read it, we look again.
        let mut seen = self.look();
        for _ in 0..2 {
            if matches!(seen, Err(Errno::NOENT)) {
                seen = self.look();
            }
        }
        match seen {
            Ok(true) => Ok(()),
            Ok(false) => self.rebuild(),
            // How netlink answers where there's no nf_tables behind it.
            Err(Errno::INVAL) => Err(refused("reading the table", Errno::OPNOTSUPP)),
            Err(errno) => Err(refused("reading the table", errno)),
        }
    }

    /// Reads the table; says whether it is as it should be. Bans whose set is gone are kept in mind.
    fn look(&mut self) -> Result<bool, Errno> {
        let found = layout::look(&mut self.kernel, &self.table)?;
        let now = Instant::now();
        let mut held: HashMap<Network, Instant> = HashMap::with_capacity(self.bans.len());
        for &width in &found.sets {
            held.extend(self.list(width)?);
            // A listing is no snapshot: while ended bans are cleared away, others change places and may be
            // passed over. So where one is missed, a second look counts as well.
            let missed = |(target, end): (&Network, &Instant)| {
                Width::of(target) == width && *end > now + DOUBT && !held.contains_key(target)
            };
            if self.bans.iter().any(missed) {
                held.extend(self.list(width)?);
            }
        }
        let gone = |target: &Network| !found.sets.contains(&Width::of(target));
        held.extend(self.bans.drain().filter(|(target, end)| gone(target) && *end > now));
        self.bans = held;
        self.sets = found.sets;
        Ok(found.ours)
    }

    fn list(&mut self, width: Width) -> Result<Vec<(Network, Instant)>, Errno> {
        let members = elements::list(&mut self.kernel, &self.table, width)?;
        // A little late rather than early, as everywhere here: no ban that is made anew may end too early.
        let now = Instant::now();
        Ok(members.into_iter().map(|(target, left)| (target, now + left)).collect())
    }

    /// Makes the table anew, with the bans that we know of.
    fn rebuild(&mut self) -> Result<(), EnforcerError> {
        let known = std::mem::take(&mut self.bans);
        let outcome = self.build(&known);
        if outcome.is_err() {
            // For the next attempt.
            self.bans = known;
        }
        outcome.map_err(|errno| match errno {
            // It can't be a thing of ours that is missing.
            Errno::NOENT => refused("making the table", Errno::OPNOTSUPP),
            errno => refused("making the table", errno),
        })
    }

    fn build(&mut self, known: &HashMap<Network, Instant>) -> Result<(), Errno> {
        let now = Instant::now();
        let bans: Vec<Change> = (known.iter())
            .filter(|&(_, &end)| end > now)
            .map(|(&target, &end)| (target, Some(end - now)))
            .collect();
        self.sets = BTreeSet::from(Width::ALWAYS);
        self.sets.extend(bans.iter().map(|(target, _)| Width::of(target)));
        let mut batch = self.kernel.begin();
        layout::replace(&self.table, &mut batch);
        for &width in &self.sets {
            layout::add(&self.table, width, &mut batch);
        }
        // All in one transaction, so that no ban is out of force, unless there are more than the kernel takes.
        let (first, rest) = bans.split_at(self.most().min(bans.len()));
        self.fill(&mut batch, first, false);
        self.kernel.commit(batch)?;
        self.remember(first);
        rest.chunks(self.most()).try_for_each(|part| self.change(part, false))
    }

    /// How many targets a transaction has room for.
    fn most(&self) -> usize {
        (self.kernel.room().saturating_sub(FRAME_BYTES) / TARGET_BYTES).max(16)
    }

    /// Does changes of different targets in one transaction. What the kernel holds is known, or, where that is
    /// in doubt, made certain.
    fn change(&mut self, changes: &[Change], doubt: bool) -> Result<(), Errno> {
        let mut batch = self.kernel.begin();
        let empty = batch.last;
        let widths: BTreeSet<Width> = (changes.iter())
            .filter(|(_, time)| time.is_some())
            .map(|(target, _)| Width::of(target))
            .filter(|width| !self.sets.contains(width))
            .collect();
        for &width in &widths {
            layout::add(&self.table, width, &mut batch);
        }
        self.fill(&mut batch, changes, doubt);
        if batch.last != empty {
            self.kernel.commit(batch)?;
        }
        self.sets.extend(widths);
        self.remember(changes);
        Ok(())
    }

    /// Writes changes of members.
    fn fill(&self, batch: &mut Batch, changes: &[Change], doubt: bool) {
        #[derive(Default)]
        struct Parts {
            touch: Vec<Change>,
            delete: Vec<Change>,
            add: Vec<Change>,
        }
        let now = Instant::now();
        let mut parts: BTreeMap<Width, Parts> = BTreeMap::new();
        for &(target, time) in changes {
            let width = Width::of(&target);
            if time.is_none() && !self.sets.contains(&width) {
                continue;
            }
            let parts = parts.entry(width).or_default();
            if doubt || time.is_none() || self.bans.get(&target).is_some_and(|&end| end + DOUBT > now) {
                // Deleting what has just ended would be refused; but after this it's there in any case.
                parts.touch.push((target, Some(time.unwrap_or(DOUBT))));
                parts.delete.push((target, None));
            }
            if time.is_some() {
                parts.add.push((target, time));
            }
        }
        for (width, Parts { touch, delete, add }) in parts {
            elements::push(batch, (NEW_ELEMENT, CREATE), &self.table, width, &touch);
            elements::push(batch, (DELETE_ELEMENT, 0), &self.table, width, &delete);
            elements::push(batch, (NEW_ELEMENT, CREATE | EXCLUSIVE), &self.table, width, &add);
        }
    }

    /// Notes changes that the kernel has just done.
    fn remember(&mut self, changes: &[Change]) {
        let now = Instant::now();
        for &(target, time) in changes {
            match time {
                Some(time) => self.bans.insert(target, now + time),
                None => self.bans.remove(&target),
            };
        }
        if self.bans.len() > self.full {
            self.bans.retain(|_, end| *end + DOUBT > now);
            self.full = (2 * self.bans.len()).max(1024);
        }
    }
}

impl Enforcer for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        // The last word about a target counts. A ban whose time is over is none.
        let mut wanted: HashMap<Network, Option<Duration>> =
            HashMap::with_capacity(block.len() + unblock.len());
        wanted.extend(
            block.iter().map(|&(target, time)| (target, (!time.is_zero()).then_some(time.min(LONGEST)))),
        );
        wanted.extend(unblock.iter().map(|&target| (target, None)));
        let (mut changes, lifted): (Vec<Change>, Vec<Change>) =
            wanted.into_iter().partition(|(_, time)| time.is_some());
        changes.extend(lifted);
        for part in changes.chunks(IN_TRANSACTION.min(self.most())) {
            match self.change(part, false) {
                // Somebody has changed our table, or a ban was there that we didn't know.
                Err(Errno::NOENT | Errno::EXIST) => {
                    self.adopt()?;
                    self.change(part, true)
                }
                outcome => outcome,
            }
            .map_err(|errno| refused("changing bans", errno))?;
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.adopt()?;
        let now = Instant::now();
        let left = |(&target, end): (&Network, &Instant)| {
            let left = end.saturating_duration_since(now);
            (!left.is_zero()).then_some((target, left))
        };
        Ok(self.bans.iter().filter_map(left).collect())
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.bans.clear();
        self.sets.clear();
        let mut batch = self.kernel.begin();
        layout::delete(&self.table, &mut batch);
        match self.kernel.commit(batch) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(errno) => Err(refused("removing the table", errno)),
        }
    }
}

/// An error of the kernel in our words.
fn refused(doing: &str, errno: Errno) -> EnforcerError {
    let text = format!("nftables, {doing}: {}", std::io::Error::from(errno));
    match errno {
        Errno::PERM | Errno::ACCESS => EnforcerError::Rights(text),
        Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::CONNREFUSED => {
            EnforcerError::Unsupported(format!("{text} (it needs nf_tables with the family inet)"))
        }
        _ => EnforcerError::Failed(text),
    }
}
