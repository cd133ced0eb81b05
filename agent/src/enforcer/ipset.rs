//! Holds bans in sets of ipset, which rules of iptables drop by.
//!
//! Sets of `hash:net` for each family, `ccfirewall4` and `ccfirewall6`, whose members end by the kernel's clock,
//! whatever becomes of the agent. The kernel counts whole seconds: a ban's time is rounded up, so it may last a
//! second longer where nobody lifts it. The exact end stands in each member's comment, and an agent that starts
//! again reads it there.
//!
//! Two things that such a set can't hold are made of what it can. The prefix of length 0 stands as its two halves in a
//! set of its own, `ccfirewall4_all`. And a time has at most 2,147,483 seconds (24.8 days): where a ban is longer,
//! its member gets that time, and anew once half of it is over, as long as an agent runs.
//!
//! As with nftables, what the kernel holds is remembered: where somebody has taken our sets or the rules away, they
//! are made anew with the bans that were in them. Since many tools write all of a table of iptables when they are
//! reloaded, a thread looks for the rules every ten seconds.

mod sets;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use model::network::Network;

use super::program::{Program, Said};
use super::stamp::Clocks;
use super::tended::{Tend, Tended};
use super::xtables::{Raw, Seen};
use super::{Enforcer, EnforcerError, changes, left};
use sets::{LONGEST_TIME, Member, Set};

/// How often we look for our rules.
const LOOK: Duration = Duration::from_secs(10);
/// The kernel's end of a ban and ours differ by no more: it counts in seconds, and was told a little later.
const DOUBT: Duration = Duration::from_secs(3);

/// Holds bans in sets of ipset. Each call, and the thread of its own, must be in the same network namespace.
pub struct Ipset(Tended<Inner>);

/// When bans shall end; `None` is a ban that is lifted.
type Ends = HashMap<Network, Option<Instant>>;

struct Inner {
    ipset: Program,
    raws: Vec<Raw>,
    /// What is held and until when.
    bans: HashMap<Network, Instant>,
    /// At how many bans those that have ended are forgotten.
    full: usize,
    /// Whether sets and rules should be there.
    there: bool,
    /// Whether none of our sets was there when we looked.
    fresh: bool,
    next_look: Instant,
    /// When the times of long bans are given anew.
    next_long: Option<Instant>,
}

impl Ipset {
    /// Makes the sets and the rules, or adopts them with their bans.
    ///
    /// # Errors
    /// Without `ipset` and `iptables`, without the rights or the modules, or where the kernel refused. Then nothing
    /// is left behind that wasn't there before.
    pub fn open() -> Result<Self, EnforcerError> {
        let now = Instant::now();
        let mut inner = Inner {
            ipset: Program::find("ipset")?,
            raws: Raw::all()?,
            bans: HashMap::new(),
            full: 1024,
            there: true,
            fresh: false,
            next_look: now + LOOK,
            next_long: None,
        };
        if let Err(error) = inner.adopt() {
            // Bans of an agent before us aren't taken away for that.
            if inner.fresh {
                let _ = inner.remove();
            }
            return Err(error);
        }
        Ok(Self(Tended::start("ipset", inner)?))
    }
}

impl Enforcer for Ipset {
    fn name(&self) -> &'static str {
        "ipset"
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        let changes = changes(block, unblock);
        self.0.with(|inner| inner.apply(&changes))
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.0.with(|inner| {
            inner.adopt()?;
            Ok(left(&inner.bans))
        })
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.0.with(Inner::remove)
    }
}

/// Removes sets and rules, where there are any.
pub(super) fn remove() -> Result<(), EnforcerError> {
    super::xtables::remove_everywhere()?;
    // Without the program somebody has taken it away after us, and can bring it back.
    Program::find("ipset").map_or(Ok(()), |ipset| destroy(&ipset))
}

fn destroy(ipset: &Program) -> Result<(), EnforcerError> {
    for set in Set::ALL {
        let said = ipset.run(&["destroy", set.name()], String::new())?;
        if !said.well && !missing(&said) {
            return Err(ipset.refused("removing a set", &said));
        }
    }
    Ok(())
}

/// What our chain should hold.
fn rules(raw: &Raw) -> Vec<String> {
    Set::ALL.into_iter().filter(|set| set.family() == raw.family).map(Set::rule).collect()
}

fn missing(said: &Said) -> bool {
    said.complaint.contains("does not exist")
}

impl Inner {
    fn apply(&mut self, changes: &HashMap<Network, Option<Duration>>) -> Result<(), EnforcerError> {
        if changes.is_empty() {
            return Ok(());
        }
        if !self.there {
            self.there = true;
            self.adopt()?;
        }
        let now = Instant::now();
        let ends: Ends =
            changes.iter().map(|(&target, time)| (target, time.map(|time| now + time))).collect();
        if let Err(error) = self.restore("changing bans", || sets::script(&ends)) {
            // Perhaps somebody has taken our sets away. Where they are all there, it is something else.
            if !self.adopt()? {
                return Err(error);
            }
            self.restore("changing bans", || sets::script(&ends))?;
        }
        for (&target, &end) in &ends {
            match end {
                Some(end) => self.bans.insert(target, end),
                None => self.bans.remove(&target),
            };
        }
        if ends.values().flatten().any(|&end| end > now + LONGEST_TIME) {
            self.come_for_long(now + LONGEST_TIME / 2 + LOOK);
        }
        if self.bans.len() > self.full {
            self.bans.retain(|_, end| *end > now);
            self.full = (2 * self.bans.len()).max(1024);
        }
        Ok(())
    }

    fn come_for_long(&mut self, when: Instant) {
        self.next_long = Some(self.next_long.map_or(when, |next| next.min(when)));
    }

    fn restore(&self, doing: &str, script: impl FnOnce() -> String) -> Result<(), EnforcerError> {
        let said = self.ipset.run(&["restore", "-exist"], script())?;
        if said.well { Ok(()) } else { Err(self.ipset.refused(doing, &said)) }
    }

    /// Looks what the kernel holds, and makes anew what isn't as it should be. Says whether a set wasn't.
    fn adopt(&mut self) -> Result<bool, EnforcerError> {
        self.there = true;
        let mut held: HashMap<Network, Instant> = HashMap::with_capacity(self.bans.len());
        let mut wrong = Vec::new();
        let clocks = Clocks::now();
        let now = Instant::now();
        let mut again = Ends::new();
        self.next_long = None;
        for set in Set::ALL {
            let said = self.ipset.run(&["save", set.name()], String::new())?;
            if !said.well && !missing(&said) {
                return Err(self.ipset.refused("reading a set", &said));
            }
            let listing = if said.well { said.output.as_str() } else { "" };
            if !set.is_made_as_it_should_be(listing) {
                wrong.push((set, said.well));
            } else {
                for Member { target, left, stamp } in set.members(listing) {
                    // What the comment says counts, but for a member that somebody has given another time.
                    let kernel = now + left;
                    let stamp = stamp.and_then(|text| clocks.read(text)).filter(|end| *end + DOUBT > kernel);
                    let end = stamp.unwrap_or(kernel);
                    let known = held.entry(target).or_insert(end);
                    *known = end.max(*known);
                    if end <= kernel + DOUBT {
                        // The kernel knows the whole time.
                    } else if left < LONGEST_TIME / 2 {
                        again.insert(target, Some(*known));
                    } else {
                        self.come_for_long(now + left - LONGEST_TIME / 2);
                    }
                }
            }
        }
        self.fresh = wrong.len() == Set::ALL.len() && wrong.iter().all(|(_, exists)| !exists);
        let lost = |target: &Network| wrong.iter().any(|(set, _)| Set::of(target) == *set);
        held.extend(self.bans.iter().filter(|(target, end)| lost(target) && **end > now));
        self.bans = held;
        if !again.is_empty() {
            self.come_for_long(now + LONGEST_TIME / 2 + LOOK);
            self.restore("giving long bans their time", || sets::script(&again))?;
        }
        if !wrong.is_empty() {
            self.rebuild(&wrong)?;
        }
        self.mend()?;
        Ok(!wrong.is_empty())
    }

    /// Makes sets anew, with the bans that were in them.
    fn rebuild(&mut self, wrong: &[(Set, bool)]) -> Result<(), EnforcerError> {
        if wrong.iter().any(|&(_, exists)| exists) {
            // One of another kind: it can only go where nothing uses it.
            self.raws.iter().try_for_each(Raw::remove)?;
            for (set, _) in wrong.iter().filter(|&&(_, exists)| exists) {
                let said = self.ipset.run(&["destroy", set.name()], String::new())?;
                if !said.well {
                    return Err(self.ipset.refused("removing a set that isn't as it should be", &said));
                }
            }
        }
        let now = Instant::now();
        let bans = (self.bans.iter())
            .filter(|(target, end)| **end > now && wrong.iter().any(|(set, _)| Set::of(target) == *set))
            .map(|(&target, &end)| (target, Some(end)))
            .collect();
        self.restore("making the sets", || {
            let create: String = wrong.iter().map(|(set, _)| set.create()).collect();
            create + &sets::script(&bans)
        })
    }

    /// Whether the rules are as they should be.
    fn right(&self, seen: &[Seen]) -> bool {
        let right = |(raw, seen): (&Raw, &Seen)| seen.reached && seen.rules.as_ref() == Some(&rules(raw));
        self.raws.iter().zip(seen).all(right)
    }

    /// Puts the rules right where they aren't.
    fn mend(&mut self) -> Result<(), EnforcerError> {
        for raw in &self.raws {
            let seen = raw.look()?;
            if !seen.reached || seen.rules.as_ref() != Some(&rules(raw)) {
                raw.write(&seen, rules(raw).into_iter())?;
            }
        }
        Ok(())
    }

    /// Does what is due: looks for the rules, and now and then for long bans.
    fn look(&mut self, now: Instant) -> Result<(), EnforcerError> {
        if self.next_long.is_some_and(|due| due <= now) {
            self.adopt().map(drop)
        } else if self.next_look <= now {
            let seen = self.raws.iter().map(Raw::look).collect::<Result<Vec<_>, _>>()?;
            // Where the rules are gone, the sets may be so too.
            if self.right(&seen) { Ok(()) } else { self.adopt().map(drop) }
        } else {
            Ok(())
        }
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.there = false;
        self.bans.clear();
        self.raws.iter().try_for_each(Raw::remove)?;
        destroy(&self.ipset)
    }
}

impl Tend for Inner {
    fn tend(&mut self) -> Instant {
        let now = Instant::now();
        if !self.there {
            return now + Duration::from_secs(3600);
        }
        if let Err(error) = self.look(now) {
            tracing::error!(%error, "can't look after the bans");
            self.next_long = self.next_long.map(|due| due.max(now + LOOK));
        }
        if self.next_look <= now {
            self.next_look = Instant::now() + LOOK;
        }
        self.next_long.map_or(self.next_look, |due| due.min(self.next_look))
    }
}
