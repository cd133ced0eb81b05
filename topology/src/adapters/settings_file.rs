//! The settings in a file, put in force as they change: bytes in, versions of the [`SettingsPort`] out.
//!
//! At each step the file is looked at. What it holds comes into force where it is in order. Else what held before
//! goes on to hold, and an alarm (`settings`) says what is wrong, once it has been wrong for 300 ms: editors write in
//! several steps, and a file that is half written or gone for a moment is no news. The last settings that were in
//! order are kept in the state folder, so that a restart with a broken file starts with those.

mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bolts::ports::{Notifier, SettingsPort};
use crossbeam_channel::{Receiver, never};
use model::network::Network;
use model::units::Moment;

use super::host::Guard;
pub use super::settings_in_force::{ALARM, NoSettings, Origin, SettingsStatus, Status};
use super::settings_in_force::{About, InForce, Problem, defaults, kept};
use super::settings_watch::SettingsSource;
pub use super::whole_file::LONGEST;
use look::Look;

/// The last settings that were in order, in the state folder.
pub const LAST_GOOD: &str = "settings.last-good.json";

/// So long something must be wrong before anybody is told, in milliseconds.
const HEALS_WITHIN: i64 = 300;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The settings of a file, watched.
pub struct SettingsFile {
    path: Option<PathBuf>,
    look: Look,
    in_force: InForce,
}

impl SettingsFile {
    /// Loads the settings: those of the file, else the last good ones in the folder `state`, else, where there is
    /// no file, the defaults. Without a `path` the defaults hold. `now` is the clock.
    ///
    /// # Errors
    /// Where there is a file that can't be used, and nothing was kept.
    pub fn open(
        path: Option<PathBuf>,
        state: &Path,
        notifier: Arc<dyn Notifier>,
        now: Moment,
    ) -> Result<Self, NoSettings> {
        let place = path.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let last_good = state.join(LAST_GOOD);
        let mut look = Look::default();
        let (parsed, origin, problem) = match path.as_deref().and_then(|path| look.at(path, now)) {
            Some(Ok(parsed)) => (*parsed, Origin::File, None),
            Some(Err(problem)) => match (kept(&last_good), &problem) {
                (Some((parsed, _)), _) => (parsed, Origin::LastGood, Some(problem)),
                (None, Problem::Missing(_)) => (defaults(), Origin::Defaults, Some(problem)),
                (None, _) => return Err(problem.at_start(&place)),
            },
            None => (defaults(), Origin::Defaults, None),
        };
        let about = About { place, last_good, heals_within: HEALS_WITHIN };
        let mut in_force = InForce::start(about, parsed, origin, notifier, now);
        match (problem, &look.bytes) {
            // It may be half written at this very moment, so it gets its time, too.
            (Some(problem), _) => in_force.refuse(problem, now),
            (None, Some(bytes)) => in_force.keep(bytes.clone(), now),
            (None, None) => {}
        }
        Ok(Self { path, look, in_force })
    }

    /// Where the settings in force can be had. Nobody else may store any in it.
    #[must_use]
    pub fn port(&self) -> SettingsPort {
        self.in_force.port()
    }

    /// How the settings stand.
    #[must_use]
    pub fn status(&self) -> SettingsStatus {
        self.in_force.status()
    }
}

impl SettingsSource for SettingsFile {
    /// A file has to be looked at: no system tells of all changes (a symlink above it, a network's file system).
    fn news(&self) -> Receiver<()> {
        never()
    }

    fn look_every(&self) -> Duration {
        LOOK
    }

    fn step(&mut self, now: Moment) {
        let Some(path) = &self.path else { return };
        match self.look.at(path, now) {
            Some(Ok(parsed)) => {
                let bytes = self.look.bytes.clone().unwrap_or_default();
                self.in_force.accept(*parsed, Origin::File, bytes, now);
            }
            Some(Err(problem)) => self.in_force.refuse(problem, now),
            None => {}
        }
        self.in_force.step(now);
    }

    fn protect(&mut self, guards: Vec<(Network, Guard)>) {
        self.in_force.protect(guards);
    }
}
