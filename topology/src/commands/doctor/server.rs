//! Can the database server be reached and read, are its tables ours, and does its clock agree?

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use model::units::Moment;

use super::finding::{Finding, plain};
use super::now;
use crate::adapters::store::History;
use crate::config::Database;

const CHECK: &str = "database";

/// So long it may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a server says.
#[derive(Default)]
struct Seen {
    tables: i64,
    /// Tables of another version.
    outdated: Vec<&'static str>,
    /// By how many milliseconds its clock is ahead of ours, and by how many that may be wrong.
    skew: i64,
    unsure: i64,
}

/// Asks the server.
pub(super) fn database(database: &Database) -> Finding {
    let name = database.to_string();
    // The library would go on trying, and not say why.
    if let Some(why) = host(database).as_deref().and_then(refuses) {
        return failed(&format!("{name} takes no connections: {why}"));
    }
    match ask(database) {
        Ok(seen) => judge(&name, &seen),
        Err(error) => failed(&error.to_string()),
    }
}

/// Where it listens, as far as its URL says so.
fn host(database: &Database) -> Option<String> {
    let Database::Mysql(server) = database else { return None };
    let (_, rest) = server.url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { host.to_owned() } else { format!("{host}:3306") }).filter(|_| !host.is_empty())
}

/// Why nobody takes connections there, where that is so.
fn refuses(host: &str) -> Option<String> {
    let addresses = match host.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Some(plain(&error.to_string())),
    };
    let mut why = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return None,
            Err(error) => why = Some(plain(&error.to_string())),
        }
    }
    why
}

fn ask(database: &Database) -> anyhow::Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let history = History::open(database).await?;
        let (tables, outdated) = (history.tables().await?, history.outdated().await?);
        let asked = Instant::now();
        let clock = history.clock().await?.unwrap_or_else(now);
        let unsure = i64::try_from(asked.elapsed().as_millis() / 2).unwrap_or(0);
        let Moment(here) = now();
        Ok(Seen { tables, outdated, skew: clock.0.saturating_add(unsure).saturating_sub(here), unsure })
    })
}

/// A clock that is further off than so many milliseconds is wrong.
const SKEW: i64 = 2_000;

fn judge(name: &str, seen: &Seen) -> Finding {
    let Seen { tables, outdated, skew, unsure } = seen;
    if skew.saturating_abs().saturating_sub(*unsure) > SKEW {
        let way = if *skew > 0 { "ahead of" } else { "behind" };
        return Finding::bad(
            CHECK,
            format!(
                "the clock of {name} is {:.1} s {way} this machine's",
                skew.unsigned_abs() as f64 / 1000.0
            ),
            "set both by NTP (`timedatectl set-ntp true`, or chrony)",
        );
    }
    if *tables == 0 {
        return Finding::skipped(
            CHECK,
            format!("{name} has no tables yet: they are made at the first start"),
        );
    }
    if !outdated.is_empty() {
        let found = format!(
            "{name} can be read; these tables are missing or of another version: {}. The next start brings them up to date, \
             and keeps all rows",
            outdated.join(", ")
        );
        return Finding::warn(CHECK, found, "begin when there is time: in a big table that takes long");
    }
    Finding::ok(CHECK, format!("{name} can be read (tables: {tables}), and its clock agrees"))
}

fn failed(error: &str) -> Finding {
    let mend = if error.contains("Access denied") {
        "look at user and password, and at what the user is granted"
    } else if error.contains("Unknown database") {
        "make it: CREATE DATABASE … CHARACTER SET utf8mb4"
    } else if error.contains("certificate") || error.contains("TLS") {
        "look at `tls` and `ca` in [store]"
    } else {
        "see that the server runs and can be reached from here; until then everything waits in the journal"
    };
    Finding::bad(CHECK, error, mend)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn what_a_server_says() {
        let check = |change: fn(&mut Seen), level, part: &str| {
            let mut seen = Seen { tables: 9, ..Seen::default() };
            change(&mut seen);
            let finding = judge("mysql://db1/ccfirewall", &seen);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(|_| {}, Level::Ok, "tables: 9");
        check(|seen| seen.tables = 0, Level::Skipped, "no tables yet");
        check(|seen| seen.outdated = vec!["ban"], Level::Warn, "version: ban");
        check(|seen| seen.skew = 3_100, Level::Bad, "3.1 s ahead");
        check(|seen| seen.skew = -3_100, Level::Bad, "behind");
        check(|seen| (seen.skew, seen.unsure) = (3_100, 2_000), Level::Ok, "");
    }

    #[test]
    fn where_it_listens() {
        let check = |url: &str, expect: Option<&str>| {
            let server = crate::config::Mysql {
                url: url.to_owned(),
                password: None,
                tls: crate::config::Tls::Off,
                ca: None,
            };
            assert_eq!(host(&Database::Mysql(server)).as_deref(), expect, "{url}");
        };
        check("mysql://u@db1/c", Some("db1:3306"));
        check("mysql://u:p@db1:3307/c?x=1", Some("db1:3307"));
        check("mysql://[::1]/c", Some("[::1]:3306"));
        check("mysql:///c", None);
        assert_eq!(host(&Database::Sqlite("/x".into())), None);
    }

    #[test]
    fn why_there_is_none() {
        let check = |error, part: &str| {
            let finding = failed(error);
            assert!(
                finding.level == Level::Bad && finding.mend.as_ref().unwrap().contains(part),
                "{finding:?}"
            );
        };
        check("Access denied for user 'x'", "password");
        check("Unknown database 'x'", "CREATE DATABASE");
        check("invalid peer certificate", "`tls`");
        check("Connection refused", "the server runs");
    }
}
