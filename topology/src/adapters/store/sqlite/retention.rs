//! Moving old frequency records.

use model::units::Moment;
use sqlx::{Connection as _, SqliteConnection};

use super::super::local_time::LocalTime;
use super::super::retention::{Retention, STEP};

/// Moves some rows. Returns whether more are left to move.
pub(super) async fn step(
    connection: &mut SqliteConnection,
    retention: Retention,
    now: Moment,
    time: &LocalTime,
) -> Result<bool, sqlx::Error> {
    if let Some(before) = retention.before(now, time) {
        let moved = shift(
            connection,
            "CREATE TEMP TABLE past AS SELECT id FROM main.ip_frequency WHERE updatetime < ?1 \
             ORDER BY updatetime, id LIMIT ?2",
            &before,
            STEP,
        );
        if moved.await? {
            return Ok(true);
        }
    }
    let Some(kept) = retention.kept() else {
        return Ok(false);
    };
    // Ids have no gaps but where somebody deleted by hand, so this nearly always tells, and counts nothing.
    let span: Option<i64> = sqlx::query_scalar("SELECT max(id) - min(id) + 1 FROM ip_frequency")
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
    let oldest =
        "CREATE TEMP TABLE past AS SELECT id FROM main.ip_frequency WHERE ?1 = '' ORDER BY id LIMIT ?2";
    shift(connection, oldest, "", STEP.min(rows - kept)).await
}

/// Moves the rows whose ids `choose` puts into the table `past`. Returns whether there were as many as it may choose.
async fn shift(
    connection: &mut SqliteConnection,
    choose: &'static str,
    before: &str,
    limit: i64,
) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(choose).bind(before).bind(limit).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO ip_frequency_del (updatetime, cnt, ip, direct_nginx, area, country, province, starttime, \
         endtime, during, detail, sdetail, cuuid, rule) \
         SELECT updatetime, cnt, ip, direct_nginx, area, country, province, starttime, endtime, during, detail, \
         sdetail, cuuid, rule FROM ip_frequency WHERE id IN (SELECT id FROM past) ORDER BY id",
    )
    .execute(&mut *tx)
    .await?;
    let deleted =
        sqlx::query("DELETE FROM ip_frequency WHERE id IN (SELECT id FROM past)").execute(&mut *tx).await?;
    sqlx::query("DROP TABLE past").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected() == limit.unsigned_abs() && limit == STEP)
}
