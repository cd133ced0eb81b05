//! What our table holds: one chain, and for each family and prefix length in use a set with a rule that drops
//! its members. Whether the kernel has just that is told by comparing what it lists with what we'd send.
//!
//! Sets by prefix length, and not one with intervals: prefixes may overlap then, and adding is a hash insert.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::network::Network;
use rustix::io::Errno;

use super::attributes::{Attributes, covers, find};
use super::kernel::Kernel;
use super::message::{
    APPEND, Batch, CREATE, DELETE_TABLE, EXCLUSIVE, GET_CHAIN, GET_RULE, GET_SET, GET_TABLE, NEW_CHAIN,
    NEW_RULE, NEW_SET, NEW_TABLE,
};

const CHAIN: &str = "prerouting";
/// Before connection tracking (-200) and the raw table (-300), so that nothing has accepted a packet yet, and
/// for what is forwarded as well.
const PRIORITY: i32 = -310;
/// How often the kernel clears ended bans away. They have no effect from the moment they end.
const CLEARING_MS: u32 = 10_000;

// Attributes have the numbers of the kernel's `include/uapi/linux/netfilter/nf_tables.h`, here and below; these are
// used more than once.
const LIST_ITEM: u16 = 1;
const DATA_VALUE: u16 = 1;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_KEY_LENGTH: u16 = 5;
const SET_ID: u16 = 10;
const RULE_TABLE: u16 = 1;
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;

/// A family and a prefix length: what has a set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Width {
    v4: bool,
    prefix: u8,
}

impl Width {
    /// Those that are always there: addresses, and the prefix that IPv6 clients are banned by.
    pub(super) const ALWAYS: [Self; 3] = [Self::new(true, 32), Self::new(false, 64), Self::new(false, 128)];

    const fn new(v4: bool, prefix: u8) -> Self {
        Self { v4, prefix }
    }

    pub(super) fn of(target: &Network) -> Self {
        Self::new(target.first().is_ipv4(), target.prefix())
    }

    fn bits(self) -> u8 {
        if self.v4 { 32 } else { 128 }
    }

    /// The length of an address in bytes.
    fn bytes(self) -> u8 {
        self.bits() / 8
    }

    /// The target that an element of the set stands for.
    pub(super) fn target(self, key: &[u8]) -> Option<Network> {
        let address = if self.v4 {
            IpAddr::from(<[u8; 4]>::try_from(key).ok()?)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(key).ok()?)
        };
        Some(Network::new(address, self.prefix))
    }

    /// Its set's name: `ipv4_32`, `ipv6_64`.
    pub(super) fn set_name(self) -> String {
        format!("ipv{}_{}", if self.v4 { 4 } else { 6 }, self.prefix)
    }

    fn mask(self) -> Vec<u8> {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        mask.to_be_bytes()[..usize::from(self.bytes())].to_vec()
    }

    /// All that there are.
    fn all() -> impl Iterator<Item = Self> {
        (0..=32).map(|prefix| Self::new(true, prefix)).chain((0..=128).map(|prefix| Self::new(false, prefix)))
    }
}

/// Puts a new table in the place of what is there by its name.
pub(super) fn replace(table: &str, batch: &mut Batch) {
    // Deleting what isn't there would be refused.
    batch.push(NEW_TABLE, CREATE, |a| a.text(TABLE_NAME, table));
    delete(table, batch);
    batch.push(NEW_TABLE, CREATE, |a| a.text(TABLE_NAME, table));
    batch.push(NEW_CHAIN, CREATE, |a| chain(table, a));
}

pub(super) fn delete(table: &str, batch: &mut Batch) {
    batch.push(DELETE_TABLE, 0, |a| a.text(TABLE_NAME, table));
}

/// Adds a set with its rule, neither of which is there yet.
pub(super) fn add(table: &str, width: Width, batch: &mut Batch) {
    batch.push(NEW_SET, CREATE | EXCLUSIVE, |a| {
        set(table, width, a);
        // Only has to be there; the rule finds the set by its name.
        a.u32(SET_ID, 1);
    });
    batch.push(NEW_RULE, CREATE | APPEND, |a| rule(table, width, a));
}

fn chain(table: &str, a: &mut Attributes<'_>) {
    a.text(CHAIN_TABLE, table);
    a.text(3, CHAIN);
    a.nest(4, |hook| {
        hook.u32(1, 0); // prerouting
        hook.bytes(2, &PRIORITY.to_be_bytes());
    });
    a.u32(5, 1); // the policy: accept
    a.text(7, "filter");
}

fn set(table: &str, width: Width, a: &mut Attributes<'_>) {
    a.text(1, table);
    a.text(SET_NAME, &width.set_name());
    a.u32(3, 0x10); // elements with timeouts
    a.u32(4, if width.v4 { 7 } else { 8 }); // nft's numbers of `ipv4_addr` and `ipv6_addr`
    a.u32(SET_KEY_LENGTH, width.bytes().into());
    a.u32(12, CLEARING_MS);
}

/// `meta nfproto ipv4 ip saddr & mask @set counter drop`
fn rule(table: &str, width: Width, a: &mut Attributes<'_>) {
    let (family, offset) = if width.v4 { (2, 12) } else { (10, 8) };
    a.text(RULE_TABLE, table);
    a.text(2, CHAIN);
    a.nest(4, |list| {
        expression(list, "meta", |meta| {
            meta.u32(1, REGISTER_1);
            meta.u32(2, 15); // the packet's family
        });
        expression(list, "cmp", |cmp| {
            cmp.u32(1, REGISTER_1);
            cmp.u32(2, 0); // equal
            cmp.nest(3, |data| data.bytes(DATA_VALUE, &[family]));
        });
        expression(list, "payload", |payload| {
            payload.u32(1, REGISTER_1);
            payload.u32(2, 1); // from the network header
            payload.u32(3, offset);
            payload.u32(4, width.bytes().into());
        });
        if width.prefix < width.bits() {
            expression(list, "bitwise", |bitwise| {
                bitwise.u32(1, REGISTER_1);
                bitwise.u32(2, REGISTER_1);
                bitwise.u32(3, width.bytes().into());
                bitwise.nest(4, |data| data.bytes(DATA_VALUE, &width.mask()));
                bitwise.nest(5, |data| data.bytes(DATA_VALUE, &vec![0; width.bytes().into()]));
            });
        }
        expression(list, "lookup", |lookup| {
            lookup.text(1, &width.set_name());
            lookup.u32(2, REGISTER_1);
        });
        expression(list, "counter", |_| {});
        expression(list, "immediate", |immediate| {
            immediate.u32(1, REGISTER_VERDICT);
            immediate.nest(2, |data| data.nest(2, |verdict| verdict.u32(1, 0))); // drop
        });
    });
}

fn expression(list: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(LIST_ITEM, |expression| {
        expression.text(1, name);
        expression.nest(2, fill);
    });
}

/// What the kernel has by our table's name.
#[derive(Default, Debug)]
pub(super) struct Found {
    /// The sets whose elements can be read.
    pub(super) sets: BTreeSet<Width>,
    /// Whether everything is as we'd make it.
    pub(super) ours: bool,
}

/// Looks what the kernel has.
pub(super) fn look(kernel: &mut Kernel, table: &str) -> Result<Found, Errno> {
    let tables = kernel.list(GET_TABLE, |_| {})?;
    if !tables.iter().any(|item| find(item, TABLE_NAME).is_some_and(|name| name.is_text(table))) {
        return Ok(Found::default());
    }
    // Each says first to which table it belongs.
    let within = |items: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        items.into_iter().filter(|item| find(item, CHAIN_TABLE).is_some_and(|t| t.is_text(table))).collect()
    };
    let chains = within(kernel.list(GET_CHAIN, |_| {})?);
    let rules = within(kernel.list(GET_RULE, |a| a.text(RULE_TABLE, table))?);
    let sets = within(kernel.list(GET_SET, |a| a.text(1, table))?);
    Ok(judge(table, &chains, &rules, &sets))
}

fn judge(table: &str, chains: &[Vec<u8>], rules: &[Vec<u8>], sets: &[Vec<u8>]) -> Found {
    let covered = |write: &dyn Fn(&mut Attributes<'_>), item: &[u8]| {
        let mut expected = Vec::new();
        write(&mut Attributes(&mut expected));
        covers(&expected, item)
    };
    let readable = |item: &[u8]| {
        let name = find(item, SET_NAME)?;
        let width = Width::all().find(|width| name.is_text(&width.set_name()))?;
        (find(item, SET_KEY_LENGTH)?.to_u32()? == u32::from(width.bytes())).then_some(width)
    };
    let found: BTreeSet<Width> = sets.iter().filter_map(|item| readable(item)).collect();
    let ruled: BTreeSet<Width> = (rules.iter())
        .filter_map(|item| found.iter().copied().find(|&width| covered(&|a| rule(table, width, a), item)))
        .collect();
    let ours = chains.len() == 1
        && covered(&|a| chain(table, a), &chains[0])
        && sets.len() == found.len()
        && found.iter().all(|&width| sets.iter().any(|item| covered(&|a| set(table, width, a), item)))
        && rules.len() == found.len()
        && ruled == found
        && Width::ALWAYS.iter().all(|width| found.contains(width));
    Found { sets: found, ours }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_listing_panics(
            chains in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
            rules in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
            sets in proptest::collection::vec(any::<Vec<u8>>(), 0..3),
        ) {
            prop_assert!(!judge("t", &chains, &rules, &sets).ours);
        }
    }

    #[test]
    fn masks_and_targets() {
        for (target, name, mask) in [
            ("10.0.0.0/8", "ipv4_8", vec![255, 0, 0, 0]),
            ("0.0.0.0/0", "ipv4_0", vec![0; 4]),
            ("203.0.113.9", "ipv4_32", vec![255; 4]),
            ("2001:db8::/64", "ipv6_64", [vec![255; 8], vec![0; 8]].concat()),
            ("::/0", "ipv6_0", vec![0; 16]),
        ] {
            let target: Network = target.parse().unwrap();
            let width = Width::of(&target);
            assert_eq!((width.set_name().as_str(), width.mask()), (name, mask));
            let key = match target.first() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            assert_eq!(width.target(&key), Some(target));
            assert_eq!(width.target(&key[1..]), None);
        }
        let names: BTreeSet<_> = Width::all().map(Width::set_name).collect();
        assert_eq!(names.len(), 33 + 129);
    }
}
