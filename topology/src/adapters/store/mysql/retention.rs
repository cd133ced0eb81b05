//! Moving old frequency records.

use model::units::Moment;
use sqlx::QueryBuilder;
use sqlx::mysql::MySqlConnection;

use super::super::local_time::LocalTime;
use super::super::retention::{Retention, STEP};

/// Moves some rows. Returns whether more are left to move.
pub(super) async fn step(
    connection: &mut MySqlConnection,
    retention: Retention,
    now: Moment,
    time: &LocalTime,
) -> Result<bool, sqlx::Error> {
    if let Some(before) = retention.before(now, time) {
        let ids: Vec<u64> = sqlx::query_scalar(
            "SELECT id FROM ip_frequency WHERE updatetime < ? ORDER BY updatetime, id LIMIT ?",
        )
        .bind(&before)
        .bind(STEP)
        .fetch_all(&mut *connection)
        .await?;
        shift(connection, &ids).await?;
        if ids.len() as u64 == STEP.unsigned_abs() {
            return Ok(true);
        }
    }
    let Some(kept) = retention.kept() else { return Ok(false) };
    // There are never more rows than numbers between the first and the last, and counting takes long.
    let span: Option<i64> =
        sqlx::query_scalar("SELECT CAST(max(id) - min(id) + 1 AS SIGNED) FROM ip_frequency")
            .fetch_one(&mut *connection)
            .await?;
    if span.unwrap_or(0) <= kept {
        return Ok(false);
    }
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ip_frequency").fetch_one(&mut *connection).await?;
    if rows <= kept {
        return Ok(false);
    }
    let ids: Vec<u64> = sqlx::query_scalar("SELECT id FROM ip_frequency ORDER BY id LIMIT ?")
        .bind(STEP.min(rows - kept))
        .fetch_all(&mut *connection)
        .await?;
    shift(connection, &ids).await?;
    Ok(ids.len() as u64 == STEP.unsigned_abs())
}

/// Moves the rows with these ids.
async fn shift(connection: &mut MySqlConnection, ids: &[u64]) -> Result<(), sqlx::Error> {
    for ids in ids.chunks(1_000) {
        let among = |start: &str| {
            let mut query = QueryBuilder::new(start);
            query.push(" WHERE id IN (");
            let mut list = query.separated(", ");
            ids.iter().for_each(|id| {
                list.push(id);
            });
            query.push(")");
            query
        };
        among(
            "INSERT INTO ip_frequency_del (updatetime, cnt, ip, direct_nginx, area, country, province, starttime, \
             endtime, during, detail, sdetail, cuuid, rule) \
             SELECT updatetime, cnt, ip, direct_nginx, area, country, province, starttime, endtime, during, detail, \
             sdetail, cuuid, rule FROM ip_frequency",
        )
        .push(" ORDER BY id")
        .build()
        .persistent(false)
        .execute(&mut *connection)
        .await?;
        among("DELETE FROM ip_frequency").build().persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
