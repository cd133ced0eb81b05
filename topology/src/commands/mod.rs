//! The commands of `ccfirewall`, one file each.

mod agents;
mod bans;
mod completions;
mod demo;
mod doctor;
mod explain;
mod generate;
mod inputs;
mod replay;
mod report_text;
mod run;
mod running;
mod settings;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Everything went well.
const OK: u8 = 0;
/// Something failed on the way: a log couldn't be read to its end, output couldn't be written.
const FAILED: u8 = 1;
/// The settings have errors. (2 is what wrong usage gives.)
const BAD_SETTINGS: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  ccfirewall demo
  ccfirewall run --log /var/log/nginx/access.log --dry-run
  ccfirewall doctor --log /var/log/nginx/access.log
  ccfirewall bans list
  ccfirewall replay /var/log/nginx/access.log
  ccfirewall replay --settings settings.json --output json access.log.2.gz access.log.1 access.log
  ccfirewall settings check settings.json
  tail -n 1 /var/log/nginx/access.log | ccfirewall explain -
  ccfirewall generate --lines 1000000 --attackers 5 | ccfirewall replay -

Exit codes:
  0  success
  1  something failed on the way (a log couldn't be read to its end, output couldn't be written)
  2  wrong usage: an unknown flag, a log format that can't be used, an input that isn't there
  3  the settings have errors; nothing was run";

/// Protects web servers against HTTP floods: reads access logs, counts requests per address and rule in sliding
/// windows, drops attackers in the kernel, and lets them go on time.
#[derive(Debug, Parser)]
#[command(name = "ccfirewall", version, after_help = AFTER_HELP, max_term_width = 110)]
struct Cli {
    /// Say more of what goes on (-v: info, -vv: debug, -vvv: trace); on standard error
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// How the program's own messages are written
    #[arg(long = "logs", value_enum, default_value_t = Logs::Text, global = true, value_name = "FORM")]
    messages: Logs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Logs {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Demo(demo::Args),
    /// Holds bans on this host and does what owners ask for over Thrift; `ccfirewall-agent` is the same program
    Agent(agent::command::Args),
    Replay(replay::Args),
    Explain(explain::Args),
    Settings(settings::Args),
    Bans(bans::Args),
    Agents(agents::Args),
    Doctor(doctor::Args),
    Generate(generate::Args),
    Completions(completions::Args),
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // What runs for long says what it does without being asked.
    let more = u8::from(matches!(cli.command, Command::Run(_) | Command::Agent(_)));
    start_logging(cli.verbose + more, cli.messages);
    let result = match cli.command {
        Command::Run(args) => args.run(),
        Command::Demo(args) => args.run(),
        Command::Agent(args) => args.run().map(|()| OK),
        Command::Replay(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Settings(args) => args.run(),
        Command::Bans(args) => args.run(),
        Command::Agents(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Generate(args) => args.run(),
        Command::Completions(args) => args.run(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // Whoever read our output has seen enough (`ccfirewall … | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::from(OK),
        Err(error) => {
            let code = error.downcast_ref::<Failure>().map_or(FAILED, |failure| failure.code);
            eprintln!("error: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { code: 2, message: message.into() }.into()
    }

    fn settings(message: impl Into<String>) -> anyhow::Error {
        Self { code: BAD_SETTINGS, message: message.into() }.into()
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn start_logging(verbose: u8, logs: Logs) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // Libraries talk too much to be heard beside us, unless everything is asked for.
    let libraries = if verbose > 2 { "trace" } else { "warn" };
    let ours = ["agent", "bolts", "ccfirewall", "engine", "model", "topology", "zk_config"];
    let filter = ours.iter().fold(libraries.to_owned(), |filter, ours| format!("{filter},{ours}={level}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match logs {
        Logs::Text => subscriber.init(),
        Logs::Json => subscriber.json().init(),
    }
}
