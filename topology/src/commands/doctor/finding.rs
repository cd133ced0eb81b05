//! What a check found, and how it is shown.

use std::io::{self, Write};

use model::text::shown;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    /// It couldn't be told, or doesn't matter here.
    Skipped,
    /// As it should be.
    Ok,
    /// It works, and not as well as it could.
    Warn,
    /// It doesn't work.
    Bad,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The check's name.
    pub(super) check: &'static str,
    /// How bad it is.
    pub(super) level: Level,
    /// What was found.
    pub(super) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
    /// The log or topic that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>, mend: Option<String>) -> Self {
        Self { check, level, found: found.into(), mend, log: None }
    }

    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found, None)
    }

    pub(super) fn skipped(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, found, None)
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, found, Some(mend.into()))
    }

    pub(super) fn bad(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(check, Level::Bad, found, Some(mend.into()))
    }
}

impl Finding {
    /// What is wrong and what to do; `None` where nothing is.
    pub(super) fn doubt(self) -> Option<String> {
        let mend = self.mend.map(|mend| format!("; {mend}")).unwrap_or_default();
        (self.level > Level::Ok).then(|| format!("{}{mend}", self.found))
    }
}

/// All that was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    checks: Vec<Finding>,
    #[serde(skip)]
    log: Option<String>,
}

/// Lines of text are at most this wide, where a terminal doesn't say.
const WIDTH: usize = 110;
/// Where the text begins behind level and name.
const INDENT: usize = 20;

impl Report {
    /// The next findings are about that log or topic.
    pub(super) fn about(&mut self, log: String) {
        self.log = Some(log);
    }

    /// And the next ones aren't.
    pub(super) fn about_nothing(&mut self) {
        self.log = None;
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.checks.push(Finding { log: self.log.clone(), ..finding });
    }

    pub(super) fn worst(&self) -> Level {
        self.checks.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// For people.
    pub(super) fn write(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        for finding in &self.checks {
            let (name, code) = match finding.level {
                Level::Skipped => ("skip", "2"),
                Level::Ok => ("ok", "32"),
                Level::Warn => ("warn", "33"),
                Level::Bad => ("bad", "1;31"),
            };
            let (on, off) = if colour { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
            write!(out, "{on}{name:<6}{off}{:<width$}", finding.check, width = INDENT - 6)?;
            wrapped(out, &finding.found, "")?;
            if let Some(mend) = &finding.mend {
                write!(out, "{:INDENT$}", "")?;
                wrapped(out, mend, "→ ")?;
            }
        }
        let count = |level| self.checks.iter().filter(|finding| finding.level == level).count();
        let (bad, warnings) = (count(Level::Bad), count(Level::Warn));
        let warnings = match warnings {
            0 => "no warnings".to_owned(),
            1 => "1 warning".to_owned(),
            n => format!("{n} warnings"),
        };
        match bad {
            0 => writeln!(out, "\nNothing is bad, {warnings}."),
            1 => writeln!(out, "\n1 thing is bad, {warnings}."),
            n => writeln!(out, "\n{n} things are bad, {warnings}."),
        }
    }
}

/// Breaks text between words; what follows stands below its beginning.
fn wrapped(out: &mut impl Write, text: &str, mark: &str) -> io::Result<()> {
    let indent = INDENT + mark.chars().count();
    write!(out, "{mark}")?;
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            write!(out, "{:indent$}", "")?;
        }
        let line = shown(line.as_bytes(), usize::MAX);
        let mut at = indent;
        for (index, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            if index > 0 && at + 1 + length > WIDTH {
                write!(out, "\n{:indent$}", "")?;
                at = indent;
            } else if index > 0 {
                write!(out, " ")?;
                at += 1;
            }
            write!(out, "{word}")?;
            at += length;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Seconds in words that fit a sentence.
pub(super) fn ago(seconds: u64) -> String {
    super::super::running::lasting(seconds)
}

/// A number as people read it.
pub(super) fn grouped(number: u64) -> String {
    super::super::report_text::grouped(number)
}

/// What a library says went wrong, without what only its authors understand: numbers of errors, states, counts.
pub(super) fn plain(reason: &str) -> String {
    let mut text = String::with_capacity(reason.len());
    let mut rest = reason;
    while let Some((before, after)) = rest.split_once(" (") {
        text.push_str(before);
        let noise = after.starts_with("os error ") || after.starts_with("after ");
        rest = match after.split_once(')') {
            // `(s)` may be within.
            Some((within, behind)) if noise => {
                if within.ends_with("error(s") {
                    behind.split_once(')').map_or("", |(_, behind)| behind)
                } else {
                    behind
                }
            }
            _ => {
                text.push_str(" (");
                after
            }
        };
    }
    text.push_str(rest);
    shown(text.replace("/bootstrap", "").as_bytes(), REASON)
}

/// No reason is longer.
const REASON: usize = 300;

/// Bytes in words.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_for_people() {
        for (reason, expect) in [
            ("Connection refused (os error 111)", "Connection refused"),
            ("k:1/bootstrap: failed: refused (after 0ms in state CONNECT)", "k:1: failed: refused"),
            ("refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)", "refused"),
            ("a (os error 1) and (b) c (os error 2", "a and (b) c (os error 2"),
            ("no \u{1b}[2J", "no \\u{1b}[2J"),
            ("", ""),
        ] {
            assert_eq!(plain(reason), expect);
        }
    }
}
