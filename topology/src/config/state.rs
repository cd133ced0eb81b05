//! Where the program keeps things where nobody says.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::Config;

/// There is no folder for the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no place to keep anything: {} can't be written to, and neither XDG_STATE_HOME nor HOME is set \
     (run as root, or say where: `state = \"…\"` in the configuration)",
    Config::STATE
)]
pub struct NoState;

/// The state folder: that of a service where it can be written to or made, else that of the user.
///
/// # Errors
/// Where the environment names no folder of the user.
pub fn default_state() -> Result<PathBuf, NoState> {
    let service = Path::new(Config::STATE);
    choose(can_write(service), |name| std::env::var_os(name))
}

fn choose(service_is_ours: bool, environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoState> {
    if service_is_ours {
        return Ok(Config::STATE.into());
    }
    // A relative path in XDG_STATE_HOME is to be ignored, as the XDG base directory specification has it.
    let folder = |name| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .map(|folder| folder.join("ccfirewall"))
        .ok_or(NoState)
}

/// Whether a folder can be written to, or made where it isn't there.
fn can_write(folder: &Path) -> bool {
    let place = if folder.exists() { Some(folder) } else { folder.parent() };
    place.is_some_and(|place| access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_is_there() {
        let check = |ours, environment: &[(&str, &str)], expect: Option<&str>| {
            let found = choose(ours, |name| {
                environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            });
            assert_eq!(found.ok().as_deref(), expect.map(Path::new), "{environment:?}");
        };
        check(true, &[("HOME", "/home/a")], Some("/var/lib/ccfirewall"));
        check(false, &[("HOME", "/home/a")], Some("/home/a/.local/state/ccfirewall"));
        check(false, &[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")], Some("/s/ccfirewall"));
        check(
            false,
            &[("HOME", "/home/a"), ("XDG_STATE_HOME", "s")],
            Some("/home/a/.local/state/ccfirewall"),
        );
        check(false, &[("HOME", "")], None);
        check(false, &[], None);
    }

    #[test]
    fn a_folder_to_come_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        assert!(can_write(folder.path()));
        assert!(can_write(&folder.path().join("new")));
        assert!(!can_write(&folder.path().join("new/deep")));
    }
}
