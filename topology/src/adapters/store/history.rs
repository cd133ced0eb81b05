//! Reading the tables, whether or not somebody writes to them: bans as they are and were, and how many rows there
//! are. Connections of its own, which can't write.

use model::ban::Order;
use model::network::Network;
use model::units::{Moment, Second};
use serde::Serialize;
use sqlx::{MySqlPool, SqlitePool};

use super::rows::range;
use super::{StoreError, mysql, sqlite};
use crate::config::Database as Place;

/// Which bans to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct BanFilter {
    /// Only those that cover an address of this network.
    pub ip: Option<Network>,
    /// Only those that began then or later.
    pub since: Option<Moment>,
    /// At most so many, the newest; `None` for all.
    pub limit: Option<u32>,
}

/// A ban as the table `ban` has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BanRow {
    /// Its id: `cuuid` in the other tables.
    pub id: String,
    /// What is banned: an address or a prefix.
    pub target: String,
    /// The rule's name.
    pub rule: String,
    /// The reason's code.
    pub reason: String,
    /// The event time of the decision.
    pub decided: Second,
    /// When it was put in force.
    pub start: Moment,
    /// When it ends, or would have ended.
    pub end: Moment,
    /// When it was over; `None` while it's in force or held.
    pub ended_at: Option<Moment>,
    /// Why: `expired`, `by_hand`, `guarded` or `discarded`.
    pub ended_cause: Option<String>,
    /// The cap that holds it back, or held it back to its end.
    pub held_by: Option<String>,
    /// How many requests led to it.
    pub count: i64,
    /// Within how many seconds.
    pub during: i64,
    /// The country's code.
    pub country: Option<String>,
    /// Who asked for it and why.
    pub note: Option<String>,
}

/// What an agent answered, as `block_log` and `unblock_log` have it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AnswerRow {
    /// The id of the ban.
    pub ban: String,
    /// The agent's name.
    pub agent: String,
    /// What it was asked for.
    pub order: Order,
    /// Its answer.
    pub flag: i32,
}

/// How many rows there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Frequency records, without those past retention.
    pub records: i64,
    /// Agents' answers to blocks.
    pub blocks: i64,
    /// Agents' answers to unblocks.
    pub unblocks: i64,
    /// Bans that there ever were.
    pub bans: i64,
    /// Those in force.
    pub in_force: i64,
    /// Those that a cap holds back.
    pub held: i64,
}

/// Reads the tables.
#[derive(Clone, Debug)]
pub struct History {
    name: String,
    pool: Readers,
}

#[derive(Clone, Debug)]
enum Readers {
    Sqlite(SqlitePool),
    Mysql(MySqlPool),
}

/// Calls the same function for whichever database it is.
macro_rules! either {
    ($history:expr, $function:ident($($argument:expr),*)) => {
        match &$history.pool {
            Readers::Sqlite(pool) => of_sqlite::$function(pool, $($argument),*).await,
            Readers::Mysql(pool) => of_mysql::$function(pool, $($argument),*).await,
        }
        .map_err(|source| StoreError::Read { name: $history.name.clone(), source })
    };
}

impl History {
    /// Opens a database to read it. Nothing is made: one that isn't there is an error.
    ///
    /// # Errors
    ///
    /// When it can't be opened or read.
    pub async fn open(place: &Place) -> Result<Self, StoreError> {
        let name = place.to_string();
        let pool = match place {
            Place::Sqlite(path) => sqlite::readers(path).await.map(Readers::Sqlite),
            Place::Mysql(server) => mysql::readers(server).await.map(Readers::Mysql),
        };
        match pool {
            Ok(pool) => Ok(Self { name, pool }),
            Err(source) => Err(StoreError::Read { name, source }),
        }
    }

    /// The bans that `filter` asks for, those that began last first.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn bans(&self, filter: &BanFilter) -> Result<Vec<BanRow>, StoreError> {
        either!(self, bans(filter))
    }

    /// What agents answered for bans.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn answers(&self, bans: &[BanRow]) -> Result<Vec<AnswerRow>, StoreError> {
        either!(self, answers(bans))
    }

    /// How many rows there are.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        either!(self, counts())
    }

    /// How many tables there are.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn tables(&self) -> Result<i64, StoreError> {
        match &self.pool {
            Readers::Sqlite(pool) => {
                sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table'")
                    .fetch_one(pool)
                    .await
            }
            Readers::Mysql(pool) => {
                sqlx::query_scalar(
                    "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()",
                )
                .fetch_one(pool)
                .await
            }
        }
        .map_err(|source| StoreError::Read { name: self.name.clone(), source })
    }
}

impl History {
    /// What the clock of a server says, in UTC; `None` for a database without a server.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn clock(&self) -> Result<Option<Moment>, StoreError> {
        let Readers::Mysql(pool) = &self.pool else { return Ok(None) };
        let clock: Result<i64, _> = sqlx::query_scalar(
            "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000 AS SIGNED)",
        )
        .fetch_one(pool)
        .await;
        clock
            .map(|clock| Some(Moment(clock)))
            .map_err(|source| StoreError::Read { name: self.name.clone(), source })
    }

    /// Which tables of a server aren't as this version of the program has them. Whoever writes next changes them.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub async fn outdated(&self) -> Result<Vec<&'static str>, StoreError> {
        let Readers::Mysql(pool) = &self.pool else { return Ok(Vec::new()) };
        let outdated = async { mysql::schema::outdated(&mut *pool.acquire().await?).await };
        outdated.await.map_err(|source| StoreError::Read { name: self.name.clone(), source })
    }
}

/// The queries for one kind of database. Their text is the same for all; sqlx's types for it are not.
macro_rules! queries {
    ($name:ident, $database:ty) => {
        mod $name {
            use sqlx::{Pool, QueryBuilder, Row as _};

            use super::*;

            type Row = <$database as sqlx::Database>::Row;

            pub(super) async fn bans(
                pool: &Pool<$database>,
                filter: &BanFilter,
            ) -> Result<Vec<BanRow>, sqlx::Error> {
                let mut query = QueryBuilder::<$database>::new(
                    "SELECT id, target, rule, reason, decided, start, `end`, ended_at, ended_cause, held_by, count, \
                     during, country, note FROM ban WHERE 1 = 1",
                );
                if let Some(ip) = &filter.ip {
                    let (first, last) = range(ip);
                    query.push(" AND first <= ").push_bind(last).push(" AND last >= ").push_bind(first);
                }
                if let Some(since) = filter.since {
                    query.push(" AND start >= ").push_bind(since.0);
                }
                query.push(" ORDER BY start DESC, id");
                if let Some(limit) = filter.limit {
                    query.push(" LIMIT ").push_bind(i64::from(limit));
                }
                query.build().fetch_all(pool).await?.iter().map(ban).collect()
            }

            fn ban(row: &Row) -> Result<BanRow, sqlx::Error> {
                Ok(BanRow {
                    id: row.try_get(0)?,
                    target: row.try_get(1)?,
                    rule: row.try_get(2)?,
                    reason: row.try_get(3)?,
                    decided: Second(row.try_get(4)?),
                    start: Moment(row.try_get(5)?),
                    end: Moment(row.try_get(6)?),
                    ended_at: row.try_get::<Option<i64>, _>(7)?.map(Moment),
                    ended_cause: row.try_get(8)?,
                    held_by: row.try_get(9)?,
                    count: row.try_get(10)?,
                    during: row.try_get(11)?,
                    country: row.try_get(12)?,
                    note: row.try_get(13)?,
                })
            }

            pub(super) async fn answers(
                pool: &Pool<$database>,
                bans: &[BanRow],
            ) -> Result<Vec<AnswerRow>, sqlx::Error> {
                let mut answers = Vec::new();
                // Every database takes so many values in a query, and more.
                for bans in bans.chunks(500) {
                    for (table, order) in [("block_log", Order::Block), ("unblock_log", Order::Unblock)] {
                        let mut query = QueryBuilder::<$database>::new("SELECT cuuid, server_ip, flag FROM ");
                        query.push(table).push(" WHERE cuuid IN (");
                        let mut ids = query.separated(", ");
                        bans.iter().for_each(|ban| {
                            ids.push_bind(&ban.id);
                        });
                        query.push(") AND server_ip IS NOT NULL AND flag IS NOT NULL");
                        let answer = |row: &Row| -> Result<AnswerRow, sqlx::Error> {
                            let (ban, agent, flag) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                            Ok(AnswerRow { ban, agent, order, flag })
                        };
                        let rows = query.build().persistent(false).fetch_all(pool).await?;
                        let read: Result<Vec<_>, _> = rows.iter().map(answer).collect();
                        let mut read = read?;
                        // Databases differ in how they order texts.
                        read.sort_by(|a, b| (&a.agent, &a.ban).cmp(&(&b.agent, &b.ban)));
                        answers.extend(read);
                    }
                }
                Ok(answers)
            }

            pub(super) async fn counts(pool: &Pool<$database>) -> Result<Counts, sqlx::Error> {
                let row = sqlx::query(
                    "SELECT (SELECT count(*) FROM ip_frequency), (SELECT count(*) FROM block_log), \
                     (SELECT count(*) FROM unblock_log), (SELECT count(*) FROM ban), \
                     (SELECT count(*) FROM ban WHERE ended_at IS NULL AND held_by IS NULL), \
                     (SELECT count(*) FROM ban WHERE ended_at IS NULL AND held_by IS NOT NULL)",
                )
                .fetch_one(pool)
                .await?;
                Ok(Counts {
                    records: row.try_get(0)?,
                    blocks: row.try_get(1)?,
                    unblocks: row.try_get(2)?,
                    bans: row.try_get(3)?,
                    in_force: row.try_get(4)?,
                    held: row.try_get(5)?,
                })
            }
        }
    };
}

queries!(of_sqlite, sqlx::Sqlite);
queries!(of_mysql, sqlx::MySql);
