//! Databases for the tests of the store: SQLite, and a real MariaDB with a database of its own for each test.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bolts::ports::EventStore as _;
use model::event::Event;
use real_servers::Servers;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use topology::adapters::journal::Journal;
use topology::adapters::store::{Store, StoreOptions};
use topology::config::{Database, MkeySource, Mysql, Tls};

use crate::journal_common::{Alarms, Tally, entry, open, options};

pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// A database and a folder, both gone with the value.
pub(crate) struct Db {
    pub(crate) place: Database,
    pub(crate) dir: tempfile::TempDir,
    /// With the password, and the database's name.
    server: Option<(String, String)>,
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Calls `test` with an SQLite database, and with one of MariaDB where that is installed.
pub(crate) fn each(name: &str, test: impl Fn(&Db)) {
    println!("{name}: SQLite");
    test(&Db::sqlite());
    if let Some(servers) = Servers::shared() {
        println!("{name}: MariaDB");
        test(&Db::mysql(&servers, name));
    }
}

impl Db {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { place: Database::Sqlite(dir.path().join("ccfirewall.db")), dir, server: None }
    }

    /// A database without tables.
    pub(crate) fn mysql(servers: &Servers, name: &str) -> Self {
        Self::mysql_at(&servers.up("mariadb"), name)
    }

    pub(crate) fn mysql_at(url: &str, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = format!("{:.40}_{}", name, std::process::id());
        let server = url.rsplit_once('/').unwrap().0.to_owned();
        let db = Self {
            place: Self::place(&server, &database, dir.path()),
            dir,
            server: Some((server, database)),
        };
        db.execute_without_database("DROP DATABASE IF EXISTS `{}`");
        db.execute_without_database("CREATE DATABASE `{}` CHARACTER SET utf8mb4");
        db
    }

    /// The same database for a user who can't change its tables, until that is dropped; and a folder of its own.
    pub(crate) fn without_alter(&self) -> WithoutAlter<'_> {
        let (url, database) = self.server.as_ref().unwrap();
        let user = format!("plain_{}", &database[database.len().saturating_sub(24)..]);
        self.execute(&format!(
            "CREATE OR REPLACE USER `{user}`@'127.0.0.1' IDENTIFIED BY 'plain'; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO `{user}`@'127.0.0.1'"
        ));
        let (scheme, rest) = url.split_once("://").unwrap();
        let (_, host) = rest.split_once('@').unwrap();
        let dir = tempfile::tempdir().unwrap();
        let place = Self::place(&format!("{scheme}://{user}:plain@{host}"), database, dir.path());
        WithoutAlter { db: Self { place, dir, server: None }, of: self, user }
    }

    fn place(server: &str, database: &str, dir: &Path) -> Database {
        let (scheme, rest) = server.split_once("://").unwrap();
        let (login, host) = rest.split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let file = dir.join("password");
        fs::write(&file, password).unwrap();
        Database::Mysql(Mysql {
            url: format!("{scheme}://{user}@{host}/{database}"),
            password: Some(MkeySource::File(file)),
            tls: Tls::Preferred,
            ca: None,
        })
    }

    pub(crate) fn server(&self) -> &Mysql {
        match &self.place {
            Database::Mysql(server) => server,
            Database::Sqlite(_) => panic!("no server"),
        }
    }

    pub(crate) fn is_mysql(&self) -> bool {
        self.server.is_some()
    }

    fn execute_without_database(&self, sql: &str) {
        let (server, database) = self.server.as_ref().unwrap();
        block_on(async {
            let options: MySqlConnectOptions = server.parse().unwrap();
            let mut connection = options.connect().await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql.replace("{}", database))).execute(&mut connection).await.unwrap();
        });
    }

    pub(crate) async fn connect_mysql(&self) -> MySqlConnection {
        let (server, database) = self.server.as_ref().unwrap();
        let options: MySqlConnectOptions = format!("{server}/{database}").parse().unwrap();
        options.timezone(None).connect().await.unwrap()
    }

    pub(crate) async fn connect_sqlite(&self) -> SqliteConnection {
        let path = self.place.path().unwrap();
        SqliteConnectOptions::new().filename(path).busy_timeout(WAIT).connect().await.unwrap()
    }

    /// One column of a query's rows, as text.
    pub(crate) fn column(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        let rows: Vec<Option<String>> = block_on(async {
            if self.is_mysql() {
                sqlx::query_scalar(sql)
                    .persistent(false)
                    .fetch_all(&mut self.connect_mysql().await)
                    .await
                    .unwrap()
            } else {
                sqlx::query_scalar(sql).fetch_all(&mut self.connect_sqlite().await).await.unwrap()
            }
        });
        rows.into_iter().map(|value| value.unwrap_or_else(|| "NULL".to_owned())).collect()
    }

    pub(crate) fn count(&self, of: &str) -> u64 {
        self.column(&format!("SELECT CAST(count(*) AS CHAR) FROM {of}"))[0].parse().unwrap()
    }

    pub(crate) fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        block_on(async {
            if self.is_mysql() {
                sqlx::raw_sql(sql).execute(&mut self.connect_mysql().await).await.unwrap();
            } else {
                sqlx::raw_sql(sql).execute(&mut self.connect_sqlite().await).await.unwrap();
            }
        });
    }

    pub(crate) fn start(&self, journal: &Arc<Journal<Tally>>, options: StoreOptions) -> (Store, Arc<Alarms>) {
        let alarms = Arc::new(Alarms::default());
        (Store::start(&self.place, journal, options, Arc::<Alarms>::clone(&alarms)).unwrap(), alarms)
    }

    /// Appends events, one entry each, and waits until they are in the tables.
    pub(crate) fn store_all(&self, events: Vec<Event>) {
        let (journal, ..) = open(&self.dir.path().join("journal"), options());
        let (store, _) = self.start(&journal, quick());
        for event in events {
            journal.append(entry(vec![event]));
        }
        let left = store.stop(WAIT);
        assert_eq!((left.entries_behind, left.rows_skipped, left.last_error), (0, 0, None));
    }

    /// The numbers of all records, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let rows = self.column("SELECT CAST(cnt AS CHAR) FROM ip_frequency ORDER BY id");
        rows.iter().map(|row| row.parse().unwrap()).collect()
    }
}

/// A database as somebody without rights to change its tables has it.
pub(crate) struct WithoutAlter<'d> {
    db: Db,
    of: &'d Db,
    user: String,
}

impl std::ops::Deref for WithoutAlter<'_> {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Drop for WithoutAlter<'_> {
    fn drop(&mut self) {
        self.of.execute(&format!("DROP USER `{}`@'127.0.0.1'", self.user));
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let Some((server, database)) = &self.server else { return };
        let done: Result<(), sqlx::Error> = block_on(async {
            let mut connection = server.parse::<MySqlConnectOptions>()?.connect().await?;
            sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS `{database}`")))
                .execute(&mut connection)
                .await?;
            Ok(())
        });
        if let Err(error) = done {
            println!("{database} is left behind: {error}");
        }
    }
}

pub(crate) fn quick() -> StoreOptions {
    StoreOptions {
        time_zone: Some("Asia/Shanghai".to_owned()),
        busy_timeout: Duration::from_millis(20),
        retention_every: Duration::from_millis(10),
        ..StoreOptions::default()
    }
}
