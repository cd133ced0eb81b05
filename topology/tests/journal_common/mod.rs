//! Entries, alarms and disks for the tests of the journal and the store.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bolts::ports::{Alarm, Notifier};
use model::ban::{Ban, BanId, Change, Order, Outcome, Reason};
use model::event::{Entry, Event, StoredRecord};
use model::mark::{Mark, Position};
use model::network::Network;
use model::units::{Moment, Second, Seconds};
use model::verdict::{Alert, Record};
use serde::{Deserialize, Serialize};
use topology::adapters::journal::{Fold, Journal, JournalOptions, Recovered};

/// 2026-11-22T14:29:00Z.
pub(crate) const NOW: Moment = Moment(1_795_357_740_000);

/// What the tests fold: how many there were of each, and how far each source is.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) records: u64,
    pub(crate) changes: u64,
    pub(crate) marks: BTreeMap<String, u64>,
}

impl Fold for Tally {
    fn apply(&mut self, entry: &Entry) {
        self.entries += 1;
        for event in &entry.events {
            match event {
                Event::Record(_) => self.records += 1,
                Event::Change(_) => self.changes += 1,
                _ => {}
            }
        }
        if let Some(mark) = &entry.mark {
            self.marks.insert(mark.source.to_string(), mark.batch);
        }
    }
}

/// Remembers alarms.
#[derive(Default)]
pub(crate) struct Alarms(Mutex<Vec<Alarm>>);

impl Notifier for Alarms {
    fn notify(&self, alarm: Alarm) {
        self.0.lock().unwrap().push(alarm);
    }
}

impl Alarms {
    /// What was told of a kind: whether it was over, each time.
    pub(crate) fn of(&self, kind: &str) -> Vec<bool> {
        self.0.lock().unwrap().iter().filter(|a| a.kind == kind).map(|a| a.over).collect()
    }

    pub(crate) fn all(&self) -> Vec<Alarm> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) fn options() -> JournalOptions {
    JournalOptions { sync_every: Duration::from_millis(5), ..JournalOptions::default() }
}

pub(crate) fn open(
    dir: &Path,
    options: JournalOptions,
) -> (Arc<Journal<Tally>>, Recovered<Tally>, Arc<Alarms>) {
    let alarms = Arc::new(Alarms::default());
    let (journal, recovered) = Journal::open(dir, options, Arc::<Alarms>::clone(&alarms)).unwrap();
    (Arc::new(journal), recovered, alarms)
}

/// A frequency record that is told from others by its number.
pub(crate) fn record(number: u32) -> Event {
    detailed(number, Some(format!("{{\"n\":{number}}}")))
}

pub(crate) fn detailed(number: u32, detail: Option<String>) -> Event {
    Event::Record(Box::new(StoredRecord {
        record: Record {
            target: Network::host([203, 0, 113, (number % 250) as u8].into()),
            rule: Some("global".into()),
            count: number,
            first: Second(NOW.second().0 - 10),
            last: NOW.second(),
            alert: Alert::Normal,
            place: None,
        },
        ban: None,
        direct: Some(true),
        detail,
        proxy_detail: None,
    }))
}

pub(crate) fn entry(events: Vec<Event>) -> Entry {
    Entry { at: NOW, mark: None, events }
}

pub(crate) fn marked(batch: u64, events: Vec<Event>) -> Entry {
    let mark = Mark {
        source: "/var/log/nginx/access.log".into(),
        batch,
        next: Position::default(),
        read_at: NOW,
        older: Vec::new(),
        rebuild: false,
        caught_up: false,
    };
    Entry { at: NOW, mark: Some(mark), events }
}

pub(crate) fn ban(target: &str, ordinal: u32) -> Ban {
    let target: Network = target.parse().unwrap();
    Ban {
        id: BanId::new("global", &target, NOW.second(), ordinal),
        target,
        rule: "global".into(),
        reason: Reason::Global,
        decided: NOW.second(),
        start: NOW,
        end: NOW.plus(Seconds(60)),
        count: 200,
        during: Seconds(3),
        established: false,
        place: None,
        note: None,
    }
}

pub(crate) fn change(change: Change) -> Event {
    Event::Change(Box::new(change))
}

pub(crate) fn outcome(ban: Ban, order: Order, flag: i32) -> Event {
    let result = if flag < -1 { "failed" } else { "ok" }.to_owned();
    Event::Outcome(Box::new(Outcome { agent: "10.0.0.1".into(), order, ban, at: NOW, flag, result }))
}

/// Waits for a condition, for 30 s at most.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Pseudo-random numbers of a seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Runs the test `name` again in a mount namespace of its own, with a tiny disk; gives that disk's folder where it
/// is the run inside, and nothing to the outer one, which is done then.
pub(crate) fn tiny_disk(name: &str, size: &str) -> Option<PathBuf> {
    const DISK: &str = "CCFIREWALL_TEST_DISK";
    if let Some(disk) = env::var_os(DISK) {
        return Some(disk.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let mount =
        format!("mount -t tmpfs -o size={size} none \"$1\" 2>/dev/null || exit 77\nshift\nexec \"$@\"");
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", &mount, "sh"])
        .arg(folder.path())
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DISK, folder.path())
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) if matches!(status.code(), Some(77 | 1)) && !is_root() => {
            println!("skipped: mounting a tiny disk needs root");
        }
        Ok(status) => panic!("the run on a tiny disk failed: {status}"),
        Err(error) => println!("skipped: no unshare ({error})"),
    }
    None
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
