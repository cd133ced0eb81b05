//! A batch's rows into the tables, many a statement.

use sqlx::mysql::MySqlConnection;
use sqlx::{MySql, QueryBuilder};
use uuid::Uuid;

use super::super::database::Mode;
use super::super::rows::{
    BanState, Describe, Held, INSERT_RECORDS, OutcomeRow, RecordRow, Rows, TotalRow, passed_by, range,
};
use super::number;
use super::text::{Limits, cut};

/// Rows of one statement. From 20 to 1,000 the speed is the same within the noise of a busy machine with two cores
/// (10,000 to 18,000 rows a second), and what a server says of a statement that it prepares grows with its values.
const CHUNK: usize = 100;

/// Inserts the rows of a batch. Returns how many can't ever be inserted, and were passed by.
pub(super) async fn batch(
    connection: &mut MySqlConnection,
    rows: &Rows,
    mode: Mode,
    limits: Limits,
) -> Result<u64, sqlx::Error> {
    let mut inserting = Inserting { connection, mode, limits, skipped: 0 };
    let Rows { records, outcomes, totals, bans } = rows;
    inserting.all("ip_frequency", records, record_bytes, |_, _| true, insert_records).await?;
    inserting.all("ban", bans, ban_bytes, same_kind_of_ban, insert_bans).await?;
    inserting.all("block_log or unblock_log", outcomes, outcome_bytes, same_order, insert_outcomes).await?;
    inserting.all("block_server_log or block_url_log", totals, |_| 0, same_total, insert_totals).await?;
    Ok(inserting.skipped)
}

/// Whether the row is to blame, not the database: then it can never be inserted.
pub(super) fn row_is_bad(error: &sqlx::Error) -> bool {
    // NULL, a duplicate, wrong, too long, out of range, a partition, a foreign key, a trigger, a CHECK (of MySQL, of
    // MariaDB). Not that a column has no default (1364): that is the table's fault, and every row's.
    const ROW: [u16; 15] =
        [1048, 1062, 1153, 1264, 1265, 1292, 1366, 1406, 1411, 1452, 1526, 1644, 1690, 3819, 4025];
    matches!(error, sqlx::Error::Encode(_)) || number(error).is_some_and(|number| ROW.contains(&number))
}

struct Inserting<'c> {
    connection: &'c mut MySqlConnection,
    mode: Mode,
    limits: Limits,
    skipped: u64,
}

impl Inserting<'_> {
    /// Inserts rows in order: neighbours that are `alike` in one statement, as far as they fit.
    async fn all<T: Describe>(
        &mut self,
        table: &str,
        rows: &[T],
        bytes: impl Fn(&T) -> usize,
        alike: impl Fn(&T, &T) -> bool,
        insert: impl AsyncFn(&mut MySqlConnection, &[T], Limits) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        let most = if self.mode == Mode::Fast { CHUNK } else { 1 };
        let mut rest = rows;
        while let [first, ..] = rest {
            let mut sum = 0;
            let mut fits = |row: &T| {
                sum += bytes(row).min(2 * self.limits.long) + OTHER_BYTES;
                alike(first, row) && sum <= self.limits.statement
            };
            let count = rest.iter().take(most).take_while(|row| fits(row)).count();
            let (chunk, others) = rest.split_at(count.max(1));
            match insert(self.connection, chunk, self.limits).await {
                Err(error) if self.mode == Mode::Careful && row_is_bad(&error) => {
                    self.skipped += passed_by(table, chunk, &error);
                }
                result => result?,
            }
            rest = others;
        }
        Ok(())
    }
}

/// A row's bytes without its long texts are fewer: `rule`'s 2,000 characters may have four bytes each.
const OTHER_BYTES: usize = 12_000;

fn record_bytes(row: &RecordRow) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    text(&row.stored.detail) + text(&row.stored.proxy_detail)
}

fn outcome_bytes(row: &OutcomeRow) -> usize {
    row.outcome.result.len()
}

fn ban_bytes(row: &BanState) -> usize {
    row.ban.note.as_ref().map_or(0, String::len)
}

fn same_order(a: &OutcomeRow, b: &OutcomeRow) -> bool {
    a.outcome.order == b.outcome.order
}

fn same_total(a: &TotalRow, b: &TotalRow) -> bool {
    a.of_agent == b.of_agent
}

fn same_kind_of_ban(a: &BanState, b: &BanState) -> bool {
    matches!(a.held, Held::AsBefore) == matches!(b.held, Held::AsBefore)
}

const IP: usize = 64;
const PLACE: usize = 255;
const RULE: usize = 2_000;
const AGENT: usize = 155;

async fn execute(
    connection: &mut MySqlConnection,
    mut query: QueryBuilder<MySql>,
    rows: usize,
) -> Result<(), sqlx::Error> {
    // Whole chunks always have the same text, and single rows too: those are worth remembering.
    query.build().persistent(rows == CHUNK || rows == 1).execute(connection).await?;
    Ok(())
}

async fn insert_records(
    connection: &mut MySqlConnection,
    rows: &[RecordRow],
    limits: Limits,
) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::new(INSERT_RECORDS);
    query.push_values(rows, |mut values, row| {
        let record = &row.stored.record;
        let place = record.place.as_ref();
        values
            .push_bind(row.updatetime.as_str())
            .push_bind(record.count)
            .push_bind(cut(&record.target.to_string(), IP))
            .push_bind(row.stored.direct)
            .push_bind(place.and_then(|p| p.area.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(place.and_then(|p| p.country.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(place.and_then(|p| p.province.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(row.starttime.as_str())
            .push_bind(row.endtime.as_str())
            .push_bind(row.during)
            .push_bind(record.alert.code())
            .push_bind(row.block_reason.as_deref())
            .push_bind(row.stored.detail.as_deref().map(|text| limits.cut_long(text)))
            .push_bind(row.stored.proxy_detail.as_deref().map(|text| limits.cut_long(text)))
            .push_bind(row.cuuid.as_str())
            .push_bind(record.rule.as_deref().map(|text| cut(text, RULE)));
    });
    execute(connection, query, rows.len()).await
}

/// An agent's answer is one row. Told again it changes nothing, but that a failure may be followed by success. The
/// flag is set last, for what is set before looks at it.
async fn insert_outcomes(
    connection: &mut MySqlConnection,
    rows: &[OutcomeRow],
    limits: Limits,
) -> Result<(), sqlx::Error> {
    let blocks = rows.first().is_some_and(OutcomeRow::blocks);
    let mut query = QueryBuilder::new(if blocks {
        "INSERT INTO block_log (block_time, end_time, block_second, block_reason, server_ip, block_ip, flag, result, \
         cuuid, rule, answer_id) "
    } else {
        "INSERT INTO unblock_log (unblock_time, block_time, block_second, block_reason, server_ip, block_ip, flag, \
         result, cuuid, rule, answer_id) "
    });
    query.push_values(rows, |mut values, row| {
        let outcome = &row.outcome;
        values
            .push_bind(&row.at)
            .push_bind(if blocks { &row.end } else { &row.start })
            .push_bind(outcome.ban.length().0)
            .push_bind(outcome.ban.reason.code().to_string())
            .push_bind(cut(&outcome.agent, AGENT))
            .push_bind(cut(&outcome.ban.target.to_string(), IP))
            .push_bind(outcome.flag)
            .push_bind(limits.cut_long(&outcome.result))
            .push_bind(outcome.ban.id.to_string())
            .push_bind(cut(&outcome.ban.rule, RULE))
            .push_bind(answer_id(row).as_slice());
    });
    query.push(" ON DUPLICATE KEY UPDATE ");
    let better = "flag < -1 AND VALUES(flag) >= -1";
    let columns: &[&str] = if blocks {
        &["block_time", "end_time", "block_second", "result"]
    } else {
        &["unblock_time", "result"]
    };
    for column in columns {
        query.push(format_args!("{column} = IF({better}, VALUES({column}), {column}), "));
    }
    query.push(format_args!("flag = IF({better}, VALUES(flag), flag)"));
    execute(connection, query, rows.len()).await
}

/// What an answer is the same by: the ban and the agent, however long its name is.
fn answer_id(row: &OutcomeRow) -> [u8; 16] {
    let name = format!("{}\n{}", row.outcome.ban.id, row.outcome.agent);
    *Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes()
}

async fn insert_totals(
    connection: &mut MySqlConnection,
    rows: &[TotalRow],
    _limits: Limits,
) -> Result<(), sqlx::Error> {
    let of_agents = rows.first().is_some_and(|row| row.of_agent);
    let (table, length) = if of_agents {
        ("INSERT INTO block_server_log (updatetime, server_ip, num) ", AGENT)
    } else {
        ("INSERT INTO block_url_log (updatetime, url, num) ", RULE)
    };
    let mut query = QueryBuilder::new(table);
    query.push_values(rows, |mut values, row| {
        values.push_bind(&row.at).push_bind(cut(&row.name, length)).push_bind(row.bans);
    });
    execute(connection, query, rows.len()).await
}

async fn insert_bans(
    connection: &mut MySqlConnection,
    rows: &[BanState],
    limits: Limits,
) -> Result<(), sqlx::Error> {
    let mut query = QueryBuilder::new(
        "INSERT INTO ban (id, target, first, last, rule, reason, decided, start, `end`, ended_at, ended_cause, \
         held_by, count, during, country, province, area, note) ",
    );
    query.push_values(rows, |mut values, row| {
        let ban = &row.ban;
        let (first, last) = range(&ban.target);
        let place = ban.place.as_ref();
        let held_by = if let Held::By(cap) = &row.held { Some(cap.as_str()) } else { None };
        values
            .push_bind(ban.id.to_string())
            .push_bind(cut(&ban.target.to_string(), IP))
            .push_bind(first)
            .push_bind(last)
            .push_bind(cut(&ban.rule, RULE))
            .push_bind(ban.reason.code().to_string())
            .push_bind(ban.decided.0)
            .push_bind(ban.start.0)
            .push_bind(ban.end.0)
            .push_bind(row.ended.map(|(at, _)| at.0))
            .push_bind(row.ended.map(|(_, cause)| cause))
            .push_bind(held_by)
            .push_bind(ban.count)
            .push_bind(ban.during.0)
            .push_bind(place.and_then(|p| p.country.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(place.and_then(|p| p.province.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(place.and_then(|p| p.area.as_deref()).map(|text| cut(text, PLACE)))
            .push_bind(ban.note.as_deref().map(|text| limits.cut_long(text)));
    });
    query.push(
        " ON DUPLICATE KEY UPDATE start = VALUES(start), `end` = VALUES(`end`), ended_at = VALUES(ended_at), \
         ended_cause = VALUES(ended_cause), count = VALUES(count), during = VALUES(during), note = VALUES(note)",
    );
    if !rows.first().is_some_and(|row| matches!(row.held, Held::AsBefore)) {
        query.push(", held_by = VALUES(held_by)");
    }
    execute(connection, query, rows.len()).await
}
