//! The state folder: whose it must be, and where a dry run keeps its things.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::{Config, Database, Store};

/// Makes the state folder, or looks whether the one that is there can be trusted.
///
/// # Errors
/// It can't be made, or others could write in it: what is read from it decides who is banned.
pub(super) fn make(state: &Path) -> anyhow::Result<()> {
    let told = || {
        format!(
            "the state folder {} can't be used; name another one with --state or `state`",
            state.display()
        )
    };
    // The journal has clients' addresses and lines in it.
    fs::DirBuilder::new().recursive(true).mode(0o750).create(state).with_context(told)?;
    let found = fs::metadata(state).with_context(told)?;
    let ours = rustix::process::geteuid().as_raw();
    if found.uid() != ours && found.uid() != 0 {
        bail!("{}: it belongs to another user ({})", told(), found.uid());
    }
    if found.mode() & 0o002 != 0 {
        bail!("{}: everybody may write in it (chmod o-w)", told());
    }
    Ok(())
}

/// What tells a worker from all others, over restarts; nobody else may use its state folder meanwhile.
pub(super) struct WorkerId {
    pub(super) id: String,
    /// Locked.
    _file: fs::File,
}

/// Takes the state folder for a worker.
///
/// # Errors
/// Where another process has it, or it can't be written.
pub(super) fn worker_id(state: &Path) -> anyhow::Result<WorkerId> {
    let path = state.join("worker-id");
    let told = || format!("{} can't be used", path.display());
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(told)?;
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another worker uses the state folder {}: give each its own", state.display());
    }
    let mut id = String::new();
    file.read_to_string(&mut id).with_context(told)?;
    let mut id = id.trim().to_owned();
    if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).context("the system has no random numbers")?;
        id = format!("{:016x}", u64::from_be_bytes(bytes));
        file.set_len(0).and_then(|()| file.rewind()).with_context(told)?;
        writeln!(file, "{id}").and_then(|()| file.sync_all()).with_context(told)?;
    }
    Ok(WorkerId { id, _file: file })
}

/// The configuration of a dry run: everything in a folder of its own below the state folder.
///
/// # Errors
/// The folder can't be made.
pub(super) fn apart(config: Config) -> anyhow::Result<Config> {
    let state = config.state.join(DRY_RUN);
    make(&state)?;
    let database = database_apart(&config);
    Ok(Config { store: Store { database, ..config.store }, state, ..config })
}

/// The database that is written with a configuration.
#[must_use]
pub fn database(config: &Config) -> Database {
    if config.dry_run { database_apart(config) } else { config.store.database.clone() }
}

fn database_apart(config: &Config) -> Database {
    // A database on a server is shared with who blocks in earnest.
    let name = config.store.database.path().and_then(Path::file_name);
    Database::Sqlite(config.state.join(DRY_RUN).join(name.unwrap_or(Store::DATABASE.as_ref())))
}

/// The folder of a dry run.
const DRY_RUN: &str = "dry-run";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_worker_keeps_its_id_and_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = worker_id(folder.path()).unwrap();
        assert!(worker_id(folder.path()).is_err(), "it is in use");
        let id = first.id.clone();
        drop(first);
        assert_eq!(worker_id(folder.path()).unwrap().id, id);
        fs::write(folder.path().join("worker-id"), "garbage").unwrap();
        assert_ne!(worker_id(folder.path()).unwrap().id, id);
    }

    #[test]
    fn a_folder_that_others_write_in_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        make(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o007, 0);
        make(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(make(&state).unwrap_err().to_string().contains("chmod"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(make(&file).is_err());
    }
}
