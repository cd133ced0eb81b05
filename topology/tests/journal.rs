//! The journal: what is appended is there again, whatever happened to the process or the disk.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bolts::ports::EventStore as _;
use journal_common::{Tally, ban, change, detailed, entry, marked, open, options, record, tiny_disk, until};
use model::ban::Change;
use model::event::{Entry, Event};
use proptest::prelude::*;
use topology::adapters::journal::{Journal, JournalError, JournalOptions};

static NEVER: AtomicBool = AtomicBool::new(false);

/// All entries above `after`, as a reader gives them.
fn read(journal: &Arc<Journal<Tally>>, after: u64) -> Vec<(u64, Entry)> {
    assert!(journal.sync(Duration::from_secs(10)));
    let mut reader = journal.reader(after);
    std::iter::from_fn(|| reader.next(Duration::ZERO, &NEVER).unwrap()).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "journal"));
    paths.sort();
    paths
}

fn small() -> JournalOptions {
    JournalOptions { segment_bytes: 2_000, ..options() }
}

#[test]
fn what_is_appended_is_read_in_order_and_folded_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let written: Vec<Entry> = (0..100)
        .map(|n| match n % 3 {
            0 => entry(vec![record(n), record(n + 1)]),
            1 => marked(u64::from(n), vec![]),
            _ => entry(vec![change(Change::Banned(ban("203.0.113.9", n)))]),
        })
        .collect();
    let (journal, recovered, _) = open(dir.path(), small());
    assert_eq!((recovered.last_seq, recovered.complete), (0, true));
    for entry in &written {
        journal.append(entry.clone());
    }
    let expect: Vec<_> = (1..).zip(written.iter().cloned()).collect();
    assert_eq!(read(&journal, 0), expect);
    assert_eq!(read(&journal, 57), expect[57..]);
    let id = journal.id();
    drop(journal);
    assert!(segments(dir.path()).len() > 5, "segments were rotated");
    let (journal, recovered, _) = open(dir.path(), small());
    assert_eq!(journal.id(), id);
    assert_eq!((recovered.last_seq, recovered.torn_bytes, recovered.broken_lines), (100, 0, 0));
    let tally = recovered.state;
    assert_eq!((tally.entries, tally.records, tally.changes), (100, 68, 33));
    assert_eq!(tally.marks["/var/log/nginx/access.log"], 97);
    assert_eq!(read(&journal, 0), expect);
}

#[test]
fn a_reader_follows_and_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small());
    let mut reader = journal.reader(0);
    let writing = Arc::clone(&journal);
    let writer = std::thread::spawn(move || {
        for n in 0..500 {
            writing.append(entry(vec![record(n)]));
        }
    });
    for n in 0..500 {
        let (seq, read) = reader.next(Duration::from_secs(30), &NEVER).unwrap().unwrap();
        assert_eq!((seq, read), (u64::from(n) + 1, entry(vec![record(n)])));
    }
    writer.join().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::clone(&stop);
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || reader.next(Duration::from_secs(60), &interrupted).unwrap());
    stop.store(true, std::sync::atomic::Ordering::Release);
    journal.wake_readers();
    assert_eq!(waiting.join().unwrap(), None);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn numbers_go_on_above_what_somebody_else_knows_and_nothing_is_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), options());
    let skipping = Arc::clone(&journal);
    // Whatever the syncer is about at that moment.
    let skipper = std::thread::spawn(move || (0..2_000).for_each(|seq| skipping.start_above(seq)));
    for n in 0..2_000 {
        journal.append(entry(vec![record(n)]));
    }
    skipper.join().unwrap();
    journal.start_above(10_000);
    let mut read: Vec<_> = read(&journal, 0).into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(read.len(), 2_000);
    journal.append(entry(vec![record(5_000)]));
    let above = self::read(&journal, 10_000);
    assert_eq!(above, [(10_001, entry(vec![record(5_000)]))]);
    read.dedup();
    assert!(read.into_iter().eq((0..2_000).map(|n| entry(vec![record(n)]))));
}

#[test]
fn two_processes_cant_share_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), options());
    let second = Journal::<Tally>::open(dir.path(), options(), Arc::new(journal_common::Alarms::default()));
    let Err(error @ JournalError::InUse { .. }) = second.map(|_| ()) else { panic!("it was opened twice") };
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(journal);
    open(dir.path(), options());
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), options());
    journal.append(entry(vec![record(1)]));
    journal.close();
    let path = segments(dir.path()).remove(0);
    let before = fs::metadata(&path).unwrap().len();
    journal.append(entry(vec![change(Change::Banned(ban("203.0.113.9", 0)))]));
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for end in usize::try_from(before).unwrap()..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let (journal, recovered, _) = open(dir.path(), options());
        assert_eq!((recovered.last_seq, recovered.broken_lines), (1, 0), "cut at {end}");
        assert_eq!(recovered.torn_bytes, end as u64 - before, "cut at {end}");
        journal.append(entry(vec![record(2)]));
        assert_eq!(read(&journal, 1), [(2, entry(vec![record(2)]))], "cut at {end}");
    }
    // Not even the first line of a new segment was finished.
    fs::write(&path, &whole).unwrap();
    fs::write(dir.path().join("000000000002.journal"), b"0123abcd 2 {\"snap").unwrap();
    let (journal, recovered, _) = open(dir.path(), options());
    assert_eq!((recovered.last_seq, recovered.state.changes, recovered.torn_bytes), (2, 1, 17));
    drop(journal);
    // Nor of the very first one.
    fs::write(&path, &whole[..20]).unwrap();
    let (journal, recovered, _) = open(dir.path(), options());
    assert_eq!((recovered.last_seq, recovered.complete), (0, true));
    journal.append(entry(vec![record(2)]));
    assert_eq!(read(&journal, 0).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_cut_off_the_rest_is_there(
        details in proptest::collection::vec(proptest::option::of(".{0,200}"), 1..20),
        cut in 0.0f64..1.0,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let written: Vec<_> = (0..).zip(details).map(|(n, detail)| entry(vec![detailed(n, detail)])).collect();
        let (journal, ..) = open(dir.path(), options());
        for entry in &written {
            journal.append(entry.clone());
        }
        drop(journal);
        let path = segments(dir.path()).remove(0);
        let whole = fs::read(&path).unwrap();
        let end = (whole.len() as f64 * cut) as usize;
        fs::write(&path, &whole[..end]).unwrap();
        let left = whole[..end].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
        let (journal, recovered, _) = open(dir.path(), options());
        prop_assert_eq!(recovered.state.records, left as u64);
        let read: Vec<_> = read(&journal, 0).into_iter().map(|(_, entry)| entry).collect();
        prop_assert_eq!(&read[..], &written[..left]);
    }

    #[test]
    fn any_bytes_as_a_segment_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), lines in 0u8..4) {
        let dir = tempfile::tempdir().unwrap();
        let (journal, ..) = open(dir.path(), options());
        for n in 0..lines {
            journal.append(entry(vec![record(n.into())]));
        }
        drop(journal);
        let path = segments(dir.path()).remove(0);
        let mut content = fs::read(&path).unwrap();
        content.extend(bytes);
        fs::write(&path, content).unwrap();
        let (journal, recovered, _) = open(dir.path(), options());
        prop_assert_eq!(recovered.state.records, u64::from(lines));
        journal.append(entry(vec![record(9)]));
        prop_assert_eq!(read(&journal, 0).len(), usize::from(lines) + 1);
    }
}

#[test]
fn a_rotten_line_in_the_middle_is_counted_told_and_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), options());
    for n in 0..5 {
        journal.append(entry(vec![record(n)]));
    }
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"count\":2", "\"count\":7")).unwrap();
    let (journal, recovered, alarms) = open(dir.path(), options());
    assert_eq!((recovered.last_seq, recovered.broken_lines, recovered.torn_bytes), (5, 1, 0));
    assert_eq!(recovered.state.records, 4);
    let seqs: Vec<_> = read(&journal, 0).into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, [1, 2, 4, 5]);
    until("the alarm", || alarms.of("journal_damaged") == [false]);
}

#[test]
fn a_rotten_snapshot_is_replaced_by_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small());
    for n in 0..40 {
        journal.append(entry(vec![record(n)]));
    }
    drop(journal);
    let newest = segments(dir.path()).pop().unwrap();
    let text = fs::read_to_string(&newest).unwrap();
    fs::write(&newest, text.replacen("\"records\":", "\"records\":9", 1)).unwrap();
    let (journal, recovered, _) = open(dir.path(), small());
    assert_eq!((recovered.state.records, recovered.broken_lines, recovered.complete), (40, 1, true));
    assert_eq!(read(&journal, 0).len(), 40);
    drop(journal);
    // Where none is readable, the entries that are left must do.
    for path in segments(dir.path()) {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"records\":", "\"records\":9", 1)).unwrap();
    }
    let (_, recovered, _) = open(dir.path(), small());
    assert_eq!((recovered.state.records, recovered.complete), (40, false));
}

#[test]
fn segments_go_when_nobody_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small());
    for n in 0..200 {
        journal.append(entry(vec![record(n)]));
    }
    assert!(journal.sync(Duration::from_secs(10)));
    let all = journal.status().segments;
    journal.forget_below(1);
    assert_eq!(journal.status().segments, all);
    journal.forget_below(100);
    let some = journal.status().segments;
    assert!(some < all && some > 2, "{some} of {all}");
    assert_eq!(read(&journal, 99)[0].0, 100, "what isn't below 100 is still there");
    journal.forget_below(u64::MAX);
    assert_eq!((journal.status().segments, segments(dir.path()).len()), (2, 2));
    drop(journal);
    let (_, recovered, _) = open(dir.path(), small());
    assert_eq!((recovered.state.records, recovered.last_seq), (200, 200), "the snapshot says it all");
}

#[test]
fn beyond_its_size_records_are_lost_and_changes_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { max_bytes: 8_000, ..small() };
    let (journal, _, alarms) = open(dir.path(), options);
    for n in 0..100 {
        journal.append(marked(n.into(), vec![record(n), change(Change::Banned(ban("203.0.113.9", n)))]));
    }
    assert!(journal.sync(Duration::from_secs(10)));
    let lost = journal.status().lost_events;
    until("the alarm", || alarms.of("journal_full") == [false]);
    journal.forget_below(u64::MAX);
    until("the end of the alarm", || alarms.of("journal_full") == [false, true]);
    journal.append(entry(vec![record(100)]));
    drop(journal);
    let (_, recovered, _) = open(dir.path(), options);
    assert!(lost > 50, "{lost}");
    assert_eq!((recovered.state.changes, recovered.state.records), (100, 101 - lost));
}

#[test]
fn a_full_disk_makes_entries_wait_and_follow_in_order() {
    let Some(disk) = tiny_disk("a_full_disk_makes_entries_wait_and_follow_in_order", "400k") else { return };
    let dir = disk.join("journal");
    let (journal, _, alarms) = open(&dir, options());
    journal.append(entry(vec![record(0)]));
    fill(&disk);
    for n in 1..500 {
        journal.append(entry(vec![record(n)]));
    }
    let status = journal.status();
    assert!(status.waiting_entries > 400 && status.trouble.is_some(), "{status:?}");
    until("the alarm", || alarms.of("journal_unwritable") == [false]);
    fs::remove_file(disk.join("filler")).unwrap();
    until("all is written", || journal.status().waiting_entries == 0);
    let read: Vec<_> = read(&journal, 0).into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(read, (0..500).map(|n| entry(vec![record(n)])).collect::<Vec<_>>());
    until("the end of the alarm", || alarms.of("journal_unwritable") == [false, true]);
    drop(journal);
    let (_, recovered, _) = open(&dir, options());
    assert_eq!((recovered.state.records, recovered.broken_lines, recovered.torn_bytes), (500, 0, 0));
}

#[test]
fn on_a_full_disk_the_oldest_records_go_first_and_changes_stay() {
    let Some(disk) = tiny_disk("on_a_full_disk_the_oldest_records_go_first_and_changes_stay", "600k") else {
        return;
    };
    let options = JournalOptions { max_waiting_bytes: 100_000, ..options() };
    let (journal, ..) = open(&disk.join("journal"), options);
    fill(&disk);
    for n in 0..1000 {
        let events = if n % 10 == 0 {
            vec![record(n), change(Change::Banned(ban("203.0.113.9", n)))]
        } else {
            vec![record(n)]
        };
        journal.append(marked(n.into(), events));
    }
    let status = journal.status();
    assert!(status.waiting_bytes <= 120_000, "{status:?}");
    assert!(status.lost_events > 700, "{status:?}");
    fs::remove_file(disk.join("filler")).unwrap();
    until("all is written", || journal.status().waiting_entries == 0);
    let events: Vec<Event> = read(&journal, 0).into_iter().flat_map(|(_, entry)| entry.events).collect();
    let changes = events.iter().filter(|event| matches!(event, Event::Change(_))).count();
    assert_eq!(changes, 100);
    assert_eq!((events.len() - changes) as u64, 1000 - status.lost_events, "each is there or counted");
    assert!(events.contains(&record(999)), "the newest ones stay");
    drop(journal);
    let (_, recovered, _) = open(&disk.join("journal"), options);
    assert_eq!(recovered.state.marks["/var/log/nginx/access.log"], 999);
}

/// Leaves no byte free.
fn fill(disk: &Path) {
    use std::io::Write as _;
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    for size in [4096, 1] {
        while filler.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

#[test]
fn hostile_texts_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let texts = ["", "\0", "a\nb\r\n\u{2028}", "\u{feff}\u{202e}", "'; DROP TABLE ban; --", "\\\"{}[]"];
    let written: Vec<_> = (0..)
        .zip(texts.iter().map(|text| (*text).to_owned()).chain(["x\n".repeat(1 << 20)]))
        .map(|(n, text)| entry(vec![detailed(n, Some(text))]))
        .collect();
    let (journal, ..) = open(dir.path(), options());
    for entry in &written {
        journal.append(entry.clone());
    }
    assert!(read(&journal, 0).into_iter().map(|(_, entry)| entry).eq(written));
}

/// `cargo test -p topology --test journal -- --ignored --nocapture` tells how long an append takes.
#[test]
#[ignore = "a measurement"]
fn how_long_an_append_takes() {
    const ENTRIES: u32 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), JournalOptions::default());
    let entries: Vec<_> = (0..ENTRIES).map(|n| marked(n.into(), vec![record(n)])).collect();
    let begun = Instant::now();
    for entry in entries {
        journal.append(entry);
    }
    let took = begun.elapsed();
    println!("{} ns an entry of one record and a mark", took.as_nanos() / u128::from(ENTRIES));
    let begun = Instant::now();
    assert_eq!(read(&journal, 0).len(), ENTRIES as usize);
    println!("{} ns an entry to read", begun.elapsed().as_nanos() / u128::from(ENTRIES));
}
