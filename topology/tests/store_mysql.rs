//! The store on a real MariaDB: a server that is taken over from 2016, changed by others, killed, cut off and full of
//! locks.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod journal_common;
mod store_common;

use std::env;
use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bolts::ports::EventStore as _;
use journal_common::{
    NOW, Random, Tally, ban, change, detailed, entry, open, options, outcome, record, until,
};
use model::ban::{Change, Order};
use model::event::Event;
use real_servers::Servers;
use sqlx::{AssertSqlSafe, Executor as _};
use store_common::{Db, WAIT, block_on, quick};
use topology::adapters::journal::Journal;
use topology::adapters::store::{BanFilter, History, Retention, StoreOptions};
use topology::config::Database;

fn seed() -> u64 {
    let seed = env::var("SEED").map_or(20_261_122, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    seed
}

/// The tables of 2016, with the types that they had.
fn tables_of_2016(charset: &str) -> String {
    format!(
        "CREATE TABLE ip_frequency (updatetime datetime, cnt int(11), ip varchar(35), direct_nginx tinyint, \
         area varchar(100), country varchar(35), province varchar(4), starttime datetime, endtime datetime, \
         during int(11), alerts tinyint, block_reason varchar(10), detail text, sdetail text, cuuid varchar(50), \
         KEY a (updatetime), KEY b (ip), KEY c (alerts), KEY d (cuuid)) ENGINE=InnoDB DEFAULT CHARSET={charset};
         CREATE TABLE ip_frequency_del (updatetime datetime, cnt int(11), ip varchar(35), direct_nginx tinyint, \
         area varchar(100), country varchar(35), province varchar(4), starttime datetime, endtime datetime, \
         during int(11), detail text, sdetail text, cuuid varchar(50), KEY a (updatetime), KEY b (ip)) \
         ENGINE=InnoDB DEFAULT CHARSET={charset};
         CREATE TABLE block_log (block_time datetime, block_second int(11), block_reason varchar(10), \
         server_ip varchar(15), block_ip varchar(35), flag int(11), result text, cuuid varchar(50), \
         KEY a (block_time), KEY b (block_ip), KEY c (flag)) ENGINE=InnoDB DEFAULT CHARSET={charset};
         CREATE TABLE unblock_log (unblock_time datetime, block_time datetime, block_second int(11), \
         block_reason varchar(10), server_ip varchar(15), block_ip varchar(35), flag int(11), result text, \
         cuuid varchar(50), KEY a (unblock_time)) ENGINE=InnoDB DEFAULT CHARSET={charset};
         CREATE TABLE block_server_log (updatetime datetime, server_ip varchar(155), num int(11), \
         KEY a (updatetime)) ENGINE=InnoDB DEFAULT CHARSET={charset};
         CREATE TABLE block_url_log (updatetime datetime, url varchar(155), num int(11), KEY a (updatetime)) \
         ENGINE=InnoDB DEFAULT CHARSET={charset}"
    )
}

/// What the program of 2016 writes, by columns or without them.
const OLD_INSERTS: [&str; 5] = [
    "INSERT INTO ip_frequency VALUES ('2016-05-04 03:02:01', 200, '203.0.113.7', 1, 'Köln', 'Österreich', 'BY', \
     '2016-05-04 03:02:00', '2016-05-04 03:02:01', 1, 1, '0', '{\"é\":1}', NULL, '')",
    "INSERT INTO ip_frequency_del (updatetime, ip, cnt, cuuid) VALUES ('2016-05-04 03:02:01', '203.0.113.7', 1, NULL)",
    "INSERT INTO block_log VALUES ('2016-05-04 03:02:01', 60, '0', '10.0.0.1', '203.0.113.7', 1, 'ok', 'same')",
    "INSERT INTO unblock_log VALUES ('2016-05-04 03:02:01', NULL, 60, '0', '10.0.0.1', '203.0.113.7', 1, 'ok', NULL)",
    "INSERT INTO block_url_log VALUES ('2016-05-04 03:02:01', 'www.example.com/ä', 3)",
];

fn every_kind(n: u32) -> Vec<Event> {
    let ban = ban("2001:db8:1234:5678::/64", n);
    vec![
        record(n),
        change(Change::Banned(ban.clone())),
        outcome(ban.clone(), Order::Block, 1),
        outcome(ban, Order::Unblock, 1),
        Event::AgentTotal {
            at: NOW,
            agent: "agent-with-a-name.example.com:9090".to_owned(),
            bans: 5_000_000_000,
        },
        Event::RuleTotal { at: NOW, rule: "x".repeat(1_000), bans: 1 },
    ]
}

#[test]
fn a_database_of_2016_is_taken_over_with_its_rows_and_its_writers() {
    let Some(servers) = Servers::shared() else { return };
    for charset in ["utf8", "latin1"] {
        let db = Db::mysql(&servers, &format!("of_2016_{charset}"));
        db.execute(&tables_of_2016(charset));
        // A date that is refused today, a ban that was told twice, and no ids at all.
        db.execute("SET sql_mode = ''; INSERT INTO ip_frequency (updatetime) VALUES ('0000-00-00 00:00:00')");
        for insert in OLD_INSERTS.iter().chain(&OLD_INSERTS) {
            db.execute(insert);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let written = thread::scope(|scope| {
            // It goes on writing, and gets no error.
            let writer = scope.spawn(|| {
                block_on(async {
                    let mut old = db.connect_mysql().await;
                    old.execute("SET sql_mode = 'TRADITIONAL'").await.unwrap();
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) || rounds < 20 {
                        for insert in OLD_INSERTS {
                            old.execute(AssertSqlSafe(insert)).await.unwrap();
                        }
                        rounds += 1;
                    }
                    rounds
                })
            });
            db.store_all(every_kind(1));
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        assert_eq!(db.count("block_log"), 2 + written + 1);
        assert_eq!(db.count("ip_frequency"), 1 + 2 + written + 1);
        assert_eq!(db.count("ip_frequency WHERE area = 'Köln' AND country = 'Österreich'"), 2 + written);
        assert_eq!(db.count("block_url_log WHERE url = 'www.example.com/ä'"), 2 + written);
        assert_eq!(db.count("ip_frequency WHERE detail = '{\"é\":1}'"), 2 + written);
        assert_eq!(db.count("ip_frequency WHERE updatetime = '0000-00-00 00:00:00'"), 1);
        assert_eq!(db.count("unblock_log WHERE block_ip = '2001:db8:1234:5678::/64'"), 1);
        assert_eq!(db.count("block_server_log WHERE num = 5000000000"), 1);
        assert_eq!(
            db.column("SELECT CAST(count(*) AS CHAR) FROM (SELECT * FROM block_log) x WHERE cuuid = 'same'"),
            [(2 + written).to_string()]
        );
        // What it reads and writes without names of columns is what it was.
        let wide = block_on(async {
            let mut connection = db.connect_mysql().await;
            let row = sqlx::query("SELECT * FROM ip_frequency LIMIT 1").fetch_one(&mut connection).await;
            sqlx::Row::columns(&row.unwrap()).len()
        });
        assert_eq!(wide, 15);
        let before = structure(&db);
        let plain = db.without_alter();
        plain.store_all(every_kind(2));
        assert_eq!(structure(&db), before, "the second start changes nothing");
        drop(plain);
        // Old rows go when their time is over, as others do.
        let (journal, ..) = open(&db.dir.path().join("journal"), options());
        let retention = Retention { days: Some(30), records: None };
        let (store, _) =
            db.start(&journal, StoreOptions { retention: Arc::new(move || retention), ..quick() });
        until("the old rows are moved", || db.count("ip_frequency WHERE updatetime < '2020-01-01'") == 0);
        assert_eq!(store.stop(WAIT).last_error, None);
        assert_eq!(db.count("ip_frequency_del WHERE area = 'Köln'"), 2 + written);
        block_on(async {
            let history = History::open(&db.place).await.unwrap();
            let bans = history.bans(&BanFilter::default()).await.unwrap();
            assert_eq!((bans.len(), history.answers(&bans).await.unwrap().len()), (2, 4));
        });
    }
}

/// All columns and keys.
fn structure(db: &Db) -> Vec<String> {
    let of = |sql: &str| db.column(sql);
    let mut all = of(
        "SELECT concat_ws(' ', table_name, column_name, column_type, is_nullable, character_set_name, extra) \
         FROM information_schema.columns WHERE table_schema = database() ORDER BY 1",
    );
    all.extend(of("SELECT concat_ws(' ', table_name, index_name, column_name, non_unique) \
         FROM information_schema.statistics WHERE table_schema = database() ORDER BY 1"));
    all
}

/// What came of the tables of 2016 takes all that new ones take.
#[test]
fn old_tables_become_as_wide_as_new_ones() {
    let Some(servers) = Servers::shared() else { return };
    let columns = "SELECT concat_ws(' ', table_name, column_name, column_type, is_nullable, character_set_name, extra) \
                   FROM information_schema.columns WHERE table_schema = database() ORDER BY 1";
    let (old, new) = (Db::mysql(&servers, "widened_old"), Db::mysql(&servers, "widened_new"));
    // MyISAM has no transactions.
    old.execute(&tables_of_2016("utf8").replace("InnoDB", "MyISAM"));
    // Half of it was done when somebody was killed.
    old.execute("ALTER TABLE ip_frequency ADD COLUMN rule VARCHAR(10) CHARACTER SET latin1 NULL");
    old.execute("ALTER TABLE block_log ADD COLUMN answer_id BINARY(16) NULL, MODIFY COLUMN result MEDIUMTEXT NOT NULL");
    old.execute("CREATE TABLE journal_position (journal VARCHAR(36) NOT NULL, seq BIGINT UNSIGNED NOT NULL)");
    old.store_all(vec![]);
    new.store_all(vec![]);
    let invisible =
        |rows: Vec<String>| rows.into_iter().map(|r| r.replace("INVISIBLE", "").trim().to_owned());
    assert!(invisible(old.column(columns)).eq(invisible(new.column(columns))));
    assert_eq!(
        old.column("SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = database()"),
        ["InnoDB"]
    );
    old.store_all(every_kind(1));
    assert_eq!((old.count("ban"), old.count("journal_position")), (1, 1));
}

/// Tables that somebody has changed: what can be told apart from a bad row stays in the journal until it is mended.
#[test]
fn what_others_did_to_the_tables_loses_no_row() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "changed_by_others");
    db.store_all(vec![record(0)]);
    db.execute(
        "ALTER TABLE block_log MODIFY COLUMN flag SMALLINT UNSIGNED NULL, MODIFY COLUMN block_second INT NULL, \
         MODIFY COLUMN server_ip VARCHAR(15) NOT NULL DEFAULT 'it''s \\\\ this' COMMENT 'who''s \\\\ it'",
    );
    db.execute("ALTER TABLE ip_frequency ADD COLUMN theirs INT NOT NULL");
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    let events = vec![record(1), outcome(ban("203.0.113.7", 1), Order::Block, -4)];
    journal.append(entry(events));
    until("the alarm", || alarms.of("store_behind") == [false]);
    assert!(alarms.all()[0].text.contains("theirs"), "{:?}", alarms.all());
    db.execute("ALTER TABLE ip_frequency MODIFY COLUMN theirs INT NOT NULL DEFAULT 7");
    let left = store.stop(WAIT);
    assert_eq!((left.entries_behind, left.rows_skipped), (0, 0));
    assert_eq!(db.numbers(), [0, 1]);
    assert_eq!(db.column("SELECT CAST(flag AS CHAR) FROM block_log"), ["-4"]);
    // What they said of a column stays.
    let server = "information_schema.columns WHERE table_schema = database() AND table_name = 'block_log' AND \
                  column_name = 'server_ip'";
    assert_eq!(db.column(&format!("SELECT column_type FROM {server}")), ["varchar(155)"]);
    assert_eq!(db.column(&format!("SELECT column_comment FROM {server}")), ["who's \\ it"]);
    db.execute("INSERT INTO block_log (flag) VALUES (9)");
    assert_eq!(db.column("SELECT server_ip FROM block_log WHERE flag = 9"), ["it's \\ this"]);
    assert_eq!(alarms.of("store_skipped").len(), 0);

    // A row that can't be inserted is told.
    db.execute("ALTER TABLE ip_frequency ADD CHECK (cnt < 100)");
    let (store, alarms) = db.start(&journal, quick());
    journal.append(entry(vec![record(100), record(2)]));
    let left = store.stop(WAIT);
    assert_eq!((left.entries_behind, left.rows_skipped), (0, 1));
    assert_eq!(alarms.of("store_skipped"), [false]);
    assert_eq!(db.numbers(), [0, 1, 2]);
}

#[test]
fn a_migration_that_is_killed_goes_on() {
    let Some(servers) = Servers::own("store-migration") else { return };
    let db = Db::mysql_at(&servers.up("mariadb"), "killed_migration");
    db.execute(&tables_of_2016("utf8"));
    db.execute(OLD_INSERTS[0]);
    for _ in 0..16 {
        db.execute("INSERT INTO ip_frequency SELECT * FROM ip_frequency");
    }
    let rows = db.count("ip_frequency");
    let mut random = Random(seed());
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    journal.append(entry(every_kind(1)));
    for _ in 0..4 {
        let (store, _) = db.start(&journal, quick());
        thread::sleep(Duration::from_millis(random.below(2_000)));
        servers.kill("mariadb");
        drop(store);
        servers.up("mariadb");
    }
    let (store, _) = db.start(&journal, quick());
    until("the row", || store.status().entries_behind == 0);
    assert_eq!(store.stop(WAIT).rows_skipped, 0);
    assert_eq!((db.count("ip_frequency"), db.count("ban"), db.count("block_log")), (rows + 1, 1, 1));
}

/// Appends numbered records until it's told to stop. Returns how many there are.
fn flood(journal: &Journal<Tally>, stop: &AtomicBool, pause: Duration) -> u32 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..10 {
            journal.append(entry(vec![record(count)]));
            count += 1;
        }
        thread::sleep(pause);
    }
    count
}

#[test]
fn an_outage_of_a_minute_loses_and_doubles_nothing() {
    let Some(servers) = Servers::own("store-outage") else { return };
    let outage = env::var("CCFIREWALL_TEST_OUTAGE_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let db = Db::mysql_at(&servers.up("mariadb"), "outage");
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    let stop = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&journal, &stop, Duration::from_millis(5)));
        until("some rows", || store.status().rows_written > 1_000);
        servers.kill("mariadb");
        let away = Instant::now();
        until("the alarm", || alarms.of("store_behind") == [false]);
        thread::sleep(Duration::from_secs(outage).saturating_sub(away.elapsed()));
        assert!(store.status().entries_behind > 100);
        servers.up("mariadb");
        until("the end of the alarm", || alarms.of("store_behind").last() == Some(&true));
        stop.store(true, Ordering::Relaxed);
        flooding.join().unwrap()
    });
    let left = store.stop(WAIT);
    assert_eq!((left.entries_behind, left.rows_skipped), (0, 0));
    let rows = db.numbers();
    println!("{count} records in {} rows", rows.len());
    assert!(rows.into_iter().eq(0..u64::from(count)), "each once, in order");
}

#[test]
fn a_server_that_is_killed_again_and_again_has_each_row_once() {
    let Some(servers) = Servers::own("store-killed") else { return };
    let db = Db::mysql_at(&servers.up("mariadb"), "killed");
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, _) = db.start(&journal, quick());
    let mut random = Random(seed());
    let stop = AtomicBool::new(false);
    let count = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&journal, &stop, Duration::from_millis(1)));
        for round in 0..6 {
            let written = store.status().rows_written;
            until("some more rows", || store.status().rows_written > written);
            thread::sleep(Duration::from_millis(random.below(300)));
            if round % 2 == 0 {
                servers.kill("mariadb");
            } else {
                servers.down("mariadb");
            }
            servers.up("mariadb");
        }
        stop.store(true, Ordering::Relaxed);
        flooding.join().unwrap()
    });
    let left = store.stop(WAIT);
    assert_eq!((left.entries_behind, left.rows_skipped), (0, 0));
    assert!(db.numbers().into_iter().eq(0..u64::from(count)), "each once, in order");
}

/// A way to `server` that counts what comes back, and cuts so many connections when a number of bytes came back: so
/// an answer is lost while what was asked for is done.
#[derive(Default)]
struct Cutter {
    cuts: AtomicU64,
    /// A connection is cut after so many bytes at least.
    from: AtomicU64,
    /// What came back by the last connection that ended.
    came: AtomicU64,
}

/// Gives the port.
fn cutter(server: String, mut random: Random, cutter: &Arc<Cutter>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let cutter = Arc::clone(cutter);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
            let left =
                cutter.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let from = cutter.from.load(Ordering::Relaxed);
            let bytes = if left.is_ok() { from + random.below(2_000) } else { u64::MAX };
            let (mut to_server, mut from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let cutter = Arc::clone(&cutter);
            thread::spawn(move || {
                let came = std::io::copy(&mut Read::by_ref(&mut &server).take(bytes), &mut &client);
                cutter.came.store(came.unwrap_or_default(), Ordering::Relaxed);
                let _ = client.shutdown(Shutdown::Both);
                // What was on its way to the server arrives and is done all the same.
                thread::sleep(Duration::from_millis(20));
                let _ = server.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn an_answer_that_is_lost_doubles_no_row() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "lost_answers");
    db.store_all(vec![]);
    let url = &db.server().url;
    let host = url.split(['@', '/']).nth(3).unwrap().to_owned();
    let way = Arc::<Cutter>::default();
    let port = cutter(host.clone(), Random(seed()), &way);
    let mut place = db.place.clone();
    let Database::Mysql(server) = &mut place else { unreachable!() };
    server.url = url.replace(&host, &format!("127.0.0.1:{port}"));
    let mut through = Db::mysql(&servers, "lost_answers_unused");
    through.place = place;
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    // As much as connecting and the first row take is let through each time.
    journal.append(entry(vec![record(0)]));
    let (store, _) = through.start(&journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    until("the end of the connection", || way.came.load(Ordering::Relaxed) > 0);
    way.from.store(way.came.load(Ordering::Relaxed) - 200, Ordering::Relaxed);
    way.cuts.store(40, Ordering::Relaxed);
    let (store, alarms) = through.start(&journal, quick());
    let mut count = 1;
    let deadline = Instant::now() + Duration::from_secs(120);
    while way.cuts.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        // One at a time: what a server says of a statement of many rows alone would be longer than what is let through.
        journal.append(entry(vec![record(count)]));
        count += 1;
        assert!(store.position_reached(journal.status().last_seq, WAIT));
    }
    assert_eq!(way.cuts.load(Ordering::Relaxed), 0, "it wasn't connected anew so often");
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    assert!(alarms.of("store_behind").len() > 1);
    let rows = db.numbers();
    println!("{count} records in {} rows", rows.len());
    assert!(rows.into_iter().eq(0..u64::from(count)), "each once, in order");
}

#[test]
fn a_server_that_others_lock_or_that_is_read_only_only_delays() {
    let Some(servers) = Servers::own("store-hard-times") else { return };
    let url = servers.up("mariadb");
    let db = Db::mysql_at(&url, "hard_times");
    db.store_all(vec![record(0)]);
    // Who may do everything may write to what is read only; and once the tables are there, nobody need change them.
    let plain = db.without_alter();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = plain.start(&journal, quick());
    until("the start", || store.status().position == 1);

    db.execute("SET GLOBAL read_only = 1");
    journal.append(entry(vec![record(1)]));
    until("the alarm", || alarms.of("store_behind") == [false]);
    assert!(store.status().last_error.unwrap().contains("read-only"));
    db.execute("SET GLOBAL read_only = 0");
    until("the end of the alarm", || alarms.of("store_behind") == [false, true]);
    until("the row", || db.count("ip_frequency") == 2);

    block_on(async {
        let mut other = db.connect_mysql().await;
        sqlx::raw_sql("BEGIN; SELECT * FROM journal_position FOR UPDATE").execute(&mut other).await.unwrap();
        journal.append(entry(vec![record(2)]));
        until("the second alarm", || alarms.of("store_behind") == [false, true, false]);
        assert!(store.status().last_error.unwrap().contains("Lock wait timeout"));
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    });
    until("the end of the second alarm", || alarms.of("store_behind").len() == 4);
    until("the row behind the lock", || db.count("ip_frequency") == 3);

    // A server that takes short statements only.
    db.execute("SET GLOBAL max_allowed_packet = 1048576");
    drop(store);
    let (store, alarms) = plain.start(&journal, quick());
    let long = "€".repeat(500_000);
    journal.append(entry((3..50).map(|n| detailed(n, Some(long.clone()))).collect()));
    until("the long rows", || store.status().entries_behind == 0);
    assert_eq!((alarms.all().len(), store.status().rows_skipped), (0, 0));
    assert_eq!(db.count("ip_frequency WHERE detail LIKE '€€%…' AND LENGTH(detail) > 100000"), 47);

    // A server that doesn't answer doesn't hold up the end.
    servers.pause("mariadb");
    journal.append(entry(vec![record(50)]));
    let begun = Instant::now();
    assert_eq!(store.stop(Duration::from_millis(500)).entries_behind, 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    servers.resume("mariadb");
    let (store, _) = db.start(&journal, quick());
    assert_eq!(store.stop(WAIT).entries_behind, 0);
    assert!(db.numbers().into_iter().eq(0..=50));
}

#[test]
fn a_wrong_password_is_told_without_the_password() {
    let Some(servers) = Servers::shared() else { return };
    let db = Db::mysql(&servers, "wrong_password");
    std::fs::write(db.dir.path().join("password"), "s3cret-and-wrong\n").unwrap();
    let (journal, ..) = open(&db.dir.path().join("journal"), options());
    let (store, alarms) = db.start(&journal, quick());
    until("the alarm", || alarms.of("store_behind") == [false]);
    let text = &alarms.all()[0].text;
    assert!(text.contains("Access denied") && !text.contains("s3cret"), "{text}");
    drop(store);
    assert!(!format!("{:?}", db.place).contains("s3cret"));
}
