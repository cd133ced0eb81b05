//! `ccfirewall doctor`: would it work here, and if not, what is to be done?
//!
//! `subject` says what is looked at. Each of the other files is about one thing that can be wrong: what reads the
//! world is small, and what judges it is a function from what was read to a [`Finding`]. Nothing is changed.

mod agents;
mod finding;
mod firewall;
mod growth;
mod instance;
mod kafka;
mod lines;
mod logs;
mod messages;
mod nginx;
mod reach;
mod server;
mod settings;
mod state;
mod subject;
mod when;
mod zookeeper;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use indicatif::ProgressBar;
use model::line::LogFormat;
use model::network::NetworkSet;
use model::settings::Settings;
use model::units::Moment;

use super::running::Output;
use super::{FAILED, OK};
use crate::config::{Config, Database};
use crate::control::client::Client;
use finding::{Finding, Level, Report};
use reach::Place;
use subject::{Holder, Subject};

/// Check what ccfirewall needs: logs, formats, clocks, settings, state, rights, Kafka, ZooKeeper, MySQL, agents
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each check is ok, warn, bad or skipped, with what was found and how to mend it. Nothing is
changed. Without --config and --log, /etc/ccfirewall/ccfirewall.toml is looked at, or else
/var/log/nginx/access.log.

What the configuration names is looked at where it is: brokers, topics and the newest lines in
them, how far the group is behind; ZooKeeper, and the settings there; the database's server; and
each agent, named or registered: its mkey, its clock, whether it may change its firewall. That
needs no ccfirewall that runs, and takes some seconds.

Examples:
  ccfirewall doctor
  ccfirewall doctor --log /var/log/nginx/shop.access.log --log-format json
  ccfirewall doctor --config ccfirewall.toml --output json

Exit codes: 0 nothing is bad; 1 something is; 2 wrong usage.")]
pub(super) struct Args {
    /// The configuration of the firewall that is to run, or runs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["logs", "log_format", "settings"])]
    config: Option<PathBuf>,
    /// An access log; may be given several times
    #[arg(long = "log", value_name = "PATH")]
    logs: Vec<PathBuf>,
    /// How lines are written: `combined`, `json`, a log_format pasted from nginx.conf, or a file that holds one
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "combined")]
    log_format: String,
    /// The settings, JSON
    #[arg(short, long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The state folder
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// What is written to standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    output: Output,
}

/// A log that is written to now and then is watched for so long.
const WATCH: Duration = Duration::from_secs(2);

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut report = Report::default();
        match self.subject() {
            Ok(subject) => examine(&subject, &mut report),
            Err(finding) => report.add(finding),
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self.output {
            Output::Text => {
                let colour =
                    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
                report.write(&mut out, colour)
            }
            Output::Json => serde_json::to_writer(&mut out, &report)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
        };
        written.and_then(|()| out.flush()).context("can't write the output")?;
        Ok(if report.worst() == Level::Bad { FAILED } else { OK })
    }
}

fn examine(subject: &Subject, report: &mut Report) {
    let config = subject.config.as_deref();
    for lack in config.map(Config::lacks).unwrap_or_default() {
        report.add(Finding::bad(
            "config",
            lack,
            "docs/configuration.md has every key; without it nothing starts",
        ));
    }
    let place = config.and_then(|config| config.zookeeper.as_ref());
    let look = place.and_then(|place| zookeeper::examine(place, report));
    let settings = match config {
        Some(config) => settings::of_config(config, look.as_ref(), report),
        None => settings::of_file(subject.settings.as_deref(), report),
    };
    if subject.logs.is_empty() && config.is_none_or(|config| config.kafka.is_none()) {
        report.add(Finding::skipped("log", "no log is named: --log PATH, or a configuration with one"));
    }
    for (path, format) in &subject.logs {
        report.about(path.display().to_string());
        log(path, format, &settings, report);
        report.about_nothing();
    }
    if let Some(config) = config {
        kafka::examine(config, &settings, report);
    }
    report.add(state::disk(&subject.state));
    match &subject.database {
        Database::Sqlite(path) => report.add(state::database(path)),
        Database::Mysql(_) => report.add(server::database(&subject.database)),
    }
    match &subject.holder {
        Holder::Here(enforcer) => report.add(firewall::rights(*enforcer)),
        Holder::Nobody => {
            report.add(Finding::skipped("rights", "nobody is blocked from here: nothing is needed"));
        }
        Holder::Elsewhere => report.add(Finding::skipped("rights", "agents on other hosts hold the bans")),
    }
    let asked = config.map(|config| agents::examine(config, look.as_ref(), report)).unwrap_or_default();
    let client = Client::new(&subject.state);
    if instance::instance(&client, report) {
        instance::agents(&client, &asked, report);
    }
}

/// This machine's clock.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Everything about one log. What can't be told without a readable file isn't tried.
fn log(path: &Path, format: &LogFormat, settings: &Settings, report: &mut Report) {
    let (finding, first) = logs::file(path);
    report.add(finding);
    let Some(first) = first else { return };
    let tail = match logs::tail(path) {
        Ok(tail) => tail,
        Err(error) => {
            report.add(Finding::bad(
                "lines",
                format!("it can't be read: {error}"),
                "look at the disk: `dmesg`",
            ));
            return;
        }
    };
    let read = lines::read(&tail, format);
    report.add(lines::judge(&tail, &read));

    let grown = watch(path, &first, format);
    report.add(growth::judge(&grown, when::rotated(path).as_ref()));
    report.add(when::clock(read.newest.max(grown.lines.newest), &grown, settings.max_event_age));
    report.add(nginx::buffering(path, Path::new(nginx::FOLDER), &grown));
    report.add(reach::judge(&read.peers, &settings.trusted_proxies, Place::Here));
}

/// Why a drop on this machine may not reach the clients of a log, or may cut off a proxy before them; `None` where
/// nothing speaks for that. `run` asks before it begins.
pub(super) fn reach_doubt(path: &Path, format: &LogFormat, trusted: &NetworkSet) -> Option<String> {
    let tail = logs::tail(path).ok()?;
    reach::judge(&lines::read(&tail, format).peers, trusted, Place::Here).doubt()
}

/// Looks twice, unless one look tells enough.
fn watch(path: &Path, first: &logs::Look, format: &LogFormat) -> growth::Growth {
    let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_message(format!("watching {} for {} s", path.display(), WATCH.as_secs()));
    bar.enable_steady_tick(Duration::from_millis(100));
    let grown = growth::watch(path, first, format, WATCH);
    bar.finish_and_clear();
    grown
}
