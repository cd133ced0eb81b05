//! Can things be kept?

use std::io;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::finding::{Finding, size};
use crate::adapters::store::History;
use crate::config::Database;

/// The folder and the space on its disk.
pub(super) fn disk(folder: &Path) -> Finding {
    const CHECK: &str = "state";
    let name = folder.display();
    if folder.exists() && !folder.is_dir() {
        return Finding::bad(
            CHECK,
            format!("{name} isn't a folder"),
            "move it away, or name another state folder",
        );
    }
    // Where it isn't there yet, what counts is where it will be made.
    let Some(place) = folder.ancestors().find(|place| place.is_dir()) else {
        return Finding::bad(CHECK, format!("{name} can't be made"), "name an absolute path");
    };
    if access(place, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Finding::bad(
            CHECK,
            format!("{} can't be written to", place.display()),
            "run as the user that it belongs to (root for a service), or name another folder: --state DIR",
        );
    }
    match statvfs(place) {
        Err(error) => {
            let found =
                format!("can't tell how much space {} has: {}", place.display(), io::Error::from(error));
            Finding::warn(CHECK, found, "look with `df`")
        }
        Ok(disk) => {
            // Some file systems count no inodes.
            let files = if disk.f_files == 0 { u64::MAX } else { disk.f_favail };
            let about =
                if place == folder { name.to_string() } else { format!("{name}, which will be made,") };
            space(&about, disk.f_bavail.saturating_mul(disk.f_frsize), files)
        }
    }
}

fn space(folder: &str, bytes: u64, files: u64) -> Finding {
    const CHECK: &str = "state";
    let free = format!("{folder} has {} free", size(bytes));
    if files < 100 {
        return Finding::bad(
            CHECK,
            format!("{folder} has room for {files} more files"),
            "free inodes: `df -i`",
        );
    }
    match bytes {
        0..100_000_000 => {
            Finding::bad(CHECK, free, "make room: what can't be written waits in memory, and is lost")
        }
        100_000_000..1_000_000_000 => Finding::warn(
            CHECK,
            free,
            "make room: journal and database may grow to some GiB in a long attack",
        ),
        _ => Finding::ok(CHECK, free),
    }
}

/// Whether the database file can be read.
pub(super) fn database(path: &Path) -> Finding {
    const CHECK: &str = "database";
    let name = path.display();
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::skipped(CHECK, format!("{name} isn't there yet: it is made at the first start"));
        }
        Err(error) => {
            return Finding::bad(CHECK, format!("{name}: {error}"), "run as the user that it belongs to");
        }
        Ok(metadata) if !metadata.is_file() => {
            return Finding::bad(
                CHECK,
                format!("{name} isn't a file"),
                "move it away, or name another database",
            );
        }
        Ok(_) => {}
    }
    match tables(&Database::Sqlite(path.to_owned())) {
        Ok(tables) => Finding::ok(CHECK, format!("{name} can be read (tables: {tables})")),
        Err(error) => {
            let error = error.to_string();
            let mend = if error.contains("locked") {
                "another program holds it: `fuser` tells which (ccfirewall itself never locks readers out)"
            } else if error.contains("not a database") || error.contains("malformed") {
                "move it away: a new one is made at the next start, and is filled with what the journal still has"
            } else {
                "run as the user that it belongs to, and look at the disk"
            };
            Finding::bad(CHECK, format!("{name} can't be opened: {error}"), mend)
        }
    }
}

/// Opens it for reading only, and counts its tables.
fn tables(database: &Database) -> anyhow::Result<i64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { History::open(database).await?.tables().await })?)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[track_caller]
    fn check(finding: &Finding, level: Level, part: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
    }

    #[test]
    fn space_on_the_disk() {
        check(&space("/s", 5_000_000_000, 1_000_000), Level::Ok, "4.66 GiB");
        check(&space("/s", 500_000_000, 1_000_000), Level::Warn, "476.84 MiB");
        check(&space("/s", 5_000, 1_000_000), Level::Bad, "free");
        check(&space("/s", 5_000_000_000, 3), Level::Bad, "3 more files");
    }

    #[test]
    fn folders() {
        let root = tempfile::tempdir().unwrap();
        assert!(disk(root.path()).found.contains("free"));
        assert!(disk(&root.path().join("a/b")).found.contains("will be made"));
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        check(&disk(&file), Level::Bad, "isn't a folder");
        assert_eq!(disk(Path::new("/proc/ccfirewall")).level, Level::Bad, "nothing is kept there");
    }

    #[test]
    fn databases() {
        use sqlx::ConnectOptions as _;
        use sqlx::sqlite::SqliteConnectOptions;

        let root = tempfile::tempdir().unwrap();
        check(&database(&root.path().join("none")), Level::Skipped, "isn't there yet");
        check(&database(root.path()), Level::Bad, "isn't a file");
        let rubbish = root.path().join("rubbish.db");
        std::fs::write(&rubbish, "this is text, and more of it than a header has\n".repeat(100)).unwrap();
        check(&database(&rubbish), Level::Bad, "not a database");

        let good = root.path().join("good.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new().filename(&good).create_if_missing(true);
        let mut writer = runtime.block_on(options.connect()).unwrap();
        runtime.block_on(sqlx::query("CREATE TABLE t (x)").execute(&mut writer)).unwrap();
        check(&database(&good), Level::Ok, "tables: 1");
        runtime.block_on(sqlx::query("BEGIN EXCLUSIVE").execute(&mut writer)).unwrap();
        check(&database(&good), Level::Bad, "locked");
    }
}
