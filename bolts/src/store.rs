//! Rulings, agents' answers and totals in, kept for good; the rulings go on once they are.
//!
//! What a ruling says is written before anybody acts on it, so that no ban is enforced that a restart doesn't know
//! of. A record gets its details here: the fields of its line, and what the proxies say of it.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Bolt, Collector, Timestamp};
use model::client::attribute;
use model::event::{Entry, Event, StoredRecord};
use model::line::{LineParser, LogFormat};
use model::mark::Mark;
use model::settings::Settings;
use model::text::shown;
use model::units::Moment;
use serde_json::{Map, Value, json};

use crate::ports::{EventStore, SettingsPort};
use crate::tuples::{RuledRecord, Ruling, Stored, Timed};

/// The bolt. One task.
pub struct Store {
    events: Arc<dyn EventStore>,
    settings: SettingsPort,
    formats: Vec<(Arc<str>, LineParser)>,
    /// Of each source the newest mark that isn't kept yet.
    marks: HashMap<Arc<str>, Arc<Mark>>,
    marks_kept: Moment,
}

/// Where nothing happens, marks are kept this often, in milliseconds: a restart reads again what came since.
const MARKS_EVERY: i64 = 1_000;

impl Store {
    /// Writes to `events`, and reads lines in their source's format.
    #[must_use]
    pub fn new(
        events: Arc<dyn EventStore>,
        settings: SettingsPort,
        formats: Vec<(Arc<str>, LogFormat)>,
    ) -> Self {
        let formats = formats.into_iter().map(|(source, format)| (source, LineParser::new(format))).collect();
        Self { events, settings, formats, marks: HashMap::new(), marks_kept: Moment::default() }
    }

    fn ruling(&mut self, ruling: &Ruling) {
        let mut events: Vec<Event> =
            ruling.changes.iter().map(|change| Event::Change(Box::new(change.clone()))).collect();
        let held = self.settings.load();
        let source = ruling.mark.as_ref().map(|mark| mark.origin());
        let parser = self.formats.iter_mut().find(|(name, _)| Some(&**name) == source);
        let mut parser = parser.map(|(_, parser)| parser);
        for ruled in &ruling.records {
            let stored = stored(ruled, parser.as_deref_mut(), held.settings());
            events.push(Event::Record(Box::new(stored)));
        }
        match &ruling.mark {
            // A batch that nothing came of may well be read again: nothing comes of it again.
            Some(mark) if events.is_empty() => {
                self.marks.insert(mark.source.clone(), mark.clone());
            }
            mark => {
                if let Some(mark) = mark {
                    self.marks.remove(&mark.source);
                }
                self.events.append(Entry { at: ruling.at, mark: mark.as_deref().cloned(), events });
            }
        }
    }

    fn keep_marks(&mut self, at: Moment) {
        self.marks_kept = at;
        for (_, mark) in self.marks.drain() {
            self.events.append(Entry { at, mark: Some((*mark).clone()), events: Vec::new() });
        }
    }
}

fn stored(ruled: &RuledRecord, parser: Option<&mut LineParser>, settings: &Settings) -> StoredRecord {
    let RuledRecord { record, ban, line } = ruled;
    let mut stored =
        StoredRecord { record: record.clone(), ban: *ban, direct: None, detail: None, proxy_detail: None };
    let Some(parser) = parser.filter(|_| !line.is_empty()) else { return stored };
    let text = |bytes: &[u8]| Value::String(shown(bytes, bytes.len()));
    let fields: Map<String, Value> =
        parser.fields(line).into_iter().map(|(name, value)| (name, text(&value))).collect();
    stored.detail = Some(Value::Object(fields).to_string());
    if let Ok(parsed) = parser.parse(line) {
        let forwarded_for = parsed.forwarded_for.as_deref();
        let client = attribute(parsed.remote, forwarded_for, &settings.trusted_proxies).ok();
        stored.direct = client.map(|client| client.hop == 0);
        let proxies = json!({
            "peer": parsed.remote,
            "forwarded_for": forwarded_for.map(text),
            "client": client.map(|client| client.address),
            "hop": client.map(|client| client.hop),
        });
        stored.proxy_detail = Some(proxies.to_string());
    }
    stored
}

impl Bolt for Store {
    type In = Stored;
    type Out = Ruling;

    fn execute(&mut self, input: Stored, out: &mut Collector<'_, Ruling>) {
        match input {
            Stored::Ruling(ruling) => {
                self.ruling(&ruling);
                out.emit(ruling);
            }
            Stored::Outcomes(outcomes) => {
                let Some(at) = outcomes.0.iter().map(|outcome| outcome.at).max() else { return };
                let events =
                    outcomes.0.into_iter().map(|outcome| Event::Outcome(Box::new(outcome))).collect();
                self.events.append(Entry { at, mark: None, events });
            }
            Stored::Events(Timed { at, events }) => self.events.append(Entry { at, mark: None, events }),
        }
    }

    fn tick(&mut self, now: Timestamp, _: &mut Collector<'_, Ruling>) {
        let now = Moment(now.as_millis() as i64);
        if now.0 - self.marks_kept.0 >= MARKS_EVERY {
            self.keep_marks(now);
        }
    }

    fn cleanup(&mut self, _: &mut Collector<'_, Ruling>) {
        self.keep_marks(self.marks_kept);
    }
}
