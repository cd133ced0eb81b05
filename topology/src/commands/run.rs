//! `ccfirewall run`: the live firewall.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use model::line::LogFormat;
use model::network::NetworkSet;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{BAD_SETTINGS, FAILED, Failure, OK, doctor, inputs};
use crate::adapters::settings_file::NoSettings;
use crate::adapters::settings_in_force::Origin;
use crate::app::{LiveApp, LiveOptions, Worker};
use crate::config::{Config, ConfigError, EnforcerChoice, Input, Role, Source, default_state};

/// Follows access logs, drops attackers in the kernel and lets them go on time; keeps and shows everything
///
/// Without a configuration file: `run --log LOG` follows a log from its end, with the default rules and the agent
/// in this process. Begin with --dry-run, and look at who would be banned with `ccfirewall bans list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ccfirewall run --log /var/log/nginx/access.log --dry-run
  ccfirewall run --log /var/log/nginx/access.log --settings settings.json
  ccfirewall run --config /etc/ccfirewall/ccfirewall.toml
  ccfirewall run --config /etc/ccfirewall/ccfirewall.toml --role match
  tail -F access.log | ccfirewall run --log - --state /tmp/try --dry-run

Signals:
  SIGTERM, SIGINT  end in order: batches are finished, everything is kept; bans stay in the kernel until their time

Exit codes:
  0  told to end, or standard input ended
  1  something can't be opened, or a part broke; after that a restart goes on where this run was
  2  wrong usage
  3  the configuration or the settings have errors; nothing was run")]
pub(super) struct Args {
    /// The configuration (TOML); without it and without --log, /etc/ccfirewall/ccfirewall.toml
    #[arg(short, long, value_name = "FILE", conflicts_with = "log")]
    config: Option<PathBuf>,
    /// A log to follow; - is standard input. May be given several times
    #[arg(short, long, value_name = "LOG")]
    log: Vec<PathBuf>,
    /// How lines are written, as for replay: combined, json, a log_format or a file with one
    #[arg(short = 'f', long = "log-format", value_name = "FORMAT", requires = "log")]
    format: Option<String>,
    /// The rules (JSON); watched, a change applies at once
    #[arg(short, long, value_name = "FILE", requires = "log")]
    settings: Option<PathBuf>,
    /// Where the journal, the database and the control socket are kept
    #[arg(long, value_name = "FOLDER", requires = "log")]
    state: Option<PathBuf>,
    /// Where the pages are served
    #[arg(long, value_name = "ADDRESS", requires = "log")]
    http: Option<std::net::SocketAddr>,
    /// What holds bans
    #[arg(long, value_enum, value_name = "ENFORCER", requires = "log", conflicts_with = "dry_run")]
    enforcer: Option<Enforcer>,
    /// Read the log from its beginning, where nothing is known of it yet
    #[arg(long, requires = "log")]
    from_beginning: bool,
    /// Decide and keep everything, and block nobody
    #[arg(long)]
    dry_run: bool,
    /// What this process does of all the work, whatever [worker] in the configuration says
    #[arg(long, value_enum, value_name = "ROLE", conflicts_with = "log")]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Enforcer {
    /// nftables where we may, else a dry run
    Auto,
    /// nftables, or no start
    Nftables,
    /// Nothing: bans are only held in memory
    DryRun,
}

/// How often it is looked whether it is time to end.
const LOOK: Duration = Duration::from_millis(50);

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let config = self.config()?;
        let end = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, end.clone()).context("signals can't be heard")?;
        }
        let lacks = config.lacks();
        if !lacks.is_empty() {
            return Err(Failure::settings(lacks.join("\n")));
        }
        let (begun, dry_run) = (config.clone(), config.dry_run);
        // What is written has clients' addresses and lines in it.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o027));
        if !config.parts().is_empty() {
            return work(config, &end);
        }
        let app = match LiveApp::start(config, LiveOptions::default()) {
            Ok(app) => app,
            Err(error) => {
                let code = error.downcast_ref::<NoSettings>().map_or(FAILED, |_| BAD_SETTINGS);
                return Err(error.context(Failure { code, message: "the firewall can't start".to_owned() }));
            }
        };
        let (origin, settings) = app.settings();
        let doubts = reach_doubts(&begun.sources, &settings.trusted_proxies);
        eprintln!("{}", describe(&begun, origin));
        match app.agent() {
            Some((enforcer, warnings)) => {
                eprintln!("  bans     by this process's agent, {enforcer}");
                warnings.iter().for_each(|warning| eprintln!("  WARNING  {warning}"));
            }
            None if dry_run => {
                eprintln!(
                    "  bans     by nobody; those of an earlier run stay in the kernel until their time"
                );
            }
            None => eprintln!("  bans     by the agents that `ccfirewall agents` lists"),
        }
        doubts.iter().for_each(|doubt| eprintln!("  WARNING  {doubt}"));
        eprintln!("  pages    http://{0}/healthz, /metrics, /api/v1/status", app.http_address());
        let goes_on = || !app.has_ended() && !app.has_broken() && !app.has_lost_the_bans();
        while !end.load(Ordering::Relaxed) && goes_on() {
            std::thread::park_timeout(LOOK);
        }
        let (broken, lost) = (app.has_broken(), app.has_lost_the_bans());
        tracing::info!("ending");
        app.stop()?;
        if lost {
            anyhow::bail!(
                "whether this process still owns the bans isn't certain: ZooKeeper was away for too long, or another \
                 one has taken them over; a restart finds out"
            );
        }
        if broken {
            anyhow::bail!("a part of the program broke; a restart goes on from the journal");
        }
        Ok(OK)
    }

    fn config(&self) -> anyhow::Result<Config> {
        let logs = whole_paths(&self.log)?;
        let Some((first, others)) = logs.split_first() else {
            let path = self.config.as_deref().unwrap_or(Path::new(Config::PATH));
            let mut config = Config::load(path).map_err(|error| self.bad_config(&error))?;
            config.dry_run |= self.dry_run;
            config.worker.role = self.role.unwrap_or(config.worker.role);
            return Ok(config);
        };
        let state = self.state.clone().map_or_else(default_state, Ok)?;
        let mut config = Config::for_log(first, self.dry_run, state.clone());
        for log in others {
            config.sources.extend(Config::for_log(log, self.dry_run, state.clone()).sources);
        }
        let format = self.format.as_deref().map(inputs::log_format).transpose()?;
        for source in &mut config.sources {
            source.format = format.clone().unwrap_or_else(LogFormat::combined);
            if let Input::Log { start, .. } = &mut source.input
                && self.from_beginning
            {
                *start = crate::config::Start::Beginning;
            }
        }
        config.settings.clone_from(&self.settings);
        if let Some(listen) = self.http {
            if !listen.ip().is_loopback() {
                return Err(Failure::usage(format!(
                    "--http {listen} isn't on loopback; to show the pages to others, use a configuration file with \
                     `allow_remote`"
                )));
            }
            config.http.listen = listen;
        }
        if let (Some(enforcer), Some(agent)) = (self.enforcer, &mut config.agent) {
            agent.enforcer = match enforcer {
                Enforcer::Auto => EnforcerChoice::Auto,
                Enforcer::Nftables => EnforcerChoice::Nftables,
                Enforcer::DryRun => EnforcerChoice::DryRun,
            };
        }
        Ok(config)
    }

    fn bad_config(&self, error: &ConfigError) -> anyhow::Error {
        match (error, &self.config) {
            (ConfigError::Unreadable { .. }, None) => Failure::usage(format!(
                "{error}\nname a configuration with --config, or a log with --log (see --help)"
            )),
            (ConfigError::Unreadable { .. }, _) => Failure::usage(error.to_string()),
            (ConfigError::Invalid { .. }, _) => Failure::settings(error.to_string()),
        }
    }
}

/// Runs a worker of a fleet until it is told to end.
fn work(config: Config, end: &AtomicBool) -> anyhow::Result<u8> {
    let begun = config.clone();
    let role = config.worker.role;
    let worker = Worker::start(config).map_err(|error| {
        let code = error.downcast_ref::<NoSettings>().map_or(FAILED, |_| BAD_SETTINGS);
        error.context(Failure { code, message: "the worker can't start".to_owned() })
    })?;
    eprintln!("{}", describe(&begun, worker.settings_origin()));
    eprintln!("  role     {}", role.name());
    eprintln!("  pages    http://{0}/healthz, /metrics, /api/v1/status", worker.http_address());
    while !end.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK);
    }
    tracing::info!("ending");
    worker.stop();
    Ok(OK)
}

/// The logs by their whole paths, by which their positions are kept.
fn whole_paths(logs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut known = HashSet::new();
    let mut whole = Vec::with_capacity(logs.len());
    for log in logs {
        let path = if log == Path::new("-") { log.clone() } else { std::path::absolute(log)? };
        if !known.insert(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
            let message =
                format!("--log {}: the same log twice, so its lines would count twice", log.display());
            return Err(Failure::usage(message));
        }
        whole.push(path);
    }
    Ok(whole)
}

/// Before whom bans would stand in the wrong place: behind a proxy, a drop hits the proxy and all who come by it.
fn reach_doubts(sources: &[Source], trusted: &NetworkSet) -> Vec<String> {
    let doubt = |source: &Source| {
        let Input::Log { path, .. } = &source.input else { return None };
        let doubt = doctor::reach_doubt(path, &source.format, trusted)?;
        Some(format!("{}: {doubt}", path.display()))
    };
    sources.iter().filter_map(doubt).collect()
}

/// What runs. `origin`: where the settings in force come from.
fn describe(config: &Config, origin: Origin) -> String {
    let input = |source: &Source| match &source.input {
        Input::Log { path, .. } => path.display().to_string(),
        Input::Stdin => "standard input".to_owned(),
        Input::Generate(generate) => format!("made-up traffic, {} lines a second", generate.rate),
        Input::Kafka(input) => format!("the Kafka topic {}", input.topic),
    };
    let sources: Vec<String> = config.sources.iter().map(input).collect();
    let place = match (&config.zookeeper, &config.settings) {
        (Some(place), _) => format!("{}/config in ZooKeeper ({})", place.root, place.servers),
        (None, Some(path)) => path.display().to_string(),
        (None, None) => "the defaults".to_owned(),
    };
    let rules = match origin {
        Origin::File | Origin::ZooKeeper => place,
        Origin::LastGood => format!("those that held before; {place} can't be used now"),
        Origin::Defaults => "the defaults".to_owned(),
    };
    let dry = if config.dry_run { ", DRY RUN: nobody is blocked" } else { "" };
    format!(
        "ccfirewall {} is running{dry}\n  lines    {}\n  rules    {rules}\n  state    {}",
        env!("CARGO_PKG_VERSION"),
        sources.join(", "),
        config.state.display()
    )
}
