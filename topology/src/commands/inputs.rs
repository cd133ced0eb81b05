//! What several commands take: settings, log formats, GeoIP databases, logs.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bolts::ports::PlaceLookup;
use model::line::LogFormat;
use model::settings::{Parsed, Settings};

use super::Failure;
use crate::adapters::maxmind::{Countries, MaxMind};

#[derive(Debug, clap::Args)]
pub(super) struct Rules {
    /// The settings, JSON (`ccfirewall settings schema` describes it); without it the defaults hold
    #[arg(short, long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How lines are written: `combined`, `json`, a log_format pasted from nginx.conf, or a file that holds one
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "combined")]
    log_format: String,
    /// GeoIP databases in MaxMind's format (country, city, ASN), instead of the built-in countries
    #[arg(long, value_name = "FILE")]
    geoip: Vec<PathBuf>,
}

impl Rules {
    /// The settings; every error at once where they have some.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let Some(path) = &self.settings else {
            return Ok(Settings::default());
        };
        let parsed = read_settings(path)?;
        for warning in &parsed.warnings {
            tracing::warn!("{}: {warning}", path.display());
        }
        Ok(parsed.settings)
    }

    pub(super) fn log_format(&self) -> anyhow::Result<LogFormat> {
        log_format(&self.log_format)
    }

    pub(super) fn places(&self) -> anyhow::Result<Arc<dyn PlaceLookup>> {
        if self.geoip.is_empty() {
            return Ok(Arc::new(Countries::default()));
        }
        let databases =
            MaxMind::open(&self.geoip).map_err(|error| Failure::usage(format!("--geoip: {error:#}")))?;
        Ok(Arc::new(databases))
    }
}

/// A log format by its name, as it stands in `nginx.conf`, or in a file.
pub(super) fn log_format(given: &str) -> anyhow::Result<LogFormat> {
    let path = Path::new(given);
    let text = if !matches!(given, "combined" | "json") && path.is_file() {
        std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("can't read the log format in {}: {error}", path.display()))
        })?
    } else {
        given.to_owned()
    };
    text.parse().map_err(|error| Failure::usage(format!("--log-format: {error}")))
}

/// Reads and validates a settings file.
pub(super) fn read_settings(path: &Path) -> anyhow::Result<Parsed> {
    let json = if path == Path::new("-") {
        io::read_to_string(io::stdin()).map(String::into_bytes)
    } else {
        std::fs::read(path)
    };
    let json = json
        .map_err(|error| Failure::usage(format!("can't read the settings in {}: {error}", path.display())))?;
    Settings::parse(&json).map_err(|errors| {
        let count = errors.findings().len();
        let noun = if count == 1 { "error" } else { "errors" };
        Failure::settings(format!("{}: {count} {noun}\n{errors}", path.display()))
    })
}

/// Looks at all logs before anything runs, so that a mistyped name costs no time.
pub(super) fn check_logs(logs: &[PathBuf]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for log in logs.iter().filter(|log| *log != Path::new("-")) {
        match std::fs::File::open(log).and_then(|file| file.metadata()) {
            Err(error) => wrong.push(format!("{}: {error}", log.display())),
            Ok(metadata) if metadata.is_dir() => {
                wrong.push(format!("{} is a folder, not a log", log.display()));
            }
            Ok(_) => {}
        }
    }
    if logs.iter().filter(|log| *log == Path::new("-")).count() > 1 {
        wrong.push("- (standard input) can be read only once".to_owned());
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::usage(wrong.join("\n       "))) }
}

/// The size of all logs together; `None` where one of them doesn't tell.
pub(super) fn total_size(logs: &[PathBuf]) -> Option<u64> {
    logs.iter()
        .map(|log| {
            std::fs::metadata(log).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
        })
        .sum()
}

/// Whether people look at standard error.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}
