//! `ccfirewall settings`: checks and shows settings before they hold.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use model::settings;

use super::OK;
use super::inputs::read_settings;

/// Check, show or describe settings
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ccfirewall settings check settings.json
  ccfirewall settings show settings.json     # with every default filled in
  ccfirewall settings schema > settings.schema.json")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every error and warning of a settings file; exit code 3 where there are errors
    Check {
        /// The settings, JSON; - is standard input
        file: PathBuf,
    },
    /// Print the settings as they take effect, defaults filled in
    Show {
        /// The settings, JSON; - is standard input. Without it, the defaults
        file: Option<PathBuf>,
    },
    /// Print the JSON Schema of settings, for editors and other programs
    Schema {
        /// Ignored: the schema is the same for every file
        #[arg(hide = true)]
        file: Option<PathBuf>,
    },
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut out = io::stdout().lock();
        match self.command {
            Command::Check { file } => {
                let parsed = read_settings(&file)?;
                for warning in &parsed.warnings {
                    writeln!(out, "warning: {warning}")?;
                }
                match parsed.warnings.len() {
                    0 => writeln!(out, "{}: in order", file.display())?,
                    1 => writeln!(out, "{}: no errors, 1 warning", file.display())?,
                    n => writeln!(out, "{}: no errors, {n} warnings", file.display())?,
                }
            }
            Command::Show { file: Some(file) } => {
                writeln!(out, "{}", read_settings(&file)?.document.to_json())?;
            }
            Command::Show { file: None } => writeln!(out, "{}", settings::Document::default().to_json())?,
            Command::Schema { .. } => {
                writeln!(out, "{}", serde_json::to_string_pretty(&settings::schema())?)?;
            }
        }
        Ok(OK)
    }
}
