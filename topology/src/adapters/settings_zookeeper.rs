//! The settings in ZooKeeper (`config`), put in force as they change: nodes in, versions of the [`SettingsPort`] out.
//!
//! ZooKeeper tells of a change at once. What is in order comes into force, and into the history where whoever wrote
//! it didn't put it there. Else what held before goes on to hold, and an alarm (`settings`) says what is wrong, as it
//! does when the node is deleted. While ZooKeeper is away everything goes on with another alarm (`zookeeper`), and a
//! restart starts with what was kept in the state folder.
//!
//! Where there is no node at the start it is created: from what held here before, else from the seed (the settings'
//! file), else from the defaults.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bolts::ports::{Alarm, Notifier, SettingsPort};
use crossbeam_channel::{Receiver, Sender, bounded};
use model::network::Network;
use model::settings::{Document, Parsed, Settings};
use model::units::Moment;
use zk_config::{ConfigNode, Error, SettingsSeen, State, Watch, ZooKeeper};

use super::host::Guard;
use super::settings_in_force::{About, InForce, Origin, Problem, SettingsStatus, kept};
use super::settings_watch::SettingsSource;
use super::whole_file::{self, LONGEST};

/// The kind of the alarm that ZooKeeper is away.
pub const AWAY: &str = "zookeeper";
/// The last settings from ZooKeeper that were in order, in the state folder.
pub const LAST_GOOD: &str = "settings.zookeeper.last-good.json";

/// How long a start waits for ZooKeeper.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits where there is something to start with.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// So long ZooKeeper must be away before anybody is told, in milliseconds: electing another leader takes less.
const AWAY_HEALS_WITHIN: i64 = 2_000;
/// How often it is looked whether anything is to be told or kept; what is new is told by ZooKeeper.
const LOOK: Duration = Duration::from_secs(1);
/// What is said of settings, and of their place.
const PLACE: &str = "ZooKeeper";
/// So many versions wait to be recorded at most; more come only where each write is followed by an outage.
const MOST_UNRECORDED: usize = 16;
/// Who wrote a version that nobody recorded.
const SOMEBODY: &str = "unknown (written directly)";
const MISSING: &str = "there is no node for them any more; write them with `ccfirewall settings set --file FILE`, or \
                       start this program anew, which creates the node from what holds now";

/// The settings in ZooKeeper, watched.
pub struct SettingsZooKeeper {
    in_force: InForce,
    news: Arc<News>,
    told: Receiver<()>,
    /// What was dealt with last, by the number of the write that made it.
    dealt_with: Option<i64>,
    /// Since when ZooKeeper is away, and whether that was told.
    away: Option<(Moment, bool)>,
    notifier: Arc<dyn Notifier>,
    _watches: [Watch; 2],
}

/// What was seen and isn't dealt with yet.
struct News {
    seen: Mutex<Option<Looked>>,
    state: Mutex<State>,
    /// What was accepted and isn't recorded yet, the oldest first.
    unrecorded: Mutex<VecDeque<ConfigNode>>,
    tell: Sender<()>,
}

/// A look at the node.
struct Looked {
    /// The write that made it, where it is there.
    mzxid: Option<i64>,
    content: Result<Box<(Parsed, Vec<u8>)>, Problem>,
}

impl Looked {
    fn at(seen: SettingsSeen) -> Self {
        let problem = match seen {
            SettingsSeen::Node(node) => return Self::at_node(node),
            SettingsSeen::Missing => Problem::Missing(MISSING),
            SettingsSeen::Unreadable(why) => Problem::Unreadable(why),
        };
        Self { mzxid: None, content: Err(problem) }
    }

    fn at_node(node: ConfigNode) -> Self {
        let content = if node.text.len() as u64 > LONGEST {
            Err(Problem::Unreadable("they are longer than 16 MiB, so they are something else".to_owned()))
        } else {
            match Settings::parse(&node.text) {
                Ok(parsed) => Ok(Box::new((parsed, node.text))),
                Err(errors) => Err(Problem::Invalid(errors)),
            }
        };
        Self { mzxid: Some(node.mzxid), content }
    }
}

impl SettingsZooKeeper {
    /// Loads the settings: those in ZooKeeper, which are created there where there are none, else the last good ones
    /// in the folder `state`. `seed` is the file that they are created from; `now` is the clock. Waits up to 15 s for
    /// ZooKeeper, 5 s where there is something to start with.
    ///
    /// # Errors
    /// [`NoSettings`](super::settings_in_force::NoSettings) where there are some that can't be used, and nothing was
    /// kept; another one where ZooKeeper is away or forbids it, and nothing was kept.
    pub fn open(
        zookeeper: &ZooKeeper,
        state: &Path,
        seed: Option<&Path>,
        notifier: Arc<dyn Notifier>,
        now: Moment,
    ) -> anyhow::Result<Self> {
        let last_good = state.join(LAST_GOOD);
        let kept = kept(&last_good);
        let patience = if kept.is_some() { SHORT_PATIENCE } else { PATIENCE };
        let found = zookeeper.wait_connected(patience).map_err(anyhow::Error::from);
        let found = found.and_then(|()| first(zookeeper, seed, kept.as_ref().map(|(_, bytes)| &**bytes)));
        let node = found.as_ref().ok().cloned();
        let looked = match (found, &kept) {
            (Ok(node), _) => Looked::at_node(node),
            (Err(error), Some(_)) => {
                Looked { mzxid: None, content: Err(Problem::Unreadable(format!("{error:#}"))) }
            }
            (Err(error), None) => {
                return Err(error.context("there are no settings: none from ZooKeeper, and none from before"));
            }
        };
        let about = About { place: PLACE.to_owned(), last_good, heals_within: 0 };
        // The watch may see another version already.
        let unrecorded = node.filter(|_| looked.content.is_ok()).into_iter().collect();
        let in_force = match (looked.content, kept) {
            (Ok(good), _) => {
                let (parsed, bytes) = *good;
                let mut in_force = InForce::start(about, parsed, Origin::ZooKeeper, notifier.clone(), now);
                in_force.keep(bytes, now);
                in_force
            }
            (Err(problem), Some((parsed, _))) => {
                let mut in_force = InForce::start(about, parsed, Origin::LastGood, notifier.clone(), now);
                in_force.refuse(problem, now);
                in_force
            }
            (Err(problem), None) => return Err(problem.at_start("the settings in ZooKeeper").into()),
        };
        let (tell, told) = bounded(1);
        let news = Arc::new(News {
            seen: Mutex::new(None),
            state: Mutex::new(zookeeper.state()),
            unrecorded: Mutex::new(unrecorded),
            tell,
        });
        let watches = [watch_settings(zookeeper, &news)?, watch_state(zookeeper, &news)?];
        Ok(Self { in_force, news, told, dealt_with: looked.mzxid, away: None, notifier, _watches: watches })
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

    fn look_at_state(&mut self, now: Moment) {
        let state = locked(&self.news.state).clone();
        match (state, &mut self.away) {
            (State::Connected { .. }, away) => {
                if let Some((_, true)) = away.take() {
                    let text = "ZooKeeper answers again.".to_owned();
                    tracing::info!("{text}");
                    self.notifier.notify(Alarm { kind: AWAY, text, over: true });
                }
            }
            (State::Away { .. }, None) => self.away = Some((now, false)),
            (State::Away { why, .. }, Some((began, told))) => {
                // Where the clock was set back, waiting begins anew.
                *began = now.min(*began);
                if *told || now.0 - began.0 < AWAY_HEALS_WITHIN {
                    return;
                }
                *told = true;
                let text = format!(
                    "ZooKeeper is away ({why}): the settings stay as they are, and a change of them comes into force \
                     when it is back."
                );
                tracing::warn!("{text}");
                self.notifier.notify(Alarm { kind: AWAY, text, over: false });
            }
        }
    }
}

impl SettingsSource for SettingsZooKeeper {
    fn news(&self) -> Receiver<()> {
        self.told.clone()
    }

    fn look_every(&self) -> Duration {
        LOOK
    }

    fn step(&mut self, now: Moment) {
        let seen = locked(&self.news.seen).take();
        if let Some(Looked { mzxid, content }) = seen
            && (mzxid.is_none() || mzxid != self.dealt_with)
        {
            self.dealt_with = mzxid;
            match content {
                Ok(good) => {
                    let (parsed, bytes) = *good;
                    self.in_force.accept(parsed, Origin::ZooKeeper, bytes, now);
                }
                Err(problem) => self.in_force.refuse(problem, now),
            }
        }
        self.look_at_state(now);
        self.in_force.step(now);
    }

    fn protect(&mut self, guards: Vec<(Network, Guard)>) {
        self.in_force.protect(guards);
    }
}

/// The node; created where there is none.
fn first(zookeeper: &ZooKeeper, seed: Option<&Path>, kept: Option<&[u8]>) -> anyhow::Result<ConfigNode> {
    if let Some(node) = zookeeper.read_settings()? {
        return Ok(node);
    }
    let (bytes, from) = beginning(seed, kept)?;
    let text = String::from_utf8(bytes).context("the settings aren't UTF-8")?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = zookeeper.create_settings_if_absent(&text, &format!("ccfirewall@{host}, from {from}"))?;
    tracing::info!("there were no settings in ZooKeeper: created from {from}");
    Ok(node)
}

/// What the node is created with, and where that is from.
fn beginning(seed: Option<&Path>, kept: Option<&[u8]>) -> anyhow::Result<(Vec<u8>, String)> {
    Ok(match (kept, seed) {
        (Some(kept), _) => (kept.to_vec(), "what held before".to_owned()),
        (None, Some(seed)) => (read_seed(seed)?, seed.display().to_string()),
        (None, None) => (Document::default().to_json().into_bytes(), "the defaults".to_owned()),
    })
}

/// The settings with which [`SettingsZooKeeper::open`] would start without a look at ZooKeeper: those that were kept in
/// the folder `state`, else those that the node would be created with; and where they are from.
///
/// # Errors
/// Where nothing was kept, and the seed can't be used.
pub fn without_zookeeper(state: &Path, seed: Option<&Path>) -> anyhow::Result<(Settings, String)> {
    let kept = kept(&state.join(LAST_GOOD));
    let (bytes, from) = beginning(seed, kept.as_ref().map(|(_, bytes)| &**bytes))?;
    let parsed = Settings::parse(&bytes).context("settings that were looked at before have errors")?;
    Ok((parsed.settings, from))
}

fn read_seed(seed: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || seed.display().to_string();
    let unreadable = |error: std::io::Error| {
        Problem::Unreadable(format!("{error}; new settings in ZooKeeper are made of it")).at_start(&place())
    };
    let bytes = whole_file::read(seed).map_err(unreadable)?;
    Settings::parse(&bytes).map_err(|errors| Problem::Invalid(errors).at_start(&place()))?;
    Ok(bytes)
}

fn watch_settings(zookeeper: &ZooKeeper, news: &Arc<News>) -> Result<Watch, Error> {
    let (ours, news) = (zookeeper.clone(), Arc::clone(news));
    zookeeper.watch_settings(move |seen| {
        let node = match &seen {
            SettingsSeen::Node(node) => Some(node.clone()),
            _ => None,
        };
        let looked = Looked::at(seen);
        locked(&news.unrecorded).extend(node.filter(|_| looked.content.is_ok()));
        *locked(&news.seen) = Some(looked);
        // Where it is full already, it will be looked at.
        let _ = news.tell.try_send(());
        record(&ours, &news);
    })
}

fn watch_state(zookeeper: &ZooKeeper, news: &Arc<News>) -> Result<Watch, Error> {
    let (ours, news) = (zookeeper.clone(), Arc::clone(news));
    zookeeper.watch_state(move |state| {
        let connected = matches!(state, State::Connected { .. });
        *locked(&news.state) = state;
        let _ = news.tell.try_send(());
        if connected {
            record(&ours, &news);
        }
    })
}

/// Puts what was accepted into the history, where it isn't there. Without ZooKeeper that is done when it is back.
fn record(zookeeper: &ZooKeeper, news: &News) {
    loop {
        let Some(node) = locked(&news.unrecorded).pop_front() else { return };
        match zookeeper.record_accepted(&node, SOMEBODY) {
            Ok(()) => {}
            Err(Error::Away { .. }) => {
                return back(&mut locked(&news.unrecorded), node);
            }
            Err(error) => {
                tracing::warn!("version {} of the settings isn't in the history: {error}", node.version);
            }
        }
    }
}

/// Puts the oldest back. Where that is too many, it is the oldest that goes: the newest may be in force.
fn back<T>(unrecorded: &mut VecDeque<T>, oldest: T) {
    unrecorded.push_front(oldest);
    unrecorded.drain(..unrecorded.len().saturating_sub(MOST_UNRECORDED));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_versions_the_newest_are_recorded() {
        let mut unrecorded: VecDeque<usize> = (1..=MOST_UNRECORDED).collect();
        back(&mut unrecorded, 0);
        assert!(unrecorded.into_iter().eq(1..=MOST_UNRECORDED));
        let mut few = VecDeque::from([1]);
        back(&mut few, 0);
        assert_eq!(few, [0, 1]);
    }
}
