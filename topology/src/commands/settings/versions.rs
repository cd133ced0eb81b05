//! `ccfirewall settings history`, `diff` and `rollback`: the versions that ZooKeeper keeps.

use std::io::Write;

use anyhow::{Context as _, bail};
use model::text::shown;
use serde::Serialize;
use zk_config::{HistoryEntry, ZooKeeper};

use super::store::{Where, parse, time};
use super::{difference, set};
use crate::commands::report_text::table;
use crate::commands::running::Output;

/// Longer names are cut; `--output json` has them whole.
const LONGEST: usize = 60;
/// Longer descriptions of changes are cut.
const LONGEST_CHANGE: usize = 200;

/// A version, as it is listed.
#[derive(Serialize)]
struct Version {
    version: i32,
    at: String,
    who: String,
    /// What changed since the one before; `null` where that isn't kept.
    changed: Option<String>,
}

/// Lists the newest versions.
pub(super) fn history(out: &mut dyn Write, place: &Where, limit: u32, output: Output) -> anyhow::Result<()> {
    let (_, zookeeper) = place.open_with_history()?;
    let entries = zookeeper.history()?;
    let shown_entries = entries.len().min(limit as usize);
    // One more, for what changed in the last one that is shown.
    let texts = entries.iter().take(shown_entries + 1).map(|entry| zookeeper.history_settings(entry));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let versions = entries.iter().take(shown_entries).enumerate().map(|(at, entry)| {
        let both = texts[at].as_ref().zip(texts.get(at + 1).and_then(Option::as_ref));
        Version {
            version: entry.version,
            at: time(entry.at),
            who: entry.who.clone(),
            changed: both.map(|(new, old)| difference::in_short(old, new)),
        }
    });
    let versions: Vec<Version> = versions.collect();
    if output == Output::Json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&versions)?)?);
    }
    if versions.is_empty() {
        return Ok(writeln!(out, "There is no history yet.")?);
    }
    let mut table = table(&["version", "when", "who", "what changed"], &[0]);
    for version in &versions {
        table.add_row([
            version.version.to_string(),
            version.at.clone(),
            shown(version.who.as_bytes(), LONGEST),
            version.changed.as_deref().map(|text| shown(text.as_bytes(), LONGEST_CHANGE)).unwrap_or_default(),
        ]);
    }
    writeln!(out, "{table}")?;
    match entries.len() - versions.len() {
        0 => {}
        more => writeln!(out, "\n{more} more, -n shows them")?,
    }
    Ok(())
}

/// The settings of the version with that number.
fn numbered(zookeeper: &ZooKeeper, version: i32) -> anyhow::Result<String> {
    let found = zookeeper.history_version(version)?;
    let found = found.with_context(|| {
        format!("there is no version {version}; `ccfirewall settings history` lists those that there are")
    })?;
    Ok(found.settings)
}

/// Compares two versions.
pub(super) fn diff(out: &mut dyn Write, place: &Where, a: Option<i32>, b: Option<i32>) -> anyhow::Result<()> {
    let (store, zookeeper) = place.open_with_history()?;
    let name = |version: i32| format!("version {version}");
    let (old, new) = match (a, b) {
        (Some(a), Some(b)) => ((name(a), numbered(&zookeeper, a)?), (name(b), numbered(&zookeeper, b)?)),
        (Some(a), None) => {
            let stored = store.read()?;
            let now = stored.version().map_or_else(|| "now".to_owned(), |now| format!("version {now} (now)"));
            ((name(a), numbered(&zookeeper, a)?), (now, stored.text()))
        }
        (None, _) => {
            let entries = zookeeper.history()?;
            let [new, old, ..] = entries.as_slice() else {
                bail!("there are no two versions to compare yet")
            };
            let read = |entry: &HistoryEntry| {
                let text = zookeeper.history_settings(entry)?;
                let text = text.with_context(|| {
                    format!("version {} was forgotten just now, or its record can't be read", entry.version)
                })?;
                anyhow::Ok((name(entry.version), text))
            };
            (read(old)?, read(new)?)
        }
    };
    Ok(difference::write(out, (&old.0, &old.1), (&new.0, &new.1))?)
}

#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    place: Where,
    /// The version, as `settings history` numbers them
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    version: i32,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
    /// What is written to standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    output: Output,
}

impl Rollback {
    pub(super) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let (store, zookeeper) = self.place.open_with_history()?;
        let stored = store.read()?;
        let text = numbered(&zookeeper, self.version)?;
        // It was in order for a program of its time.
        parse(text.as_bytes(), &format!("version {}", self.version))?;
        let question = (!self.yes).then_some("Write this?");
        set::write(out, &store, &stored, &text, self.output, question)
    }
}
