//! Lines from a pipe, as they come: standard input, or whatever can be read. Marked batches of whole lines out; the
//! end of the pipe is the end of the source.
//!
//! Reading a pipe blocks, so a thread does that. It is a few blocks ahead at most, so that whoever writes is held
//! back when the topology is slow. A pipe can't be read again: its positions say how many bytes came, and a restart
//! goes on with what comes then.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bolts::tuples::LineBatch;
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use engine::{BatchId, Next, Spout, Timestamp};
use model::mark::{Mark, Position};

use super::line_buffer::{Cut, LastBytes, LineBuffer};
use super::moment;

/// The thread reads so much at one time.
const BLOCK: usize = 64 * 1024;
/// It is at most so many blocks ahead.
const AHEAD: usize = 8;

/// Why a pipe ended, if not by itself.
pub type PipeFailure = Arc<Mutex<Option<io::Error>>>;

/// The spout.
#[derive(Debug)]
pub struct Piped {
    name: Arc<str>,
    blocks: Receiver<Vec<u8>>,
    lines: LineBuffer,
    batch_bytes: usize,
    offset: u64,
    batches: u64,
    ended: bool,
    spare: Vec<Vec<u8>>,
}

impl Piped {
    /// Reads `pipe` on a thread of its own, from now on. Batches have about `batch_bytes` at most. What breaks it off
    /// is told to `failure`.
    ///
    /// The thread ends with the pipe, or when it has read something after the spout is gone: a read that waits
    /// can't be called off.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn new(
        name: Arc<str>,
        pipe: impl Read + Send + 'static,
        batch_bytes: usize,
        failure: PipeFailure,
    ) -> io::Result<Self> {
        let (sender, blocks) = bounded(AHEAD);
        thread::Builder::new().name("pipe".to_owned()).spawn(move || {
            if let Err(error) = pump(pipe, &sender) {
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        })?;
        let lines = LineBuffer::new(batch_bytes, LastBytes::NONE);
        Ok(Self { name, blocks, lines, batch_bytes, offset: 0, batches: 0, ended: false, spare: Vec::new() })
    }

    fn emit(&mut self, Cut { batch, length }: Cut, now: Timestamp) -> Next<LineBatch> {
        self.offset += length;
        let mark = Mark {
            source: Arc::clone(&self.name),
            batch: self.batches,
            next: Position { offset: self.offset, ..Position::default() },
            older: Vec::new(),
            read_at: moment(now),
            rebuild: false,
            caught_up: self.blocks.is_empty(),
        };
        self.batches += 1;
        Next::Emit(batch.marked(mark))
    }
}

impl Spout for Piped {
    type Out = LineBatch;

    fn next(&mut self, now: Timestamp) -> Next<LineBatch> {
        loop {
            if let Some(cut) = self.lines.cut(&mut self.spare) {
                return self.emit(cut, now);
            }
            let mut more = false;
            while !self.ended && !self.lines.is_full() {
                match self.blocks.try_recv() {
                    Ok(block) => {
                        self.lines.push(&block);
                        more = true;
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => self.ended = true,
                }
            }
            if more {
                continue;
            }
            if !self.ended {
                return Next::Idle;
            }
            return match self.lines.rest() {
                Some(cut) => self.emit(cut, now),
                None => Next::End,
            };
        }
    }

    fn ack(&mut self, _: BatchId, batch: LineBatch) {
        LineBuffer::recycle(batch, self.batch_bytes, &mut self.spare);
    }
}

/// Sends what is read until the pipe ends or nobody wants it any more.
fn pump(mut pipe: impl Read, blocks: &Sender<Vec<u8>>) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                if blocks.send(buffer[..count].to_vec()).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever shares the pipe may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write as _, pipe};
    use std::time::Instant;

    use model::units::Moment;

    fn wait_for(spout: &mut Piped) -> Next<LineBatch> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match spout.next(Timestamp::from_secs(7)) {
                Next::Idle => assert!(Instant::now() < until, "nothing came"),
                next => return next,
            }
            thread::yield_now();
        }
    }

    fn emitted(spout: &mut Piped) -> LineBatch {
        match wait_for(spout) {
            Next::Emit(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn whole_lines_as_they_come_then_the_rest_then_the_end() {
        let (reader, mut writer) = pipe().unwrap();
        let failure = PipeFailure::default();
        let mut spout = Piped::new("-".into(), reader, 1024, Arc::clone(&failure)).unwrap();
        assert_eq!(spout.next(Timestamp::default()), Next::Idle);
        writer.write_all(b"one\ntwo\nthr").unwrap();
        let batch = emitted(&mut spout);
        assert_eq!(batch.bytes.as_slice(), b"one\ntwo\n");
        let mark = batch.mark.clone().unwrap();
        assert_eq!((mark.batch, mark.next.offset, mark.read_at), (0, 8, Moment(7_000)));
        assert!(mark.caught_up && !mark.rebuild);
        assert_eq!(spout.next(Timestamp::default()), Next::Idle, "a part of a line waits");
        writer.write_all(b"ee\nrest").unwrap();
        assert_eq!(emitted(&mut spout).bytes.as_slice(), b"three\n");
        drop(writer);
        let last = emitted(&mut spout);
        assert_eq!(last.bytes.as_slice(), b"rest");
        assert_eq!(last.mark.unwrap().next.offset, 18);
        assert_eq!(wait_for(&mut spout), Next::End);
        assert!(failure.lock().unwrap().is_none());
    }

    #[test]
    fn much_at_once_comes_in_order_and_in_bounds() {
        let text: Vec<u8> = (0..100_000).flat_map(|line| format!("line {line}\n").into_bytes()).collect();
        let mut spout =
            Piped::new("-".into(), io::Cursor::new(text.clone()), 4096, PipeFailure::default()).unwrap();
        let mut out = Vec::new();
        for number in 0.. {
            match wait_for(&mut spout) {
                Next::Emit(batch) => {
                    assert!(batch.bytes.len() <= 4096 + BLOCK, "{}", batch.bytes.len());
                    assert_eq!(batch.mark.as_ref().unwrap().batch, number);
                    out.extend_from_slice(&batch.bytes);
                    spout.ack(BatchId(number), batch);
                }
                Next::End => break,
                Next::Idle => unreachable!(),
            }
        }
        assert!(out == text);
    }

    #[test]
    fn what_breaks_it_off_is_told_and_what_came_counts() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("broken"));
                }
                buffer[..4].copy_from_slice(b"one\n");
                Ok(4)
            }
        }
        let failure = PipeFailure::default();
        let mut spout = Piped::new("-".into(), Broken(false), 1024, Arc::clone(&failure)).unwrap();
        assert_eq!(emitted(&mut spout).bytes.as_slice(), b"one\n");
        assert_eq!(wait_for(&mut spout), Next::End);
        assert_eq!(failure.lock().unwrap().as_ref().unwrap().to_string(), "broken");
    }
}
