//! What a restart reads again: the lines before the place where live work begins, as far back as windows reach, so
//! that windows are filled as if there had been no restart.
//!
//! Where that begins in a file is found by bisecting it by the lines' times. Lines are only roughly in order, so it
//! begins [`SLACK`] earlier than asked for; lines without a time are passed over, and where there are none with
//! one, nothing is read again. Where the file begins too late, rotated files before it are read again too, as
//! long as they aren't compressed.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use model::units::{Second, Seconds};

use super::siblings::{self, MOST};
use super::tail::Tail;

/// Reads a line's time; the line comes without its line feed.
pub type TimeOf = Arc<dyn Fn(&[u8]) -> Option<Second> + Send + Sync>;

/// How far back a restart reads again. Finding the place takes a few dozen small reads where most lines have times,
/// and reads of `max_bytes` where none has.
#[derive(Clone)]
pub struct RebuildPlan {
    /// So much event time before the last line of before.
    pub horizon: Seconds,
    /// At most so many bytes, all files together.
    pub max_bytes: u64,
    /// When a line was.
    pub time_of: TimeOf,
}

impl fmt::Debug for RebuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { horizon, max_bytes, .. } = self;
        f.debug_struct("RebuildPlan")
            .field("horizon", horizon)
            .field("max_bytes", max_bytes)
            .finish_non_exhaustive()
    }
}

/// So far from the order of their times lines may stand, half of it at each end.
const SLACK: Seconds = Seconds(60);
/// No line that is longer has a time; and two places in a file that are closer together are not told apart.
const BLOCK: usize = 64 * 1024;

/// What to read again, in order, before `tails` go on where they stand.
pub(super) fn parts(plan: &RebuildPlan, path: &Path, tails: &[Tail], batch_bytes: usize) -> VecDeque<Tail> {
    let mut search = Search { plan, left: plan.max_bytes, since: None };
    let mut parts = VecDeque::new();
    let mut reached = false;
    for tail in tails.iter().rev() {
        // An unreadable file has nothing to read again; it is told when it is followed.
        let Ok(file) = tail.file.try_clone() else { continue };
        reached |= search.part(file, tail.position().offset, batch_bytes, &mut parts).unwrap_or(true);
    }
    let mut known: Vec<File> = tails.iter().filter_map(|tail| tail.file.try_clone().ok()).collect();
    let mut oldest = tails.first().and_then(|tail| tail.file.try_clone().ok());
    while let Some(file) = oldest.take()
        && !reached
        && search.left > 0
        && known.len() < 2 * MOST
    {
        let known_files: Vec<&File> = known.iter().collect();
        let Some(before) = siblings::before(path, &file, &known_files) else { break };
        let (Ok(length), Ok(clone)) = (before.metadata().map(|known| known.len()), before.try_clone()) else {
            break;
        };
        reached = search.part(clone, length, batch_bytes, &mut parts).unwrap_or(true);
        oldest = before.try_clone().ok();
        known.push(before);
    }
    parts
}

struct Search<'a> {
    plan: &'a RebuildPlan,
    left: u64,
    /// Known as soon as a line with a time was found.
    since: Option<Second>,
}

impl Search<'_> {
    /// Puts what is to be read of the file's first `to` bytes in front of `parts`. Says whether that was far enough
    /// back.
    fn part(
        &mut self,
        file: File,
        to: u64,
        batch_bytes: usize,
        parts: &mut VecDeque<Tail>,
    ) -> io::Result<bool> {
        let log = TimedLog { file: &file, time_of: &*self.plan.time_of };
        let least = log.line_from(to.saturating_sub(self.left), to)?;
        if self.since.is_none() {
            let last = log.last(least, to)?;
            let back = |last: Second| Second(last.0 - i64::from(self.plan.horizon.0) - i64::from(SLACK.0));
            self.since = last.map(back);
        }
        let (from, reached) = match self.since {
            Some(since) => {
                let from = log.bisect(least, to, since)?;
                (from, from > least || log.first(from, to)?.is_some_and(|line| line.time < since))
            }
            None => (to, false),
        };
        // Before what was too much there must not be something again.
        self.left = if least > 0 { 0 } else { self.left.saturating_sub(to - from) };
        if from < to {
            parts.push_front(Tail::new(file, from, batch_bytes)?.until(to));
        }
        Ok(reached)
    }
}

/// A log whose lines have times.
struct TimedLog<'a> {
    file: &'a File,
    time_of: &'a (dyn Fn(&[u8]) -> Option<Second> + Send + Sync),
}

#[derive(Clone, Copy)]
struct TimedLine {
    end: u64,
    time: Second,
}

impl TimedLog<'_> {
    /// The beginning of a line before which all lines are earlier than `since`, as far as lines are in order.
    fn bisect(&self, from: u64, to: u64, since: Second) -> io::Result<u64> {
        // All before `low` is too early, which one of its lines has proven; `high` only ends the search.
        let (mut low, mut high) = (from, to);
        while high.saturating_sub(low) > BLOCK as u64 {
            let middle = low + (high - low) / 2;
            match self.first(middle, high)? {
                Some(line) if line.time < since => low = line.end,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first line with a time that begins at `from` or behind it and ends at `to` or before it.
    fn first(&self, from: u64, to: u64) -> io::Result<Option<TimedLine>> {
        let mut first = None;
        self.each(from, to, |line| {
            first = Some(line);
            ControlFlow::Break(())
        })?;
        Ok(first)
    }

    /// The time of the last line that has one.
    fn last(&self, from: u64, to: u64) -> io::Result<Option<Second>> {
        let mut last = None;
        let mut back = BLOCK as u64;
        loop {
            let begin = to.saturating_sub(back).max(from);
            self.each(begin, to, |line| {
                last = Some(line.time);
                ControlFlow::Continue(())
            })?;
            if last.is_some() || begin == from {
                return Ok(last);
            }
            back = back.saturating_mul(4);
        }
    }

    /// Where the first line begins at `from` or behind it; `to` where there is none.
    fn line_from(&self, from: u64, to: u64) -> io::Result<u64> {
        let mut at = from.saturating_sub(1);
        let mut buffer = vec![0; BLOCK];
        while from > 0 && at < to {
            let wanted = BLOCK.min(usize::try_from(to - at).unwrap_or(BLOCK));
            let count = self.read(&mut buffer[..wanted], at)?;
            match memchr::memchr(b'\n', &buffer[..count]) {
                Some(found) => return Ok(at + found as u64 + 1),
                None if count == 0 => return Ok(to),
                None => at += count as u64,
            }
        }
        Ok(if from == 0 { 0 } else { to })
    }

    /// Goes through the lines with times that lie between `from` and `to` as a whole.
    fn each(&self, from: u64, to: u64, mut see: impl FnMut(TimedLine) -> ControlFlow<()>) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK];
        let (mut at, mut filled) = (self.line_from(from, to)?, 0);
        // Whether the buffer begins within a line.
        let mut within = false;
        loop {
            let left = usize::try_from(to - at).unwrap_or(usize::MAX) - filled;
            let end = buffer.len().min(filled.saturating_add(left));
            let count = self.read(&mut buffer[filled..end], at + filled as u64)?;
            if count == 0 {
                return Ok(());
            }
            filled += count;
            let mut begin = 0;
            while let Some(length) = memchr::memchr(b'\n', &buffer[begin..filled]) {
                let line = &buffer[begin..begin + length];
                begin += length + 1;
                if !std::mem::take(&mut within)
                    && let Some(time) = (self.time_of)(line)
                    && see(TimedLine { end: at + begin as u64, time }).is_break()
                {
                    return Ok(());
                }
            }
            if begin == 0 && filled == buffer.len() {
                (within, begin) = (true, filled);
            }
            buffer.copy_within(begin..filled, 0);
            filled -= begin;
            at += begin as u64;
        }
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
