//! The store's thread: reads the journal in order and writes its rows, batch by batch. Whatever goes wrong with the
//! database, it begins anew with a connection and the position that the database itself remembers, so there is one
//! way to start and to go on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bolts::ports::{Alarm, Notifier};
use model::event::{Entry, Event};
use model::units::Moment;

use super::database::{Batch, Database, PATIENCE, Tables, Trouble};
use super::local_time::LocalTime;
use super::rows::Rows;
use super::told::Told;
use super::{StoreOptions, Takes, shared};
use crate::adapters::journal::{Fold, Journal, Reader};

const MAX_ROWS: usize = 2_000;
const MAX_TEXT: usize = 16 << 20;
const FORGET_EVERY: Duration = Duration::from_secs(10);
const GATHER: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Task<S: Fold, D> {
    database: D,
    journal: Arc<Journal<S>>,
    options: StoreOptions,
    takes: Takes,
    time: LocalTime,
    notifier: Arc<dyn Notifier>,
    told: Arc<Told>,
    /// What the alarm says that is up.
    trouble: Option<String>,
    pause: Duration,
    retention_due: Instant,
    forget_due: Instant,
}

impl<S: Fold, D: Database> Task<S, D> {
    pub(super) fn new(
        database: D,
        journal: Arc<Journal<S>>,
        options: StoreOptions,
        takes: Takes,
        time: LocalTime,
        notifier: Arc<dyn Notifier>,
        told: Arc<Told>,
    ) -> Self {
        Self {
            database,
            journal,
            options,
            takes,
            time,
            notifier,
            told,
            trouble: None,
            pause: FIRST_PAUSE,
            retention_due: Instant::now(),
            forget_due: Instant::now(),
        }
    }

    /// Works until it is stopped, or somebody else owns the database.
    pub(super) async fn run(mut self) {
        loop {
            match self.connected().await {
                Ok(()) | Err(Trouble::GivenUp) => return,
                Err(Trouble::Fenced { epoch, name }) => return self.lost(epoch, name),
                Err(trouble) => self.failed(&trouble),
            }
            self.told.pause(self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            if self.told.give_up() {
                return;
            }
        }
    }

    /// Works with one connection until it is stopped, or fails.
    async fn connected(&mut self) -> Result<(), Trouble> {
        // Changing the tables of 2016 may take hours; all else of it has limits of its own.
        let mut tables = self.call(None, self.database.connect()).await?;
        let position = self.call(Some(PATIENCE), tables.position(self.journal.id())).await?;
        // An older copy of the journal was put back: its numbers were used for other entries already.
        self.journal.start_above(position);
        if position > self.told.status().position {
            // It was written though the answer was lost.
            self.pause = FIRST_PAUSE;
        }
        self.told.update(|status| status.position = position);
        let mut reader = self.journal.reader(position);
        loop {
            let batch = self.gather(&mut reader)?;
            if batch.entries > 0 {
                self.write(&mut tables, &batch).await?;
                if self.forget_due <= Instant::now() {
                    self.forget(&mut tables).await?;
                    self.forget_due = Instant::now() + FORGET_EVERY;
                }
            }
            self.recovered();
            if self.told.give_up() || (self.told.stopping() && batch.entries == 0) {
                break;
            }
            if self.retention_due <= Instant::now() {
                let retention = (self.options.retention)();
                let more = tables.retire(retention, now(), &self.time);
                if !self.call(Some(PATIENCE), more).await? {
                    self.retention_due = Instant::now() + self.options.retention_every;
                }
            }
        }
        self.forget(&mut tables).await?;
        self.call(Some(PATIENCE), tables.close()).await
    }

    /// Waits for a database no longer than it makes sense.
    async fn call<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        if !D::MAY_HANG {
            return work.await;
        }
        let too_long = async {
            match limit {
                Some(limit) => {
                    tokio::time::sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            limit = too_long => Err(Trouble::Silent(limit)),
            () = self.told.given_up() => Err(Trouble::GivenUp),
        }
    }

    /// Takes what is there, up to a batch. Waits only where nothing is.
    fn gather(&self, reader: &mut Reader<S>) -> Result<Batch, io::Error> {
        let after = self.told.status().position;
        let journal = self.journal.id();
        let mut batch =
            Batch { journal, rows: Rows::default(), shared: Vec::new(), after, seq: after, entries: 0 };
        let until = Instant::now() + GATHER;
        let mut wait = self.retention_due.saturating_duration_since(Instant::now());
        let mut text = 0;
        while let Some((seq, mut entry)) = reader.next(wait, &self.told.stop)? {
            match self.takes {
                Takes::Answers => entry.events.retain(|event| matches!(event, Event::Outcome(_))),
                Takes::Everything if self.options.fence.is_some() => {
                    batch.shared.extend(shared::texts(&entry)?);
                }
                Takes::Everything | Takes::Rows => {}
            }
            text += text_bytes(&entry);
            batch.rows.add(journal, seq, entry, &self.time);
            (batch.seq, batch.entries) = (seq, batch.entries + 1);
            if batch.rows.len() >= MAX_ROWS
                || batch.shared.len() >= MAX_ROWS
                || text >= MAX_TEXT
                || Instant::now() >= until
            {
                break;
            }
            wait = Duration::ZERO;
        }
        Ok(batch)
    }

    async fn write(&mut self, tables: &mut D::Tables, batch: &Batch) -> Result<(), Trouble> {
        let skipped = self.call(Some(PATIENCE), tables.write(batch)).await?;
        self.told.update(|status| {
            status.position = batch.seq;
            status.rows_written += batch.rows.len() as u64 - skipped;
            status.rows_skipped += skipped;
        });
        if skipped > 0 {
            let text = format!(
                "Rows can't be inserted into {} and are passed by, {} since the start: the log says which, and why. Did \
                 somebody change the tables?",
                self.database.name(),
                self.told.status().rows_skipped,
            );
            self.notifier.notify(Alarm { kind: "store_skipped", text, over: false });
        }
        self.pause = FIRST_PAUSE;
        self.call(Some(PATIENCE), tables.renew::<S>()).await
    }

    /// Lets go of the journal's files that are in the tables for good: a commit alone may not survive a power cut.
    async fn forget(&self, tables: &mut D::Tables) -> Result<(), Trouble> {
        let written = self.told.status().position;
        if let Some(safe) = self.call(Some(PATIENCE), tables.safe(written)).await? {
            self.journal.forget_below(safe.saturating_add(1));
        }
        Ok(())
    }

    fn failed(&mut self, trouble: &Trouble) {
        let text = trouble.to_string();
        self.told.update(|status| status.last_error = Some(text.clone()));
        if self.trouble.as_ref() == Some(&text) {
            return;
        }
        let told = format!(
            "The database {} can't be written: {text}. Everything is kept in the journal and follows as soon as \
             it can be: see {}.",
            self.database.name(),
            D::LOOK_AT,
        );
        self.notifier.notify(Alarm { kind: "store_behind", text: told, over: false });
        self.trouble = Some(text);
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            let text =
                format!("The database {} is written again; what waited follows.", self.database.name());
            self.notifier.notify(Alarm { kind: "store_behind", text, over: true });
        }
    }

    fn lost(&mut self, epoch: i64, name: String) {
        self.recovered();
        tracing::warn!(
            owner = name,
            epoch,
            "another worker owns the database now; nothing more is written here"
        );
        self.told.update(|status| status.fenced_by = Some(name));
        if let Some(fence) = &self.options.fence {
            (fence.on_lost)();
        }
    }
}

/// How long the texts of an entry are that clients and agents wrote.
fn text_bytes(entry: &Entry) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes = entry.events.iter().map(|event| match event {
        Event::Record(stored) => text(&stored.detail) + text(&stored.proxy_detail),
        Event::Outcome(outcome) => outcome.result.len(),
        Event::Change(change) => text(&change.ban().note),
        Event::AgentTotal { .. } | Event::RuleTotal { .. } => 0,
    });
    bytes.sum()
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
