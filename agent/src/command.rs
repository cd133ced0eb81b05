//! What the agent's command line understands, for `ccfirewall-agent` and `ccfirewall agent`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use model::units::Seconds;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::key::Key;
use crate::{Choice, Config, Limits};

mod network;

/// The environment variable that the key is read from where no file is given.
const KEY_VARIABLE: &str = "CCFIREWALL_MKEY";

/// Shown below the options: examples and exit codes.
pub const AFTER_HELP: &str = "\
The key is read from --mkey-file, or else from the environment variable CCFIREWALL_MKEY.

Examples:
  ccfirewall-agent --mkey-file /etc/ccfirewall/mkey
  ccfirewall-agent --mkey-file /etc/ccfirewall/mkey --listen 10.0.0.7 --enforcer nftables
  ccfirewall-agent --mkey-file /etc/ccfirewall/mkey --listen 0.0.0.0 --advertise 10.0.0.7 \
    --zookeeper zk1:2181,zk2:2181,zk3:2181
  ccfirewall-agent --enforcer dry-run --listen 127.0.0.1:9191
  ccfirewall-agent --remove

Exit codes:
  0  stopped by SIGTERM or SIGINT, or removed what was to be removed
  1  it can't start or can't remove: no rights, an address in use, a key that is too weak
  2  wrong usage: an unknown flag, an address that is none";

/// Holds bans on this host, in nftables, ipset or iptables, and does what owners ask for over Thrift. Bans stay when it stops, and end
/// by themselves when their time is over.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Where to listen: an address, with or without a port (9090)
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", value_parser = read_address)]
    listen: SocketAddr,
    /// A file with the key (mkey) that owners must know, in one line
    #[arg(long, value_name = "PATH")]
    mkey_file: Option<PathBuf>,
    /// What drops packets
    #[arg(long, value_enum, default_value_t = Kind::Auto, value_name = "KIND")]
    enforcer: Kind,
    /// End the live connections of whoever is banned, too (needs the programs ss and conntrack)
    #[arg(long)]
    cut_established: bool,
    /// How long bans last that come by the original call, which says no end
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(1..))]
    legacy_max_seconds: u32,
    /// How many connections there may be at a time
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().connections, value_parser = read_count)]
    max_connections: usize,
    #[command(flatten)]
    network: network::NetworkArgs,
    /// Remove everything that is ours from the kernel, bans and all, and exit
    #[arg(long, conflicts_with_all = ["listen", "mkey_file", "enforcer", "cut_established", "legacy_max_seconds", "max_connections"])]
    remove: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The best that works: nftables, else ipset, else iptables, else a dry run with a warning
    Auto,
    /// nftables, or no start
    Nftables,
    /// ipset with iptables, or no start
    Ipset,
    /// iptables alone, or no start: slow, and bans end only while the agent runs
    Iptables,
    /// Nobody is blocked: bans are only held in memory
    DryRun,
}

impl Args {
    /// Runs the agent until it is told to stop, or removes what is ours.
    ///
    /// # Errors
    /// It can't start, or can't remove.
    pub fn run(self) -> anyhow::Result<()> {
        if self.remove { remove() } else { run(self) }
    }
}

fn remove() -> anyhow::Result<()> {
    crate::remove().context("nothing was removed")?;
    println!("Everything of ours is removed from the kernel.");
    Ok(())
}

fn run(args: Args) -> anyhow::Result<()> {
    // Before anything else, so that a signal that comes early isn't lost.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals can't be received")?;
    let (key, doubt) = read_key(args.mkey_file)?;
    let mut config = Config::new(key);
    config.warnings.extend(doubt);
    config.listen = args.listen;
    config.cut_established = args.cut_established;
    config.legacy_max = Seconds(args.legacy_max_seconds);
    config.limits.connections = args.max_connections;
    config.enforcer = match args.enforcer {
        Kind::Auto => Choice::Auto,
        Kind::Nftables => Choice::Nftables,
        Kind::Ipset => Choice::Ipset,
        Kind::Iptables => Choice::Iptables,
        Kind::DryRun => Choice::DryRun,
    };
    config.tls = args.network.tls();
    config.registration = args.network.registration()?;
    config.notify = true;
    let running = crate::start(config)?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!(signal, "stops; bans stay until their time is over");
            break;
        }
        running.look_at_certificates();
    }
    running.stop();
    Ok(())
}

/// The key, and what is doubtful about where it comes from.
fn read_key(file: Option<PathBuf>) -> anyhow::Result<(Key, Option<String>)> {
    if let Some(path) = file {
        return Ok(Key::from_file(&path)?);
    }
    match std::env::var(KEY_VARIABLE) {
        Ok(text) => Ok((Key::new(&text).with_context(|| KEY_VARIABLE)?, None)),
        Err(std::env::VarError::NotPresent) => Ok((Key::new("")?, None)),
        Err(std::env::VarError::NotUnicode(_)) => anyhow::bail!("{KEY_VARIABLE} is not UTF-8"),
    }
}

pub(super) fn read_address(text: &str) -> Result<SocketAddr, String> {
    let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, ccfirewall_thrift::DEFAULT_PORT)));
    text.parse().or_else(|_| bare()).map_err(|_| {
        "not an address: write 10.0.0.7, 10.0.0.7:9090 or [2001:db8::7]:9090 (no host names)".to_owned()
    })
}

fn read_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=65_536) => Ok(count),
        _ => Err("not a number from 1 to 65536".to_owned()),
    }
}
