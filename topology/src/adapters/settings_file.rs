//! The settings in a file, put in force as they change: bytes in, versions of the [`SettingsPort`] out.
//!
//! [`SettingsFile::step`] looks at the file. What it holds comes into force where it is in order. Else what held
//! before goes on to hold, and an alarm (`settings`) says what is wrong, once it has been wrong for 300 ms: editors
//! write in several steps, and a file that is half written or gone for a moment is no news. The last settings that
//! were in order are kept in the state folder, so that a restart with a broken file starts with those.
//!
//! The settings in force are those of the file and the addresses that the machine itself needs
//! ([`SettingsFile::protect`]).

mod look;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bolts::ports::{Alarm, Notifier, SettingsPort};
use model::network::Network;
use model::settings::{Document, Finding, Parsed, Settings};
use model::units::Moment;

use super::host::Guard;
pub use look::LONGEST;
use look::{Look, Problem, read, replace};

/// The kind of the alarm that the settings can't be used as they stand.
pub const ALARM: &str = "settings";
/// The last settings that were in order, in the state folder.
pub const LAST_GOOD: &str = "settings.last-good.json";

/// So long something must be wrong before anybody is told, in milliseconds.
const HEALS_WITHIN: i64 = 300;

/// The settings of a file, watched.
pub struct SettingsFile {
    path: Option<PathBuf>,
    last_good: PathBuf,
    port: SettingsPort,
    notifier: Arc<dyn Notifier>,
    status: SettingsStatus,
    /// The settings without what the machine needs.
    settings: Settings,
    guards: Vec<(Network, Guard)>,
    look: Look,
    wrong: Option<Wrong>,
    /// Bytes that should be kept as the last good ones, and couldn't be yet, with when to try again.
    unsaved: Option<(Vec<u8>, Moment)>,
}

/// What is wrong with the file.
struct Wrong {
    problem: Problem,
    /// When it began to be wrong, in whatever way.
    began: Moment,
    /// When it came to be wrong in this way.
    changed: Moment,
    told: Option<String>,
}

/// There are no settings to start with.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct NoSettings {
    path: PathBuf,
    problem: String,
    /// The errors in the file, where it could be read.
    pub errors: Vec<Finding>,
}

/// Where the settings in force come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file, as it was when they were loaded.
    File,
    /// What was kept of it before the last restart.
    LastGood,
    /// There is no file.
    Defaults,
}

/// How the settings stand.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// The version in force; it counts changes of the guards, too.
    pub version: u32,
    /// Where the settings in force come from.
    pub origin: Origin,
    /// When they were loaded.
    pub loaded_at: Moment,
    /// They as JSON, defaults filled in, without the guards.
    pub document: Arc<str>,
    /// What is doubtful in them.
    pub warnings: Arc<[Finding]>,
    /// What keeps the file as it is now from being used; empty where it is in order.
    pub errors: Arc<[Finding]>,
    /// Addresses that the machine needs: they are protected besides those of the settings.
    pub guards: Arc<[(Network, Guard)]>,
}

/// How the settings stand, for everybody who wants to look.
#[derive(Clone, Debug)]
pub struct SettingsStatus(Arc<ArcSwap<Status>>);

impl SettingsStatus {
    /// How they stand now.
    #[must_use]
    pub fn load(&self) -> Arc<Status> {
        self.0.load_full()
    }
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
        let last_good = state.join(LAST_GOOD);
        let mut look = Look::default();
        let seen = path.as_deref().and_then(|path| look.at(path, now));
        let (parsed, origin, problem) = match (seen, &path) {
            (Some(Ok(parsed)), _) => (*parsed, Origin::File, None),
            (Some(Err(problem)), Some(path)) => match (kept(&last_good), &problem) {
                (Some(parsed), _) => (parsed, Origin::LastGood, Some(problem)),
                (None, Problem::Missing) => (defaults(), Origin::Defaults, Some(problem)),
                (None, _) => {
                    return Err(NoSettings {
                        path: path.clone(),
                        problem: problem.to_string(),
                        errors: problem.findings(path),
                    });
                }
            },
            _ => (defaults(), Origin::Defaults, None),
        };
        let status = Status {
            version: 1,
            origin,
            loaded_at: now,
            document: parsed.document.to_json().into(),
            warnings: parsed.warnings.into(),
            errors: Arc::default(),
            guards: Arc::default(),
        };
        let mut file = Self {
            path,
            last_good,
            port: SettingsPort::new(parsed.settings.clone()),
            notifier,
            status: SettingsStatus(Arc::new(ArcSwap::from_pointee(status))),
            settings: parsed.settings,
            guards: Vec::new(),
            unsaved: None,
            wrong: None,
            look,
        };
        file.say_warnings();
        match problem {
            // It may be half written at this very moment, so it gets its time, too.
            Some(problem) => file.refuse(problem, now),
            None if origin == Origin::File => file.keep(now),
            None => {}
        }
        Ok(file)
    }

    /// Where the settings in force can be had. Nobody else may store any in it.
    #[must_use]
    pub fn port(&self) -> SettingsPort {
        self.port.clone()
    }

    /// How the settings stand.
    #[must_use]
    pub fn status(&self) -> SettingsStatus {
        self.status.clone()
    }

    /// Looks at the file and puts in force what is new. Called every 50 ms or so; `now` is the clock.
    pub fn step(&mut self, now: Moment) {
        let Some(path) = &self.path else { return };
        match self.look.at(path, now) {
            Some(Ok(parsed)) => self.accept(*parsed, now),
            Some(Err(problem)) => self.refuse(problem, now),
            None => {}
        }
        self.tell(now);
        if let Some((_, due)) = self.unsaved
            && now >= due
        {
            self.save(now);
        }
    }

    /// Says which addresses the machine itself needs. Where they are others than before, they come into force.
    pub fn protect(&mut self, guards: Vec<(Network, Guard)>) {
        if guards == self.guards {
            return;
        }
        for (network, guard) in guards.iter().filter(|guard| !self.guards.contains(guard)) {
            tracing::info!("{network} is never banned from now on: it is {guard}");
        }
        for (network, guard) in self.guards.iter().filter(|guard| !guards.contains(guard)) {
            tracing::info!("{network} is protected no longer as {guard}");
        }
        let networks = |guards: &[(Network, Guard)]| {
            let mut networks: Vec<Network> = guards.iter().map(|(network, _)| *network).collect();
            networks.sort_unstable();
            networks.dedup();
            networks
        };
        let changed = networks(&guards) != networks(&self.guards);
        self.guards = guards;
        if changed {
            self.put_in_force();
        }
        self.update(|status, file| status.guards = file.guards.clone().into());
    }

    fn accept(&mut self, parsed: Parsed, now: Moment) {
        self.settings = parsed.settings;
        self.put_in_force();
        let (document, warnings) = (parsed.document.to_json().into(), Arc::from(parsed.warnings));
        self.update(|status, _| {
            status.origin = Origin::File;
            status.loaded_at = now;
            status.document = document;
            status.warnings = warnings;
            status.errors = Arc::default();
        });
        self.say_warnings();
        let path = self.shown_path();
        tracing::info!("the settings in {path} are in force (version {})", self.status.load().version);
        if self.wrong.take().is_some_and(|wrong| wrong.told.is_some()) {
            let text = format!("{path} is in order again, and in force.");
            self.notifier.notify(Alarm { kind: ALARM, text, over: true });
        }
        self.keep(now);
    }

    fn say_warnings(&self) {
        for warning in self.status.load().warnings.iter() {
            tracing::warn!("{}: {warning}", self.shown_path());
        }
    }

    fn refuse(&mut self, problem: Problem, now: Moment) {
        match &mut self.wrong {
            Some(wrong) if wrong.problem == problem => return,
            Some(wrong) => (wrong.problem, wrong.changed) = (problem, now),
            None => self.wrong = Some(Wrong { problem, began: now, changed: now, told: None }),
        }
        let errors = match (&self.wrong, &self.path) {
            (Some(wrong), Some(path)) => wrong.problem.findings(path),
            _ => Vec::new(),
        };
        self.update(|status, _| status.errors = errors.into());
    }

    /// Tells what is wrong where it has been so for long enough.
    fn tell(&mut self, now: Moment) {
        let path = self.shown_path();
        let Some(wrong) = &mut self.wrong else { return };
        // Where the clock was set back, waiting begins anew.
        wrong.began = wrong.began.min(now);
        wrong.changed = wrong.changed.min(now);
        // The first time it is told whatever it is by then: a file that is rewritten all the time is news, too.
        let since = if wrong.told.is_none() { wrong.began } else { wrong.changed };
        if now.0 - since.0 < HEALS_WITHIN {
            return;
        }
        let goes_on = match self.status.load().origin {
            Origin::File => "what it said before goes on to hold",
            Origin::LastGood => "what held before the restart goes on to hold",
            Origin::Defaults => "the defaults hold",
        };
        let text = format!("The settings in {path} can't be used, {goes_on}: {}", wrong.problem);
        if wrong.told.as_ref() == Some(&text) {
            return;
        }
        tracing::warn!("{text}");
        wrong.told = Some(text.clone());
        self.notifier.notify(Alarm { kind: ALARM, text, over: false });
    }

    fn put_in_force(&mut self) {
        let networks = self.guards.iter().map(|(network, _)| *network);
        self.port.store(self.settings.clone().with_protected(networks));
        self.update(|_, _| {});
    }

    fn update(&self, change: impl FnOnce(&mut Status, &Self)) {
        let mut status = Status::clone(&self.status.0.load());
        status.version = self.port.load().version().number;
        change(&mut status, self);
        self.status.0.store(Arc::new(status));
    }

    fn shown_path(&self) -> String {
        self.path.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Keeps what was just accepted for the next start.
    fn keep(&mut self, now: Moment) {
        if let Some(bytes) = &self.look.bytes {
            self.unsaved = Some((bytes.clone(), now));
            self.save(now);
        }
    }

    fn save(&mut self, now: Moment) {
        const AGAIN: i64 = 10_000;
        let Some((bytes, due)) = &mut self.unsaved else { return };
        match replace(&self.last_good, bytes) {
            Ok(()) => self.unsaved = None,
            Err(error) => {
                *due = Moment(now.0.saturating_add(AGAIN));
                let path = self.last_good.display();
                tracing::warn!("can't keep the settings for the next start in {path}, trying again: {error}");
            }
        }
    }
}

/// What was kept before the last restart, where it can be used.
fn kept(last_good: &Path) -> Option<Parsed> {
    let bytes = read(last_good).ok()?;
    Settings::parse(bytes).map_err(|errors| tracing::warn!("{}: {errors}", last_good.display())).ok()
}

fn defaults() -> Parsed {
    Parsed { settings: Settings::default(), document: Document::default(), warnings: Vec::new() }
}
