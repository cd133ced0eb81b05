//! The journal's files: `000000000001.journal` and on. Each begins with a snapshot, so what lies before the newest
//! one isn't needed to know the state; entries follow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use model::event::Entry;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::Fold;
use super::line::{self, Read};

/// One file of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Its name.
    pub(super) number: u64,
    /// All of its entries have higher numbers than this.
    pub(super) base: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.journal"))
}

/// Opens a segment to append to it.
pub(super) fn open(path: &Path, new: bool) -> io::Result<File> {
    // What clients sent stands in it: not for everybody's eyes.
    OpenOptions::new().append(true).read(true).create(new).mode(0o600).open(path)
}

/// Numbers and lengths of the segments in a folder, in order.
fn list(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".journal")?.parse().ok());
        if let Some(number) = number.filter(|&number| path(dir, number) == file.path()) {
            found.push((number, file.metadata()?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What a folder holds.
pub(super) struct Found<S> {
    pub(super) journal: Option<Uuid>,
    pub(super) state: S,
    pub(super) last_seq: u64,
    pub(super) segments: Vec<Segment>,
    /// Whether the state stands on a snapshot, or there is nothing at all.
    pub(super) complete: bool,
    /// Bytes of unfinished lines at the end, which are cut off.
    pub(super) torn: u64,
    /// Lines in the middle that can't be read any more.
    pub(super) broken: u64,
}

impl<S> Found<S> {
    /// As if all that led to `state` was forgotten.
    pub(super) fn seeded(state: S) -> Self {
        Self { journal: None, state, last_seq: 0, segments: Vec::new(), complete: true, torn: 0, broken: 0 }
    }
}

/// Moves a folder's segments to one beside it, whose own ones go. Interrupted, it goes on where it was: the newest
/// segment goes last, so that what is left is still a journal.
pub(super) fn move_aside(dir: &Path) -> io::Result<()> {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".superseded");
    let aside = dir.with_file_name(name);
    let files = list(dir)?;
    if files.is_empty() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
    for (number, _) in list(&aside)? {
        fs::remove_file(path(&aside, number))?;
    }
    for (number, _) in files {
        fs::rename(path(dir, number), path(&aside, number))?;
    }
    File::open(&aside)?.sync_all()?;
    File::open(dir)?.sync_all()
}

/// Reads a folder, and cuts the end off where a line wasn't finished.
pub(super) fn recover<S: Fold>(dir: &Path) -> io::Result<Found<S>> {
    let files = list(dir)?;
    let heads: Vec<_> =
        files.iter().map(|&(number, _)| head(&path(dir, number))).collect::<Result<_, _>>()?;
    let mut journal = heads.iter().rev().find_map(|head| head.map(|(_, id)| id));
    let mut state = S::default();
    let mut complete = files.is_empty();
    let mut from = 0;
    let mut last_seq = 0;
    for index in (0..files.len()).rev().filter(|&index| heads[index].is_some()) {
        if let Some((seq, snapshot)) = snapshot::<S>(&path(dir, files[index].0))? {
            (from, last_seq, complete) = (index, seq, true);
            journal = Some(snapshot.journal);
            state = snapshot.state;
            break;
        }
    }
    let mut found = Found { journal, state, last_seq, segments: Vec::new(), complete, torn: 0, broken: 0 };
    // What a segment without a readable head holds lies between its neighbours.
    let mut bases = vec![last_seq; from];
    for index in (0..from).rev() {
        let next = bases.get(index + 1).copied().unwrap_or(last_seq);
        bases[index] = heads[index].map_or(next, |(seq, _)| seq);
    }
    for (&(number, bytes), base) in files.iter().zip(bases) {
        found.segments.push(Segment { number, base, bytes });
    }
    // How far each segment is whole, and how many of its broken lines lie behind that.
    let mut ends = Vec::new();
    for &(number, bytes) in &files[from..] {
        found.segments.push(Segment { number, base: found.last_seq, bytes });
        ends.push(scan(&path(dir, number), &mut found)?);
    }
    while let Some((end, broken_behind)) = ends.pop() {
        let segment = found.segments.last_mut().expect("there's one for each end");
        found.torn += segment.bytes - end;
        found.broken -= broken_behind;
        if end > 0 {
            if end < segment.bytes {
                let file = open(&path(dir, segment.number), false)?;
                file.set_len(end)?;
                file.sync_all()?;
                segment.bytes = end;
            }
            break;
        }
        // Not even its snapshot was finished.
        fs::remove_file(path(dir, segment.number))?;
        found.segments.pop();
    }
    // Killed before the very first snapshot was written: nothing is missing.
    found.complete |= found.segments.is_empty();
    Ok(found)
}

/// The number and the journal's id in a segment's first line.
fn head(path: &Path) -> io::Result<Option<(u64, Uuid)>> {
    Ok(snapshot::<IgnoredAny>(path)?.map(|(seq, snapshot)| (seq, snapshot.journal)))
}

fn snapshot<S: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<(u64, line::Snapshot<S>)>> {
    let mut text = Vec::new();
    BufReader::new(File::open(path)?).read_until(b'\n', &mut text)?;
    Ok(line::read(&text).and_then(|(seq, json)| match serde_json::from_slice(json) {
        Ok(Read::Snapshot(snapshot)) => Some((seq, snapshot)),
        _ => None,
    }))
}

/// Adds a segment's entries to what was found. Returns where its last whole line ends, and how many broken ones
/// follow.
fn scan<S: Fold>(path: &Path, found: &mut Found<S>) -> io::Result<(u64, u64)> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let (mut end, mut offset, mut behind) = (0, 0, 0);
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = file.read_until(b'\n', &mut text)? as u64;
        if length == 0 {
            return Ok((end, behind));
        }
        let first = offset == 0;
        offset += length;
        let Some((seq, json)) = line::read(&text) else {
            found.broken += 1;
            behind += 1;
            continue;
        };
        (end, behind) = (offset, 0);
        match serde_json::from_slice::<Read<IgnoredAny>>(json) {
            Ok(Read::Snapshot(_)) if first => {}
            Ok(Read::Entry(entry)) if seq > found.last_seq => take(found, seq, &entry),
            // Somebody's copy of a line, or a kind of event that only a newer version knows.
            _ => found.broken += 1,
        }
    }
}

fn take<S: Fold>(found: &mut Found<S>, seq: u64, entry: &Entry) {
    found.last_seq = seq;
    found.state.apply(entry);
}
