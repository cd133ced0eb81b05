//! Log files, read once from their beginning to their end, one after the other: plain, gzip or zstd, or standard
//! input.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bolts::tuples::{LineBatch, MAX_LINE};
use engine::{BatchId, Next, Spout, Timestamp};
use flate2::read::MultiGzDecoder;

/// The logs to read, and how.
#[derive(Clone)]
pub struct Lines {
    /// In this order; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// About how many bytes a batch has; never less than a line.
    pub batch_bytes: usize,
    /// Is told each number of bytes read, before they are decompressed.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
    /// Inputs that couldn't be read to their end. What was read of them counted.
    pub failures: Arc<Mutex<Vec<InputFailure>>>,
}

/// An input that couldn't be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct InputFailure {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub error: io::Error,
}

/// What a batch has where nobody says otherwise: from 64 to 512 KiB made no difference where it was measured.
pub const BATCH_BYTES: usize = 256 * 1024;

/// The spout.
pub struct LogFiles {
    lines: Lines,
    waiting: VecDeque<PathBuf>,
    open: Option<(PathBuf, Box<dyn Read + Send>)>,
    /// Read already: the beginning of the next batch's first line.
    carry: Vec<u8>,
    /// Buffers that came back with acks.
    spare: Vec<Vec<u8>>,
}

/// What could be read of the open input.
enum Chunk {
    /// Whole lines, or the last one without its line feed.
    Lines(Vec<u8>),
    /// A line that was too long; the rest of it was skipped.
    TooLong,
    /// Nothing more.
    End,
}

impl LogFiles {
    /// Reads `lines`, from the beginning.
    #[must_use]
    pub fn new(lines: Lines) -> Self {
        let waiting = lines.inputs.iter().cloned().collect();
        Self { lines, waiting, open: None, carry: Vec::new(), spare: Vec::new() }
    }

    fn fail(&mut self, path: &Path, error: io::Error) {
        let failure = InputFailure { path: path.to_owned(), error };
        self.lines.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
    }

    /// Reads up to the last line feed within about a batch.
    fn chunk(&mut self) -> Chunk {
        let Some((path, mut reader)) = self.open.take() else {
            return Chunk::End;
        };
        // A buffer that comes back keeps its length, so that hardly a byte of it has to be cleared again.
        let mut bytes = self.spare.pop().unwrap_or_default();
        let mut filled = self.carry.len();
        bytes.resize(bytes.len().max(filled), 0);
        bytes[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        // What was carried over has whole lines only behind a line that was too long.
        let mut searched = 0;
        loop {
            let wanted =
                self.lines.batch_bytes.saturating_sub(filled).max(self.lines.batch_bytes.min(64 * 1024));
            bytes.resize(filled + wanted, 0);
            let ended = match fill(reader.as_mut(), &mut bytes, &mut filled) {
                Ok(()) => filled < bytes.len(),
                Err(error) => {
                    self.fail(&path, error);
                    true
                }
            };
            if ended {
                bytes.truncate(filled);
                return if bytes.is_empty() { Chunk::End } else { Chunk::Lines(bytes) };
            }
            if let Some(at) = memchr::memrchr(b'\n', &bytes[searched..filled]) {
                self.carry.extend_from_slice(&bytes[searched + at + 1..]);
                bytes.truncate(searched + at + 1);
                self.open = Some((path, reader));
                return Chunk::Lines(bytes);
            }
            searched = filled;
            if filled > MAX_LINE {
                match self.skip_line(reader.as_mut()) {
                    Ok(true) => self.open = Some((path, reader)),
                    Ok(false) => {}
                    Err(error) => self.fail(&path, error),
                }
                return Chunk::TooLong;
            }
        }
    }

    /// Reads behind the next line feed; `false` at the end of the input.
    fn skip_line(&mut self, reader: &mut dyn Read) -> io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = match reader.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(false);
            }
            if let Some(at) = memchr::memchr(b'\n', &buffer[..read]) {
                self.carry.extend_from_slice(&buffer[at + 1..read]);
                return Ok(true);
            }
        }
    }
}

impl Spout for LogFiles {
    type Out = LineBatch;

    fn next(&mut self, _: Timestamp) -> Next<LineBatch> {
        loop {
            match self.chunk() {
                Chunk::Lines(bytes) => {
                    return Next::Emit(LineBatch::new(bytes));
                }
                Chunk::TooLong => {
                    return Next::Emit(LineBatch::too_long());
                }
                Chunk::End => {}
            }
            let Some(path) = self.waiting.pop_front() else {
                return Next::End;
            };
            match open(&path, &self.lines.progress) {
                Ok(reader) => self.open = Some((path, reader)),
                Err(error) => self.fail(&path, error),
            }
        }
    }

    fn ack(&mut self, _: BatchId, batch: LineBatch) {
        // By now every bolt is done with it, so it can be filled again: no new pages for the next batch.
        if let Ok(bytes) = Arc::try_unwrap(batch.bytes) {
            self.spare.push(bytes);
        }
    }
}

/// Reads until the buffer is full or the input ends; `filled` says how far it came, also where it failed.
fn fill(reader: &mut dyn Read, bytes: &mut [u8], filled: &mut usize) -> io::Result<()> {
    while *filled < bytes.len() {
        match reader.read(&mut bytes[*filled..]) {
            Ok(0) => break,
            Ok(read) => *filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens an input; what it is compressed with is told by its first bytes, whatever it is called.
fn open(path: &Path, progress: &Arc<dyn Fn(u64) + Send + Sync>) -> io::Result<Box<dyn Read + Send>> {
    let raw: Box<dyn Read + Send> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let mut counted = BufReader::with_capacity(64 * 1024, Counted { raw, progress: progress.clone() });
    let mut magic = Vec::with_capacity(4);
    counted.by_ref().take(4).read_to_end(&mut magic)?;
    let gzip = magic.starts_with(&[0x1f, 0x8b]);
    let zstd = magic == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = Cursor::new(magic).chain(counted);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(BufReader::new(whole)))
    } else if zstd {
        Box::new(zstd::Decoder::new(whole)?)
    } else {
        Box::new(whole)
    })
}

struct Counted {
    raw: Box<dyn Read + Send>,
    progress: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.raw.read(buffer)?;
        (self.progress)(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn read_all(inputs: Vec<PathBuf>, batch_bytes: usize) -> (Vec<LineBatch>, Vec<String>) {
        let failures = Arc::default();
        let lines =
            Lines { inputs, batch_bytes, progress: Arc::new(|_| {}), failures: Arc::clone(&failures) };
        let mut spout = LogFiles::new(lines);
        let mut batches = Vec::new();
        while let Next::Emit(batch) = spout.next(Timestamp::default()) {
            batches.push(batch);
        }
        let failures = failures.lock().unwrap().iter().map(ToString::to_string).collect();
        (batches, failures)
    }

    fn file(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn joined(batches: &[LineBatch]) -> Vec<u8> {
        batches.iter().flat_map(|batch| batch.bytes.iter().copied()).collect()
    }

    proptest! {
        #[test]
        fn batches_are_the_file_cut_behind_line_feeds(text in "[a\n]{0,200}", batch_bytes in 1usize..50) {
            let folder = tempfile::tempdir().unwrap();
            let (batches, failures) = read_all(vec![file(&folder, "log", text.as_bytes())], batch_bytes);
            prop_assert!(failures.is_empty());
            prop_assert_eq!(joined(&batches), text.as_bytes());
            for batch in batches.iter().rev().skip(1) {
                prop_assert_eq!(batch.bytes.last(), Some(&b'\n'));
            }
        }
    }

    #[test]
    fn compressed_inputs_by_their_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"one\ntwo\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        // gzip files may be several in one.
        let inputs = vec![file(&folder, "a", &[&gzip[..], &gzip].concat()), file(&folder, "b.gz", &zstd)];
        let (batches, failures) = read_all(inputs, 4096);
        assert_eq!(joined(&batches), text.repeat(3));
        assert_eq!(failures, Vec::<String>::new());

        let cut = file(&folder, "cut.gz", &gzip[..gzip.len() / 2]);
        let (batches, failures) = read_all(vec![cut, file(&folder, "c", b"last")], 4096);
        let joined = joined(&batches);
        assert!(joined.starts_with(b"one\n") && joined.ends_with(b"last"), "what can be read counts");
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].contains("cut.gz"), "{failures:?}");
    }

    #[test]
    fn endless_lines_are_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = b"first\n".to_vec();
        text.resize(text.len() + MAX_LINE + 300_000, b'x');
        text.extend_from_slice(b"\nlast");
        let (batches, failures) = read_all(vec![file(&folder, "log", &text)], BATCH_BYTES);
        assert_eq!(joined(&batches), b"first\nlast");
        assert_eq!(batches.iter().map(|batch| batch.too_long).sum::<u64>(), 1);
        let long = vec![b'x'; MAX_LINE + 300_000];
        let text = [b"1\n", &long[..], b"\n2\n3\n4\n", &long, b"\n5\n"].concat();
        let (batches, _) = read_all(vec![file(&folder, "two", &text)], BATCH_BYTES);
        assert_eq!(joined(&batches), b"1\n2\n3\n4\n5\n", "what stands between two of them counts");
        assert_eq!(failures, Vec::<String>::new());
    }
}
