//! Brings a database to the tables of `migrations/mysql/tables.sql`, whatever was there: nothing, some of it because
//! somebody was killed half way (MySQL can't take a change of tables back), or the tables of 2016 with their rows and
//! a program that still writes to them.
//!
//! There is no record of what was done: what the server says of its tables is compared with the file, and the
//! difference is one ALTER for each table. Columns are widened and added, never narrowed, renamed or dropped.

use std::collections::HashMap;
use std::time::Instant;

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor as _};

use super::super::database::{PATIENCE, Trouble};
use super::{number, within};

const FILE: &str = include_str!("../../../../migrations/mysql/tables.sql");

/// A table as the file has it.
struct Table {
    name: &'static str,
    create: &'static str,
    /// Names and definitions.
    columns: Vec<(&'static str, &'static str)>,
    keys: Vec<Key>,
}

struct Key {
    kind: KeyKind,
    /// Its first column.
    column: &'static str,
    definition: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KeyKind {
    Primary,
    Unique,
    Plain,
}

/// What the server says of a table.
#[derive(Default, Debug)]
struct Found {
    engine: String,
    collation: String,
    columns: HashMap<String, Column>,
    /// The name, the first column, whether it's unique, and how many columns it has.
    keys: Vec<(String, String, bool, i64)>,
}

#[derive(Debug, Clone)]
struct Column {
    /// `varchar`
    kind: String,
    /// `varchar(35)`
    whole: String,
    /// Characters of a VARCHAR, bytes of a TEXT.
    length: u64,
    charset: String,
    optional: bool,
    /// Its default and comment, as they stand behind a type.
    rest: String,
}

/// Makes what is missing.
pub(in super::super) async fn bring_up_to_date(connection: &mut MySqlConnection) -> Result<(), Trouble> {
    const LOCK: &str = "CONCAT('ccfirewall ', LEFT(MD5(DATABASE()), 16))";
    let needed = async {
        if differences(connection).await?.is_empty() {
            return Ok(false);
        }
        // One program at a time. Who comes second finds nothing left to do.
        let locked: Option<i64> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT CAST(GET_LOCK({LOCK}, 5) AS SIGNED)")))
                .fetch_one(&mut *connection)
                .await?;
        if locked == Some(1) { Ok(true) } else { Err(Trouble::Changing) }
    };
    if !within(PATIENCE, needed).await? {
        return Ok(());
    }
    let done = change(connection).await;
    // It ends with the connection too.
    connection.execute(AssertSqlSafe(format!("DO RELEASE_LOCK({LOCK})"))).await?;
    done
}

async fn change(connection: &mut MySqlConnection) -> Result<(), Trouble> {
    // Rows of long ago may hold what would be refused today, such as the date 0000-00-00.
    connection.execute("SET @mode = @@SESSION.sql_mode, SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'").await?;
    for (table, statement) in differences(connection).await? {
        let begun = Instant::now();
        if statement.starts_with("CREATE") {
            execute(connection, &statement).await?;
            tracing::info!(table, "a table was made");
            continue;
        }
        tracing::warn!(
            table,
            statement,
            "a table of an older version is changed: its rows stay; in a big table that takes long, and others can \
             read it meanwhile while their writes may have to wait"
        );
        // Columns can be added and widened beside writers, unless their characters change; then without.
        match execute(connection, &format!("{statement}, ALGORITHM=INPLACE, LOCK=NONE")).await {
            Err(Trouble::Sql(error)) if number(&error).is_some_and(|n| NOT_SO.contains(&n)) => {
                execute(connection, &statement).await?;
            }
            result => result?,
        }
        tracing::warn!(table, seconds = begun.elapsed().as_secs(), "the table is changed");
    }
    connection.execute("SET SESSION sql_mode = @mode").await?;
    Ok(())
}

/// The server can't do it that way: `ER_ALTER_OPERATION_NOT_SUPPORTED`, with a reason or not, or doesn't know of ways.
const NOT_SO: [u16; 4] = [1845, 1846, 1221, 1064];

async fn execute(connection: &mut MySqlConnection, statement: &str) -> Result<(), Trouble> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

/// Which tables aren't what they should be: the next program that writes brings them up to date.
pub(in super::super) async fn outdated(
    connection: &mut MySqlConnection,
) -> Result<Vec<&'static str>, sqlx::Error> {
    Ok(differences(connection).await?.into_iter().map(|(table, _)| table).collect())
}

/// The statements that make the tables what they should be, each with its table.
async fn differences(connection: &mut MySqlConnection) -> Result<Vec<(&'static str, String)>, sqlx::Error> {
    let found = look(connection).await?;
    let differences = tables().into_iter().filter_map(|table| {
        let statement = match found.get(table.name) {
            None => table.create.to_owned(),
            Some(found) => table.alter(found)?,
        };
        Some((table.name, statement))
    });
    Ok(differences.collect())
}

async fn look(connection: &mut MySqlConnection) -> Result<HashMap<String, Found>, sqlx::Error> {
    let mut all: HashMap<String, Found> = HashMap::new();
    // Versions differ in what types these columns have.
    let tables: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT CAST(TABLE_NAME AS CHAR), CAST(ENGINE AS CHAR), CAST(TABLE_COLLATION AS CHAR) \
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, engine, collation) in tables {
        let found = all.entry(table).or_default();
        (found.engine, found.collation) = (engine.unwrap_or_default(), collation.unwrap_or_default());
    }
    type Row = (String, String, String, String, i64, String, i64, String);
    let columns: Vec<Row> = sqlx::query_as(
        "SELECT CAST(TABLE_NAME AS CHAR), CAST(COLUMN_NAME AS CHAR), CAST(DATA_TYPE AS CHAR), \
         CAST(COLUMN_TYPE AS CHAR), CAST(COALESCE(CHARACTER_MAXIMUM_LENGTH, 0) AS SIGNED), \
         CAST(COALESCE(CHARACTER_SET_NAME, '') AS CHAR), \
         CAST(IS_NULLABLE = 'YES' OR COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%auto_increment%' AS SIGNED), \
         CAST(CONCAT(COALESCE(CONCAT(' DEFAULT ', NULLIF(IF(VERSION() LIKE '%MariaDB%', COLUMN_DEFAULT, \
         IF(EXTRA LIKE '%DEFAULT_GENERATED%', CONCAT('(', COLUMN_DEFAULT, ')'), QUOTE(COLUMN_DEFAULT))), 'NULL')), ''), \
         IF(COLUMN_COMMENT = '', '', CONCAT(' COMMENT ', QUOTE(COLUMN_COMMENT)))) AS CHAR) \
         FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, name, kind, whole, length, charset, optional, rest) in columns {
        let length = u64::try_from(length).unwrap_or(0);
        let kind = kind.to_lowercase();
        let column = Column { kind, whole, length, charset, optional: optional == 1, rest };
        all.entry(table).or_default().columns.insert(name.to_lowercase(), column);
    }
    // What is indexed may be an expression, which has no column.
    let keys: Vec<(String, String, String, i64, i64)> = sqlx::query_as(
        "SELECT CAST(TABLE_NAME AS CHAR), CAST(INDEX_NAME AS CHAR), \
         CAST(COALESCE(GROUP_CONCAT(IF(SEQ_IN_INDEX = 1, COLUMN_NAME, NULL)), '') AS CHAR), \
         CAST(MIN(NON_UNIQUE) AS SIGNED), COUNT(*) \
         FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() GROUP BY 1, 2",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (table, name, first, not_unique, columns) in keys {
        all.entry(table).or_default().keys.push((name, first.to_lowercase(), not_unique == 0, columns));
    }
    Ok(all)
}

impl Table {
    /// The ALTER that makes `found` this table; `None` where it is.
    fn alter(&self, found: &Found) -> Option<String> {
        let mut changes = Vec::new();
        if !found.engine.eq_ignore_ascii_case("InnoDB") {
            changes.push("ENGINE=InnoDB".to_owned());
        }
        for &(name, definition) in &self.columns {
            match found.columns.get(name) {
                None => changes.push(format!("ADD COLUMN {}", in_utf8mb4(definition))),
                Some(column) => {
                    let widened = column.widened(definition);
                    changes.extend(widened.map(|definition| format!("MODIFY COLUMN {definition}")));
                }
            }
        }
        for key in &self.keys {
            let has = |kind: KeyKind| match kind {
                KeyKind::Primary => found.keys.iter().any(|(name, ..)| name == "PRIMARY"),
                KeyKind::Unique => found
                    .keys
                    .iter()
                    .any(|(_, first, unique, columns)| first == key.column && *unique && *columns == 1),
                KeyKind::Plain => found.keys.iter().any(|(_, first, ..)| first == key.column),
            };
            if !has(key.kind) {
                changes.push(format!("ADD {}", key.definition));
            } else if key.kind == KeyKind::Primary && !found.columns.contains_key(key.column) {
                // Somebody gave it another one, and what counts up by itself needs a key.
                changes.push(format!("ADD UNIQUE KEY ({})", key.column));
            }
        }
        if changes.is_empty() {
            return None;
        }
        if !found.collation.starts_with("utf8mb4") {
            changes.push("DEFAULT CHARACTER SET utf8mb4".to_owned());
        }
        Some(format!("ALTER TABLE {} {}", self.name, changes.join(", ")))
    }
}

impl Column {
    /// What it has to be modified to, so that everything fits that `definition` takes; `None` where it does.
    fn widened(&self, definition: &str) -> Option<String> {
        self.retyped(definition).map(|retyped| retyped + &self.rest)
    }

    fn retyped(&self, definition: &str) -> Option<String> {
        let name = definition.split_whitespace().next()?;
        let wanted = definition.split_whitespace().nth(1)?;
        let (kind, length) = kind_of(wanted);
        const INTEGERS: [&str; 5] = ["tinyint", "smallint", "mediumint", "int", "bigint"];
        const TEXTS: [&str; 6] = ["char", "varchar", "tinytext", "text", "mediumtext", "longtext"];
        let rank = |kind: &str| INTEGERS.iter().position(|&integer| integer == kind);
        if let (Some(wanted), Some(is)) = (rank(&kind), rank(&self.kind))
            && self.whole.to_lowercase().contains("unsigned")
            && !definition.contains("UNSIGNED")
        {
            // It takes no negative numbers. What is in it fits into the next wider one that does.
            let integer = INTEGERS[wanted.max(is + 1).min(INTEGERS.len() - 1)].to_uppercase();
            let null = if definition.contains("NOT NULL") { "NOT NULL" } else { "NULL" };
            return Some(format!("{name} {integer} {null}"));
        }
        let narrow = if let Some(wanted) = rank(&kind) {
            rank(&self.kind).is_some_and(|is| is < wanted)
        } else if TEXTS.contains(&&*kind) && TEXTS.contains(&&*self.kind) {
            self.length < length || self.charset != "utf8mb4"
        } else if kind == "binary" || kind == "varbinary" {
            self.length < length
        } else {
            false
        };
        if !narrow && (self.optional || definition.contains("NOT NULL")) {
            return None;
        }
        let keeps =
            TEXTS.contains(&&*self.kind) && self.length > length || !narrow && !TEXTS.contains(&&*self.kind);
        if keeps {
            // It's wider than it must be, or of another type that serves as well.
            return Some(in_utf8mb4(&format!("{name} {} NULL", self.whole)));
        }
        Some(in_utf8mb4(definition))
    }
}

/// The type in lower case, and its length as the server would tell it.
fn kind_of(definition: &str) -> (String, u64) {
    let (kind, rest) = definition.split_once('(').unwrap_or((definition, ""));
    let kind = kind.to_lowercase();
    let length = rest.trim_end_matches(')').parse().unwrap_or(0);
    let length = if kind == "mediumtext" { (1 << 24) - 1 } else { length };
    (kind, length)
}

/// A definition that says what its characters are, where it has any: a table's default may be another.
fn in_utf8mb4(definition: &str) -> String {
    let mut words: Vec<&str> = definition.split_whitespace().collect();
    let has = |kind: &str| words.get(1).is_some_and(|word| word.to_lowercase().starts_with(kind));
    if has("varchar") || has("char") || has("tinytext") || has("text") || has("mediumtext") || has("longtext")
    {
        words.insert(2, "CHARACTER SET utf8mb4");
    }
    words.join(" ")
}

/// The tables of the file. A line within a table is one column or one key.
fn tables() -> Vec<Table> {
    let statements =
        FILE.split_inclusive(";\n").filter_map(|text| text.find("CREATE TABLE").map(|at| &text[at..]));
    statements
        .map(|create| {
            let create = create.trim_end().trim_end_matches(';');
            let name = create["CREATE TABLE".len()..].split_whitespace().next().expect("a table has a name");
            let mut table = Table { name, create, columns: Vec::new(), keys: Vec::new() };
            for line in create.lines().skip(1).take_while(|line| !line.starts_with(')')) {
                let definition = line.trim().trim_end_matches(',');
                let first = definition.split_whitespace().next().unwrap_or_default();
                let kind = match first {
                    "PRIMARY" => KeyKind::Primary,
                    "UNIQUE" => KeyKind::Unique,
                    "KEY" => KeyKind::Plain,
                    column => {
                        table.columns.push((column.trim_matches('`'), definition));
                        continue;
                    }
                };
                let column = definition.split(['(', ',', ')']).nth(1).unwrap_or_default();
                table.keys.push(Key { kind, column: column.trim_matches('`'), definition });
            }
            table
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_it_is_meant() {
        let tables = tables();
        let names: Vec<_> = tables.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), FILE.matches("CREATE TABLE").count());
        assert_eq!(names[..3], ["ip_frequency", "ip_frequency_del", "block_log"]);
        let columns: usize = tables.iter().map(|table| table.columns.len() + table.keys.len()).sum();
        assert_eq!(columns, FILE.lines().filter(|line| line.starts_with("    ")).count());
        let block = &tables[2];
        assert_eq!(block.columns[4].0, "server_ip");
        assert_eq!(block.columns[4].1, "server_ip    VARCHAR(155) NULL");
        let keys: Vec<_> = block.keys.iter().map(|key| (key.kind, key.column)).collect();
        assert_eq!(
            keys[..3],
            [(KeyKind::Primary, "id"), (KeyKind::Unique, "answer_id"), (KeyKind::Plain, "block_time")]
        );
        assert!(tables.iter().all(|table| table.create.ends_with("utf8mb4")), "and each to its end");
    }

    #[test]
    fn columns_are_widened_and_never_narrowed() {
        let check = |whole: &str, charset: &str, optional, definition: &str, expect: Option<&str>| {
            let (kind, length) = kind_of(whole);
            let length = if kind == "text" { 65_535 } else { length };
            let column = Column {
                kind,
                whole: whole.to_owned(),
                length,
                charset: charset.to_owned(),
                optional,
                rest: String::new(),
            };
            assert_eq!(column.widened(definition).as_deref(), expect, "{whole} to {definition}");
        };
        let ip = Some("ip VARCHAR(64) CHARACTER SET utf8mb4 NULL");
        check("varchar(35)", "utf8", true, "ip   VARCHAR(64) NULL", ip);
        check("varchar(64)", "utf8mb3", true, "ip VARCHAR(64) NULL", ip);
        check("varchar(64)", "utf8mb4", true, "ip VARCHAR(64) NULL", None);
        check("varchar(64)", "utf8mb4", false, "ip VARCHAR(64) NULL", ip);
        let wider = Some("ip varchar(100) CHARACTER SET utf8mb4 NULL");
        check("varchar(100)", "latin1", true, "ip VARCHAR(64) NULL", wider);
        check("varchar(100)", "utf8mb4", true, "ip VARCHAR(64) NULL", None);
        let detail = Some("detail MEDIUMTEXT CHARACTER SET utf8mb4 NULL");
        check("text", "utf8mb4", true, "detail MEDIUMTEXT NULL", detail);
        check("int(11)", "", true, "cnt BIGINT NULL", Some("cnt BIGINT NULL"));
        check("int(11)", "", true, "flag INT NULL", None);
        check("bigint(20)", "", true, "flag INT NULL", None);
        check("bigint(20)", "", false, "flag INT NULL", Some("flag bigint(20) NULL"));
        check("tinyint(3) unsigned", "", true, "flag INT NULL", Some("flag INT NULL"));
        check("int(10) unsigned", "", true, "flag INT NULL", Some("flag BIGINT NULL"));
        check("bigint(20) unsigned", "", true, "cnt BIGINT NULL", Some("cnt BIGINT NULL"));
        check("int(10) unsigned", "", false, "decided INT NOT NULL", Some("decided BIGINT NOT NULL"));
        check("bigint(20) unsigned", "", false, "id BIGINT UNSIGNED NOT NULL", None);
        check("decimal(10,0)", "", true, "cnt BIGINT NULL", None);
        check("varchar(36)", "utf8mb4", false, "id VARCHAR(36) NOT NULL", None);
        check("timestamp", "", true, "updatetime DATETIME NULL", None);
        check("datetime", "", false, "updatetime DATETIME NULL", Some("updatetime datetime NULL"));
    }
}
