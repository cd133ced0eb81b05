//! `ccfirewall settings get` and `set`, and how anything is written: checked, shown, and only over what was read.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::settings::{Settings, SettingsErrors, schema};
use serde::Serialize;
use serde_json::value::RawValue;

use super::key::Key;
use super::store::{Store, Stored, Where, parse};
use super::{ask, difference, printable};
use crate::adapters::whole_file;
use crate::commands::Failure;
use crate::commands::running::Output;

/// Prints what is stored.
pub(super) fn get(
    out: &mut dyn Write,
    place: &Where,
    key: Option<&str>,
    effective: bool,
) -> anyhow::Result<()> {
    let key = key.map(Key::parse).transpose().map_err(|error| Failure::usage(error.to_string()))?;
    let store = place.open()?;
    let stored = store.read()?;
    let effective = effective.then(|| stored.parse(&store.place())).transpose()?;
    let effective = effective.map(|parsed| parsed.document.to_json());
    let Some(key) = key else {
        let bytes =
            effective.as_ref().map_or_else(|| stored.bytes(&store.place()), |text| Ok(text.as_bytes()))?;
        return print(out, bytes);
    };
    let text = effective.map_or_else(|| stored.bytes(&store.place()).map(|_| stored.text()), Ok)?;
    if let Some(value) = key.get(&text) {
        return print(out, value.as_bytes());
    }
    // Whether they are JSON at all, and whether there is such a key.
    let parsed = stored.parse(&store.place())?;
    match key.get(&parsed.document.to_json()) {
        Some(_) => anyhow::bail!("it isn't in the settings, so its default holds: --effective shows it"),
        None => {
            anyhow::bail!("there is no such key in the settings; `ccfirewall settings schema` has them all")
        }
    }
}

/// As it is, but for a terminal.
fn print(out: &mut dyn Write, bytes: &[u8]) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        out.write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?;
    } else {
        out.write_all(bytes)?;
    }
    if !bytes.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// A key such as count, or special_rule["www.example.com/login"].block_second
    #[arg(required_unless_present = "file")]
    key: Option<String>,
    /// Its value: a number, true, false, a text or any JSON; of a list all that is in it
    #[arg(required_unless_present = "file", allow_negative_numbers = true)]
    value: Vec<String>,
    /// All settings, JSON; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["key", "value"])]
    file: Option<PathBuf>,
    /// Only where this is the version that is stored
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i32).range(0..))]
    expect: Option<i32>,
    /// What is written to standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    output: Output,
}

impl Args {
    pub(super) fn run(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let usage = |error: anyhow::Error| Failure::usage(error.to_string());
        let key = self.key.as_deref().map(Key::parse).transpose().map_err(usage)?;
        // Before anything is connected: whoever pipes it in may take a while.
        let whole = self.file.as_deref().map(read).transpose()?;
        let store = self.place.open()?;
        let stored = store.read()?;
        if let Some(version) = self.expect {
            store.expect(&stored, version)?;
        }
        let text = match (whole, key) {
            (Some(text), _) => text,
            (None, Some(key)) => {
                let value = value(&key, &self.value)?;
                let text = if stored.bytes.is_some() { stored.text() } else { "{}\n".to_owned() };
                key.set(&text, &value)?
            }
            (None, None) => return Err(Failure::usage("name a key, or a --file")),
        };
        write(out, &store, &stored, &text, self.output, None)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let limit = whole_file::LONGEST + 1;
        io::Read::read_to_end(&mut io::Read::take(io::stdin(), limit), &mut bytes).map(|_| bytes)
    } else {
        whole_file::read(path)
    };
    let bytes = bytes
        .map_err(|error| Failure::usage(format!("can't read the settings in {}: {error}", path.display())))?;
    let place = path.display().to_string();
    parse(&bytes, &place)?;
    let text = String::from_utf8(bytes).context("what is JSON is UTF-8")?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

/// The value of a key as JSON.
fn value(key: &Key, values: &[String]) -> anyhow::Result<String> {
    let is_json = |text: &str| serde_json::from_str::<&RawValue>(text).is_ok();
    let quoted = |text: &String| serde_json::Value::from(text.as_str()).to_string();
    let schema = schema();
    let is_list = key.top().is_some_and(|name| schema["properties"][name]["type"] == "array");
    match values {
        [one] if is_list && one.trim_start().starts_with('[') && is_json(one) => Ok(one.clone()),
        items if is_list => Ok(format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", "))),
        [one] if is_json(one) => Ok(one.trim().to_owned()),
        [one] => Ok(quoted(one)),
        _ => Err(Failure::usage("this key takes one value; quote what has spaces in it")),
    }
}

/// What came of a change.
#[derive(Serialize)]
struct Outcome {
    changed: bool,
    /// The version that is stored now; `null` in a file.
    version: Option<i32>,
}

/// Checks `text`, shows how it differs from what is stored, and replaces that; asks before, where there is a question
/// and a person.
pub(super) fn write(
    out: &mut dyn Write,
    store: &Store,
    stored: &Stored,
    text: &str,
    output: Output,
    question: Option<&str>,
) -> anyhow::Result<()> {
    check(text)?;
    let changed = stored.bytes.as_deref() != Some(text.as_bytes());
    if !changed {
        return tell(out, output, &Outcome { changed, version: stored.version() }, "Nothing changes.");
    }
    if output == Output::Text {
        let old = stored.version().map_or_else(|| store.place(), |version| format!("version {version}"));
        difference::write(out, (&old, &stored.text()), ("new", text))?;
        out.flush()?;
    }
    if let Some(question) = question
        && ask(question)? == Some(false)
    {
        anyhow::bail!("nothing was written");
    }
    let version = store.write(text, stored)?;
    let place = store.place();
    let told = match version {
        Some(version) => format!("Written to {place}: version {version}."),
        None => format!("Written to {place}."),
    };
    tell(out, output, &Outcome { changed, version }, &told)
}

fn tell(out: &mut dyn Write, output: Output, outcome: &Outcome, text: &str) -> anyhow::Result<()> {
    match output {
        Output::Text => writeln!(out, "{text}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string(outcome)?)?,
    }
    Ok(())
}

/// Every error, where there are some; what is doubtful is said.
fn check(text: &str) -> anyhow::Result<()> {
    let parsed = parse(text.as_bytes(), "the new settings").map_err(|error| {
        let error = format!("{error}\nnothing was written");
        Failure::settings(error)
    })?;
    for warning in &parsed.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

/// Every error of a text; `None` where it is in order.
pub(super) fn errors(text: &str) -> Option<SettingsErrors> {
    Settings::parse(text).err()
}
