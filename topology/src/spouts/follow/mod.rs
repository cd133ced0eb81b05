//! A log file that grows, followed like `tail -F`: new lines in, marked batches of whole lines out.
//!
//! The spout holds the file that was at the path when it last looked, and for a while those before it, for nginx
//! goes on writing to a rotated file until it has reopened its logs. They are read in order, the oldest first; an
//! older one is let go when it had nothing new for [`GRACE`].
//!
//! **What holds.** Every line is emitted once, those of a file in order, over any rotation by rename, deletion,
//! vanishing and coming back, however late the old file is written to within the grace, and over restarts from
//! any mark: a position names the file by its inode, and by a checksum of what stands before it, so that neither a
//! reused inode nor an emptied file is taken for what was there. The files that rotation left in the meantime are
//! read too (see `siblings.rs`).
//!
//! **What can't be known.** Lines that are gone before they are read: in a file deleted or compressed while
//! nobody held it open. `copytruncate` loses what is written between its copy and its truncation; what it has copied
//! is found by its content and read. A file emptied without a copy may have had unread lines. These are told in the
//! status as possible losses. Nothing tells of a copy of which nothing had been read before, of a file that was rotated in and out between two looks and deleted, of
//! one written to after the grace, or of a line that is completed after that: its beginning was emitted as a line. A
//! file emptied and at once filled with the same last 64 bytes before the place is taken for the old one. Rotated
//! files nobody saw are told and ordered by their times of change, so one that was last changed before its
//! predecessor isn't found. And before the first mark a restart knows nothing but [`FollowConfig::start`].

mod config;
mod rebuild;
mod siblings;
mod status;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bolts::tuples::LineBatch;
use engine::{BatchId, Next, Spout, Timestamp, Tuple as _};
use model::mark::{Mark, Position};

pub use self::config::{FollowConfig, FollowError, Start};
pub use self::rebuild::{RebuildPlan, TimeOf};
pub use self::status::{FollowState, FollowStatus, Following};
use self::tail::{Found, Tail, id_of, open};
use super::line_buffer::{Cut, LineBuffer};
use super::moment;

/// How long an older file may be silent before it is let go.
pub const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the path has another file.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Past so many files the oldest is let go without a grace.
const MOST_FILES: usize = 2 * siblings::MOST;

/// The spout.
#[derive(Debug)]
pub struct Follow {
    config: FollowConfig,
    /// Where to begin, until the file can be opened.
    start: Option<Start>,
    /// What is read again, before anything else.
    rebuild: VecDeque<Tail>,
    /// The files that are read, the oldest first.
    tails: Vec<Tail>,
    looked: Option<Timestamp>,
    batches: u64,
    /// Whether a mark said where live work begins.
    begun: bool,
    /// Buffers that came back with acks.
    spare: Vec<Vec<u8>>,
}

impl Follow {
    /// Follows a file, which may not be there yet.
    ///
    /// # Errors
    /// There is something that never was a file.
    pub fn new(config: FollowConfig) -> Result<Self, FollowError> {
        let path = config.path.clone();
        if path.file_name().is_none() {
            return Err(FollowError::NoName { path });
        }
        let mut start = config.start.clone();
        match fs::metadata(&path) {
            Ok(known) if known.is_file() => {}
            Ok(known) => {
                let what = if known.is_dir() { "a directory" } else { "a FIFO, a socket or a device" };
                return Err(FollowError::NotAFile { path, what });
            }
            // All lines of a file that comes later are new.
            Err(error) if error.kind() == io::ErrorKind::NotFound && start == Start::End => {
                start = Start::Beginning;
            }
            // It may be there at another time.
            Err(_) => {}
        }
        config.status.change(|status| status.state = FollowState::Waiting);
        let (rebuild, tails, spare) = (VecDeque::new(), Vec::new(), Vec::new());
        Ok(Self { config, start: Some(start), rebuild, tails, looked: None, batches: 0, begun: false, spare })
    }

    /// Looks what is at the path.
    fn look(&mut self, now: Timestamp) {
        let found = match self.start.take() {
            Some(start) => self.begin(&start, now).inspect_err(|_| self.start = Some(start)),
            None => self.look_again(now),
        };
        let problem = found.err().map(|error| format!("{}: {error}", self.config.path.display()));
        let behind = self.tails.iter().map(Tail::behind).sum();
        self.config.status.change(|status| {
            if let Some(problem) = &problem
                && status.problem != Some(problem.clone())
            {
                tracing::warn!("{problem}; trying again");
            }
            status.problem = problem;
            status.behind = behind;
        });
    }

    /// Opens the file for the first time.
    fn begin(&mut self, start: &Start, now: Timestamp) -> io::Result<()> {
        let head = open(&self.config.path)?;
        let batch_bytes = self.config.batch_bytes;
        self.tails = match start {
            Start::Beginning => vec![Tail::new(head, 0, batch_bytes)?],
            Start::End => vec![Tail::at_end(head, batch_bytes)?],
            Start::At { next, older } => self.resume(head, next, older)?,
        };
        self.tails.iter_mut().for_each(|tail| tail.quiet_since = now);
        if let Some(plan) = &self.config.rebuild {
            self.rebuild = rebuild::parts(plan, &self.config.path, &self.tails, batch_bytes);
        }
        self.tell_state();
        Ok(())
    }

    /// Goes on where a mark says.
    fn resume(&self, head: File, next: &Position, older: &[Position]) -> io::Result<Vec<Tail>> {
        let FollowConfig { path, batch_bytes, .. } = &self.config;
        let mut tails: Vec<Tail> = Vec::new();
        for position in older {
            match siblings::locate(path, position, *batch_bytes) {
                Some(tail) => push_once(&mut tails, tail),
                None => self.lost("a file rotated before the restart is gone or compressed"),
            }
        }
        match siblings::locate(path, next, *batch_bytes) {
            Some(last) => {
                let between = match id_of(&head.metadata()?) == last.id {
                    true => Vec::new(),
                    false => self.newer(&last, &tails, &head)?,
                };
                push_once(&mut tails, last);
                tails.extend(between);
            }
            // Nobody knows which files came after it.
            None => self.lost("the file of before the restart is gone, compressed or emptied"),
        }
        self.append(&mut tails, head)?;
        Ok(tails)
    }

    /// The rotated files that came after `than` and aren't among `tails`, from their beginnings.
    fn newer(&self, than: &Tail, tails: &[Tail], head: &File) -> io::Result<Vec<Tail>> {
        let known: Vec<&File> = tails.iter().map(|tail| &tail.file).chain([&than.file, head]).collect();
        let found = siblings::newer(&self.config.path, &than.file, &known);
        found.into_iter().map(|file| Tail::new(file, 0, self.config.batch_bytes)).collect()
    }

    /// Makes the file at the path the newest.
    fn append(&self, tails: &mut Vec<Tail>, head: File) -> io::Result<()> {
        let id = id_of(&head.metadata()?);
        match tails.iter().position(|tail| tail.id == id) {
            // It got its name back.
            Some(at) => tails[at..].rotate_left(1),
            None => tails.push(Tail::new(head, 0, self.config.batch_bytes)?),
        }
        Ok(())
    }

    /// Looks whether there is another file now.
    fn look_again(&mut self, now: Timestamp) -> io::Result<()> {
        let path = &self.config.path;
        let Some(last) = self.tails.last() else { return Ok(()) };
        let known = fs::metadata(path)?;
        if known.is_file() && id_of(&known) == last.id {
            return Ok(());
        }
        let head = open(path)?;
        if id_of(&head.metadata()?) == last.id {
            return Ok(());
        }
        let mut newer = self.newer(last, &self.tails, &head)?;
        let superseded = self.tails.len() - 1;
        let mut tails = std::mem::take(&mut self.tails);
        tails.append(&mut newer);
        let appended = self.append(&mut tails, head);
        tails[superseded..].iter_mut().for_each(|tail| tail.quiet_since = now);
        self.tails = tails;
        appended?;
        self.config.status.change(|status| status.rotations += 1);
        Ok(())
    }

    /// A file was emptied or written anew: it is read from its beginning, and what was copied of it before first.
    fn replaced(&mut self, at: usize, now: Timestamp) -> io::Result<()> {
        let FollowConfig { path, batch_bytes, .. } = &self.config;
        let mut fresh = Tail::new(self.tails[at].file.try_clone()?, 0, *batch_bytes)?;
        fresh.quiet_since = now;
        let before = std::mem::replace(&mut self.tails[at], fresh).position();
        self.config.status.change(|status| status.truncations += 1);
        match siblings::locate(path, &before, *batch_bytes).filter(|copy| copy.id != before.file) {
            Some(copy) => {
                // It may have been emptied more than once.
                let mut copies = self.newer(&copy, &self.tails, &self.tails[at].file)?;
                copies.insert(0, copy);
                copies.iter_mut().for_each(|copy| copy.quiet_since = now);
                self.tails.splice(at..at, copies);
            }
            None => self.lost("the file was emptied or written anew"),
        }
        Ok(())
    }

    fn lost(&self, how: &str) {
        let how = format!("{}: {how}; lines may be lost", self.config.path.display());
        tracing::warn!("{how}");
        self.config.status.change(|status| {
            status.possible_losses += 1;
            status.last_loss = Some(how);
        });
    }

    /// Tells a problem with reading that may pass.
    fn trouble(&self, error: &io::Error) {
        let problem = format!("{}: {error}", self.config.path.display());
        self.config.status.change(|status| status.problem = Some(problem));
    }

    fn tell_state(&self) {
        let state = match (self.tails.is_empty(), self.rebuild.is_empty()) {
            (true, _) => FollowState::Waiting,
            (_, false) => FollowState::Rebuilding,
            _ => FollowState::Live,
        };
        self.config.status.change(|status| status.state = state);
    }

    /// The next batch of what is read again.
    fn rebuild(&mut self, now: Timestamp) -> Option<LineBatch> {
        loop {
            let part = self.rebuild.front_mut()?;
            let cut = match part.read(now, &mut self.spare) {
                Ok(Found::Lines(cut)) => Some(cut),
                Ok(Found::More) => return None,
                Ok(Found::End) => part.rest(),
                Ok(Found::Replaced) => None,
                Err(error) => {
                    self.trouble(&error);
                    None
                }
            };
            if let Some(Cut { batch, .. }) = cut {
                let next = self.rebuild.front()?.position();
                let lines = batch.records();
                self.config.status.change(|status| status.rebuilt_lines += lines);
                return Some(self.mark(batch, next, Vec::new(), true, now));
            }
            self.rebuild.pop_front();
            self.tell_state();
        }
    }

    /// The next batch of new lines.
    fn live(&mut self, now: Timestamp) -> Option<LineBatch> {
        let mut at = 0;
        while at < self.tails.len() {
            match self.tails[at].read(now, &mut self.spare) {
                Ok(Found::Lines(cut)) => return Some(self.emit(cut, now)),
                Ok(Found::More) => return None,
                Ok(Found::End) => {}
                Ok(Found::Replaced) => match self.replaced(at, now) {
                    // What may be there now comes first.
                    Ok(()) => continue,
                    Err(error) => self.trouble(&error),
                },
                Err(error) => self.trouble(&error),
            }
            let over = self.tails.len() > MOST_FILES || now.since(self.tails[at].quiet_since) >= GRACE;
            if at + 1 < self.tails.len() && over {
                if let Some(cut) = self.tails.remove(at).rest() {
                    return Some(self.emit(cut, now));
                }
                continue;
            }
            at += 1;
        }
        None
    }

    fn emit(&mut self, Cut { batch, length }: Cut, now: Timestamp) -> LineBatch {
        let mut older: Vec<Position> = self.tails.iter().map(Tail::position).collect();
        let next = older.pop().unwrap_or_default();
        let lines = batch.records();
        self.config.status.change(|status| {
            status.lines += lines;
            status.bytes += length;
            status.too_long += batch.too_long;
            status.behind = status.behind.saturating_sub(length);
            status.grown_at = Some(moment(now));
        });
        self.mark(batch, next, older, false, now)
    }

    fn mark(
        &mut self,
        batch: LineBatch,
        next: Position,
        older: Vec<Position>,
        rebuild: bool,
        now: Timestamp,
    ) -> LineBatch {
        let caught_up = self.rebuild.is_empty() && self.tails.iter().all(|tail| tail.at_end);
        let number = self.batches;
        self.batches += 1;
        let source = Arc::clone(&self.config.name);
        batch.marked(Mark { source, batch: number, next, older, read_at: moment(now), rebuild, caught_up })
    }
}

impl Spout for Follow {
    type Out = LineBatch;

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        // A clock that was set back doesn't stop it from looking.
        if self.looked.is_none_or(|looked| now < looked || now.since(looked) >= LOOK_EVERY) {
            self.looked = Some(now);
            self.look(now);
        }
        if let Some(batch) = self.rebuild(now) {
            return Next::Emit(batch);
        }
        match self.rebuild.is_empty().then(|| self.live(now)).flatten() {
            Some(batch) => {
                self.begun = true;
                Next::Emit(batch)
            }
            // Without a line there would be no mark, and lines that come while we are down would be taken for those
            // of before.
            None if !self.begun && !self.tails.is_empty() => {
                self.begun = true;
                let nothing = Cut { batch: LineBatch::new(Vec::new()), length: 0 };
                Next::Emit(self.emit(nothing, now))
            }
            None => Next::Idle,
        }
    }

    fn ack(&mut self, _: BatchId, batch: LineBatch) {
        LineBuffer::recycle(batch, self.config.batch_bytes, &mut self.spare);
    }
}

/// Two positions may lead to one file: the inode of a file that had nothing read and is gone may be another's now.
fn push_once(tails: &mut Vec<Tail>, tail: Tail) {
    let same = |known: &Tail| known.id == tail.id;
    let further = |known: &Tail| known.position().offset > tail.position().offset;
    if !tails.iter().any(|known| same(known) && further(known)) {
        tails.retain(|known| !same(known));
        tails.push(tail);
    }
}
