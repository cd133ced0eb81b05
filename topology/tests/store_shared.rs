//! Several workers and one database: one owner at a time, and whoever follows knows what was decided.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;
mod store_common;

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bolts::ports::{EventStore as _, Notifier};
use journal_common::{Alarms, Random, ban, change, entry, marked, options, outcome, record, until};
use model::ban::{Change, Ended, Order};
use model::event::{Entry, Event};
use model::units::{Moment, Seconds};
use real_servers::Servers;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use store_common::{Db, WAIT, block_on, quick};
use topology::adapters::journal::{Fold, Journal, JournalOptions};
use topology::adapters::store::handover::{Handover, HandoverError, TakeOver, take_over};
use topology::adapters::store::{ClaimError, Fence, Renew, SharedLedger, Store, StoreOptions};
use topology::app::Kept;
use topology::config::{Database, MkeySource, Mysql, Tls};

/// Folds like the program does, and knows the number and order of all that it folded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    kept: Kept,
    count: u64,
    chain: u32,
}

impl Fold for Seen {
    fn apply(&mut self, entry: &Entry) {
        self.kept.apply(entry);
        for event in entry.events.iter().filter(|event| !matches!(event, Event::Record(_))) {
            let text = match event {
                Event::Outcome(outcome) => format!("{:?} {}", outcome.order, outcome.ban.id),
                event => serde_json::to_string(event).unwrap(),
            };
            self.count += 1;
            self.chain = crc32fast::hash(format!("{} {text}", self.chain).as_bytes());
        }
    }
}

struct Worker {
    journal: Arc<Journal<Seen>>,
    store: Store,
    lost: Arc<AtomicBool>,
    own: bool,
    state: Seen,
}

fn taken_over(dir: &Path, server: &Mysql, epoch: i64, name: &str) -> Result<Handover<Seen>, HandoverError> {
    let notifier: Arc<dyn Notifier> = Arc::new(Alarms::default());
    let options = JournalOptions { segment_bytes: 20_000, ..options() };
    take_over(TakeOver { server, epoch, name, dir, options, time_zone: Some("UTC") }, &notifier)
}

fn own(dir: &Path, server: &Mysql, epoch: i64, name: &str) -> Worker {
    let Handover { journal, recovered, own, .. } = taken_over(dir, server, epoch, name).unwrap();
    let lost = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&lost);
    let fence = Fence { epoch, on_lost: Arc::new(move || told.store(true, Ordering::Release)) };
    let renew = Renew { entries: 20, times: 4, least_bytes: 10_000 };
    let options = StoreOptions { fence: Some(fence), renew, ..quick() };
    let place = Database::Mysql(server.clone());
    let store = Store::start(&place, &journal, options, Arc::new(Alarms::default())).unwrap();
    Worker { journal, store, lost, own, state: recovered.state }
}

/// An entry as it may come: changes, answers, totals, marks and records.
fn some_entry(random: &mut Random, number: u32) -> Entry {
    let ban = ban(&format!("203.0.113.{}", random.below(40)), number);
    let event = |random: &mut Random| match random.below(6) {
        0 => change(Change::Unbanned {
            ban: ban.clone(),
            at: Moment(ban.start.0 + i64::from(number)),
            cause: Ended::ByHand,
        }),
        1 => outcome(ban.clone(), Order::Block, 1),
        2 => record(number),
        3 => Event::RuleTotal { at: ban.start, rule: "global".to_owned(), bans: 1 },
        _ => change(Change::Banned(ban.clone())),
    };
    let events = (0..random.below(4)).map(|_| event(random)).collect();
    if random.below(2) == 0 { marked(number.into(), events) } else { entry(events) }
}

fn seed() -> u64 {
    let seed = env::var("SEED").map_or(20_261_122, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}

#[test]
fn who_claims_owns_and_older_ones_are_refused() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "claims");
    let ledger = SharedLedger::new(db.server().clone());
    assert!(ledger.read::<Seen>().unwrap().is_none(), "without tables");
    let claim = |epoch, name: &str| ledger.claim::<Seen>(epoch, name);
    assert_eq!(claim(5, "a").unwrap().previous_epoch, None);
    assert_eq!(claim(5, "a").unwrap().previous_epoch, Some(5), "its answer was lost");
    assert!(matches!(claim(5, "b"), Err(ClaimError::Newer { epoch: 5, name }) if name == "a"));
    assert!(matches!(claim(4, "a"), Err(ClaimError::Newer { epoch: 5, .. })));
    assert_eq!(claim(9, "b\0'é\u{1f600}").unwrap().previous_epoch, Some(5));
    let view = ledger.read::<Seen>().unwrap().unwrap();
    assert_eq!((view.owner.epoch, &*view.owner.name, view.entries), (9, "b\0'é\u{1f600}", 0));
    assert_eq!(view.kept, Seen::default());
    let nowhere = Mysql { url: "mysql://nobody@127.0.0.1:1/none".to_owned(), ..db.server().clone() };
    assert!(matches!(SharedLedger::new(nowhere).claim::<Seen>(1, "a"), Err(ClaimError::Database { .. })));
}

#[test]
fn a_worker_that_was_followed_writes_nothing_more() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "followed");
    let (a, b) = (db.dir.path().join("a"), db.dir.path().join("b"));
    let first = own(&a, db.server(), 1, "a");
    for n in 0..100 {
        first.journal.append(entry(vec![change(Change::Banned(ban("203.0.113.9", n)))]));
    }
    let last = first.journal.status().last_seq;
    assert!(first.store.position_reached(last, WAIT));
    let second = own(&b, db.server(), 2, "b");
    assert!(!second.own);
    assert_eq!(second.state.count, 100);
    first.journal.append(entry(vec![change(Change::Banned(ban("203.0.113.66", 0))), record(66)]));
    until("the first one hears of it", || first.lost.load(Ordering::Acquire));
    assert!(!first.store.position_reached(last + 1, Duration::from_millis(10)));
    assert_eq!(first.store.status().fenced_by.as_deref(), Some("b"));
    assert_eq!((db.count("ip_frequency"), db.count("ban")), (0, 100), "nothing of it is there");
    second.journal.append(entry(vec![change(Change::Banned(ban("203.0.113.67", 0))), record(67)]));
    assert_eq!(second.store.stop(WAIT).entries_behind, 0);
    assert_eq!((db.count("ip_frequency"), db.count("ban")), (1, 101));
    assert_eq!(SharedLedger::new(db.server().clone()).read::<Seen>().unwrap().unwrap().kept.count, 101);
    assert!(matches!(
        taken_over(&db.dir.path().join("c"), db.server(), 1, "c"),
        Err(HandoverError::Claim(ClaimError::Newer { epoch: 2, .. }))
    ));
}

#[test]
fn two_that_claim_at_once_have_one_order() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "race");
    SharedLedger::new(db.server().clone()).claim::<Seen>(0, "nobody").unwrap();
    std::thread::scope(|scope| {
        for worker in 1..=4 {
            let (db, dir) = (&db, db.dir.path().join(worker.to_string()));
            scope.spawn(move || {
                for round in 0..5 {
                    let epoch = round * 10 + worker;
                    let Ok(Handover { journal, .. }) =
                        taken_over(&dir, db.server(), epoch, &worker.to_string())
                    else {
                        continue;
                    };
                    let fence = Fence { epoch, on_lost: Arc::new(|| {}) };
                    let options = StoreOptions { fence: Some(fence), ..quick() };
                    let store =
                        Store::start(&db.place, &journal, options, Arc::new(Alarms::default())).unwrap();
                    for n in 0..50 {
                        let ordinal = u32::try_from(epoch).unwrap() * 1_000 + n;
                        journal.append(entry(vec![change(Change::Banned(ban("203.0.113.9", ordinal)))]));
                    }
                    let _ = store.stop(WAIT);
                }
            });
        }
    });
    let view = SharedLedger::new(db.server().clone()).read::<Seen>().unwrap().unwrap();
    assert_eq!(view.kept.count, db.count("ban"), "what is shared is what is in the tables");
    assert!(view.kept.count >= 50, "{}", view.kept.count);
}

/// Two workers take turns at random; each is ended in the middle of its work.
#[test]
fn whoever_follows_goes_on_from_what_was_shared() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "turns");
    let mut random = Random(seed());
    let (mut number, mut epoch, mut last) = (0, 0, None);
    // What all came to after each entry of the line that counts, and how many of those are acknowledged.
    let mut states = vec![Seen::default()];
    let mut acknowledged = 0;
    let mut answers = 0;
    for _ in 0..25 {
        let turn = random.below(2);
        epoch += 1 + i64::try_from(random.below(3)).unwrap();
        let worker = own(&db.dir.path().join(turn.to_string()), db.server(), epoch, &turn.to_string());
        assert_eq!(worker.own, last.is_none_or(|last| last == turn), "epoch {epoch}");
        last = Some(turn);
        if worker.own {
            assert_eq!(Some(&worker.state), states.last(), "its journal has all of it");
        } else {
            let known = states.iter().rposition(|state| *state == worker.state);
            let known = known.expect("it is a state that there was");
            assert!(known >= acknowledged, "state {known} of {}, {acknowledged} acknowledged", states.len());
            states.truncate(known + 1);
            acknowledged = known;
        }
        let mut state = worker.state.clone();
        for _ in 0..random.below(150) {
            let entry = some_entry(&mut random, number);
            number += 1;
            state.apply(&entry);
            states.push(state.clone());
            worker.journal.append(entry);
            if random.below(20) == 0 {
                let seq = worker.journal.status().last_seq;
                assert!(worker.store.position_reached(seq, WAIT));
                acknowledged = states.len() - 1;
            }
        }
        if random.below(3) == 0 {
            assert_eq!(worker.store.stop(WAIT).entries_behind, 0);
            acknowledged = states.len() - 1;
        }
        answers += 1;
    }
    assert!(answers == 25 && db.count("shared_entry") <= 150);
    let view = SharedLedger::new(db.server().clone()).read::<Seen>().unwrap().unwrap();
    assert!(states[acknowledged..].contains(&view.kept));
}

#[test]
fn of_a_journal_that_was_followed_the_answers_are_still_sent() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "answers");
    let (a, b) = (db.dir.path().join("a"), db.dir.path().join("b"));
    let first = own(&a, db.server(), 1, "a");
    let (one, two) = (ban("203.0.113.1", 0), ban("203.0.113.2", 0));
    first
        .journal
        .append(entry(vec![change(Change::Banned(one.clone())), outcome(one.clone(), Order::Block, 1)]));
    assert_eq!(first.store.stop(WAIT).entries_behind, 0);
    // Nobody sends this any more.
    first.journal.append(entry(vec![
        change(Change::Banned(two.clone())),
        outcome(two.clone(), Order::Block, 1),
        outcome(one.clone(), Order::Unblock, 1),
        record(1),
    ]));
    first.journal.close();
    drop(first.journal);
    let second = own(&b, db.server(), 2, "b");
    assert_eq!(second.state.count, 2);
    // The agent tells the new owner as well.
    second.journal.append(entry(vec![outcome(one, Order::Unblock, -1)]));
    assert_eq!(second.store.stop(WAIT).entries_behind, 0);
    drop(second.journal);
    for epoch in 3..5 {
        let again = own(&a, db.server(), epoch, "a");
        assert_eq!(
            (again.own, again.state.count),
            (epoch == 4, 3),
            "without the ban that others know nothing of"
        );
        assert_eq!(db.count("ban"), 1);
        assert_eq!((db.count("block_log"), db.count("unblock_log"), db.count("ip_frequency")), (2, 1, 0));
        assert_eq!(again.store.stop(WAIT).rows_written, 0);
    }
    assert!(db.dir.path().join("a.superseded/000000000001.journal").exists());
}

#[test]
fn answers_that_cant_be_sent_at_once_are_tried_again_before_they_are_given_up() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "answers_late");
    let (a, b) = (db.dir.path().join("a"), db.dir.path().join("b"));
    let banned = ban("203.0.113.1", 0);
    let first = own(&a, db.server(), 1, "a");
    first.journal.append(entry(vec![change(Change::Banned(banned.clone()))]));
    assert_eq!(first.store.stop(WAIT).entries_behind, 0);
    first.journal.append(entry(vec![outcome(banned, Order::Block, 1)]));
    first.journal.close();
    drop(first.journal);
    drop(own(&b, db.server(), 2, "b"));
    // Somebody has the table of the answers for longer than they are waited for.
    let other = block_on(async {
        let mut other = db.connect_mysql().await;
        sqlx::raw_sql("LOCK TABLES block_log WRITE").execute(&mut other).await.unwrap();
        other
    });
    let late = taken_over(&a, db.server(), 3, "a");
    assert!(matches!(late, Err(HandoverError::Behind(1..))), "{:?}", late.err());
    drop(other);
    until("the lock is gone", || db.count("block_log") == 0);
    let again = own(&a, db.server(), 3, "a");
    assert_eq!(db.count("block_log"), 1);
    assert!(!again.own);
}

#[test]
fn a_single_workers_journal_is_what_sharing_begins_with() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "begins");
    let dir = db.dir.path().join("journal");
    let notifier: Arc<dyn Notifier> = Arc::new(Alarms::default());
    let (journal, _) = Journal::<Seen>::open(&dir, options(), notifier).unwrap();
    let journal = Arc::new(journal);
    journal.append(entry(vec![change(Change::Banned(ban("203.0.113.1", 0)))]));
    let store = Store::start(&db.place, &journal, quick(), Arc::new(Alarms::default())).unwrap();
    assert_eq!(store.stop(WAIT).rows_written, 1);
    // This one isn't sent before it is shared.
    journal.append(entry(vec![change(Change::Banned(ban("203.0.113.2", 0)))]));
    drop(journal);
    let worker = own(&dir, db.server(), 1, "a");
    assert!(worker.own);
    assert_eq!((worker.state.count, db.count("ban")), (2, 2));
    assert_eq!(SharedLedger::new(db.server().clone()).read::<Seen>().unwrap().unwrap().kept, worker.state);
    let expected = worker.state.clone();
    let mut random = Random(1);
    // One far longer than a packet may be, and more of them than a statement takes.
    let much = (0..30_000).map(|n| {
        change(Change::Extended({
            let ban = ban(&format!("10.0.{}.{}", n / 250, n % 250), 0);
            let end = ban.end.plus(Seconds(5));
            model::ban::Ban { end, note: Some("x".repeat(700)), ..ban }
        }))
    });
    let much = entry(much.collect());
    let mut expected = expected;
    for entry in (0..500).map(|n| some_entry(&mut random, n)).chain([much]) {
        expected.apply(&entry);
        worker.journal.append(entry);
    }
    let left = worker.store.stop(WAIT);
    assert_eq!((left.entries_behind, left.last_error), (0, None));
    let shared = SharedLedger::new(db.server().clone());
    assert_eq!(shared.read::<Seen>().unwrap().unwrap().kept, expected);
    drop(worker.journal);
    let other = own(&db.dir.path().join("other"), db.server(), 2, "b");
    assert_eq!(other.state, expected);
    assert_eq!(other.store.stop(WAIT).entries_behind, 0);
    drop(other.journal);
    assert!(db.count("shared_snapshot") > 0);
    // Alone again for a while: what it wrote then is not in what was shared.
    let mut expected = other.state;
    for alone in [true, false] {
        let worker = if alone {
            let notifier: Arc<dyn Notifier> = Arc::new(Alarms::default());
            let (journal, recovered) =
                Journal::<Seen>::open(&db.dir.path().join("other"), options(), notifier).unwrap();
            let journal = Arc::new(journal);
            let store = Store::start(&db.place, &journal, quick(), Arc::new(Alarms::default())).unwrap();
            Worker { journal, store, lost: Arc::default(), own: true, state: recovered.state }
        } else {
            own(&db.dir.path().join("other"), db.server(), 3, "b")
        };
        assert_eq!(worker.state, expected);
        let entry = entry(vec![change(Change::Banned(ban("203.0.113.99", u32::from(alone))))]);
        expected.apply(&entry);
        worker.journal.append(entry);
        assert_eq!(worker.store.stop(WAIT).entries_behind, 0);
    }
    assert_eq!(shared.read::<Seen>().unwrap().unwrap().kept, expected);
}

const VICTIM: &str = "CCFIREWALL_TEST_OWNER";

/// What is paused: an owner that numbers its bans, and goes on until it is told that it isn't the owner any more.
fn victim(dir: &Path) {
    let url = env::var("CCFIREWALL_TEST_OWNER_URL").unwrap();
    let epoch = env::var("CCFIREWALL_TEST_OWNER_EPOCH").unwrap().parse().unwrap();
    let password = Some(MkeySource::File(dir.join("password")));
    let server = Mysql { url, password, tls: Tls::Preferred, ca: None };
    let worker = own(&dir.join(format!("victim-{epoch}")), &server, epoch, &format!("victim {epoch}"));
    let mut out = std::io::stdout().lock();
    for n in 0.. {
        worker.journal.append(entry(vec![change(Change::Banned(ban("203.0.113.9", n))), record(n)]));
        if n % 100 == 0 {
            writeln!(out, "appended {n}").unwrap();
            out.flush().unwrap();
        }
        if worker.lost.load(Ordering::Acquire) {
            writeln!(out, "lost").unwrap();
            return;
        }
    }
}

#[test]
fn an_owner_that_is_paused_in_the_middle_of_it_is_followed_at_once() {
    if let Some(dir) = env::var_os(VICTIM) {
        return victim(Path::new(&dir));
    }
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "paused");
    let mut random = Random(seed());
    for round in 0..6 {
        let epoch = round * 2 + 1;
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "an_owner_that_is_paused_in_the_middle_of_it_is_followed_at_once",
                "--nocapture",
            ])
            .env(VICTIM, db.dir.path())
            .env("CCFIREWALL_TEST_OWNER_URL", &db.server().url)
            .env("CCFIREWALL_TEST_OWNER_EPOCH", epoch.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(out.any(|line| line.ends_with("appended 0")));
        until("it writes", || db.count("ban") > 0);
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::STOP).unwrap();
        let begun = Instant::now();
        let worker = own(&db.dir.path().join("follower"), db.server(), epoch + 1, "follower");
        println!("round {round}: followed after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let there = (db.count("ban"), db.count("ip_frequency"));
        kill_process(pid, Signal::CONT).unwrap();
        assert!(out.any(|line| line.ends_with("lost")), "it is told");
        assert!(child.wait().unwrap().success());
        assert_eq!((db.count("ban"), db.count("ip_frequency")), there, "it wrote nothing more");
        let shared = SharedLedger::new(db.server().clone()).read::<Seen>().unwrap().unwrap();
        assert_eq!(shared.kept, worker.state);
        assert_eq!(there.0, there.1);
        db.execute("DELETE FROM ban; DELETE FROM ip_frequency");
        assert_eq!(worker.store.stop(WAIT).last_error, None);
    }
}
