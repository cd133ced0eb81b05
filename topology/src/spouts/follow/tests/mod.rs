//! Real files in a folder that is thrown away; the time is the test's.

mod once;
mod rewind;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::mark::FileId;
use model::units::Moment;

use super::*;

/// Where a spout's clock begins, in ms.
const START: u64 = 1_795_000_000_000;

fn config(path: &Path, start: Start) -> FollowConfig {
    let status = Arc::default();
    let path = path.to_owned();
    FollowConfig { path, name: "log".into(), start, batch_bytes: 4096, rebuild: None, status }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn set_changed(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    OpenOptions::new().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// A folder with a log that is followed.
struct Log {
    folder: tempfile::TempDir,
    path: PathBuf,
    spout: Follow,
    status: Arc<FollowStatus>,
    millis: u64,
}

impl Log {
    /// Follows a log that has this text, if any.
    fn with(text: Option<&str>, start: Start) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        if let Some(text) = text {
            append(&path, text);
        }
        let config = config(&path, start);
        let status = Arc::clone(&config.status);
        Self { folder, path, spout: Follow::new(config).unwrap(), status, millis: START }
    }

    fn restart(&mut self, start: Start) {
        let config = config(&self.path, start);
        self.status = Arc::clone(&config.status);
        self.spout = Follow::new(config).unwrap();
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rename(&self, name: &str) {
        fs::rename(&self.path, self.beside(name)).unwrap();
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis)
    }

    fn next(&mut self) -> Option<LineBatch> {
        self.millis += 2;
        match self.spout.next(self.now()) {
            Next::Emit(batch) => Some(batch),
            Next::Idle => None,
            Next::End => panic!("a followed file has no end"),
        }
    }

    fn batches(&mut self) -> Vec<LineBatch> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What comes after so long.
    fn after(&mut self, millis: u64) -> String {
        self.millis += millis;
        text(&self.batches())
    }
}

fn text(batches: &[LineBatch]) -> String {
    batches.iter().map(|batch| String::from_utf8(batch.bytes.to_vec()).unwrap()).collect()
}

#[test]
fn whole_lines_with_marks_as_they_come() {
    let mut log = Log::with(Some("old\nunfin"), Start::End);
    let first = log.next().expect("a mark of where live work begins, before any line");
    assert_eq!((first.records(), first.mark.unwrap().next.offset), (0, 4));
    assert!(log.next().is_none());
    append(&log.path, "ished\ntwo\nthr");
    let batch = log.next().unwrap();
    assert_eq!(batch.bytes.as_slice(), b"unfinished\ntwo\n");
    assert_eq!(batch.records(), 2);
    let mark = batch.mark.clone().unwrap();
    let known = fs::metadata(&log.path).unwrap();
    assert_eq!(mark.next.file, id_of(&known));
    assert_eq!((mark.next.offset, mark.batch, &*mark.source), (19, 1, "log"));
    assert_eq!(mark.read_at, Moment(log.millis as i64));
    assert!(mark.caught_up && !mark.rebuild && mark.older.is_empty());
    assert!(log.next().is_none());
    append(&log.path, "ee\n");
    let mark = log.next().unwrap().mark.unwrap();
    assert_eq!((mark.next.offset, mark.batch), (25, 2));
    let status = log.status.now();
    assert_eq!((status.state, status.lines, status.bytes), (FollowState::Live, 3, 21));
    assert_eq!((status.problem, status.possible_losses), (None, 0));
}

#[test]
fn batches_are_bounded_and_say_whether_there_is_more() {
    let lines: String = (0..1_000).map(|line| format!("line {line}\n")).collect();
    let mut log = Log::with(Some(&lines), Start::Beginning);
    let batches = log.batches();
    assert_eq!(text(&batches), lines);
    assert!(batches.iter().all(|batch| batch.bytes.len() <= 4096));
    let caught_up: Vec<bool> = batches.iter().map(|batch| batch.mark.as_ref().unwrap().caught_up).collect();
    assert_eq!(caught_up, [false, false, true]);
    let numbers: Vec<u64> = batches.iter().map(|batch| batch.mark.as_ref().unwrap().batch).collect();
    assert_eq!(numbers, [0, 1, 2]);
    for batch in batches {
        log.spout.ack(BatchId(0), batch);
    }
    append(&log.path, &lines);
    assert_eq!(log.after(0), lines, "what was acked is filled again");
}

#[test]
fn waits_for_a_file_that_is_not_there() {
    let mut log = Log::with(None, Start::End);
    assert!(log.next().is_none());
    let status = log.status.now();
    assert_eq!(status.state, FollowState::Waiting);
    assert!(status.problem.unwrap().contains("No such file"));
    append(&log.path, "first\n");
    assert_eq!(log.after(100), "first\n");
    assert_eq!(log.status.now().state, FollowState::Live);
    assert_eq!(log.status.now().problem, None);
}

#[test]
fn what_never_was_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for path in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
        let error = Follow::new(config(path, Start::End)).unwrap_err();
        assert!(error.to_string().contains("can't be followed"), "{error}");
    }
    assert!(matches!(Follow::new(config(Path::new("/"), Start::End)), Err(FollowError::NoName { .. })));
}

#[test]
fn a_rotated_file_is_read_beside_the_new_one_for_a_while() {
    let mut log = Log::with(Some("1\n"), Start::Beginning);
    assert_eq!(log.after(0), "1\n");
    log.rename("access.log.1");
    append(&log.path, "3\n");
    append(&log.beside("access.log.1"), "2\nunfinished");
    let batches = {
        log.millis += 100;
        log.batches()
    };
    assert_eq!(text(&batches), "2\n3\n");
    let mark = batches[1].mark.as_ref().unwrap();
    assert_eq!(mark.older.len(), 1);
    assert_eq!((mark.older[0].offset, mark.next.offset), (4, 2));
    append(&log.path, "5\n");
    append(&log.beside("access.log.1"), "!\n");
    assert_eq!(log.after(9_000), "unfinished!\n5\n", "new lines don't wait for the old file");
    append(&log.beside("access.log.1"), "last");
    assert_eq!(log.after(9_000), "");
    assert_eq!(log.after(9_900), "");
    assert_eq!(log.after(200), "last");
    append(&log.path, "6\n");
    let batch = log.next().unwrap();
    assert_eq!(batch.mark.unwrap().older, []);
    assert_eq!(log.status.now().rotations, 1);
}

#[test]
fn a_file_that_gets_its_name_back_goes_on() {
    let mut log = Log::with(Some("1\n"), Start::Beginning);
    assert_eq!(log.after(0), "1\n");
    log.rename("access.log.1");
    append(&log.path, "2\n");
    assert_eq!(log.after(100), "2\n");
    fs::rename(log.beside("access.log.1"), &log.path).unwrap();
    append(&log.path, "3\n");
    let batch = {
        log.millis += 100;
        log.next().unwrap()
    };
    assert_eq!(batch.bytes.as_slice(), b"3\n");
    assert_eq!(batch.mark.unwrap().next.file, id_of(&fs::metadata(&log.path).unwrap()));
    assert_eq!(log.after(20_000), "");
    append(&log.path, "4\n");
    assert_eq!(log.after(0), "4\n", "it isn't let go as an older one");
}

#[test]
fn vanished_or_replaced_by_a_directory_it_waits_with_the_old_file() {
    let mut log = Log::with(Some("1\n"), Start::Beginning);
    assert_eq!(log.after(0), "1\n");
    let mut writer = OpenOptions::new().append(true).open(&log.path).unwrap();
    fs::remove_file(&log.path).unwrap();
    writer.write_all(b"2\n").unwrap();
    assert_eq!(log.after(20_000), "2\n");
    assert!(log.status.now().problem.unwrap().contains("No such file"));
    fs::create_dir(&log.path).unwrap();
    writer.write_all(b"3\n").unwrap();
    assert_eq!(log.after(20_000), "3\n");
    assert!(log.status.now().problem.unwrap().contains("regular file"));
    fs::remove_dir(&log.path).unwrap();
    append(&log.path, "4\n");
    writer.write_all(b"late\n").unwrap();
    assert_eq!(log.after(20_000), "late\n4\n");
    assert_eq!(log.status.now().problem, None);
}

#[test]
fn an_emptied_file_is_read_from_its_beginning() {
    let mut log = Log::with(Some("one\ntwo\n"), Start::Beginning);
    assert_eq!(log.after(0), "one\ntwo\n");
    fs::write(&log.path, "3\n").unwrap();
    assert_eq!(log.after(0), "3\n", "it got shorter");
    fs::write(&log.path, "another, longer than what was there\n").unwrap();
    assert_eq!(log.after(0), "another, longer than what was there\n", "it was filled beyond the place");
    let status = log.status.now();
    assert_eq!((status.truncations, status.possible_losses), (2, 2));
    append(&log.path, "the beginning of a line");
    assert_eq!(log.after(0), "");
    fs::write(&log.path, "").unwrap();
    append(&log.path, "new\n");
    assert_eq!(log.after(0), "new\n", "nothing of the old beginning");
}

#[test]
fn what_copytruncate_copied_is_read_from_the_copy() {
    let mut log = Log::with(Some("one\n"), Start::Beginning);
    assert_eq!(log.after(0), "one\n");
    append(&log.path, "two\n");
    fs::copy(&log.path, log.beside("access.log.1")).unwrap();
    fs::write(&log.path, "three, and it is longer than the first ones were\n").unwrap();
    assert_eq!(log.after(0), "two\nthree, and it is longer than the first ones were\n");
    assert_eq!(log.status.now().possible_losses, 0);
}

#[test]
fn files_rotated_while_it_was_down() {
    let mut log = Log::with(Some("1\n"), Start::Beginning);
    let mark = log.next().unwrap().mark.unwrap();
    append(&log.path, "2\n");
    log.rename("access.log.3");
    set_changed(&log.beside("access.log.3"), 1_000);
    append(&log.beside("access.log.2"), "3\n");
    set_changed(&log.beside("access.log.2"), 2_000);
    append(&log.beside("access.log.1"), "4");
    set_changed(&log.beside("access.log.1"), 3_000);
    append(&log.path, "5\n");
    // None of these is a part of it.
    append(&log.beside("access.log.4"), "older\n");
    set_changed(&log.beside("access.log.4"), 500);
    append(&log.beside("access.log.0"), "2\n");
    fs::copy(log.beside("access.log.2"), log.beside("access.log.2.1")).unwrap();
    set_changed(&log.beside("access.log.2.1"), 500);
    fs::copy(log.beside("access.log.3"), log.beside("access.log.5")).unwrap();
    fs::write(log.beside("access.log.6"), [0x1f, 0x8b, 8, b'\n']).unwrap();
    append(&log.beside("access.log.1.gz"), "packed\n");
    append(&log.beside("access.log.errors"), "another log\n");
    fs::remove_file(log.beside("access.log.0")).unwrap();
    log.restart(Start::from(&*mark));
    assert_eq!(log.after(0), "2\n3\n5\n");
    assert_eq!(log.after(10_000), "4", "no line feed comes any more");
    assert_eq!(log.status.now().possible_losses, 0);
}

#[test]
fn a_file_that_is_gone_after_a_restart_is_told() {
    for compressed in [false, true] {
        let mut log = Log::with(Some("1\n"), Start::Beginning);
        let mark = log.next().unwrap().mark.unwrap();
        log.rename("access.log.1");
        if compressed {
            append(&log.beside("access.log.1.gz"), "packed\n");
        }
        fs::remove_file(log.beside("access.log.1")).unwrap();
        append(&log.path, "after\n");
        log.restart(Start::from(&*mark));
        assert_eq!(log.after(0), "after\n");
        assert_eq!(log.status.now().possible_losses, 1);
        assert!(log.status.now().last_loss.unwrap().contains("may be lost"));
    }
}

#[test]
fn another_file_with_the_same_inode_is_not_taken_for_it() {
    let mut log = Log::with(Some("one\ntwo\n"), Start::Beginning);
    let mark = log.next().unwrap().mark.unwrap();
    // Written over, it keeps its inode.
    fs::write(&log.path, "ONE\nTWO\nTHREE\n").unwrap();
    log.restart(Start::from(&*mark));
    assert_eq!(log.after(0), "ONE\nTWO\nTHREE\n");
    assert_eq!(log.status.now().possible_losses, 1);
    // And the same file with another inode is.
    let mut log = Log::with(Some("one\ntwo\n"), Start::Beginning);
    let mark = log.next().unwrap().mark.unwrap();
    fs::copy(&log.path, log.beside("moved")).unwrap();
    fs::rename(log.beside("moved"), &log.path).unwrap();
    append(&log.path, "three\n");
    log.restart(Start::from(&*mark));
    assert_eq!(log.after(0), "three\n");
    assert_eq!(log.status.now().possible_losses, 0);
}

#[test]
fn hostile_positions_do_no_harm() {
    for offset in [3, 5, u64::MAX, u64::MAX - 7, 1 << 62] {
        for same in [false, true] {
            let mut log = Log::with(Some("one\n"), Start::End);
            let known = id_of(&fs::metadata(&log.path).unwrap());
            let file = if same { known } else { FileId { device: 1, inode: u64::MAX } };
            let next = Position { file, offset, check: 7 };
            log.restart(Start::At { next, older: vec![next, Position::default()] });
            assert_eq!(log.after(0), "one\n");
        }
    }
}

#[test]
fn two_positions_in_one_file_are_the_later_one() {
    let mut log = Log::with(Some("one\ntwo\n"), Start::Beginning);
    let next = log.next().unwrap().mark.unwrap().next;
    append(&log.path, "three\n");
    let from_start = Position { offset: 0, check: 0, ..next };
    for (next, older) in [(next, from_start), (from_start, next)] {
        log.restart(Start::At { next, older: vec![older] });
        assert_eq!(log.after(0), "three\n");
    }
}

#[test]
fn a_symbolic_link_is_followed_to_where_it_leads() {
    let mut log = Log::with(None, Start::Beginning);
    append(&log.beside("real.log"), "1\n");
    std::os::unix::fs::symlink("real.log", &log.path).unwrap();
    let mark = log.next().unwrap().mark.unwrap();
    // Rotated at the target, unseen.
    append(&log.beside("real.log"), "2\n");
    fs::rename(log.beside("real.log"), log.beside("real.log.2")).unwrap();
    set_changed(&log.beside("real.log.2"), 1_000);
    append(&log.beside("real.log.1"), "3\n");
    set_changed(&log.beside("real.log.1"), 2_000);
    append(&log.beside("real.log"), "4\n");
    log.restart(Start::from(&*mark));
    assert_eq!(log.after(0), "2\n3\n4\n");
    append(&log.beside("other.log"), "5\n");
    fs::remove_file(&log.path).unwrap();
    std::os::unix::fs::symlink("other.log", &log.path).unwrap();
    assert_eq!(log.after(100), "5\n");
}

#[test]
fn endless_lines_are_cut_out_of_it() {
    use bolts::tuples::MAX_LINE;
    let mut log = Log::with(Some("first\n"), Start::Beginning);
    assert_eq!(log.after(0), "first\n");
    append(&log.path, &"x".repeat(MAX_LINE + 300_000));
    let idle = (0..20).all(|_| log.next().is_none());
    assert!(idle, "it isn't told before it ends");
    append(&log.path, "\nlast\n");
    let batches = log.batches();
    assert_eq!(text(&batches), "last\n");
    assert_eq!(batches.iter().map(|batch| batch.too_long).sum::<u64>(), 1);
    let mark = batches[0].mark.as_ref().unwrap();
    assert_eq!(mark.next.offset, 6 + MAX_LINE as u64 + 300_001);
    assert_eq!(log.status.now().too_long, 1);
    log.restart(Start::from(&**mark));
    assert_eq!(log.after(0), "last\n");
    fs::write(&log.path, "x".repeat(MAX_LINE + 300_000)).unwrap();
    log.restart(Start::End);
    assert_eq!(log.after(0), "");
    append(&log.path, "end of it\nnext\n");
    assert_eq!(log.after(0), "next\n", "it began within a line that was too long");
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut log = Log::with(Some("1\n"), Start::Beginning);
    assert_eq!(log.after(1_000_000), "1\n");
    log.millis -= 900_000;
    log.rename("access.log.1");
    append(&log.path, "2\n");
    assert_eq!(log.after(0), "2\n");
}
