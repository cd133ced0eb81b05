//! `ccfirewall-agent`: the agent as a program of its own.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use agent::command::Args;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Holds bans on this host, in nftables, and does what owners ask for over Thrift. Bans stay when it stops, and end
/// by themselves when their time is over.
#[derive(Debug, Parser)]
#[command(name = "ccfirewall-agent", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    args: Args,
    /// Say more of what goes on (-v: debug, -vv: trace); on standard error
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

fn main() -> ExitCode {
    let Cli { args, verbose } = Cli::parse();
    start_logging(verbose);
    match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ccfirewall-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start_logging(verbose: u8) {
    let level = ["info", "debug", "trace"][usize::from(verbose).min(2)];
    // Libraries talk too much to be heard beside us, unless everything is asked for.
    let libraries = if verbose > 1 { "trace" } else { "warn" };
    let filter = format!("{libraries},agent={level},ccfirewall_agent={level},zk_config={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
