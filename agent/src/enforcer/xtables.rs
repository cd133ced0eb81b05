//! Our chain in iptables: `ccfirewall` in the table `raw`, of one family, reached from the first rule of PREROUTING.
//!
//! That is before connection tracking, so nothing that accepts established connections comes before it, and for what
//! is forwarded as well. All of it is read with `iptables-save` and written with `iptables-restore --noflush`: one
//! transaction, in which others' rules aren't named and stay as they are.

use model::network::Network;

use super::EnforcerError;
use super::program::Program;

/// Our chain.
const CHAIN: &str = "ccfirewall";
/// How long others who hold the lock of iptables are waited for, in seconds.
const WAIT: &str = "10";
/// What leads to our chain.
const JUMP: &str = "-A PREROUTING -j ccfirewall";

/// Of IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) fn of(target: &Network) -> Self {
        if target.first().is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn tables(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }

    /// Whether this machine speaks it. Where it doesn't, there are no packets to drop.
    fn spoken(self) -> bool {
        self == Self::V4 || std::path::Path::new("/proc/net/if_inet6").exists()
    }
}

/// The table `raw` of one family.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) family: Family,
    save: Program,
    restore: Program,
}

/// What is in the table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Whether packets come to our chain, once and first of all.
    pub(super) reached: bool,
    /// The rules of our chain, without the words that name it; `None` where there's no chain.
    pub(super) rules: Option<Vec<String>>,
    /// The rules that lead to it, as they would be added.
    pub(super) jumps: Vec<String>,
}

impl Raw {
    /// Those of the families that this machine speaks.
    pub(super) fn all() -> Result<Vec<Self>, EnforcerError> {
        let spoken = Family::BOTH.into_iter().filter(|family| family.spoken());
        spoken.map(|family| Self::of(family, "")).collect()
    }

    fn of(family: Family, variant: &str) -> Result<Self, EnforcerError> {
        let find = |what| Program::find(&format!("{}{variant}-{what}", family.tables()));
        Ok(Self { family, save: find("save")?, restore: find("restore")? })
    }

    /// Reads it.
    pub(super) fn look(&self) -> Result<Seen, EnforcerError> {
        let said = self.save.run(&["-t", "raw"], String::new())?;
        if !said.well {
            return Err(self.save.refused("reading the table raw", &said));
        }
        // The variant of iptables that speaks nftables ends well where it can't show a table.
        if said.output.contains("is incompatible") {
            return Err(EnforcerError::Unsupported(format!(
                "the table raw of {} holds what only nft can show: {} (use the enforcer nftables)",
                self.family.tables(),
                said.output.lines().find(|line| line.contains("incompatible")).unwrap_or_default()
            )));
        }
        Ok(Seen::read(&said.output))
    }

    /// Writes our chain as a whole, and what leads to it where that isn't right.
    pub(super) fn write(
        &self,
        seen: &Seen,
        rules: impl Iterator<Item = String>,
    ) -> Result<(), EnforcerError> {
        let mut script = format!("*raw\n:{CHAIN} - [0:0]\n");
        if !seen.reached {
            let ours = seen.jumps.iter().filter(|jump| *jump == JUMP);
            ours.for_each(|jump| script.extend([&jump.replacen("-A", "-D", 1), "\n"]));
            script.extend(["-I PREROUTING 1 -j ", CHAIN, "\n"]);
        }
        self.commit("writing our chain", script, rules)
    }

    /// Adds rules to our chain, which is there.
    pub(super) fn append(&self, rules: impl Iterator<Item = String>) -> Result<(), EnforcerError> {
        self.commit("adding rules", "*raw\n".to_owned(), rules)
    }

    /// Removes our chain and what leads to it. Where there's none, nothing happens.
    pub(super) fn remove(&self) -> Result<(), EnforcerError> {
        let seen = self.look()?;
        if seen.rules.is_none() {
            return Ok(());
        }
        let mut script = "*raw\n".to_owned();
        seen.jumps.iter().for_each(|jump| script.extend([&jump.replacen("-A", "-D", 1), "\n"]));
        script.extend(["-F ", CHAIN, "\n-X ", CHAIN, "\n"]);
        self.commit("removing our chain", script, std::iter::empty())
    }

    fn commit(
        &self,
        doing: &str,
        mut script: String,
        rules: impl Iterator<Item = String>,
    ) -> Result<(), EnforcerError> {
        rules.for_each(|rule| script.extend(["-A ", CHAIN, " ", &rule, "\n"]));
        script.push_str("COMMIT\n");
        let said = self.restore.run(&["--noflush", "-w", WAIT], script)?;
        if said.well { Ok(()) } else { Err(self.restore.refused(doing, &said)) }
    }
}

impl Seen {
    /// Reads what `iptables-save` writes.
    fn read(text: &str) -> Self {
        let mut seen = Self::default();
        let mut first = true;
        for line in text.lines() {
            if line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) == Some(CHAIN) {
                seen.rules.get_or_insert_default();
            } else if let Some(rest) = line.strip_prefix("-A ") {
                let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
                if chain == CHAIN {
                    seen.rules.get_or_insert_default().push(rule.to_owned());
                    continue;
                }
                if chain == "PREROUTING" {
                    seen.reached |= first && line == JUMP;
                    first = false;
                }
                if [" -j ", " -g "].iter().any(|by| line.ends_with(&[by, CHAIN].concat())) {
                    seen.jumps.push(line.to_owned());
                }
            }
        }
        seen.reached &= seen.jumps.iter().filter(|jump| *jump == JUMP).count() == 1;
        seen
    }

    /// Whether somebody has taken our chain away, or what leads to it.
    pub(super) fn lost(&self) -> bool {
        self.rules.is_none() || !self.jumps.iter().any(|jump| jump == JUMP)
    }
}

/// Removes our chain from every table `raw` that may hold it: of both families, and of both variants of iptables, for
/// which of them is `iptables` may have changed meanwhile. What can be removed is removed, whatever can't.
pub(super) fn remove_everywhere() -> Result<(), EnforcerError> {
    let mut outcome = Ok(());
    for family in Family::BOTH {
        // Asking the old variant would make its table; so it's asked only where there is one.
        let names = match family {
            Family::V4 => "/proc/net/ip_tables_names",
            Family::V6 => "/proc/net/ip6_tables_names",
        };
        let old = std::fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == "raw"));
        let variants = if old { &["", "-nft", "-legacy"][..] } else { &["-nft"] };
        for raw in variants.iter().filter_map(|variant| Raw::of(family, variant).ok()) {
            let removed = match raw.remove() {
                // What can't be there isn't, and what can't be looked into is hardly ours.
                Err(EnforcerError::Unsupported(why)) => {
                    tracing::info!("nothing of ours is looked for there: {why}");
                    Ok(())
                }
                removed => removed,
            };
            outcome = outcome.and(removed);
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let head = "# Generated by iptables-save\n*raw\n:PREROUTING ACCEPT [5:300]\n:OUTPUT ACCEPT [0:0]\n";
        let check = |rest: &str, reached: bool, rules: Option<&[&str]>, jumps: &[&str]| {
            let seen = Seen::read(&format!("{head}{rest}COMMIT\n# Completed\n"));
            assert_eq!(seen.reached, reached, "{rest}");
            assert_eq!(
                seen.rules,
                rules.map(|rules| rules.iter().map(|&r| r.to_owned()).collect()),
                "{rest}"
            );
            assert_eq!(seen.jumps, jumps, "{rest}");
        };
        let chain = ":ccfirewall - [0:0]\n";
        check("", false, None, &[]);
        check(chain, false, Some(&[]), &[]);
        check(
            &format!("{chain}{JUMP}\n-A ccfirewall -s 1.2.3.4/32 -j DROP\n"),
            true,
            Some(&["-s 1.2.3.4/32 -j DROP"]),
            &[JUMP],
        );
        // Behind another rule, twice, on a condition, and by a name that only begins like ours.
        check(&format!("{chain}-A PREROUTING -j ACCEPT\n{JUMP}\n"), false, Some(&[]), &[JUMP]);
        check(&format!("{chain}{JUMP}\n{JUMP}\n"), false, Some(&[]), &[JUMP, JUMP]);
        let conditional = "-A OUTPUT -o eth0 -g ccfirewall";
        check(&format!("{chain}{conditional}\n"), false, Some(&[]), &[conditional]);
        check(
            ":ccfirewall2 - [0:0]\n-A PREROUTING -j ccfirewall2\n-A ccfirewall2 -j DROP\n",
            false,
            None,
            &[],
        );
    }
}
