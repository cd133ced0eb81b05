//! Messages to and from nf_tables. A change is a batch: a beginning, messages and an end in one datagram, of
//! which the kernel does all or nothing. Only the last message asks for an answer, so that answers never fill
//! the receive buffer; refusals come unasked.

use super::attributes::Attributes;

/// nf_tables within nfnetlink.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFPROTO_INET`: one table for IPv4 and IPv6.
const INET: u8 = 1;

pub(super) const NEW_TABLE: u16 = 0;
pub(super) const GET_TABLE: u16 = 1;
pub(super) const DELETE_TABLE: u16 = 2;
pub(super) const NEW_CHAIN: u16 = 3;
pub(super) const GET_CHAIN: u16 = 4;
pub(super) const NEW_RULE: u16 = 6;
pub(super) const GET_RULE: u16 = 7;
pub(super) const NEW_SET: u16 = 9;
pub(super) const GET_SET: u16 = 10;
pub(super) const NEW_ELEMENT: u16 = 12;
pub(super) const GET_ELEMENT: u16 = 13;
pub(super) const DELETE_ELEMENT: u16 = 14;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
/// What is there already is refused.
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Something changed while the kernel was listing.
const DUMP_INTERRUPTED: u16 = 0x10;

/// Length, type, flags, sequence and port.
const HEADER: usize = 16;
/// What every nfnetlink message has behind its header: family, version and resource.
const FAMILY: usize = 4;

/// Writes one message and gives where it starts.
fn write(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: [u8; FAMILY],
    fill: impl FnOnce(&mut Attributes<'_>),
) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&family);
    fill(&mut Attributes(bytes));
    let length = u32::try_from(bytes.len() - start).expect("a message is below 64 KiB");
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    start
}

/// A request to list things.
pub(super) fn list(kind: u16, sequence: u32, fill: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, SUBSYSTEM << 8 | kind, DUMP, sequence, [INET, 0, 0, 0], fill);
    bytes
}

/// A transaction in the making.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// The sequence of its beginning.
    pub(super) first: u32,
    /// The sequence of its newest message.
    pub(super) last: u32,
    /// Where that starts.
    newest: usize,
}

impl Batch {
    pub(super) fn new(first: u32) -> Self {
        let mut batch = Self { bytes: Vec::new(), first, last: first, newest: 0 };
        batch.frame(BATCH_BEGIN);
        batch
    }

    pub(super) fn push(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.last = self.last.wrapping_add(1);
        let kind = SUBSYSTEM << 8 | kind;
        self.newest = write(&mut self.bytes, kind, flags, self.last, [INET, 0, 0, 0], fill);
    }

    /// The datagram.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let flags = &mut self.bytes[self.newest + 6..self.newest + 8];
        let asking = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
        flags.copy_from_slice(&asking.to_ne_bytes());
        self.frame(BATCH_END);
        self.bytes
    }

    fn frame(&mut self, kind: u16) {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        write(&mut self.bytes, kind, 0, self.last, [0, 0, high, low], |_| {});
    }
}

/// What the kernel says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer<'a> {
    /// Done; or refused, with the error's number.
    Result(i32),
    /// The end of a list; with an error's number where it broke off.
    End(i32),
    /// One of what was listed: its attributes.
    Item(&'a [u8]),
}

/// One answer with its marks.
pub(super) struct Message<'a> {
    pub(super) sequence: u32,
    pub(super) interrupted: bool,
    pub(super) answer: Answer<'a>,
}

/// The answers in a datagram, up to the first that isn't whole.
pub(super) fn read(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The kernel negates error numbers; an end without one is a good end.
        let number = || {
            body.get(..4)
                .and_then(|n| n.try_into().ok())
                .map_or(0, |n| i32::from_ne_bytes(n).saturating_neg())
        };
        let answer = match kind {
            ERROR => Answer::Result(number()),
            DONE => Answer::End(number()),
            _ => Answer::Item(body.get(FAMILY..).unwrap_or_default()),
        };
        Some(Message { sequence, interrupted: flags & DUMP_INTERRUPTED != 0, answer })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_read_panics_or_never_ends(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_length_gone_wrong_does_no_harm(length: u32, kind: u16, rest: Vec<u8>) {
            let mut bytes = list(kind & 0xff, 1, |a| a.bytes(1, &rest));
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            prop_assert!(read(&bytes).count() <= 1 + rest.len());
        }
    }

    #[test]
    fn only_the_last_message_asks_for_an_answer() {
        let mut batch = Batch::new(u32::MAX);
        batch.push(NEW_TABLE, CREATE, |a| a.text(1, "a"));
        batch.push(NEW_CHAIN, CREATE, |a| a.text(1, "a"));
        assert_eq!((batch.first, batch.last), (u32::MAX, 1));
        let bytes = batch.finish();
        let mut flags = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            flags.push(u16::from_ne_bytes([rest[6], rest[7]]) & ACK != 0);
            rest = &rest[u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize..];
        }
        assert_eq!(flags, [false, false, true, false]);
    }
}
