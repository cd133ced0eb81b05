//! Holds bans as rules of iptables, one for each: where there is neither nftables nor ipset.
//!
//! **A ban ends here only while an agent runs**, for a rule of iptables knows no time. A thread takes away the rules
//! whose time is over; the end of each stands in its comment, and an agent that starts reads it there and takes away
//! at once what is over by then.
//!
//! Each packet is held against one rule after the other, and many rules are slow to write, so this is for some
//! thousands of bans and not more. New bans are appended. Whatever takes rules away writes our chain as a whole, in
//! one transaction, after reading it: that is quicker than looking for rules, and right whoever else wrote there.
//! Where somebody has taken the chain or what leads to it away, it is made anew with the bans that were in it; a
//! thread looks for that as well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::network::Network;

use super::stamp::Clocks;
use super::tended::{Tend, Tended};
use super::xtables::{Family, Raw, Seen};
use super::{Enforcer, EnforcerError, changes, left};

/// How often we look for our rules.
const LOOK: Duration = Duration::from_secs(10);
/// Between two times that rules are taken away because they are over.
const PAUSE: Duration = Duration::from_millis(50);
/// After something failed.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// What a rule is given that isn't from us and says no end: none is without one.
const DEFAULT_TIME: Duration = Duration::from_secs(86_400);
/// With more bans this is far too slow.
const MANY: usize = 5_000;

/// Holds bans in a chain of iptables. Each call, and the thread of its own, must be in the same network namespace.
pub struct Iptables(Tended<Inner>);

struct Inner {
    raws: Arc<[Raw]>,
    /// What is held and until when.
    bans: HashMap<Network, Instant>,
    /// Whether the rules should be there.
    there: bool,
    next_look: Instant,
    /// Not before this are rules taken away whose time is over.
    next_end: Instant,
    warned: bool,
    /// The families whose chain wasn't there before.
    made: Vec<Family>,
}

impl Iptables {
    /// Makes our chain, or adopts it with its bans. Those that are over are taken away.
    ///
    /// # Errors
    /// Without `iptables`, without the rights or the modules, or where it refused. Then nothing is left behind that
    /// wasn't there before.
    pub fn open() -> Result<Self, EnforcerError> {
        let now = Instant::now();
        let (raws, bans) = (Raw::all()?.into(), HashMap::new());
        let mut inner =
            Inner { raws, bans, there: true, next_look: now, next_end: now, warned: false, made: Vec::new() };
        if let Err(error) = inner.adopt() {
            // Bans of an agent before us aren't taken away for that.
            if inner.bans.is_empty() {
                let raws = Arc::clone(&inner.raws);
                raws.iter().filter(|raw| inner.made.contains(&raw.family)).for_each(|raw| drop(raw.remove()));
            }
            return Err(error);
        }
        Ok(Self(Tended::start("iptables", inner)?))
    }
}

impl Enforcer for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
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

impl Inner {
    fn apply(&mut self, changes: &HashMap<Network, Option<Duration>>) -> Result<(), EnforcerError> {
        if changes.is_empty() {
            return Ok(());
        }
        if !self.there {
            self.adopt()?;
        }
        let now = Instant::now();
        let end = |time: &Option<Duration>| time.map(|time| now + time);
        // Of a family that this machine doesn't speak nothing can come; it's only remembered.
        for raw in &*Arc::clone(&self.raws) {
            let theirs: Vec<(Network, Option<Instant>)> = (changes.iter())
                .filter(|(target, _)| Family::of(target) == raw.family)
                .map(|(&target, time)| (target, end(time)))
                .collect();
            if !theirs.is_empty() {
                self.change(raw, &theirs)?;
            }
        }
        for (&target, time) in changes {
            match end(time) {
                Some(end) => self.bans.insert(target, end),
                None => self.bans.remove(&target),
            };
        }
        if self.bans.len() > MANY && !self.warned {
            self.warned = true;
            tracing::warn!(
                bans = self.bans.len(),
                "so many bans are slow in iptables, for each packet and each change: install ipset, or nftables"
            );
        }
        Ok(())
    }

    /// Does changes in one family.
    fn change(&mut self, raw: &Raw, changes: &[(Network, Option<Instant>)]) -> Result<(), EnforcerError> {
        let new = changes.iter().all(|(target, end)| end.is_some() && !self.bans.contains_key(target));
        if new {
            let clocks = Clocks::now();
            let rules = changes.iter().filter_map(|(target, end)| Some(rule(target, (*end)?, &clocks)));
            if raw.append(rules).is_ok() {
                return Ok(());
            }
            // Perhaps somebody has taken our chain away; then all of it is written.
        }
        if changes.iter().all(|(target, end)| end.is_none() && !self.bans.contains_key(target)) {
            // Nothing to lift, as far as we know.
            let seen = raw.look()?;
            let now = Instant::now();
            let held = held(&seen, raw.family, &Clocks::now(), now);
            if !changes.iter().any(|(target, _)| held.contains_key(target)) {
                return Ok(());
            }
        }
        self.rewrite(raw, changes)
    }

    /// Reads our chain and writes it as a whole, with changes and without what is over.
    fn rewrite(&mut self, raw: &Raw, changes: &[(Network, Option<Instant>)]) -> Result<(), EnforcerError> {
        let mut outcome = Ok(());
        // Twice, for somebody may change it between reading and writing.
        for _ in 0..2 {
            let seen = raw.look()?;
            let (clocks, now) = (Clocks::now(), Instant::now());
            let mut bans = self.merged(&seen, raw.family, &clocks, now);
            for &(target, end) in changes {
                match end {
                    Some(end) => bans.insert(target, end),
                    None => bans.remove(&target),
                };
            }
            bans.retain(|_, end| *end > now);
            outcome = raw.write(&seen, bans.iter().map(|(target, end)| rule(target, *end, &clocks)));
            if outcome.is_ok() {
                self.bans.retain(|target, _| Family::of(target) != raw.family);
                self.bans.extend(bans);
                break;
            }
        }
        outcome
    }

    /// What a family holds: as the chain says, or, where that is gone, as we remember.
    fn merged(
        &self,
        seen: &Seen,
        family: Family,
        clocks: &Clocks,
        now: Instant,
    ) -> HashMap<Network, Instant> {
        let mut bans = held(seen, family, clocks, now);
        if seen.lost() {
            let remembered = self.bans.iter().filter(|(target, _)| Family::of(target) == family);
            for (&target, &end) in remembered {
                bans.entry(target).or_insert(end);
            }
        }
        bans
    }

    /// Looks what is held, takes away what is over, and makes anew what isn't as it should be.
    fn adopt(&mut self) -> Result<(), EnforcerError> {
        self.there = true;
        self.made.clear();
        let start = Instant::now();
        for raw in &*Arc::clone(&self.raws) {
            let seen = raw.look()?;
            let (clocks, now) = (Clocks::now(), Instant::now());
            let bans = self.merged(&seen, raw.family, &clocks, now);
            let as_it_should_be = seen.reached
                && seen
                    .rules
                    .as_ref()
                    .is_some_and(|rules| rules.len() == bans.len() && rules.iter().all(|rule| ours(rule)))
                && bans.values().all(|end| *end > now);
            self.bans.retain(|target, _| Family::of(target) != raw.family);
            let (over, alive): (Vec<_>, Vec<_>) = bans.into_iter().partition(|(_, end)| *end <= now);
            drop(over);
            if !as_it_should_be {
                if seen.rules.is_none() {
                    self.made.push(raw.family);
                }
                raw.write(&seen, alive.iter().map(|(target, end)| rule(target, *end, &clocks)))?;
            }
            self.bans.extend(alive);
        }
        self.next_look = Instant::now() + LOOK.max(50 * start.elapsed());
        Ok(())
    }

    /// Takes away what is over.
    fn end(&mut self) -> Result<(), EnforcerError> {
        let start = Instant::now();
        for raw in &*Arc::clone(&self.raws) {
            let over =
                |(target, end): (&Network, &Instant)| Family::of(target) == raw.family && *end <= start;
            if self.bans.iter().any(over) {
                self.rewrite(raw, &[])?;
            }
        }
        // Those of a family that this machine doesn't speak.
        self.bans.retain(|_, end| *end > start);
        self.next_end = Instant::now() + PAUSE.max(2 * start.elapsed());
        Ok(())
    }

    fn look(&mut self, now: Instant) -> Result<(), EnforcerError> {
        if self.next_end <= now && self.bans.values().any(|end| *end <= now) {
            self.end()?;
        }
        if self.next_look <= now { self.adopt() } else { Ok(()) }
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.there = false;
        self.bans.clear();
        self.raws.iter().try_for_each(Raw::remove)
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
            let later = Instant::now() + AFTER_ERROR;
            (self.next_end, self.next_look) = (later, later);
        }
        let next_end = self.bans.values().min().map(|end| *end.max(&self.next_end));
        next_end.map_or(self.next_look, |end| end.min(self.next_look))
    }
}

/// The rule that bans a target, spelt as `iptables-save` does.
fn rule(target: &Network, end: Instant, clocks: &Clocks) -> String {
    let comment = format!("-m comment --comment \"{}\" -j DROP", clocks.write(end));
    match target.prefix() {
        // From everywhere: that isn't said.
        0 => comment,
        prefix => format!("-s {}/{prefix} {comment}", target.first()),
    }
}

/// The target of a rule and its comment.
fn read_rule(rule: &str, family: Family) -> Option<(Network, Option<&str>)> {
    let rest = rule.strip_suffix("-j DROP")?;
    let (target, rest) = match rest.strip_prefix("-s ") {
        Some(rest) => {
            let (target, rest) = rest.split_once(' ')?;
            (target.parse().ok()?, rest)
        }
        None => {
            let all = if family == Family::V4 { "0.0.0.0/0" } else { "::/0" };
            (all.parse().ok()?, rest)
        }
    };
    let comment = rest.strip_prefix("-m comment --comment ").map(|text| text.trim_end().trim_matches('"'));
    // A rule with other conditions isn't a ban.
    (Family::of(&target) == family && (comment.is_some() || rest.is_empty())).then_some((target, comment))
}

/// Whether a rule is as we write them.
fn ours(rule: &str) -> bool {
    rule.contains("-m comment --comment \"")
}

/// What our chain holds.
fn held(seen: &Seen, family: Family, clocks: &Clocks, now: Instant) -> HashMap<Network, Instant> {
    let mut held = HashMap::new();
    for rule in seen.rules.iter().flatten() {
        if let Some((target, comment)) = read_rule(rule, family) {
            let end = comment.and_then(|text| clocks.read(text)).unwrap_or(now + DEFAULT_TIME);
            let known = held.entry(target).or_insert(end);
            *known = end.max(*known);
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let clocks = Clocks::now();
        let end = Instant::now() + Duration::from_secs(60);
        for (target, family) in [
            ("203.0.113.9", Family::V4),
            ("10.0.0.0/8", Family::V4),
            ("0.0.0.0/0", Family::V4),
            ("2001:db8::/64", Family::V6),
            ("::/0", Family::V6),
        ] {
            let target: Network = target.parse().unwrap();
            let written = rule(&target, end, &clocks);
            let (read, comment) = read_rule(&written, family).unwrap();
            assert_eq!(read, target);
            let read = clocks.read(comment.unwrap()).unwrap();
            assert!(read >= end && read < end + Duration::from_millis(3), "{written}");
            assert!(ours(&written));
        }
    }

    #[test]
    fn what_is_no_ban_of_ours_is_none() {
        let check = |rule: &str, expect: Option<(&str, Option<&str>)>| {
            let read = read_rule(rule, Family::V4).map(|(target, comment)| (target.to_string(), comment));
            assert_eq!(read, expect.map(|(target, comment)| (target.to_owned(), comment)), "{rule}");
        };
        check("-s 1.2.3.4/32 -j DROP", Some(("1.2.3.4", None)));
        check("-s 1.2.3.4/32 -m comment --comment by-hand -j DROP", Some(("1.2.3.4", Some("by-hand"))));
        check("-s 1.2.3.4/32 -p tcp -m tcp --dport 80 -j DROP", None);
        check("-s 1.2.3.4/32 -j ACCEPT", None);
        check("-s x -j DROP", None);
        check("-s 2001:db8::/64 -j DROP", None);
        check("! -s 1.2.3.4/32 -j DROP", None);
        check("-j DROP", Some(("0.0.0.0/0", None)));
        check("", None);
        let rules = Some(vec![
            "-s 1.2.3.4/32 -j DROP".to_owned(),
            "-s 1.2.3.4/32 -m comment --comment \"1 0 1\" -j DROP".to_owned(),
        ]);
        let seen = Seen { rules, ..Seen::default() };
        let now = Instant::now();
        let held = held(&seen, Family::V4, &Clocks::now(), now);
        assert_eq!(
            held.into_values().collect::<Vec<_>>(),
            [now + DEFAULT_TIME],
            "no end is a day, and the later counts"
        );
    }
}
