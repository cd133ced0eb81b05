//! `ccfirewall settings`: checks, shows and changes settings, in ZooKeeper or in their file.

mod difference;
mod edit;
mod key;
mod set;
mod store;
mod versions;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::Subcommand;
use model::settings;
use model::text::shown;

use super::OK;
use super::inputs::read_settings;
use super::running::Output;
use store::Where;

/// Check and describe settings; see, change and roll back those that hold
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ccfirewall settings check settings.json
  ccfirewall settings show settings.json     # with every default filled in
  ccfirewall settings schema > settings.schema.json
  ccfirewall settings get
  ccfirewall settings get block_second --effective
  ccfirewall settings set count 300
  ccfirewall settings set ip_white_list 203.0.113.9 10.0.0.0/8
  ccfirewall settings set 'special_rule[\"www.example.com/login\"].threshold_secound' 5
  ccfirewall settings set --file settings.json
  ccfirewall settings edit
  ccfirewall settings history
  ccfirewall settings diff 41 42
  ccfirewall settings rollback 41

get, set, edit, history, diff and rollback work on the settings in ZooKeeper, where `[zookeeper]` stands in
the configuration or --zookeeper is given, and else on the settings' file of the configuration, which has no
history. What is written is checked before, and never overwrites a version that it wasn't made of.

Exit codes: 0 done; 1 somebody else was faster, ZooKeeper is away or something else failed; 2 wrong usage;
3 the settings have errors. Nothing is written but with 0.")]
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
    /// Print the settings that are stored, or one key of them
    Get {
        #[command(flatten)]
        place: Where,
        /// A key such as count, or special_rule["www.example.com/login"].block_second
        key: Option<String>,
        /// As they take effect, defaults filled in
        #[arg(short, long)]
        effective: bool,
    },
    /// Set a key, or all settings from a file
    Set(set::Args),
    /// Change the settings in an editor ($VISUAL, $EDITOR, vi)
    Edit {
        #[command(flatten)]
        place: Where,
    },
    /// List the versions, the newest first: when, by whom, and what changed
    History {
        #[command(flatten)]
        place: Where,
        /// At most so many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// What is written to standard output
        #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM")]
        output: Output,
    },
    /// Compare two versions; without numbers the last two, with one that one and what holds now
    Diff {
        #[command(flatten)]
        place: Where,
        /// The older one
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        a: Option<i32>,
        /// The newer one
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        b: Option<i32>,
    },
    /// Write an older version again, as a new one
    Rollback(versions::Rollback),
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
            Command::Get { place, key, effective } => set::get(&mut out, &place, key.as_deref(), effective)?,
            Command::Set(args) => args.run(&mut out)?,
            Command::Edit { place } => edit::edit(&mut out, &place)?,
            Command::History { place, limit, output } => versions::history(&mut out, &place, limit, output)?,
            Command::Diff { place, a, b } => versions::diff(&mut out, &place, a, b)?,
            Command::Rollback(args) => args.run(&mut out)?,
        }
        Ok(OK)
    }
}

/// A text that a terminal can print: everything else is escaped, whoever wrote it into the settings.
fn printable(text: &str) -> String {
    let parts = text.split_inclusive(['\n', '\t']).map(|part| {
        let body = part.trim_end_matches(['\n', '\t']);
        shown(body.as_bytes(), usize::MAX) + &part[body.len()..]
    });
    parts.collect()
}

/// Asks a person; `None` where there is none.
fn ask(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}
