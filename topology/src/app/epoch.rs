//! The epoch of this run: greater than that of every run before on the same state, so that agents refuse whoever
//! still speaks for an earlier one.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use model::units::Moment;

const FILE: &str = "epoch";

/// Takes the next epoch: the clock in milliseconds, or one more than the last one where the clock was set back.
///
/// Where it can't be written (the disk is full) that is told and no more: only a clock that is set back before the
/// next start would make use of it.
pub(super) fn next(state: &Path, now: Moment) -> i64 {
    let path = state.join(FILE);
    let last = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let epoch = now.0.max(last + 1);
    if let Err(error) = write(&path, epoch) {
        tracing::warn!("{} can't be written: {error}", path.display());
    }
    epoch
}

fn write(path: &Path, epoch: i64) -> io::Result<()> {
    let new = path.with_extension("new");
    // What was left there, or put there, isn't followed.
    let removed = fs::remove_file(&new);
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    let mut file = fs::File::create_new(&new)?;
    writeln!(file, "{epoch}")?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_grow() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = |now| next(folder.path(), Moment(now));
        assert_eq!(epoch(5_000), 5_000);
        assert_eq!(epoch(4_000), 5_001, "the clock was set back");
        assert_eq!(epoch(5_001), 5_002);
        assert_eq!(epoch(9_000), 9_000);
        fs::write(folder.path().join(FILE), "garbage").unwrap();
        assert_eq!(epoch(9_001), 9_001);
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(epoch(9_002), 9_002, "what can't be written stops nobody");
    }
}
