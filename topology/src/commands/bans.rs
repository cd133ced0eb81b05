//! `ccfirewall bans`: who is banned, and steering it by hand.

mod tables;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Subcommand;
use model::network::Network;
use model::time::parse_time_iso8601;
use model::units::Moment;

use super::running::{Running, or_refused, parse_duration};
use super::{FAILED, OK};
use crate::app;
use crate::config::{Config, Database, Store};
use crate::control::HistoryFilter;
use crate::control::client::{Client, ClientError, encoded};
use crate::control::views::{BanOrder, BanPage, Changed, HeldPage, HistoryPage, HistoryView};

/// See who is banned by a running firewall, ban and unban by hand, and decide on held bans
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A target is an address or a prefix: 203.0.113.9, 198.51.100.0/24, 2001:db8::/64.

Examples:
  ccfirewall bans list
  ccfirewall bans add 203.0.113.9 --for 2h --note 'scrapes the shop, ticket 4711'
  ccfirewall bans remove 203.0.113.9
  ccfirewall bans history 198.51.100.0/24 --since 1d
  ccfirewall bans history --config /etc/ccfirewall/ccfirewall.toml
  ccfirewall bans held
  ccfirewall bans release --all

The commands speak to the firewall over control.sock in its state folder. That belongs to the
user that the firewall runs as: use sudo where that is root.

Exit codes: 0 done; 1 refused, or the firewall can't be reached; 2 wrong usage.")]
pub(super) struct Args {
    #[command(flatten)]
    running: Running,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the bans in force, the newest first
    List {
        /// Only bans that have to do with this: an address or a prefix, or a part of a rule, country or note
        #[arg(value_name = "IP, PREFIX OR TEXT")]
        query: Option<String>,
        /// At most so many
        #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Ban an address or a prefix; where it is banned already, until later
    Add {
        /// The address or prefix
        target: Network,
        /// For how long: 30s, 10m, 2h, 1d
        #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
        seconds: u32,
        /// Who asks for it, and why; it is kept with the ban
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Lift bans; what is counted of the clients starts anew
    Remove {
        /// The addresses or prefixes, as `bans list` shows them
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<Network>,
    },
    /// List bans in force and over, from the database, the newest first
    History {
        /// Only of this address or prefix
        target: Option<Network>,
        /// Only those that began that long ago or later (1h, 7d), or since a time like 2026-11-22T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = parse_since)]
        since: Option<Since>,
        /// At most so many
        #[arg(short, long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Read the database that this configuration names. Without it the firewall that runs is asked; where none
        /// does, what /etc/ccfirewall/ccfirewall.toml names is read
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List the bans that a cap holds back
    Held,
    /// Put held bans in force
    Release(Which),
    /// Forget held bans
    Discard(Which),
}

#[derive(Debug, clap::Args)]
#[group(required = true)]
struct Which {
    /// The addresses or prefixes, as `bans held` shows them
    #[arg(value_name = "TARGET", conflicts_with = "all")]
    targets: Vec<Network>,
    /// All that are held
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Since {
    Ago(u32),
    Time(String),
}

/// No page of the API is longer.
const PAGE: u32 = 1000;

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let running = self.running;
        let client = running.client();
        match self.command {
            Command::List { query, limit } => {
                let page = list(&client, query.as_deref(), limit)?;
                running.show(&page, |out, page| tables::bans(out, page, query.as_deref()))?;
                Ok(OK)
            }
            Command::Add { target, seconds, note } => {
                let order = BanOrder { target: target.to_string(), seconds, note };
                let changed = or_refused(client.post::<Changed>("/api/v1/bans", &order))?;
                changed_or_failed(&running, changed.into_iter().collect(), 1)
            }
            Command::Remove { targets } => {
                orders(&running, &targets, |target| client.delete(&format!("/api/v1/bans/{target}")))
            }
            Command::History { target, since, limit, config } => {
                let since = since.as_ref();
                let page = if let Some(config) = config {
                    kept_history(&app::database(&Config::load(&config)?), target, since, limit)?
                } else {
                    match history(&client, target, since, limit) {
                        // What was kept can be read without the program.
                        Err(ClientError::NotRunning { socket, reason }) => {
                            let kept = kept_of(&running.state())?
                                .ok_or(ClientError::NotRunning { socket, reason })?;
                            kept_history(&kept, target, since, limit)?
                        }
                        page => page?,
                    }
                };
                running.show(&page, |out, page| tables::history(out, page))?;
                Ok(OK)
            }
            Command::Held => {
                let page: HeldPage = client.get("/api/v1/bans/held")?;
                running.show(&page, |out, page| tables::held(out, page))?;
                Ok(OK)
            }
            Command::Release(which) => held(&running, &client, &which, "release"),
            Command::Discard(which) => held(&running, &client, &which, "discard"),
        }
    }
}

/// As many pages as it takes.
fn list(client: &Client, query: Option<&str>, limit: u32) -> anyhow::Result<BanPage> {
    let mut all = BanPage::default();
    let mut left = limit;
    loop {
        let mut path = format!("/api/v1/bans?limit={}", left.min(PAGE));
        if let Some(query) = query {
            path.push_str(&format!("&q={}", encoded(query)));
        }
        if let Some(after) = &all.next {
            path.push_str(&format!("&after={}", encoded(after)));
        }
        let page: BanPage = client.get(&path)?;
        left = left.saturating_sub(u32::try_from(page.bans.len()).unwrap_or(u32::MAX));
        let done = page.next.is_none() || left == 0;
        // The newest page knows best how many there are, and that at least these were.
        all.bans.extend(page.bans);
        all.total = page.total.max(all.bans.len() as u64);
        all.next = page.next;
        if done {
            return Ok(all);
        }
    }
}

fn history(
    client: &Client,
    target: Option<Network>,
    since: Option<&Since>,
    limit: u32,
) -> Result<HistoryPage, ClientError> {
    let mut path = format!("/api/v1/bans/history?limit={limit}");
    if let Some(target) = target {
        path.push_str(&format!("&ip={}", encoded(&target.to_string())));
    }
    match since {
        None => {}
        Some(Since::Time(time)) => path.push_str(&format!("&since={}", encoded(time))),
        Some(Since::Ago(seconds)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            path.push_str(&format!("&since={}", now.saturating_sub(u64::from(*seconds))));
        }
    }
    client.get(&path)
}

/// The database of a firewall that doesn't run, by its state folder; `None` where there is none.
fn kept_of(state: &Path) -> anyhow::Result<Option<Database>> {
    let usual = Path::new(Config::PATH);
    if usual.exists() {
        let config = Config::load(usual).context(
            "ccfirewall isn't running, and where its database is isn't known; say it with --config FILE",
        )?;
        if config.state == state {
            return Ok(Some(app::database(&config)));
        }
    }
    Ok(Some(state.join(Store::DATABASE)).filter(|database| database.exists()).map(Database::Sqlite))
}

/// The history from a database.
fn kept_history(
    database: &Database,
    target: Option<Network>,
    since: Option<&Since>,
    limit: u32,
) -> anyhow::Result<HistoryPage> {
    let since = since.map(Since::moment).transpose()?;
    let filter = HistoryFilter { target, since, limit: limit as usize };
    let rows = app::history(database, &filter).map_err(anyhow::Error::msg)?;
    Ok(HistoryPage { bans: rows.into_iter().map(HistoryView::from).collect() })
}

impl Since {
    fn moment(&self) -> anyhow::Result<Moment> {
        let millis = match self {
            Self::Ago(seconds) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                now.as_millis() as i64 - i64::from(*seconds) * 1000
            }
            Self::Time(time) => match time.parse::<i64>() {
                Ok(seconds) => seconds.saturating_mul(1000),
                Err(_) => time.parse::<jiff::Timestamp>()?.as_millisecond(),
            },
        };
        Ok(Moment(millis))
    }
}

fn held(running: &Running, client: &Client, which: &Which, order: &str) -> anyhow::Result<u8> {
    let post = |path: &str| client.post::<Changed>(path, &());
    if which.all {
        let changed = or_refused(post(&format!("/api/v1/bans/held/{order}")))?;
        return changed_or_failed(running, changed.into_iter().collect(), 1);
    }
    orders(running, &which.targets, |target| post(&format!("/api/v1/bans/held/{target}/{order}")))
}

/// The same for each target, which is given as it stands in a path.
fn orders(
    running: &Running,
    targets: &[Network],
    order: impl Fn(&str) -> Result<Changed, ClientError>,
) -> anyhow::Result<u8> {
    let mut done = Vec::new();
    for target in targets {
        done.extend(or_refused(order(&encoded(&target.to_string())))?);
    }
    changed_or_failed(running, done, targets.len())
}

/// Shows what was changed; less than was asked for is a failure.
fn changed_or_failed(running: &Running, done: Vec<Changed>, asked: usize) -> anyhow::Result<u8> {
    let code = if done.len() == asked { OK } else { FAILED };
    let answered = !done.is_empty();
    let all = Changed { changes: done.into_iter().flat_map(|changed| changed.changes).collect() };
    if answered {
        running.show(&all, |out, changed| tables::changes(out, changed))?;
    }
    Ok(code)
}

fn parse_since(text: &str) -> Result<Since, String> {
    if parse_time_iso8601(text.as_bytes()).is_some() {
        return Ok(Since::Time(text.to_owned()));
    }
    parse_duration(text).map(Since::Ago).map_err(|_| {
        format!("`{text}` is neither a length of time like 1h or 7d nor a time like 2026-11-22T10:00:00Z")
    })
}
