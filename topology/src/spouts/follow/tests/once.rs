//! Random lives of a log against a plain model: every line that can be known of is emitted once, those of a file in
//! order.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Whole lines to where the writer writes, which may be a file that was rotated.
    Write(u8),
    /// The beginning of a line.
    WritePart,
    /// The spout is asked so often.
    Poll(u8),
    /// Time passes, in ms.
    Wait(u16),
    /// The file gets another name; a new one takes its place, or not yet.
    Rename { create: bool },
    /// The writer goes on with the file at the path, and leaves an open line or ends it.
    Reopen { end_line: bool },
    /// The file is copied and emptied.
    CopyTruncate,
    /// The file is deleted and made anew.
    Delete,
    /// The spout begins anew at its last mark.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Write),
        2 => Just(Step::WritePart),
        6 => (1u8..5).prop_map(Step::Poll),
        3 => prop_oneof![3 => 1u16..300, 1 => 300u16..12_000].prop_map(Step::Wait),
        2 => any::<bool>().prop_map(|create| Step::Rename { create }),
        2 => any::<bool>().prop_map(|end_line| Step::Reopen { end_line }),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::Delete),
        2 => Just(Step::Restart),
    ]
}

/// What was written to a file between its making, or its emptying, and the next.
#[derive(Default)]
struct Life {
    /// Lines as they are emitted.
    lines: Vec<String>,
    emitted: usize,
    /// Which file, whatever else it had before.
    file: usize,
}

struct World {
    log: Log,
    lives: Vec<Life>,
    deleted: HashSet<usize>,
    /// The life of the file at the path, if there is one.
    head: Option<usize>,
    /// The life that the writer writes to, where that is, and the beginning of the line that it is in.
    writer: usize,
    writer_file: File,
    open_line: String,
    /// When the writer's file was last written to or got another name.
    touched: u64,
    /// The life and line of each text.
    texts: HashMap<String, (usize, usize)>,
    seen: HashSet<String>,
    may_be_lost: HashSet<String>,
    mark: Option<Arc<Mark>>,
    /// The life of the newest file of the mark.
    newest: usize,
    inodes: HashMap<u64, usize>,
    batches: u64,
    changes: u64,
    /// Whether something happened after which a loss may be told.
    may_lose: bool,
}

impl World {
    fn new() -> Self {
        let mut log = Log::with(Some(""), Start::Beginning);
        log.spout.config.batch_bytes = 200;
        let writer_file = OpenOptions::new().append(true).open(&log.path).unwrap();
        let inodes = [(fs::metadata(&log.path).unwrap().ino(), 0)].into();
        Self {
            log,
            lives: vec![Life::default()],
            deleted: HashSet::new(),
            head: Some(0),
            writer: 0,
            writer_file,
            open_line: String::new(),
            touched: START,
            texts: HashMap::new(),
            seen: HashSet::new(),
            may_be_lost: HashSet::new(),
            mark: None,
            newest: 0,
            inodes,
            batches: 0,
            changes: 0,
            may_lose: false,
        }
    }

    /// Each change has a time of its own, also where the clock of the file system is coarse.
    fn touch(&mut self, file: &File) {
        self.changes += 1;
        let time = Duration::from_millis(START) + Duration::from_micros(self.changes);
        file.set_modified(SystemTime::UNIX_EPOCH + time).unwrap();
    }

    fn write(&mut self, text: &str) {
        (&self.writer_file).write_all(text.as_bytes()).unwrap();
        let file = self.writer_file.try_clone().unwrap();
        self.touch(&file);
        self.touched = self.log.millis;
    }

    fn new_line(&self) -> String {
        let life = &self.lives[self.writer];
        let number = life.lines.len();
        format!("{}:{number:04} {}", self.writer, "x".repeat(1 + (number * 37 + self.writer * 11) % 70))
    }

    fn count_line(&mut self, text: String) {
        let life = &mut self.lives[self.writer];
        self.texts.insert(text.clone(), (self.writer, life.lines.len()));
        life.lines.push(text);
    }

    fn write_line(&mut self) {
        let line = self.new_line() + "\n";
        let left = line[self.open_line.len()..].to_owned();
        self.open_line.clear();
        self.write(&left);
        self.count_line(line);
    }

    fn write_part(&mut self) {
        if self.open_line.is_empty() {
            // Behind the line's number, so that texts stay different.
            let line = self.new_line();
            let part = line[..line.find('x').unwrap() + 1].to_owned();
            self.open_line.clone_from(&part);
            self.write(&part);
        }
    }

    fn reopen(&mut self, end_line: bool) {
        let Some(head) = self.head.filter(|&head| head != self.writer) else { return };
        if !self.open_line.is_empty() {
            if end_line {
                self.write_line();
            } else {
                let line = std::mem::take(&mut self.open_line);
                self.count_line(line);
            }
        }
        self.writer = head;
        self.writer_file = OpenOptions::new().append(true).open(&self.log.path).unwrap();
        self.touched = self.log.millis;
    }

    fn create(&mut self) {
        let file = OpenOptions::new().append(true).create_new(true).open(&self.log.path).unwrap();
        self.touch(&file);
        self.lives.push(Life { file: self.lives.len(), ..Life::default() });
        self.head = Some(self.lives.len() - 1);
        self.inodes.insert(file.metadata().unwrap().ino(), self.lives.len() - 1);
        self.touched = self.log.millis;
    }

    /// The writer is at the path's file, which is there.
    fn settle(&mut self, end_line: bool) {
        if self.head.is_none() {
            self.create();
        }
        self.reopen(end_line);
    }

    fn lose_unread(&mut self, lost: impl Fn(usize, &Life) -> bool) {
        self.may_lose = true;
        for (number, life) in self.lives.iter().enumerate() {
            if lost(number, life) {
                self.may_be_lost.extend(life.lines.iter().filter(|line| !self.seen.contains(*line)).cloned());
            }
        }
    }

    fn poll(&mut self) -> Result<bool, TestCaseError> {
        // Nobody writes to a file that is let go.
        let late = self.head.is_some() && self.head != Some(self.writer);
        if late && self.log.millis + 2 >= self.touched + GRACE.as_millis() as u64 {
            self.reopen(false);
        }
        let batch = self.log.next();
        let Some(batch) = batch else { return Ok(false) };
        let mark = batch.mark.clone().unwrap();
        prop_assert_eq!(mark.batch, self.batches);
        prop_assert!(!mark.rebuild);
        self.batches += 1;
        let bytes = String::from_utf8(batch.bytes.to_vec()).unwrap();
        for line in bytes.split_inclusive('\n') {
            let Some(&(life, number)) = self.texts.get(line) else {
                return Err(TestCaseError::fail(format!("nobody wrote {line:?}")));
            };
            prop_assert!(self.seen.insert(line.to_owned()), "twice: {line:?}");
            prop_assert!(number >= self.lives[life].emitted, "out of order: {line:?}");
            self.lives[life].emitted = number + 1;
        }
        self.newest = self.inodes[&mark.next.file.inode];
        self.mark = Some(mark);
        self.log.spout.ack(BatchId(0), batch);
        Ok(true)
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Write(count) => {
                (0..count).for_each(|_| self.write_line());
            }
            Step::WritePart => {
                self.write_part();
            }
            Step::Poll(count) => {
                for _ in 0..count {
                    self.poll()?;
                }
            }
            Step::Wait(millis) => self.log.millis += u64::from(millis),
            Step::Rename { create } => {
                self.settle(false);
                // What tells the order of rotated files: no file is older than one that was there before it.
                if self.open_line.is_empty() {
                    self.write_line();
                } else {
                    let file = self.writer_file.try_clone().unwrap();
                    self.touch(&file);
                }
                let name = self.log.beside(&format!("access.log.{}", self.changes));
                fs::rename(&self.log.path, name).unwrap();
                self.head = None;
                self.touched = self.log.millis;
                if create {
                    self.create();
                }
            }
            Step::Reopen { end_line } => {
                if self.head.is_none() {
                    self.create();
                }
                self.reopen(end_line);
            }
            Step::CopyTruncate => {
                self.settle(false);
                if !self.open_line.is_empty() {
                    self.write_line();
                }
                if self.lives[self.writer].emitted == 0 {
                    // Nobody knows that a copy is one of which nothing was read.
                    let emptied = self.writer;
                    self.lose_unread(|number, _| number == emptied);
                }
                let copy = self.log.beside(&format!("access.log.{}", self.changes));
                fs::copy(&self.log.path, &copy).unwrap();
                let file = OpenOptions::new().append(true).open(&copy).unwrap();
                self.touch(&file);
                self.inodes.insert(file.metadata().unwrap().ino(), self.writer);
                self.writer_file.set_len(0).unwrap();
                let file = self.writer_file.try_clone().unwrap();
                self.touch(&file);
                let file_number = self.lives[self.writer].file;
                self.lives.push(Life { file: file_number, ..Life::default() });
                self.writer = self.lives.len() - 1;
                self.head = Some(self.writer);
                self.inodes.insert(file.metadata().unwrap().ino(), self.writer);
            }
            Step::Delete => {
                self.settle(false);
                // What was never opened nobody can read.
                self.log.millis += 100;
                self.poll()?;
                fs::remove_file(&self.log.path).unwrap();
                self.deleted.insert(self.lives[self.writer].file);
                self.create();
            }
            Step::Restart => {
                let newest_gone = self.deleted.contains(&self.lives[self.newest].file);
                let unknown = self.mark.is_none() || newest_gone;
                if unknown || !self.deleted.is_empty() {
                    self.settle(false);
                    let (head, deleted) = (self.head, self.deleted.clone());
                    self.lose_unread(|number, life| {
                        deleted.contains(&life.file) || (unknown && Some(number) != head)
                    });
                }
                let start = self.mark.as_deref().map_or(Start::Beginning, Start::from);
                self.log.restart(start);
                self.log.spout.config.batch_bytes = 200;
                self.batches = 0;
                if unknown {
                    // It begins with the file that is there now.
                    self.poll()?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        self.settle(false);
        if !self.open_line.is_empty() {
            self.write_line();
        }
        for _ in 0..4 {
            while self.poll()? {}
            self.log.millis += 11_000;
        }
        for life in &self.lives {
            for line in &life.lines {
                let seen = self.seen.contains(line) || self.may_be_lost.contains(line);
                prop_assert!(seen, "lost: {line:?} of {:?}", self.log.status.now());
            }
        }
        let status = self.log.status.now();
        prop_assert!(self.may_lose || status.possible_losses == 0, "{status:?}");
        prop_assert_eq!(status.behind, 0);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_line_once(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let first = world.writer_file.try_clone().unwrap();
        world.touch(&first);
        world.poll()?;
        for step in &steps {
            world.step(step)?;
        }
        world.finish()?;
    }
}
