//! The store: each row is in the tables exactly once, whoever was killed and whatever the database did.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;

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
    Alarms, NOW, Random, Tally, ban, change, detailed, entry, open, options, outcome, record, tiny_disk,
    until,
};
use model::ban::{Cap, Change, Ended, Order};
use model::event::{Entry, Event};
use model::units::{Moment, Seconds};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use topology::adapters::journal::{Journal, JournalOptions};
use topology::adapters::sqlite::{
    BanFilter, Counts, History, Retention, SqliteOptions, SqliteStore, StoreError,
};

const WAIT: Duration = Duration::from_secs(30);

fn quick() -> SqliteOptions {
    SqliteOptions {
        time_zone: Some("Asia/Shanghai".to_owned()),
        busy_timeout: Duration::from_millis(20),
        retention_every: Duration::from_millis(10),
        ..SqliteOptions::default()
    }
}

fn start(path: &Path, journal: &Arc<Journal<Tally>>, options: SqliteOptions) -> (SqliteStore, Arc<Alarms>) {
    let alarms = Arc::new(Alarms::default());
    (SqliteStore::start(path, journal, options, Arc::<Alarms>::clone(&alarms)).unwrap(), alarms)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).busy_timeout(WAIT).connect().await.unwrap()
}

/// One column of a query's rows, as text.
fn column(path: &Path, sql: &str) -> Vec<String> {
    block_on(async {
        let mut connection = connect(path).await;
        sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap()
            .into_iter()
            .map(|value| value.unwrap_or_else(|| "NULL".to_owned()))
            .collect()
    })
}

fn execute(path: &Path, sql: &str) {
    block_on(async {
        let mut connection = connect(path).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    });
}

/// Appends events, one entry each, and waits until they are in the tables.
fn store_all(dir: &Path, events: Vec<Event>) {
    let (journal, ..) = open(&dir.join("journal"), options());
    let (store, _) = start(&dir.join("ccfirewall.db"), &journal, quick());
    for event in events {
        journal.append(entry(vec![event]));
    }
    let left = store.stop(WAIT);
    assert_eq!((left.entries_behind, left.rows_skipped, left.last_error), (0, 0, None));
}

#[test]
fn every_kind_of_event_is_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
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
    store_all(dir.path(), events);
    let check = |sql: &str, expect: &str| assert_eq!(column(&db, sql), [expect], "{sql}");
    check(
        "SELECT concat_ws('|', updatetime, cnt, ip, direct_nginx, starttime, endtime, during, alerts, block_reason, \
         detail, rule) FROM ip_frequency",
        "2026-11-22 22:29:00|7|203.0.113.7|1|2026-11-22 22:28:50|2026-11-22 22:29:00|10|0|0|{\"n\":7}|global",
    );
    check(
        "SELECT concat_ws('|', block_time, block_second, block_reason, server_ip, block_ip, flag, result, cuuid, \
         rule, end_time) FROM block_log",
        &format!("2026-11-22 22:29:00|60|0|10.0.0.1|203.0.113.9|1|ok|{}|global|2026-11-22 22:30:00", one.id),
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
}

#[test]
fn bans_are_as_their_changes_leave_them() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, lifted, held, released) =
        (ban("203.0.113.0/24", 0), ban("203.0.113.9", 1), ban("2001:db8::/64", 2), ban("198.51.100.1", 3));
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
    store_all(dir.path(), changes.map(change).into());
    let db = dir.path().join("ccfirewall.db");
    block_on(async {
        let history = History::open(&db).await.unwrap();
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
        let nowhere = History::open(&dir.path().join("not-there.db")).await;
        assert!(matches!(nowhere, Err(StoreError::Read { .. })));
    });
}

#[test]
fn hostile_texts_are_stored_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let texts: Vec<String> =
        ["", "'; DROP TABLE ban; --", "a\0b", "\u{202e}\u{feff}\n\r\t", "?1 :x @y $z \"\\"]
            .into_iter()
            .map(str::to_owned)
            .chain(["€'\0\n".repeat(1 << 18)])
            .collect();
    let mut events: Vec<_> = (0..).zip(&texts).map(|(n, text)| detailed(n, Some(text.clone()))).collect();
    for (n, text) in (0..).zip(&texts) {
        let mut ban = ban("203.0.113.9", n);
        (ban.rule, ban.note) = (text.as_str().into(), Some(text.clone()));
        let Event::Outcome(mut outcome) = outcome(ban.clone(), Order::Block, 1) else { unreachable!() };
        (outcome.result, outcome.agent) = (text.clone(), text.as_str().into());
        events.push(Event::Outcome(outcome));
        events.push(change(Change::Banned(ban)));
        events.push(Event::RuleTotal { at: NOW, rule: text.clone(), bans: 1 });
        events.push(Event::AgentTotal { at: NOW, agent: text.clone(), bans: 1 });
    }
    store_all(dir.path(), events);
    let db = dir.path().join("ccfirewall.db");
    for (table, of) in [
        ("ip_frequency", "detail"),
        ("block_log", "result"),
        ("block_log", "server_ip"),
        ("block_log", "rule"),
        ("ban", "note"),
        ("block_url_log", "url"),
        ("block_server_log", "server_ip"),
    ] {
        let found = column(&db, &format!("SELECT {of} FROM {table} ORDER BY rowid"));
        for (found, text) in found.iter().zip(&texts) {
            let start: String = found.chars().take(30).collect();
            assert!(found == text, "{table}.{of}: {start:?}, {} bytes of {}", found.len(), text.len());
        }
        assert_eq!(found.len(), texts.len(), "{table}.{of}");
    }
}

#[test]
fn a_locked_database_is_told_of_and_then_catches_up_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, alarms) = start(&db, &journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the first row", || store.status().rows_written == 1);
    block_on(async {
        let mut other = connect(&db).await;
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        for n in 1..3000 {
            journal.append(entry(vec![record(n)]));
        }
        until("the alarm", || alarms.of("store_behind") == [false]);
        let status = store.status();
        assert_eq!((status.rows_written, status.position, status.entries_behind), (1, 1, 2999));
        assert!(status.last_error.as_ref().unwrap().contains("locked"), "{status:?}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    });
    until("all rows", || store.status().rows_written == 3000);
    until("the end of the alarm", || alarms.of("store_behind") == [false, true]);
    let _ = store.stop(WAIT);
    let order = column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency ORDER BY id");
    assert!(order.into_iter().eq((0..3000).map(|n| n.to_string())));
}

#[test]
fn stopping_with_a_locked_database_keeps_to_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, _) = start(&db, &journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the first row", || store.status().rows_written == 1);
    block_on(async {
        let mut other = connect(&db).await;
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        journal.append(entry(vec![record(1)]));
        let begun = Instant::now();
        let left = store.stop(Duration::from_millis(300));
        assert_eq!(left.entries_behind, 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
    let (store, _) = start(&db, &journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    assert_eq!(column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency"), ["0", "1"]);
}

#[test]
fn a_file_that_is_no_database_is_told_of_and_can_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    fs::write(&db, "this is no database".repeat(100)).unwrap();
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, alarms) = start(&db, &journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the alarm", || alarms.of("store_behind") == [false]);
    fs::remove_file(&db).unwrap();
    until("the row", || store.status().rows_written == 1);
    until("the end of the alarm", || alarms.of("store_behind") == [false, true]);
}

#[test]
fn a_row_that_no_database_takes_is_passed_by_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    store_all(dir.path(), vec![]);
    execute(
        &db,
        "CREATE TRIGGER bad BEFORE INSERT ON ip_frequency WHEN NEW.cnt = 66 BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, alarms) = start(&db, &journal, quick());
    journal.append(entry((0..150).map(record).collect()));
    journal.append(entry(vec![record(200)]));
    let left = store.stop(WAIT);
    assert_eq!((left.rows_written, left.rows_skipped, left.entries_behind), (150, 1, 0));
    assert_eq!(alarms.all(), []);
    assert_eq!(column(&db, "SELECT CAST(count(*) AS TEXT) FROM ip_frequency WHERE cnt <> 66"), ["150"]);
}

#[test]
fn a_full_disk_only_delays() {
    let Some(disk) = tiny_disk("a_full_disk_only_delays", "3m") else { return };
    let dir = tempfile::tempdir().unwrap();
    let db = disk.join("ccfirewall.db");
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, alarms) = start(&db, &journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the first row", || store.status().rows_written == 1);
    let mut filler = fs::File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[b'x'; 4096]).is_ok() {}
    // An open file would keep the space when it's removed.
    drop(filler);
    for n in 1..1000 {
        journal.append(entry(vec![record(n)]));
    }
    until("the alarm", || alarms.of("store_behind").first() == Some(&false));
    assert!(store.status().entries_behind > 0);
    fs::remove_file(disk.join("filler")).unwrap();
    until("all rows", || store.status().entries_behind == 0);
    until("the end of the alarm", || alarms.of("store_behind").last() == Some(&true));
    let _ = store.stop(WAIT);
    let order = column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency ORDER BY id");
    assert!(order.into_iter().eq((0..1000).map(|n| n.to_string())));
}

#[test]
fn records_move_when_their_time_is_over_or_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    let kept = Arc::new(AtomicU64::new(u64::MAX));
    let asked = Arc::clone(&kept);
    let options = SqliteOptions {
        retention: Arc::new(move || Retention {
            days: Some(30),
            records: Some(asked.load(Ordering::Relaxed)),
        }),
        ..quick()
    };
    let (journal, ..) = open(&dir.path().join("journal"), journal_common::options());
    let (store, _) = start(&db, &journal, options);
    // More than move at once are from 1990, the others from the far future.
    for n in 0..6_000 {
        journal.append(Entry { at: Moment(631_152_000_000), ..entry(vec![record(n)]) });
    }
    for n in 6_000..6_100 {
        journal.append(Entry { at: Moment(32_503_680_000_000), ..entry(vec![record(n)]) });
    }
    let count = |table: &str| column(&db, &format!("SELECT CAST(count(*) AS TEXT) FROM {table}")).remove(0);
    until("all rows", || store.status().rows_written == 6_100);
    until("the old ones are moved", || count("ip_frequency") == "100");
    assert_eq!(count("ip_frequency_del"), "6000");
    kept.store(40, Ordering::Relaxed);
    until("those too many are moved", || count("ip_frequency") == "40");
    assert_eq!(count("ip_frequency_del"), "6060");
    assert_eq!(column(&db, "SELECT CAST(min(cnt) AS TEXT) FROM ip_frequency"), ["6060"]);
    assert_eq!(column(&db, "SELECT CAST(count(DISTINCT cuuid) AS TEXT) FROM ip_frequency_del"), ["6060"]);
    let left = store.stop(WAIT);
    assert_eq!(left.last_error, None);
}

#[test]
fn segments_that_are_in_the_tables_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 4_000, ..options() };
    let (journal, ..) = open(&dir.path().join("journal"), options);
    for n in 0..1_000 {
        journal.append(entry(vec![record(n)]));
    }
    assert!(journal.status().segments > 20);
    let (store, _) = start(&dir.path().join("ccfirewall.db"), &journal, quick());
    assert_eq!(store.stop(WAIT).rows_written, 1_000);
    assert_eq!(journal.status().segments, 2);
}

#[test]
fn a_journal_begun_anew_is_another_one_and_an_old_copy_goes_on_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (place, copy) = (dir.path().join("journal"), dir.path().join("copy"));
    store_all(dir.path(), vec![record(0)]);
    fs::create_dir(&copy).unwrap();
    fs::copy(place.join("000000000001.journal"), copy.join("000000000001.journal")).unwrap();
    store_all(dir.path(), vec![record(1), record(2)]);
    fs::remove_dir_all(&place).unwrap();
    store_all(dir.path(), vec![record(3), record(4), record(5)]);
    fs::remove_dir_all(&place).unwrap();
    fs::rename(&copy, &place).unwrap();
    let (journal, ..) = open(&place, options());
    let db = dir.path().join("ccfirewall.db");
    let (store, _) = start(&db, &journal, quick());
    until("the position", || store.status().position == 3);
    journal.append(entry(vec![record(6)]));
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    let order = column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency ORDER BY id");
    assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[test]
fn migrations_run_once_and_a_newer_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    for n in 0..3 {
        store_all(dir.path(), vec![record(n)]);
    }
    assert_eq!(column(&db, "SELECT CAST(count(*) AS TEXT) FROM _sqlx_migrations"), ["1"]);
    assert_eq!(column(&db, "SELECT CAST(count(*) AS TEXT) FROM ip_frequency"), ["3"]);
    execute(&db, "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)");
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let (store, alarms) = start(&db, &journal, quick());
    until("the alarm", || alarms.of("store_behind") == [false]);
    assert!(alarms.all()[0].text.contains("another version"), "{:?}", alarms.all());
    drop(store);
}

#[test]
fn an_unknown_time_zone_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(&dir.path().join("journal"), options());
    let options = SqliteOptions { time_zone: Some("Mars/Phobos".to_owned()), ..quick() };
    let alarms = Arc::new(Alarms::default());
    let started = SqliteStore::start(&dir.path().join("ccfirewall.db"), &journal, options, alarms);
    assert!(matches!(started.map(|_| ()), Err(StoreError::TimeZone(_))));
}

const VICTIM: &str = "CCFIREWALL_TEST_VICTIM";

/// What is killed: numbers its records on from what the journal says, and tells each that is appended.
fn victim(dir: &Path) {
    let journal_options = JournalOptions { segment_bytes: 20_000, ..options() };
    let (journal, recovered, _) = open(&dir.join("journal"), journal_options);
    let (_store, _) = start(&dir.join("ccfirewall.db"), &journal, quick());
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
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut appended = 0;
    for round in 0..30 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "killed_at_any_time_each_record_is_one_row", "--nocapture"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
    let db = dir.path().join("ccfirewall.db");
    let (store, _) = start(&db, &journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    let rows = column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency ORDER BY id");
    println!("{records} records in {} rows, {appended} were told", rows.len());
    assert!(rows.into_iter().eq((0..records).map(|n| n.to_string())), "each once, in order");
    let ids = column(&db, "SELECT CAST(count(DISTINCT cuuid) AS TEXT) FROM ip_frequency");
    assert_eq!(ids, [records.to_string()]);
}

#[test]
fn a_store_that_is_dropped_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let db = dir.path().join("ccfirewall.db");
    let (journal, ..) = open(&dir.path().join("journal"), options());
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for n in 0..5_000 {
                journal.append(entry(vec![record(n)]));
            }
        });
        while !writing.is_finished() {
            let (store, _) = start(&db, &journal, quick());
            until("some rows", || store.status().rows_written > 0 || writing.is_finished());
        }
    });
    let (store, _) = start(&db, &journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    let order = column(&db, "SELECT CAST(cnt AS TEXT) FROM ip_frequency ORDER BY id");
    assert!(order.into_iter().eq((0..5_000).map(|n| n.to_string())));
}

/// `cargo test -p topology --test sqlite -- --ignored --nocapture` tells how fast rows are written.
#[test]
#[ignore = "a measurement"]
fn how_fast_rows_are_written() {
    const ROWS: u32 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(&dir.path().join("journal"), JournalOptions::default());
    for n in 0..ROWS {
        journal.append(entry(vec![record(n)]));
    }
    assert!(journal.sync(WAIT));
    let begun = Instant::now();
    let (store, _) = start(&dir.path().join("ccfirewall.db"), &journal, SqliteOptions::default());
    assert_eq!(store.stop(Duration::from_secs(600)).rows_written, u64::from(ROWS));
    println!("{:.0} rows a second", f64::from(ROWS) / begun.elapsed().as_secs_f64());
}
