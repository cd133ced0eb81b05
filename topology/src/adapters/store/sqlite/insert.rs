//! Rows into the tables: a batch and its position in one transaction.

use sqlx::{Connection as _, QueryBuilder, Sqlite, SqliteConnection};

use super::super::database::{Batch, Mode};
use super::super::rows::{
    BanState, Describe, Held, INSERT_RECORDS, OutcomeRow, RecordRow, TotalRow, passed_by, range,
};

/// Rows of one statement. Some more are hardly faster.
const CHUNK: usize = 100;

/// Writes a batch, and that the journal is in the tables up to its end. Returns how many rows can't ever be
/// inserted, and were passed by.
pub(super) async fn batch(
    connection: &mut SqliteConnection,
    batch: &Batch,
    mode: Mode,
) -> Result<u64, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let rows = &batch.rows;
    let mut skipped = 0;
    skipped += all(&mut tx, &rows.records, mode, "ip_frequency", records).await?;
    skipped += all(&mut tx, &rows.bans, mode, "ban", bans).await?;
    skipped += all(&mut tx, &rows.outcomes, mode, "block_log or unblock_log", outcomes).await?;
    skipped += all(&mut tx, &rows.totals, mode, "block_server_log or block_url_log", totals).await?;
    sqlx::query(
        "INSERT INTO journal_position (journal, seq) VALUES (?, ?)
         ON CONFLICT (journal) DO UPDATE SET seq = excluded.seq",
    )
    .bind(batch.journal.to_string())
    .bind(i64::try_from(batch.seq).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(skipped)
}

/// Whether the row is to blame, not the database: then it can never be inserted.
pub(super) fn row_is_bad(error: &sqlx::Error) -> bool {
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    const RANGE: i32 = 25;
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            code.is_some_and(|code| matches!(code & 0xff, TOO_BIG | CONSTRAINT | MISMATCH | RANGE))
        }
        _ => false,
    }
}

async fn all<T: Describe>(
    connection: &mut SqliteConnection,
    rows: &[T],
    mode: Mode,
    table: &str,
    insert: impl AsyncFn(&mut SqliteConnection, &[T]) -> Result<(), sqlx::Error>,
) -> Result<u64, sqlx::Error> {
    let mut skipped = 0;
    for chunk in rows.chunks(if mode == Mode::Fast { CHUNK } else { 1 }) {
        match insert(connection, chunk).await {
            Err(error) if mode == Mode::Careful && row_is_bad(&error) => {
                skipped += passed_by(table, chunk, &error);
            }
            result => result?,
        }
    }
    Ok(skipped)
}

async fn execute(
    connection: &mut SqliteConnection,
    mut query: QueryBuilder<Sqlite>,
    rows: usize,
) -> Result<(), sqlx::Error> {
    // Whole chunks always have the same text, and single rows too: those are worth remembering.
    query.build().persistent(rows == CHUNK || rows == 1).execute(connection).await?;
    Ok(())
}

async fn records(connection: &mut SqliteConnection, rows: &[RecordRow]) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::new(INSERT_RECORDS);
    query.push_values(rows, |mut values, row| {
        let record = &row.stored.record;
        let place = record.place.as_ref();
        values
            .push_bind(row.updatetime.as_str())
            .push_bind(record.count)
            .push_bind(record.target.to_string())
            .push_bind(row.stored.direct)
            .push_bind(place.and_then(|p| p.area.as_deref()))
            .push_bind(place.and_then(|p| p.country.as_deref()))
            .push_bind(place.and_then(|p| p.province.as_deref()))
            .push_bind(row.starttime.as_str())
            .push_bind(row.endtime.as_str())
            .push_bind(row.during)
            .push_bind(record.alert.code())
            .push_bind(row.block_reason.as_deref())
            .push_bind(row.stored.detail.as_deref())
            .push_bind(row.stored.proxy_detail.as_deref())
            .push_bind(row.cuuid.as_str())
            .push_bind(record.rule.as_deref());
    });
    execute(connection, query, rows.len()).await
}

/// An agent's answer is one row. Told again it changes nothing, but that a failure may be followed by success.
async fn outcomes(connection: &mut SqliteConnection, rows: &[OutcomeRow]) -> Result<(), sqlx::Error> {
    for row in rows {
        let outcome = &row.outcome;
        let query = if row.blocks() {
            sqlx::query(
                "INSERT INTO block_log (block_time, end_time, block_second, block_reason, server_ip, block_ip, \
                 flag, result, cuuid, rule) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (cuuid, server_ip) DO UPDATE SET block_time = excluded.block_time, \
                 end_time = excluded.end_time, block_second = excluded.block_second, flag = excluded.flag, \
                 result = excluded.result WHERE flag < -1 AND excluded.flag >= -1",
            )
            .bind(&row.at)
            .bind(&row.end)
        } else {
            sqlx::query(
                "INSERT INTO unblock_log (unblock_time, block_time, block_second, block_reason, server_ip, \
                 block_ip, flag, result, cuuid, rule) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (cuuid, server_ip) DO UPDATE SET unblock_time = excluded.unblock_time, \
                 flag = excluded.flag, result = excluded.result WHERE flag < -1 AND excluded.flag >= -1",
            )
            .bind(&row.at)
            .bind(&row.start)
        };
        query
            .bind(outcome.ban.length().0)
            .bind(outcome.ban.reason.code().to_string())
            .bind(&*outcome.agent)
            .bind(outcome.ban.target.to_string())
            .bind(outcome.flag)
            .bind(&outcome.result)
            .bind(outcome.ban.id.to_string())
            .bind(&*outcome.ban.rule)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn totals(connection: &mut SqliteConnection, rows: &[TotalRow]) -> Result<(), sqlx::Error> {
    for row in rows {
        let query = if row.of_agent {
            sqlx::query("INSERT INTO block_server_log (updatetime, server_ip, num) VALUES (?, ?, ?)")
        } else {
            sqlx::query("INSERT INTO block_url_log (updatetime, url, num) VALUES (?, ?, ?)")
        };
        query.bind(&row.at).bind(&row.name).bind(row.bans).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn bans(connection: &mut SqliteConnection, rows: &[BanState]) -> Result<(), sqlx::Error> {
    for row in rows {
        let ban = &row.ban;
        let (first, last) = range(&ban.target);
        let place = ban.place.as_ref();
        let held_by = if let Held::By(cap) = &row.held { Some(cap) } else { None };
        sqlx::query(
            "INSERT INTO ban (id, target, first, last, rule, reason, decided, start, \"end\", ended_at, \
             ended_cause, held_by, count, during, country, province, area, note) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) \
             ON CONFLICT (id) DO UPDATE SET start = ?8, \"end\" = ?9, ended_at = ?10, ended_cause = ?11, \
             held_by = iif(?19, held_by, ?12), count = ?13, during = ?14, note = ?18",
        )
        .bind(ban.id.to_string())
        .bind(ban.target.to_string())
        .bind(first)
        .bind(last)
        .bind(&*ban.rule)
        .bind(ban.reason.code().to_string())
        .bind(ban.decided.0)
        .bind(ban.start.0)
        .bind(ban.end.0)
        .bind(row.ended.map(|(at, _)| at.0))
        .bind(row.ended.map(|(_, cause)| cause))
        .bind(held_by)
        .bind(ban.count)
        .bind(ban.during.0)
        .bind(place.and_then(|p| p.country.as_deref()))
        .bind(place.and_then(|p| p.province.as_deref()))
        .bind(place.and_then(|p| p.area.as_deref()))
        .bind(ban.note.as_deref())
        .bind(matches!(row.held, Held::AsBefore))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
