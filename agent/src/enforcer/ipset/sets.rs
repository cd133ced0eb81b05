//! The sets, and how their members are written and read.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use model::network::Network;

use super::super::stamp::Clocks;
use super::super::xtables::Family;

/// The longest time that a member may have.
pub(super) const LONGEST_TIME: Duration = Duration::from_secs(2_147_483);
/// What a set is made for: more than a snapshot brings. Room is taken as it is needed.
const MOST: u32 = 2_097_152;
/// The kernel counts in steps of up to 10 ms, and the moment at which it is told may lie within one.
const STEP: Duration = Duration::from_millis(10);
/// Seconds that a member has which somebody else adds without saying a time: none is without an end.
const DEFAULT_TIME: u32 = 86_400;

/// One of our sets: of a family, for all prefixes but the one of length 0, or for that one as its halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    V4,
    V4All,
    V6,
    V6All,
}

/// A member, as it is listed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member<'t> {
    pub(super) target: Network,
    /// The time that is left, less up to a second.
    pub(super) left: Duration,
    /// Its comment.
    pub(super) stamp: Option<&'t str>,
}

impl Set {
    pub(super) const ALL: [Self; 4] = [Self::V4, Self::V4All, Self::V6, Self::V6All];

    /// Where a target is held.
    pub(super) fn of(target: &Network) -> Self {
        match (target.first().is_ipv4(), target.prefix()) {
            (true, 0) => Self::V4All,
            (true, _) => Self::V4,
            (false, 0) => Self::V6All,
            (false, _) => Self::V6,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ccfirewall4",
            Self::V4All => "ccfirewall4_all",
            Self::V6 => "ccfirewall6",
            Self::V6All => "ccfirewall6_all",
        }
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::V4 | Self::V4All => Family::V4,
            Self::V6 | Self::V6All => Family::V6,
        }
    }

    fn word(self) -> &'static str {
        match self.family() {
            Family::V4 => "inet",
            Family::V6 => "inet6",
        }
    }

    /// The rule that drops by it.
    pub(super) fn rule(self) -> String {
        format!("-m set --match-set {} src -j DROP", self.name())
    }

    /// The line that makes it.
    pub(super) fn create(self) -> String {
        let (name, family) = (self.name(), self.word());
        format!("create {name} hash:net family {family} maxelem {MOST} timeout {DEFAULT_TIME} comment\n")
    }

    /// Whether a listing is of a set that holds what it should.
    pub(super) fn is_made_as_it_should_be(self, listing: &str) -> bool {
        let line = listing.lines().next().unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let has = |name: &str| words.iter().position(|word| *word == name);
        let value = |name| has(name).and_then(|at| words.get(at + 1)).copied();
        words.starts_with(&["create", self.name(), "hash:net"])
            && value("family") == Some(self.word())
            && value("maxelem").and_then(|most| most.parse().ok()).is_some_and(|most: u32| most >= MOST)
            && has("timeout").is_some()
            && has("comment").is_some()
    }

    /// The members in a listing; what is none is passed over.
    pub(super) fn members(self, listing: &str) -> impl Iterator<Item = Member<'_>> {
        let begin = format!("add {} ", self.name());
        listing.lines().filter_map(move |line| {
            let (target, rest) = line.strip_prefix(&begin)?.split_once(' ')?;
            let target: Network = target.parse().ok()?;
            let all = Network::new(target.first(), 0);
            let target = if Self::of(&all) == self { all } else { target };
            if Self::of(&target) != self {
                return None;
            }
            let left = rest.strip_prefix("timeout ")?.split(' ').next()?.parse().ok()?;
            // A member with `timeout 0` has no end, and so the longest.
            let left = if left == 0 { super::super::LONGEST } else { Duration::from_secs(left) };
            let stamp = rest.split_once(" comment \"").and_then(|(_, text)| text.split('"').next());
            Some(Member { target, left, stamp })
        })
    }
}

/// The lines that make changes: an end for a ban, or none to lift it.
pub(super) fn script(ends: &HashMap<Network, Option<Instant>>) -> String {
    let (clocks, now) = (Clocks::now(), Instant::now());
    let mut script = String::with_capacity(ends.len() * 96);
    for (target, end) in ends {
        let name = Set::of(target).name();
        for part in parts(target) {
            // Writing to a string can't fail.
            let _ = match end {
                Some(end) => {
                    let left = end.saturating_duration_since(now);
                    let (time, stamp) = (seconds(left), clocks.write(*end));
                    writeln!(script, "add {name} {part} timeout {time} comment \"{stamp}\"")
                }
                None => writeln!(script, "del {name} {part}"),
            };
        }
    }
    script
}

/// A target as members: itself, or its halves where it is all of its family.
fn parts(target: &Network) -> impl Iterator<Item = String> {
    let halves = match target.prefix() {
        0 if target.first().is_ipv4() => Some(["0.0.0.0/1", "128.0.0.0/1"]),
        0 => Some(["::/1", "8000::/1"]),
        _ => None,
    };
    let whole = halves.is_none().then(|| target.to_string());
    halves.into_iter().flatten().map(str::to_owned).chain(whole)
}

/// A time in the kernel's seconds, up to the next one.
fn seconds(left: Duration) -> u64 {
    let left = left + STEP;
    (left.as_secs() + u64::from(left.subsec_nanos() > 0)).min(LONGEST_TIME.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_rounded_up() {
        let check = |millis, expect| assert_eq!(seconds(Duration::from_millis(millis)), expect, "{millis}");
        check(0, 1);
        check(1, 1);
        check(990, 1);
        check(991, 2);
        check(1000, 2);
        check(59_500, 60);
        check(u64::MAX, 2_147_483);
    }

    #[test]
    fn what_is_written_is_read() {
        let end = Instant::now() + Duration::from_secs(60);
        for (target, set) in [
            ("203.0.113.9", Set::V4),
            ("0.0.0.0/1", Set::V4),
            ("0.0.0.0/0", Set::V4All),
            ("2001:db8::/64", Set::V6),
            ("::/0", Set::V6All),
        ] {
            assert_eq!(Set::of(&net(target)), set);
            let script = script(&HashMap::from([(net(target), Some(end))]));
            let members: Vec<_> = set.members(&script).collect();
            assert_eq!(members.len(), if target.ends_with("/0") { 2 } else { 1 }, "{script}");
            for member in members {
                assert_eq!(member.target, net(target));
                assert!([60, 61].contains(&member.left.as_secs()));
                let read = Clocks::now().read(member.stamp.unwrap()).unwrap();
                assert!(read.max(end) - read.min(end) < Duration::from_millis(500));
            }
        }
        let lift = script(&HashMap::from([(net("2001:db8::1"), None)]));
        assert_eq!(lift, "del ccfirewall6 2001:db8::1/128\n");
    }

    #[test]
    fn a_listing_is_read_however_it_is() {
        let listing = "create ccfirewall4 hash:net family inet hashsize 1024 maxelem 2097152 timeout 86400 comment \
                       bucketsize 12 initval 0x28d9bce5\n\
                       add ccfirewall4 192.0.2.1 timeout 7\n\
                       add ccfirewall4 192.0.2.2 timeout 8 comment \"who knows\"\n\
                       add ccfirewall4 192.0.2.3 timeout 0\n\
                       add ccfirewall4 192.0.2.4 timeout x\n\
                       add ccfirewall4 2001:db8::1 timeout 9\n\
                       add ccfirewall4\nadd ccfirewall4 \nadd other 192.0.2.5 timeout 9\n\0\n";
        assert!(Set::V4.is_made_as_it_should_be(listing));
        let read: Vec<_> =
            Set::V4.members(listing).map(|m| (m.target.to_string(), m.left.as_secs(), m.stamp)).collect();
        assert_eq!(
            read,
            [
                ("192.0.2.1".to_owned(), 7, None),
                ("192.0.2.2".to_owned(), 8, Some("who knows")),
                ("192.0.2.3".to_owned(), u64::from(u32::MAX), None),
            ]
        );
        for wrong in [
            "",
            "create ccfirewall4",
            "create ccfirewall4 hash:ip family inet maxelem 2097152 timeout 86400 comment",
            "create ccfirewall4 hash:net family inet6 maxelem 2097152 timeout 86400 comment",
            "create ccfirewall4 hash:net family inet maxelem 65536 timeout 86400 comment",
            "create ccfirewall4 hash:net family inet maxelem 2097152 comment",
            "create ccfirewall4 hash:net family inet maxelem 2097152 timeout 86400",
            "create ccfirewall4 hash:net family inet maxelem",
        ] {
            assert!(!Set::V4.is_made_as_it_should_be(wrong), "{wrong}");
        }
        Set::ALL.iter().for_each(|set| assert!(set.is_made_as_it_should_be(&set.create().replace('\n', ""))));
    }
}
