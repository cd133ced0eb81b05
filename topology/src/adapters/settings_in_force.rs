//! The settings in force, wherever they come from: versions in, those of the [`SettingsPort`] out.
//!
//! What is in order is put in force, together with the addresses that this machine needs, and kept in the state
//! folder, so that a restart without it starts with the same. What isn't changes nothing: an alarm (`settings`) and
//! the [`Status`] say what is wrong. Rules keep their numbers over all versions, so that what was counted by one
//! never counts for another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bolts::ports::{Alarm, Notifier, SettingsPort};
use model::network::Network;
use model::settings::{Document, Finding, Parsed, Settings, SettingsErrors};
use model::units::Moment;

use super::host::Guard;
use super::whole_file;

/// The kind of the alarm that the settings can't be used as they stand.
pub const ALARM: &str = "settings";

/// So many errors are told in an alarm; the status has them all.
const MOST_TOLD: usize = 50;
/// Who may read what is kept: nobody else.
const MODE: u32 = 0o600;

/// Where the settings in force come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file, as it was when they were loaded.
    File,
    /// ZooKeeper, as it was when they were loaded.
    ZooKeeper,
    /// What was kept before the last restart.
    LastGood,
    /// There is nothing else.
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
    /// What keeps those that should hold now from being used; empty where they are in order.
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

/// There are no settings to start with.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct NoSettings {
    place: String,
    problem: String,
    /// The errors in them, where they could be read.
    pub errors: Vec<Finding>,
}

/// Why settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("{0}")]
    Missing(&'static str),
    #[error("they can't be read: {0}")]
    Unreadable(String),
    #[error("{}", told(.0))]
    Invalid(SettingsErrors),
}

impl Problem {
    fn findings(&self, place: &str) -> Vec<Finding> {
        match self {
            Self::Invalid(errors) => errors.findings().to_vec(),
            other => vec![Finding { path: place.to_owned(), message: other.to_string() }],
        }
    }

    /// The error of a start that isn't possible because of it.
    pub(super) fn at_start(&self, place: &str) -> NoSettings {
        NoSettings { place: place.to_owned(), problem: self.to_string(), errors: self.findings(place) }
    }
}

fn told(errors: &SettingsErrors) -> String {
    let findings = errors.findings();
    let noun = if findings.len() == 1 { "error" } else { "errors" };
    let mut text = format!("{} {noun}", findings.len());
    for finding in findings.iter().take(MOST_TOLD) {
        text.push_str(&format!("\n{finding}"));
    }
    if findings.len() > MOST_TOLD {
        text.push_str(&format!("\n… and {} more", findings.len() - MOST_TOLD));
    }
    text
}

/// What a source of settings is.
pub(super) struct About {
    /// Where the settings are, for messages: "The settings in …".
    pub(super) place: String,
    /// The file that keeps the last good ones.
    pub(super) last_good: PathBuf,
    /// So long something must be wrong before anybody is told, in milliseconds.
    pub(super) heals_within: i64,
}

/// The settings in force, and what is to be told and kept of them.
pub(super) struct InForce {
    about: About,
    port: SettingsPort,
    notifier: Arc<dyn Notifier>,
    status: SettingsStatus,
    /// The settings without what the machine needs.
    settings: Settings,
    guards: Vec<(Network, Guard)>,
    wrong: Option<Wrong>,
    /// Bytes that should be kept as the last good ones, and couldn't be yet, with when to try again.
    unsaved: Option<(Vec<u8>, Moment)>,
}

/// What is wrong with those that should hold.
struct Wrong {
    problem: Problem,
    /// When it began to be wrong, in whatever way.
    began: Moment,
    /// When it came to be wrong in this way.
    changed: Moment,
    told: Option<String>,
}

impl InForce {
    /// Puts the first ones in force.
    pub(super) fn start(
        about: About,
        parsed: Parsed,
        origin: Origin,
        notifier: Arc<dyn Notifier>,
        now: Moment,
    ) -> Self {
        let status = Status {
            version: 1,
            origin,
            loaded_at: now,
            document: parsed.document.to_json().into(),
            warnings: parsed.warnings.into(),
            errors: Arc::default(),
            guards: Arc::default(),
        };
        let in_force = Self {
            about,
            port: SettingsPort::new(parsed.settings.clone()),
            notifier,
            status: SettingsStatus(Arc::new(ArcSwap::from_pointee(status))),
            settings: parsed.settings,
            guards: Vec::new(),
            wrong: None,
            unsaved: None,
        };
        in_force.say_warnings();
        in_force
    }

    pub(super) fn port(&self) -> SettingsPort {
        self.port.clone()
    }

    pub(super) fn status(&self) -> SettingsStatus {
        self.status.clone()
    }

    /// Tells what has been wrong for long enough, and tries again to keep what couldn't be kept.
    pub(super) fn step(&mut self, now: Moment) {
        self.tell(now);
        if let Some((_, due)) = self.unsaved
            && now >= due
        {
            self.save(now);
        }
    }

    /// Says which addresses the machine itself needs. Where they are others than before, they come into force.
    pub(super) fn protect(&mut self, guards: Vec<(Network, Guard)>) {
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
        self.update(|status, in_force| status.guards = in_force.guards.clone().into());
    }

    /// Puts settings in force and keeps the bytes that they were read from.
    pub(super) fn accept(&mut self, parsed: Parsed, origin: Origin, bytes: Vec<u8>, now: Moment) {
        self.settings = parsed.settings;
        self.put_in_force();
        let (document, warnings) = (parsed.document.to_json().into(), Arc::from(parsed.warnings));
        self.update(|status, _| {
            status.origin = origin;
            status.loaded_at = now;
            status.document = document;
            status.warnings = warnings;
            status.errors = Arc::default();
        });
        self.say_warnings();
        let place = &self.about.place;
        tracing::info!("the settings in {place} are in force (version {})", self.status.load().version);
        if self.wrong.take().is_some_and(|wrong| wrong.told.is_some()) {
            let text = format!("The settings in {place} are in order again, and in force.");
            self.notifier.notify(Alarm { kind: ALARM, text, over: true });
        }
        self.keep(bytes, now);
    }

    /// Those that should hold can't be used.
    pub(super) fn refuse(&mut self, problem: Problem, now: Moment) {
        let errors = problem.findings(&self.about.place);
        match &mut self.wrong {
            Some(wrong) if wrong.problem == problem => return,
            Some(wrong) => (wrong.problem, wrong.changed) = (problem, now),
            None => self.wrong = Some(Wrong { problem, began: now, changed: now, told: None }),
        }
        self.update(|status, _| status.errors = errors.into());
    }

    /// Keeps what was just accepted for the next start.
    pub(super) fn keep(&mut self, bytes: Vec<u8>, now: Moment) {
        self.unsaved = Some((bytes, now));
        self.save(now);
    }

    fn say_warnings(&self) {
        for warning in self.status.load().warnings.iter() {
            tracing::warn!("{}: {warning}", self.about.place);
        }
    }

    fn tell(&mut self, now: Moment) {
        let Some(wrong) = &mut self.wrong else { return };
        // Where the clock was set back, waiting begins anew.
        wrong.began = wrong.began.min(now);
        wrong.changed = wrong.changed.min(now);
        // The first time it is told whatever it is by then: what changes all the time is news, too.
        let since = if wrong.told.is_none() { wrong.began } else { wrong.changed };
        if now.0 - since.0 < self.about.heals_within {
            return;
        }
        let goes_on = match self.status.load().origin {
            Origin::File | Origin::ZooKeeper => "what they said before goes on to hold",
            Origin::LastGood => "what held before the restart goes on to hold",
            Origin::Defaults => "the defaults hold",
        };
        let text =
            format!("The settings in {} can't be used, {goes_on}: {}", self.about.place, wrong.problem);
        if wrong.told.as_ref() == Some(&text) {
            return;
        }
        tracing::warn!("{text}");
        wrong.told = Some(text.clone());
        self.notifier.notify(Alarm { kind: ALARM, text, over: false });
    }

    fn put_in_force(&mut self) {
        let networks = self.guards.iter().map(|(network, _)| *network);
        let mut settings = self.settings.clone().with_protected(networks);
        settings.rules = settings.rules.following(&self.port.load().settings().rules);
        self.port.store(settings);
        self.update(|_, _| {});
    }

    fn update(&self, change: impl FnOnce(&mut Status, &Self)) {
        let mut status = Status::clone(&self.status.0.load());
        status.version = self.port.load().version().number;
        change(&mut status, self);
        self.status.0.store(Arc::new(status));
    }

    fn save(&mut self, now: Moment) {
        const AGAIN: i64 = 10_000;
        let Some((bytes, due)) = &mut self.unsaved else { return };
        match whole_file::replace(&self.about.last_good, bytes, MODE) {
            Ok(()) => self.unsaved = None,
            Err(error) => {
                *due = Moment(now.0.saturating_add(AGAIN));
                let path = self.about.last_good.display();
                tracing::warn!("can't keep the settings for the next start in {path}, trying again: {error}");
            }
        }
    }
}

/// What was kept before the last restart, where it can be used, with its bytes.
pub(super) fn kept(last_good: &Path) -> Option<(Parsed, Vec<u8>)> {
    let bytes = whole_file::read(last_good).ok()?;
    match Settings::parse(&bytes) {
        Ok(parsed) => Some((parsed, bytes)),
        Err(errors) => {
            tracing::warn!("{}: {errors}", last_good.display());
            None
        }
    }
}

/// The settings where nobody says any.
pub(super) fn defaults() -> Parsed {
    Parsed { settings: Settings::default(), document: Document::default(), warnings: Vec::new() }
}
