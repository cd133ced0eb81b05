//! Entries that wait in memory for a disk that doesn't take them. The memory is bounded: frequency records go
//! first, then agents' answers and totals, oldest first; changes of bans never go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::event::{Entry, Event};

/// The entries that wait, in order.
pub(super) struct Backlog {
    entries: VecDeque<Waiting>,
    bytes: usize,
    max_bytes: usize,
    /// Trims when there are more bytes than this: above `max_bytes` where only changes wait, so that not every
    /// one that comes looks through all of them.
    trim_above: usize,
}

/// An entry that waits.
struct Waiting {
    seq: u64,
    entry: Entry,
    bytes: usize,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, max_bytes, trim_above: max_bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an entry in, behind the others. Returns how many events had to go for it.
    pub(super) fn push(&mut self, seq: u64, entry: Entry) -> u64 {
        let bytes = weight(&entry);
        self.bytes += bytes;
        self.entries.push_back(Waiting { seq, entry, bytes });
        if self.bytes > self.trim_above { self.trim() } else { 0 }
    }

    /// The oldest entry, with its number.
    pub(super) fn pop(&mut self) -> Option<(u64, Entry)> {
        let waiting = self.entries.pop_front()?;
        self.bytes -= waiting.bytes;
        if self.entries.is_empty() {
            self.trim_above = self.max_bytes;
        }
        Some((waiting.seq, waiting.entry))
    }

    /// Puts what `pop` gave in front again.
    pub(super) fn put_back(&mut self, seq: u64, entry: Entry) {
        let bytes = weight(&entry);
        self.bytes += bytes;
        self.entries.push_front(Waiting { seq, entry, bytes });
    }

    fn trim(&mut self) -> u64 {
        // Below the limit by an eighth, so that trimming is rare.
        let enough = self.max_bytes - self.max_bytes / 8;
        let mut lost = self.drop_events(enough, |event| matches!(event, Event::Record(_)));
        if self.bytes > enough {
            lost += self.drop_events(enough, |event| !matches!(event, Event::Change(_)));
        }
        self.trim_above = self.max_bytes.max(self.bytes.saturating_mul(2));
        lost
    }

    /// Drops the events that `may_go`, oldest first, until there are few enough bytes.
    fn drop_events(&mut self, enough: usize, may_go: impl Fn(&Event) -> bool) -> u64 {
        // A source's later mark says all that an earlier one does.
        let mut newest_marks: HashMap<Arc<str>, u64> = HashMap::new();
        for waiting in &self.entries {
            if let Some(mark) = &waiting.entry.mark {
                newest_marks.insert(Arc::clone(&mark.source), waiting.seq);
            }
        }
        let mut lost = 0;
        let mut bytes = self.bytes;
        self.entries.retain_mut(|waiting| {
            if bytes <= enough {
                return true;
            }
            let before = waiting.entry.events.len();
            waiting.entry.events.retain(|event| !may_go(event));
            lost += (before - waiting.entry.events.len()) as u64;
            bytes -= waiting.bytes;
            let mark = waiting.entry.mark.as_ref();
            let marks = mark.is_some_and(|mark| newest_marks.get(&mark.source) == Some(&waiting.seq));
            let stays = marks || !waiting.entry.events.is_empty();
            if stays {
                waiting.bytes = weight(&waiting.entry);
                bytes += waiting.bytes;
            }
            stays
        });
        self.bytes = bytes;
        lost
    }
}

/// About how many bytes of memory an entry takes.
fn weight(entry: &Entry) -> usize {
    const EMPTY: usize = 200;
    const EVENT: usize = 400;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let events = entry.events.iter().map(|event| {
        EVENT
            + match event {
                Event::Record(stored) => text(&stored.detail) + text(&stored.proxy_detail),
                Event::Change(change) => text(&change.ban().note),
                Event::Outcome(outcome) => outcome.result.len() + text(&outcome.ban.note),
                Event::AgentTotal { agent: name, .. } | Event::RuleTotal { rule: name, .. } => name.len(),
            }
    });
    EMPTY + events.sum::<usize>()
}
