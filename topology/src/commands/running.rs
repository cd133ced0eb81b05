//! What the commands share that speak to a running firewall.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::control::client::{Client, ClientError, usual_state};

/// Which firewall, and how it is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Running {
    /// The state folder of the firewall that runs. Without it, /var/lib/ccfirewall, or this user's
    /// $XDG_STATE_HOME/ccfirewall (~/.local/state/ccfirewall)
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// What is written to standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM", global = true)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Text,
    /// JSON, as docs/http.md describes it
    Json,
}

impl Running {
    pub(super) fn client(&self) -> Client {
        Client::new(&self.state())
    }

    /// The state folder that is meant.
    pub(super) fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(usual_state)
    }

    /// Writes what came back: as it is, or as `text` tells it.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self.output {
            Output::Text => text(&mut out, value),
            Output::Json => serde_json::to_writer(&mut out, value)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
        };
        written.and_then(|()| out.flush()).context("can't write the output")
    }
}

/// What the program refused is told, and isn't the end: others of the same command may go well.
pub(super) fn or_refused<T>(answer: Result<T, ClientError>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ClientError::Refused(why)) => {
            eprintln!("refused: {}", model::text::shown(why.as_bytes(), 500));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The most exact two units of a length of time: `2 h 5 min`.
pub(super) fn lasting(seconds: u64) -> String {
    let (days, hours, minutes, rest) =
        (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")];
    let from = units.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown = units[from..].iter().take(2).filter(|(n, _)| *n > 0);
    let text: Vec<String> = shown.map(|(n, unit)| format!("{n} {unit}")).collect();
    if text.is_empty() { "0 s".to_owned() } else { text.join(" ") }
}

/// `30s`, `10m`, `2h`, `1d`, or several of them: `1h30m`; in seconds, at least one.
pub(super) fn parse_duration(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a length of time like 30s, 10m, 2h, 1d or 1h30m");
    let (mut total, mut digits) = (0u64, String::new());
    for c in text.trim().chars() {
        let unit = match c {
            '0'..='9' if digits.len() < 10 => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        total = total.saturating_add(number * unit);
        digits.clear();
    }
    if !digits.is_empty() {
        return Err(wrong());
    }
    match u32::try_from(total) {
        Ok(0) => Err(wrong()),
        Ok(seconds) => Ok(seconds),
        Err(_) => Err(format!("`{text}` is longer than 136 years")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400), ("1h30m", 5400)] {
            assert_eq!(parse_duration(text), Ok(seconds));
        }
        for bad in ["", "0s", "600", "10 m", "-1m", "m", "1w", "99999d", "99999999999s", "1h30", "१h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (552, "9 min 12 s"),
            (7500, "2 h 5 min"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
    }
}
