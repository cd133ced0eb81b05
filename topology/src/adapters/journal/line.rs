//! One line of the journal: `<crc32, 8 hex digits> <sequence number> <JSON>` and a line feed. The checksum is over
//! all behind its space, without the line feed; JSON holds no line feed of its own.

use std::io::Write as _;

use model::event::Entry;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a line to be written says.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said<'a, S> {
    /// What all entries up to this line's number come to. A segment's first line is one.
    Snapshot(Snapshot<&'a S>),
    /// What happened.
    Entry(&'a Entry),
}

/// What a line that was read says, where the state matters.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Read<S> {
    Snapshot(Snapshot<S>),
    Entry(Entry),
}

/// What a line that was read says to those who don't care for the state.
pub(super) type ReadEntry = Read<IgnoredAny>;

/// The journal's own id, and the state.
#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot<S> {
    pub(super) journal: Uuid,
    pub(super) state: S,
}

/// How many bytes of a line are its checksum and the space behind it.
const CHECKSUM: usize = 9;

/// Makes `buffer` the line.
pub(super) fn write<S: Serialize>(
    buffer: &mut Vec<u8>,
    seq: u64,
    said: &Said<'_, S>,
) -> serde_json::Result<()> {
    buffer.clear();
    buffer.extend_from_slice(&[b' '; CHECKSUM]);
    write!(buffer, "{seq} ").map_err(serde_json::Error::io)?;
    serde_json::to_writer(&mut *buffer, said)?;
    let checksum = crc32fast::hash(&buffer[CHECKSUM..]);
    buffer[..CHECKSUM - 1].copy_from_slice(format!("{checksum:08x}").as_bytes());
    buffer.push(b'\n');
    Ok(())
}

/// The number and the JSON of a line, if it is whole: with its line feed, and as it was written.
pub(super) fn read(line: &[u8]) -> Option<(u64, &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, rest) = line.split_at_checked(CHECKSUM)?;
    let checksum = std::str::from_utf8(checksum).ok()?.strip_suffix(' ')?;
    if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(rest) {
        return None;
    }
    let space = memchr::memchr(b' ', rest)?;
    let seq = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
    Some((seq, &rest[space + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::units::Moment;

    #[test]
    fn a_line_reads_back_and_any_flipped_bit_is_noticed() {
        let entry = Entry { at: Moment(7), mark: None, events: vec![] };
        let mut line = Vec::new();
        write(&mut line, 42, &Said::<()>::Entry(&entry)).unwrap();
        let (seq, json) = read(&line).unwrap();
        assert_eq!(seq, 42);
        assert!(matches!(serde_json::from_slice(json).unwrap(), ReadEntry::Entry(read) if read == entry));
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut rotten = line.clone();
                rotten[at] ^= 1 << bit;
                // The checksum's letters may change case: the same number, so the line is still whole.
                assert!(read(&rotten).is_none() || (at < CHECKSUM && bit == 5), "byte {at}, bit {bit}");
            }
        }
        for end in 0..line.len() {
            assert!(read(&line[..end]).is_none(), "cut at {end}");
        }
    }
}
