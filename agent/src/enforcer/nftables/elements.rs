//! The members of sets, each with its time: written to the kernel and read from it.

use std::net::IpAddr;
use std::time::Duration;

use model::network::Network;
use rustix::io::Errno;

use super::attributes::{Attributes, find, read};
use super::kernel::Kernel;
use super::layout::Width;
use super::message::{Batch, GET_ELEMENT};

/// The most that a ban can last here: far below what the kernel can count.
pub(super) const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);
/// The kernel counts in ticks of 1 to 10 ms and cuts off what is below one; a ban must not end early, and one
/// of no tick would never end.
const TICK_MS: u64 = 10;
/// Elements in a message, whose attributes can't be longer than 64 KiB.
const IN_MESSAGE: usize = 1000;
/// What an element takes at most: a key of 16 bytes and a time, each with its headers.
pub(super) const BYTES: usize = 40;

const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const KEY: u16 = 1;
const KEY_VALUE: u16 = 1;
const TIMEOUT: u16 = 4;
const LEFT: u16 = 5;

/// Adds messages of a kind about targets, with times or without.
pub(super) fn push(
    batch: &mut Batch,
    (kind, flags): (u16, u16),
    table: &str,
    width: Width,
    targets: &[(Network, Option<Duration>)],
) {
    for part in targets.chunks(IN_MESSAGE) {
        batch.push(kind, flags, |a| {
            a.text(TABLE, table);
            a.text(SET, &width.set_name());
            a.nest(ELEMENTS, |list| part.iter().for_each(|&(target, time)| write(list, &target, time)));
        });
    }
}

fn write(list: &mut Attributes<'_>, target: &Network, time: Option<Duration>) {
    list.nest(LIST_ITEM, |element| {
        element.nest(KEY, |key| match target.first() {
            IpAddr::V4(v4) => key.bytes(KEY_VALUE, &v4.octets()),
            IpAddr::V6(v6) => key.bytes(KEY_VALUE, &v6.octets()),
        });
        if let Some(time) = time {
            element.u64(TIMEOUT, millis(time));
        }
    });
}

fn millis(time: Duration) -> u64 {
    let nanos = time.min(LONGEST).as_nanos();
    u64::try_from(nanos.div_ceil(1_000_000)).expect("a hundred years fit") + TICK_MS
}

/// Lists the members of a set with the time that is left; [`LONGEST`] for one that has none.
pub(super) fn list(
    kernel: &mut Kernel,
    table: &str,
    width: Width,
) -> Result<Vec<(Network, Duration)>, Errno> {
    let items = kernel.list(GET_ELEMENT, |a| {
        a.text(TABLE, table);
        a.text(SET, &width.set_name());
    })?;
    Ok(items.iter().flat_map(|item| members(item, width)).collect())
}

fn members(item: &[u8], width: Width) -> impl Iterator<Item = (Network, Duration)> {
    let list = find(item, ELEMENTS).map_or(&[][..], |list| list.value);
    read(list).filter_map(move |element| {
        let mut target = None;
        let mut left = LONGEST;
        for attribute in read(element.value) {
            match attribute.kind {
                KEY => target = find(attribute.value, KEY_VALUE).and_then(|key| width.target(key.value)),
                LEFT => left = attribute.to_u64().map_or(LONGEST, Duration::from_millis).min(LONGEST),
                _ => {}
            }
        }
        Some((target?, left))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target() -> impl Strategy<Value = Network> {
        prop_oneof![
            (any::<[u8; 4]>(), 0u8..=32).prop_map(|(a, p)| Network::new(a.into(), p)),
            (any::<[u8; 16]>(), 0u8..=128).prop_map(|(a, p)| Network::new(a.into(), p)),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(target in target()) {
            let mut bytes = Vec::new();
            Attributes(&mut bytes).nest(ELEMENTS, |list| write(list, &target, None));
            let read: Vec<_> = members(&bytes, Width::of(&target)).collect();
            prop_assert_eq!(read, [(target, LONGEST)]);
        }

        #[test]
        fn nothing_read_panics(bytes: Vec<u8>, target in target()) {
            let mut nested = Vec::new();
            Attributes(&mut nested).nest(ELEMENTS, |list| {
                list.nest(LIST_ITEM, |element| {
                    element.bytes(LEFT, &bytes);
                    element.bytes(KEY, &bytes);
                    element.0.extend_from_slice(&bytes);
                });
                list.0.extend_from_slice(&bytes);
            });
            for bytes in [&bytes, &nested] {
                prop_assert!(members(bytes, Width::of(&target)).count() <= bytes.len());
            }
        }

        #[test]
        fn no_time_is_cut(time: Duration) {
            let sent = Duration::from_millis(millis(time));
            prop_assert!(sent >= time.min(LONGEST) + Duration::from_millis(TICK_MS));
            prop_assert!(sent <= time.min(LONGEST) + Duration::from_millis(TICK_MS + 1));
        }
    }

    #[test]
    fn a_full_message_fits() {
        let target: Network = "2001:db8::1".parse().unwrap();
        let many = vec![(target, Some(LONGEST)); IN_MESSAGE];
        let mut batch = Batch::new(1);
        push(&mut batch, (12, 0), "t", Width::of(&target), &many);
        let length = batch.finish().len();
        assert!((BYTES * IN_MESSAGE..BYTES * IN_MESSAGE + 200).contains(&length), "{length}");
    }
}
