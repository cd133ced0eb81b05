//! The state folder: whose it must be, and where a dry run keeps its things.

use std::fs;
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

/// The configuration of a dry run: everything in a folder of its own below the state folder.
///
/// # Errors
/// The folder can't be made.
pub(super) fn apart(config: Config) -> anyhow::Result<Config> {
    let state = config.state.join("dry-run");
    make(&state)?;
    // A database on a server is shared with who blocks in earnest.
    let name = match &config.store.database {
        Database::Sqlite(path) => path.file_name().context("the database has no name")?,
        Database::Mysql(_) => Store::DATABASE.as_ref(),
    };
    let database = Database::Sqlite(state.join(name));
    Ok(Config { store: Store { database, ..config.store }, state, ..config })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

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
