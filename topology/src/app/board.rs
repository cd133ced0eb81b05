//! The board where the running parts hang up how they are, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bolts::ports::{Alarm, BanSink, Notifier, StatusSink};
use bolts::tuples::LiveStatus;
use model::ban::Change;
use model::ledger::Ledger;
use model::units::Moment;

/// The newest status, the alarms that aren't over, and the bans.
#[derive(Debug, Default)]
pub struct Board {
    status: Mutex<LiveStatus>,
    alarms: Mutex<BTreeMap<&'static str, String>>,
    ledger: Mutex<Ledger>,
}

impl Board {
    /// Shows the bans of the time before the start.
    pub fn begin_with(&self, ledger: Ledger) {
        *lock(&self.ledger) = ledger;
    }

    /// How the run is doing.
    #[must_use]
    pub fn status(&self) -> LiveStatus {
        lock(&self.status).clone()
    }

    /// The alarms that aren't over, by kind.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let alarm = |(&kind, text): (&&'static str, &String)| Alarm { kind, text: text.clone(), over: false };
        lock(&self.alarms).iter().map(alarm).collect()
    }

    /// Looks at the bans.
    pub fn ledger<R>(&self, look: impl FnOnce(&Ledger) -> R) -> R {
        look(&lock(&self.ledger))
    }
}

/// Each change has its line in the program's own log.
fn tell(change: &Change) {
    let ban = change.ban();
    let country = ban.place.as_ref().and_then(|place| place.country.as_deref()).unwrap_or("-");
    let (target, rule, seconds) = (&ban.target, &ban.rule, ban.length().0);
    match change {
        Change::Banned(_) => {
            tracing::info!(%target, country, %rule, seconds, count = ban.count, "ban");
        }
        Change::Extended(_) => {
            tracing::info!(%target, country, %rule, seconds, "ban changed");
        }
        Change::Unbanned { cause, .. } => {
            tracing::info!(%target, country, %rule, ?cause, "unban");
        }
        Change::Held { cap, .. } => {
            tracing::warn!(%target, country, %rule, %cap, "ban held back");
        }
        Change::Unheld { released, .. } => {
            tracing::info!(%target, country, %rule, released, "not held any more");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StatusSink for Board {
    fn status(&self, status: &LiveStatus) {
        lock(&self.status).clone_from(status);
    }
}

impl Notifier for Board {
    fn notify(&self, alarm: Alarm) {
        if alarm.over {
            tracing::info!(alarm = alarm.kind, "over: {}", alarm.text);
            lock(&self.alarms).remove(alarm.kind);
        } else {
            tracing::warn!(alarm = alarm.kind, "{}", alarm.text);
            lock(&self.alarms).insert(alarm.kind, alarm.text);
        }
    }
}

impl BanSink for Board {
    fn apply(&self, changes: &[Change], _: Moment) {
        let mut ledger = lock(&self.ledger);
        for change in changes {
            ledger.apply(change);
            tell(change);
        }
    }
}
