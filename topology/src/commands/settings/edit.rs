//! `ccfirewall settings edit`: the settings in an editor, checked before they are written. What somebody typed is
//! kept in a file whenever it isn't written.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use model::settings::Document;
use tempfile::NamedTempFile;

use super::store::{Store, Stored, Where};
use super::{ask, set};
use crate::commands::Failure;
use crate::commands::running::Output;

/// Lets somebody edit the settings.
pub(super) fn edit(out: &mut dyn Write, place: &Where) -> anyhow::Result<()> {
    let store = place.open()?;
    let stored = store.read()?;
    let before = if stored.bytes.is_some() { stored.text() } else { Document::default().to_json() + "\n" };
    let mut file = tempfile::Builder::new()
        .prefix("ccfirewall-settings-")
        .suffix(".json")
        .tempfile()
        .context("can't make a file to edit")?;
    file.write_all(before.as_bytes()).and_then(|()| file.flush()).context("can't write a file to edit")?;
    match in_editor(out, &store, &stored, &before, file.path()) {
        Ok(()) => Ok(()),
        Err(error) => Err(keep(file, &before, error)),
    }
}

fn in_editor(
    out: &mut dyn Write,
    store: &Store,
    stored: &Stored,
    before: &str,
    path: &Path,
) -> anyhow::Result<()> {
    loop {
        call_editor(path)?;
        let bytes = fs::read(path).with_context(|| format!("can't read {} again", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| Failure::settings("what was saved isn't UTF-8"))?;
        if text == before && stored.bytes.is_some() {
            writeln!(out, "Nothing was changed.")?;
            return Ok(());
        }
        let Some(errors) = set::errors(&text) else {
            return set::write(out, store, stored, &text, Output::Text, None);
        };
        let count = errors.findings().len();
        let noun = if count == 1 { "error" } else { "errors" };
        let told = format!("{count} {noun}\n{errors}");
        eprintln!("{told}");
        if ask("Edit again?")? != Some(true) {
            return Err(Failure::settings("the settings have errors, and nothing was written"));
        }
    }
}

/// Lets the shell start it, for people have options in these variables.
fn call_editor(path: &Path) -> anyhow::Result<()> {
    let variable = |name: &&str| env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = ["VISUAL", "EDITOR"].iter().find_map(variable).unwrap_or_else(|| "vi".to_owned());
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), "ccfirewall"])
        .arg(path)
        .status()
        .context("can't start a shell for the editor")?;
    if !status.success() {
        bail!(
            "the editor `{editor}` ended with {status}, so nothing was written; $EDITOR may name another one"
        );
    }
    Ok(())
}

/// Says where the text is that wasn't written.
fn keep(file: NamedTempFile, before: &str, error: anyhow::Error) -> anyhow::Error {
    let same = fs::read(file.path()).is_ok_and(|text| text == before.as_bytes());
    if same {
        return error;
    }
    // By its name, for editors put another file in its place.
    let path = file.into_temp_path();
    match path.keep() {
        Ok(path) => {
            let code =
                error.downcast_ref::<Failure>().map_or(crate::commands::FAILED, |failure| failure.code);
            let message = format!("{error:#}\nwhat you wrote is in {}", path.display());
            Failure { code, message }.into()
        }
        Err(kept) => error.context(format!("what you wrote can't be kept: {kept}")),
    }
}
