//! What every store keeps to, on SQLite and on a real MariaDB: each row is in the tables exactly once, whoever was killed
//! and whatever the database did.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;
mod store_common;

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bolts::ports::EventStore as _;
use journal_common::{
    Alarms, NOW, Random, ban, change, detailed, entry, open, options, outcome, record, until,
};
use model::ban::{Cap, Change, Ended, Order};
use model::event::{Entry, Event};
use model::place::Place;
use model::units::{Moment, Seconds};
use store_common::{Db, WAIT, block_on, each, quick};
use topology::adapters::journal::JournalOptions;
use topology::adapters::store::{BanFilter, Counts, History, Retention, Store, StoreError, StoreOptions};
use topology::config::{Database, MkeySource, Mysql, Tls};

#[test]
fn every_kind_of_event_is_its_row() {
    each("every_kind_of_event_is_its_row", |db| {
        let one = ban("203.0.113.9", 0);
        let events = vec![
            record(7),
            outcome(one.clone(), Order::Block, -4),
            outcome(one.clone(), Order::Block, 1),
            outcome(one.clone(), Order::Block, -4),
            outcome(one.clone(), Order::Unblock, -1),
            Event::AgentTotal { at: NOW, agent: "10.0.0.1".to_owned(), bans: 3 },
            Event::RuleTotal { at: NOW, rule: "www.example.com/a".to_owned(), bans: u64::MAX },
        ];
        db.store_all(events);
        let check = |sql: &str, expect: &str| assert_eq!(db.column(sql), [expect], "{sql}");
        check(
            "SELECT concat_ws('|', updatetime, cnt, ip, direct_nginx, starttime, endtime, during, alerts, block_reason, \
         detail, rule) FROM ip_frequency",
            "2026-11-22 22:29:00|7|203.0.113.7|1|2026-11-22 22:28:50|2026-11-22 22:29:00|10|0|0|{\"n\":7}|global",
        );
        check(
            "SELECT concat_ws('|', block_time, block_second, block_reason, server_ip, block_ip, flag, result, cuuid, \
         rule, end_time) FROM block_log",
            &format!(
                "2026-11-22 22:29:00|60|0|10.0.0.1|203.0.113.9|1|ok|{}|global|2026-11-22 22:30:00",
                one.id
            ),
        );
        check(
            "SELECT concat_ws('|', unblock_time, block_time, block_second, block_reason, server_ip, block_ip, flag, \
         result, cuuid) FROM unblock_log",
            &format!("2026-11-22 22:29:00|2026-11-22 22:29:00|60|0|10.0.0.1|203.0.113.9|-1|ok|{}", one.id),
        );
        check(
            "SELECT concat_ws('|', updatetime, server_ip, num) FROM block_server_log",
            "2026-11-22 22:29:00|10.0.0.1|3",
        );
        check(
            "SELECT concat_ws('|', updatetime, url, num) FROM block_url_log",
            "2026-11-22 22:29:00|www.example.com/a|9223372036854775807",
        );
    });
}

#[test]
fn bans_are_as_their_changes_leave_them() {
    each("bans_are_as_their_changes_leave_them", |db| {
        let dir = &db.dir;
        let (kept, lifted, held, released) = (
            ban("203.0.113.0/24", 0),
            ban("203.0.113.9", 1),
            ban("2001:db8::/64", 2),
            ban("198.51.100.1", 3),
        );
        let mut longer = kept.clone();
        longer.end = NOW.plus(Seconds(600));
        let later = NOW.plus(Seconds(5));
        let changes = [
            Change::Banned(kept),
            Change::Banned(lifted.clone()),
            Change::Held { ban: held.clone(), cap: Cap::NewBans },
            Change::Held { ban: released.clone(), cap: Cap::BannedShare },
            Change::Extended(longer),
            Change::Unbanned { ban: lifted, at: later, cause: Ended::ByHand },
            Change::Unheld { ban: held, at: later, released: false },
            Change::Unheld { ban: released.clone(), at: later, released: true },
            Change::Banned(released),
        ];
        db.store_all(changes.map(change).into());
        block_on(async {
            let history = History::open(&db.place).await.unwrap();
            let bans = async |filter: BanFilter| {
                let mut bans = history.bans(&filter).await.unwrap();
                bans.sort_by(|a, b| a.target.cmp(&b.target));
                bans.into_iter()
                    .map(|b| (b.target, (b.end.0 - b.start.0) / 1000, b.ended_cause, b.held_by))
                    .collect::<Vec<_>>()
            };
            let some = |text: &str| Some(text.to_owned());
            let kept = ("203.0.113.0/24".to_owned(), 600, None, None);
            let lifted = ("203.0.113.9".to_owned(), 60, some("by_hand"), None);
            let held = ("2001:db8::/64".to_owned(), 60, some("discarded"), some("max_new_bans_per_minute"));
            let released = ("198.51.100.1".to_owned(), 60, None, None);
            let all = [released, held.clone(), kept.clone(), lifted.clone()];
            assert_eq!(bans(BanFilter::default()).await, all);
            let of = |ip: &str| BanFilter { ip: Some(ip.parse().unwrap()), ..BanFilter::default() };
            assert_eq!(bans(of("203.0.113.9")).await, [kept.clone(), lifted.clone()]);
            assert_eq!(bans(of("203.0.113.10")).await, std::slice::from_ref(&kept));
            assert_eq!(bans(of("203.0.0.0/16")).await, [kept, lifted]);
            assert_eq!(bans(of("::/0")).await, [held]);
            assert_eq!(bans(of("192.0.2.1")).await, []);
            assert_eq!(bans(BanFilter { since: Some(later), ..BanFilter::default() }).await, []);
            assert_eq!(bans(BanFilter { limit: Some(2), ..BanFilter::default() }).await.len(), 2);
            let counts = Counts { bans: 4, in_force: 2, ..Counts::default() };
            assert_eq!(history.counts().await.unwrap(), counts);
            let nowhere = match &db.place {
                Database::Sqlite(_) => Database::Sqlite(dir.path().join("not-there.db")),
                Database::Mysql(server) => {
                    Database::Mysql(Mysql { url: format!("{}_not_there", server.url), ..server.clone() })
                }
            };
            let nowhere = History::open(&nowhere).await;
            assert!(matches!(nowhere, Err(StoreError::Read { .. })));
        });
    });
}

/// As long as a VARCHAR takes it; SQLite takes everything.
fn fitting(db: &Db, text: &str, characters: usize) -> String {
    if !db.is_mysql() || text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters - 1).chain(['…']).collect()
}

#[test]
fn hostile_texts_are_stored_as_they_are() {
    each("hostile_texts_are_stored_as_they_are", |db| {
        let texts: Vec<String> = [
            "",
            "'; DROP TABLE ban; --",
            "a\0b",
            "\u{202e}\u{feff}\n\r\t",
            "?1 :x @y $z \"\\",
            "\u{1f600}\u{10ffff}e\u{301}",
            "\u{fffd} \\xff\\xfe",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(["\u{1f600}".repeat(3_000), "€'\0\n".repeat(1 << 18)])
        .collect();
        let mut events = Vec::new();
        for (n, text) in (0..).zip(&texts) {
            let some = || Some(text.clone());
            let place = Place {
                country: Some(text.as_str().into()),
                province: Some(text.as_str().into()),
                area: Some(text.as_str().into()),
            };
            let Event::Record(mut record) = detailed(n, some()) else { unreachable!() };
            record.proxy_detail = some();
            (record.record.rule, record.record.place) = (Some(text.as_str().into()), Some(place.clone()));
            events.push(Event::Record(record));
            let mut ban = ban("203.0.113.9", n);
            (ban.rule, ban.note, ban.place) = (text.as_str().into(), some(), Some(place));
            for order in [Order::Block, Order::Unblock] {
                let Event::Outcome(mut outcome) = outcome(ban.clone(), order, 1) else { unreachable!() };
                (outcome.result, outcome.agent) = (text.clone(), text.as_str().into());
                events.push(Event::Outcome(outcome));
            }
            events.push(change(Change::Banned(ban)));
            events.push(Event::RuleTotal { at: NOW, rule: text.clone(), bans: 1 });
            events.push(Event::AgentTotal { at: NOW, agent: text.clone(), bans: 1 });
        }
        db.store_all(events);
        for (table, of, characters) in [
            ("ip_frequency", "detail", usize::MAX),
            ("ip_frequency", "sdetail", usize::MAX),
            ("ip_frequency", "area", 255),
            ("ip_frequency", "country", 255),
            ("ip_frequency", "province", 255),
            ("ip_frequency", "rule", 2_000),
            ("block_log", "result", usize::MAX),
            ("block_log", "server_ip", 155),
            ("block_log", "rule", 2_000),
            ("unblock_log", "result", usize::MAX),
            ("unblock_log", "server_ip", 155),
            ("unblock_log", "rule", 2_000),
            ("ban", "note", usize::MAX),
            ("ban", "rule", 2_000),
            ("ban", "area", 255),
            ("ban", "country", 255),
            ("ban", "province", 255),
            ("block_url_log", "url", 2_000),
            ("block_server_log", "server_ip", 155),
        ] {
            let mut found = db.column(&format!("SELECT {of} FROM {table} ORDER BY id"));
            let mut expected: Vec<_> = texts.iter().map(|text| fitting(db, text, characters)).collect();
            if table == "ban" {
                found.sort();
                expected.sort();
            }
            for (found, text) in found.iter().zip(&expected) {
                let start: String = found.chars().take(30).collect();
                assert!(found == text, "{table}.{of}: {start:?}, {} bytes of {}", found.len(), text.len());
            }
            assert_eq!(found.len(), texts.len(), "{table}.{of}");
        }
    });
}

#[test]
fn a_row_that_no_database_takes_is_passed_by_alone() {
    each("a_row_that_no_database_takes_is_passed_by_alone", |db| {
        let dir = &db.dir;
        db.store_all(vec![]);
        db.execute(if db.is_mysql() {
        "CREATE TRIGGER bad BEFORE INSERT ON ip_frequency FOR EACH ROW \
         IF NEW.cnt = 66 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF"
    } else {
        "CREATE TRIGGER bad BEFORE INSERT ON ip_frequency WHEN NEW.cnt = 66 BEGIN SELECT RAISE(ABORT, 'no'); END"
    });
        let (journal, ..) = open(&dir.path().join("journal"), options());
        let (store, alarms) = db.start(&journal, quick());
        journal.append(entry((0..150).map(record).collect()));
        journal.append(entry(vec![record(200)]));
        let left = store.stop(WAIT);
        assert_eq!((left.rows_written, left.rows_skipped, left.entries_behind), (150, 1, 0));
        assert_eq!((alarms.of("store_skipped"), alarms.all().len()), (vec![false], 1));
        assert_eq!(db.column("SELECT CAST(count(*) AS CHAR) FROM ip_frequency WHERE cnt <> 66"), ["150"]);
    });
}

#[test]
fn records_move_when_their_time_is_over_or_there_are_too_many() {
    each("records_move_when_their_time_is_over_or_there_are_too_many", |db| {
        let dir = &db.dir;
        let kept = Arc::new(AtomicU64::new(u64::MAX));
        let asked = Arc::clone(&kept);
        let options = StoreOptions {
            retention: Arc::new(move || Retention {
                days: Some(30),
                records: Some(asked.load(Ordering::Relaxed)),
            }),
            ..quick()
        };
        let (journal, ..) = open(&dir.path().join("journal"), journal_common::options());
        let (store, _) = db.start(&journal, options);
        // More than move at once are from 1990, the others from the far future.
        for n in 0..6_000 {
            journal.append(Entry { at: Moment(631_152_000_000), ..entry(vec![record(n)]) });
        }
        for n in 6_000..6_100 {
            journal.append(Entry { at: Moment(32_503_680_000_000), ..entry(vec![record(n)]) });
        }
        until("all rows", || store.status().rows_written == 6_100);
        until("the old ones are moved", || db.count("ip_frequency") == 100);
        assert_eq!(db.count("ip_frequency_del"), 6_000);
        kept.store(40, Ordering::Relaxed);
        until("those too many are moved", || db.count("ip_frequency") == 40);
        assert_eq!(db.count("ip_frequency_del"), 6_060);
        assert_eq!(db.column("SELECT CAST(min(cnt) AS CHAR) FROM ip_frequency"), ["6060"]);
        assert_eq!(db.column("SELECT CAST(count(DISTINCT cuuid) AS CHAR) FROM ip_frequency_del"), ["6060"]);
        let left = store.stop(WAIT);
        assert_eq!(left.last_error, None);
    });
}

#[test]
fn segments_that_are_in_the_tables_go() {
    each("segments_that_are_in_the_tables_go", |db| {
        let dir = &db.dir;
        let options = JournalOptions { segment_bytes: 4_000, ..options() };
        let (journal, ..) = open(&dir.path().join("journal"), options);
        for n in 0..1_000 {
            journal.append(entry(vec![record(n)]));
        }
        assert!(journal.status().segments > 20);
        let (store, _) = db.start(&journal, quick());
        assert_eq!(store.stop(WAIT).rows_written, 1_000);
        // A server that doesn't flush each commit gets some more time to.
        let left = journal.status().segments;
        assert!(left == 2 || db.is_mysql() && left < 20, "{left} are left");
    });
}

#[test]
fn a_journal_begun_anew_is_another_one_and_an_old_copy_goes_on_behind() {
    each("a_journal_begun_anew_is_another_one_and_an_old_copy_goes_on_behind", |db| {
        let dir = &db.dir;
        let (place, copy) = (dir.path().join("journal"), dir.path().join("copy"));
        db.store_all(vec![record(0)]);
        fs::create_dir(&copy).unwrap();
        fs::copy(place.join("000000000001.journal"), copy.join("000000000001.journal")).unwrap();
        db.store_all(vec![record(1), record(2)]);
        fs::remove_dir_all(&place).unwrap();
        db.store_all(vec![record(3), record(4), record(5)]);
        fs::remove_dir_all(&place).unwrap();
        fs::rename(&copy, &place).unwrap();
        let (journal, ..) = open(&place, options());
        let (store, _) = db.start(&journal, quick());
        until("the position", || store.status().position == 3);
        journal.append(entry(vec![record(6)]));
        assert_eq!(store.stop(WAIT).entries_behind, 0);
        let order = db.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency ORDER BY id");
        assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6"]);
    });
}

#[test]
fn an_unknown_time_zone_is_an_error() {
    let db = Db::sqlite();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let options = StoreOptions { time_zone: Some("Mars/Phobos".to_owned()), ..quick() };
    let alarms = Arc::new(Alarms::default());
    let started = Store::start(&db.place, &journal, options, alarms);
    assert!(matches!(started.map(|_| ()), Err(StoreError::TimeZone(_))));
}

/// Says to a copy of this program that it is to be killed, and in which folder it works.
const VICTIM: &str = "CCFIREWALL_TEST_VICTIM";
/// The server's URL with its password, where it isn't SQLite that it writes to.
const VICTIM_URL: &str = "CCFIREWALL_TEST_VICTIM_URL";

/// What is killed: numbers its records on from what the journal says, and tells each that is appended.
fn victim(dir: &Path) {
    let journal_options = JournalOptions { segment_bytes: 20_000, ..options() };
    let (journal, recovered, _) = open(&dir.join("journal"), journal_options);
    let place = match env::var(VICTIM_URL) {
        Ok(url) => {
            let password = Some(MkeySource::File(dir.join("password")));
            Database::Mysql(Mysql { url, password, tls: Tls::Preferred, ca: None })
        }
        Err(_) => Database::Sqlite(dir.join("ccfirewall.db")),
    };
    let _store = Store::start(&place, &journal, quick(), Arc::new(Alarms::default())).unwrap();
    let mut out = std::io::stdout().lock();
    for n in u32::try_from(recovered.state.records).unwrap().. {
        journal.append(entry(vec![record(n)]));
        writeln!(out, "appended {n}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn killed_at_any_time_each_record_is_one_row() {
    if let Some(dir) = env::var_os(VICTIM) {
        return victim(Path::new(&dir));
    }
    let seed = env::var("SEED").map_or(20_261_122, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    each("killed_at_any_time_each_record_is_one_row", |db| killed_at_any_time(db, Random(seed)));
}

fn killed_at_any_time(db: &Db, mut random: Random) {
    let dir = &db.dir;
    let mut appended = 0;
    for round in 0..30 {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "killed_at_any_time_each_record_is_one_row", "--nocapture"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped());
        if db.is_mysql() {
            command.env(VICTIM_URL, &db.server().url);
        }
        let mut child = command.spawn().unwrap();
        // Some die while they start, the others at work.
        let lines = if round % 5 == 4 { 0 } else { 1 + random.below(3_000) };
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let mut told = 0;
        while told < lines {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "round {round}: it ended by itself");
            if let Some(number) = line.trim().strip_prefix("appended ") {
                appended = number.parse::<u64>().unwrap() + 1;
                told += 1;
            }
        }
        if lines == 0 {
            thread::sleep(Duration::from_micros(random.below(15_000)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (journal, recovered, _) = open(&dir.path().join("journal"), options());
    let records = recovered.state.records;
    assert!(records >= appended, "{records} of at least {appended} are in the journal");
    assert_eq!((recovered.broken_lines, recovered.complete), (0, true));
    let (store, _) = db.start(&journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    let rows = db.numbers();
    println!("{records} records in {} rows, {appended} were told", rows.len());
    assert!(rows.into_iter().eq(0..records), "each once, in order");
    assert_eq!(
        db.column("SELECT CAST(count(DISTINCT cuuid) AS CHAR) FROM ip_frequency"),
        [records.to_string()]
    );
}

#[test]
fn a_store_that_is_dropped_goes_on_where_it_was() {
    each("a_store_that_is_dropped_goes_on_where_it_was", |db| {
        let dir = &db.dir;
        let (journal, ..) = open(&dir.path().join("journal"), options());
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for n in 0..5_000 {
                    journal.append(entry(vec![record(n)]));
                }
            });
            while !writing.is_finished() {
                let (store, _) = db.start(&journal, quick());
                until("some rows", || store.status().rows_written > 0 || writing.is_finished());
            }
        });
        let (store, _) = db.start(&journal, quick());
        assert_eq!(store.stop(WAIT).entries_behind, 0);
        let order = db.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency ORDER BY id");
        assert!(order.into_iter().eq((0..5_000).map(|n| n.to_string())));
    });
}

/// `cargo test -p topology --test store -- --ignored --nocapture` tells how fast rows are written.
#[test]
#[ignore = "a measurement"]
fn how_fast_rows_are_written() {
    const ROWS: u32 = 200_000;
    each("how_fast_rows_are_written", |db| {
        let (journal, ..) = open(&db.dir.path().join("journal"), JournalOptions::default());
        for n in 0..ROWS {
            journal.append(entry(vec![record(n)]));
        }
        assert!(journal.sync(WAIT));
        let begun = Instant::now();
        let (store, _) = db.start(&journal, StoreOptions::default());
        assert_eq!(store.stop(Duration::from_secs(600)).rows_written, u64::from(ROWS));
        println!("{:.0} rows a second", f64::from(ROWS) / begun.elapsed().as_secs_f64());
    });
}
