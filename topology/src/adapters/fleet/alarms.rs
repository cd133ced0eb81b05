//! Alarms of many agents, told as one of each kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bolts::ports::{Alarm, Notifier};

/// So many agents are named in an alarm.
const NAMED: usize = 5;

pub(super) struct Alarms {
    notifier: Arc<dyn Notifier>,
    /// Of each kind, what is said of which agent.
    open: Mutex<BTreeMap<&'static str, BTreeMap<Arc<str>, String>>>,
}

impl Alarms {
    pub(super) fn new(notifier: Arc<dyn Notifier>) -> Self {
        Self { notifier, open: Mutex::default() }
    }

    /// Says what is wrong with an agent, or that nothing of that kind is any more.
    pub(super) fn set(&self, kind: &'static str, agent: &Arc<str>, text: Option<&str>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = open.entry(kind).or_default();
        let before = match text {
            Some(text) => of_kind.insert(Arc::clone(agent), text.to_owned()),
            None => of_kind.remove(agent),
        };
        if before.as_deref() == text {
            return;
        }
        let over = of_kind.is_empty();
        let named = of_kind.iter().take(NAMED).map(|(agent, text)| format!("agent {agent}: {text}"));
        let mut words: Vec<String> = named.collect();
        if of_kind.len() > NAMED {
            words.push(format!("and {} more agents", of_kind.len() - NAMED));
        }
        if over {
            words.extend(before.map(|text| format!("agent {agent}: {text}")));
        }
        // Told under the lock, so that what is told last is how it is.
        self.notifier.notify(Alarm { kind, text: words.join("; "), over });
    }
}
