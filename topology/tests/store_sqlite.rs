//! The store on SQLite: what only a file can do.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;
mod store_common;

use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bolts::ports::EventStore as _;
use journal_common::{Alarms, entry, open, options, record, tiny_disk, until};
use store_common::{Db, WAIT, block_on, quick};
use topology::adapters::store::{Fence, Store, StoreError, StoreOptions};
use topology::config::Database;

#[test]
fn a_locked_database_is_told_of_and_then_catches_up_in_order() {
    let db = Db::sqlite();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the first row", || store.status().rows_written == 1);
    block_on(async {
        let mut other = db.connect_sqlite().await;
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
    let order = db.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency ORDER BY id");
    assert!(order.into_iter().eq((0..3000).map(|n| n.to_string())));
}

#[test]
fn stopping_with_a_locked_database_keeps_to_its_deadline() {
    let db = Db::sqlite();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, _) = db.start(&journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the first row", || store.status().rows_written == 1);
    block_on(async {
        let mut other = db.connect_sqlite().await;
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
        journal.append(entry(vec![record(1)]));
        let begun = Instant::now();
        let left = store.stop(Duration::from_millis(300));
        assert_eq!(left.entries_behind, 1);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
    let (store, _) = db.start(&journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    assert_eq!(db.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency"), ["0", "1"]);
}

#[test]
fn a_file_that_is_no_database_is_told_of_and_can_be_taken_away() {
    let db = Db::sqlite();
    fs::write(db.place.path().unwrap(), "this is no database".repeat(100)).unwrap();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    journal.append(entry(vec![record(0)]));
    until("the alarm", || alarms.of("store_behind") == [false]);
    fs::remove_file(db.place.path().unwrap()).unwrap();
    until("the row", || store.status().rows_written == 1);
    until("the end of the alarm", || alarms.of("store_behind") == [false, true]);
}

#[test]
fn a_full_disk_only_delays() {
    let Some(disk) = tiny_disk("a_full_disk_only_delays", "3m") else { return };
    let mut db = Db::sqlite();
    db.place = Database::Sqlite(disk.join("ccfirewall.db"));
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
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
    let order = db.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency ORDER BY id");
    assert!(order.into_iter().eq((0..1000).map(|n| n.to_string())));
}

#[test]
fn migrations_run_once_and_a_newer_database_is_left_alone() {
    let db = Db::sqlite();
    for n in 0..3 {
        db.store_all(vec![record(n)]);
    }
    assert_eq!(db.column("SELECT CAST(count(*) AS CHAR) FROM _sqlx_migrations"), ["1"]);
    assert_eq!(db.column("SELECT CAST(count(*) AS CHAR) FROM ip_frequency"), ["3"]);
    db.execute("INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)");
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    until("the alarm", || alarms.of("store_behind") == [false]);
    assert!(alarms.all()[0].text.contains("another version"), "{:?}", alarms.all());
    drop(store);
}

#[test]
fn a_file_is_not_shared() {
    let db = Db::sqlite();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let fence = Some(Fence { epoch: 1, on_lost: Arc::new(|| {}) });
    let options = StoreOptions { fence, ..quick() };
    let started = Store::start(&db.place, &journal, options, Arc::new(Alarms::default()));
    assert!(matches!(started.map(|_| ()), Err(StoreError::NotShared(_))));
}
