//! The epoch of this run: greater than that of every run before on the same state, so that agents refuse whoever
//! still speaks for an earlier one.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use model::units::Moment;

const FILE: &str = "epoch";

/// Takes the next epoch: the clock in milliseconds, or one more than the last one where the clock was set back.
///
/// # Errors
/// Where the state folder can't be read or written.
pub(super) fn next(state: &Path, now: Moment) -> io::Result<i64> {
    let path = state.join(FILE);
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let epoch = now.0.max(last + 1);
    let new = state.join(format!("{FILE}.new"));
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{epoch}")?;
    file.sync_all()?;
    fs::rename(new, path)?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_only_grow() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = |now| next(folder.path(), Moment(now)).unwrap();
        assert_eq!(epoch(5_000), 5_000);
        assert_eq!(epoch(4_000), 5_001, "the clock was set back");
        assert_eq!(epoch(5_001), 5_002);
        assert_eq!(epoch(9_000), 9_000);
        fs::write(folder.path().join(FILE), "garbage").unwrap();
        assert_eq!(epoch(9_001), 9_001);
    }
}
