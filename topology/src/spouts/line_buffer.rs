//! Bytes in as they come, whole lines out. A last line that isn't whole waits for its line feed; one that gets
//! longer than a line may be is dropped as it comes, and told when its line feed is there.

use bolts::tuples::{LineBatch, MAX_LINE};
use model::mark::Position;

/// Lines on their way in.
#[derive(Debug)]
pub(super) struct LineBuffer {
    /// Longer than what is filled, so that nothing has to be cleared before each read.
    bytes: Vec<u8>,
    filled: usize,
    /// Up to here there is no line feed.
    searched: usize,
    /// In a line that is too long: how much of it was dropped.
    dropped: Option<u64>,
    /// What stood in front of `bytes`.
    before: LastBytes,
    batch_bytes: usize,
    longest: usize,
}

/// Whole lines, and how many of the source's bytes they were.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) batch: LineBatch,
    pub(super) length: u64,
}

impl LineBuffer {
    /// Batches of about `batch_bytes`; `before` stands in front of what comes.
    pub(super) fn new(batch_bytes: usize, before: LastBytes) -> Self {
        let batch_bytes = batch_bytes.clamp(1, MAX_LINE);
        let (bytes, filled, searched, dropped) = (Vec::new(), 0, 0, None);
        Self { bytes, filled, searched, dropped, before, batch_bytes, longest: MAX_LINE }
    }

    /// What comes first belongs to a line that was too long already.
    pub(super) fn in_too_long(self) -> Self {
        Self { dropped: Some(0), ..self }
    }

    #[cfg(test)]
    pub(super) fn with_longest(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// Where the next bytes belong; never empty.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let least = self.batch_bytes.min(64 * 1024);
        let end = self.filled + self.batch_bytes.saturating_sub(self.filled).max(least);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.filled..end]
    }

    /// So many bytes were put into the room.
    pub(super) fn fill(&mut self, count: usize) {
        self.filled += count;
    }

    /// Puts bytes into it that are there already.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.fill(count);
            bytes = &bytes[count..];
        }
    }

    /// Whether a batch is together, so that more bytes had better wait.
    pub(super) fn is_full(&self) -> bool {
        self.filled >= self.batch_bytes
    }

    /// Bytes that were filled in and not cut out yet.
    pub(super) fn held(&self) -> u64 {
        self.filled as u64 + self.dropped.unwrap_or(0)
    }

    /// The last bytes before what comes next.
    pub(super) fn last_filled(&self) -> LastBytes {
        let mut last = self.before;
        last.push(&self.bytes[..self.filled]);
        last
    }

    /// The last bytes of what was cut out last.
    pub(super) fn last_cut(&self) -> LastBytes {
        self.before
    }

    /// The whole lines that are there, or that there was one too long. More than one call may be needed.
    pub(super) fn cut(&mut self, spare: &mut Vec<Vec<u8>>) -> Option<Cut> {
        if let Some(dropped) = self.dropped {
            let Some(at) = memchr::memchr(b'\n', &self.bytes[..self.filled]) else {
                self.drop_line();
                return None;
            };
            let length = at + 1;
            self.before.push(&self.bytes[..length]);
            self.bytes.copy_within(length..self.filled, 0);
            (self.filled, self.searched, self.dropped) = (self.filled - length, 0, None);
            return Some(Cut { batch: LineBatch::too_long(), length: dropped + length as u64 });
        }
        match memchr::memrchr(b'\n', &self.bytes[self.searched..self.filled]) {
            Some(at) => Some(self.take(self.searched + at + 1, spare)),
            None => {
                self.searched = self.filled;
                if self.filled > self.longest {
                    self.drop_line();
                }
                None
            }
        }
    }

    /// The last line, where the source ended without a line feed.
    pub(super) fn rest(&mut self) -> Option<Cut> {
        let length = self.held();
        match self.dropped.take() {
            _ if length == 0 => None,
            None => Some(self.take(self.filled, &mut Vec::new())),
            Some(_) => {
                self.before.push(&self.bytes[..self.filled]);
                (self.filled, self.searched) = (0, 0);
                Some(Cut { batch: LineBatch::too_long(), length })
            }
        }
    }

    fn drop_line(&mut self) {
        self.before.push(&self.bytes[..self.filled]);
        *self.dropped.get_or_insert(0) += self.filled as u64;
        (self.filled, self.searched) = (0, 0);
        self.bytes.truncate(self.batch_bytes);
        self.bytes.shrink_to(self.batch_bytes);
    }

    fn take(&mut self, length: usize, spare: &mut Vec<Vec<u8>>) -> Cut {
        self.before.push(&self.bytes[..length]);
        let rest = self.filled - length;
        let lines = if length < self.bytes.len() / 4 {
            // A few lines as they come live: a big buffer for each of them would cost more than copying.
            let lines = self.bytes[..length].to_vec();
            self.bytes.copy_within(length..self.filled, 0);
            lines
        } else {
            let mut next = spare.pop().unwrap_or_default();
            next.resize(next.len().max(rest), 0);
            next[..rest].copy_from_slice(&self.bytes[length..self.filled]);
            let mut lines = std::mem::replace(&mut self.bytes, next);
            lines.truncate(length);
            lines
        };
        // Behind the last line feed there is none.
        (self.filled, self.searched) = (rest, rest);
        Cut { batch: LineBatch::new(lines), length: length as u64 }
    }

    /// Takes an acked batch's buffer for the next ones, where it is worth it.
    pub(super) fn recycle(batch: LineBatch, batch_bytes: usize, spare: &mut Vec<Vec<u8>>) {
        if let Ok(bytes) = std::sync::Arc::try_unwrap(batch.bytes)
            && bytes.capacity() >= batch_bytes.min(MAX_LINE)
            && bytes.capacity() <= 4 * batch_bytes
        {
            spare.push(bytes);
        }
    }
}

/// The last few bytes that went by.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastBytes {
    bytes: [u8; Position::CHECKED],
    length: usize,
}

impl LastBytes {
    /// None yet.
    pub(super) const NONE: Self = Self { bytes: [0; Position::CHECKED], length: 0 };

    /// The last of these.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut last = Self::NONE;
        last.push(bytes);
        last
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(Position::CHECKED)..];
        let kept = self.length.min(Position::CHECKED - bytes.len());
        self.bytes.copy_within(self.length - kept..self.length, 0);
        self.bytes[kept..kept + bytes.len()].copy_from_slice(bytes);
        self.length = kept + bytes.len();
    }

    /// As many, to be overwritten.
    pub(super) fn blank(&self) -> Self {
        Self { length: self.length, ..Self::NONE }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// What a position says of them.
    pub(super) fn check(&self) -> u32 {
        crc32fast::hash(self.as_slice())
    }
}

impl PartialEq for LastBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However bytes come, whole lines come out, in order and with their lengths, and long ones are counted.
        #[test]
        fn lines_come_out_whole(
            text in "[ab\n]{0,300}",
            pieces in prop::collection::vec(1usize..40, 1..20),
            batch_bytes in 1usize..60,
            longest in 20usize..80,
        ) {
            let mut buffer = LineBuffer::new(batch_bytes, LastBytes::NONE).with_longest(longest);
            let (mut spare, mut out, mut too_long, mut length) = (Vec::new(), Vec::new(), 0, 0);
            let mut left = text.as_bytes();
            let mut pieces = pieces.into_iter().cycle();
            let mut keep = |cut: Cut, buffer: &LineBuffer, length: &mut u64, spare: &mut Vec<Vec<u8>>| {
                *length += cut.length;
                out.extend_from_slice(&cut.batch.bytes);
                too_long += cut.batch.too_long;
                let before = LastBytes::of(&text.as_bytes()[..*length as usize]);
                assert_eq!(buffer.last_cut(), before);
                LineBuffer::recycle(cut.batch, batch_bytes, spare);
            };
            while !left.is_empty() {
                let room = buffer.room();
                let count = pieces.next().unwrap().min(room.len()).min(left.len());
                room[..count].copy_from_slice(&left[..count]);
                buffer.fill(count);
                left = &left[count..];
                while let Some(cut) = buffer.cut(&mut spare) {
                    prop_assert!(cut.batch.bytes.last().is_none_or(|&byte| byte == b'\n'));
                    keep(cut, &buffer, &mut length, &mut spare);
                }
                let read = &text.as_bytes()[..text.len() - left.len()];
                prop_assert_eq!(length + buffer.held(), read.len() as u64);
                prop_assert_eq!(buffer.last_filled(), LastBytes::of(read));
            }
            if let Some(cut) = buffer.rest() {
                keep(cut, &buffer, &mut length, &mut spare);
            }
            prop_assert_eq!(length, text.len() as u64);
            // What is cut out depends on how it came only for lines a little longer than allowed.
            let lines = || text.split_inclusive('\n');
            let surely = lines().filter(|line| line.len() > longest + batch_bytes + 1).count() as u64;
            prop_assert!(too_long >= surely && too_long <= lines().filter(|l| l.len() > longest).count() as u64);
            if too_long == 0 {
                prop_assert_eq!(out, text.as_bytes());
            }
        }
    }
}
