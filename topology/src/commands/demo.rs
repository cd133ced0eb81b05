//! `ccfirewall demo`: the whole firewall against a made-up attack, on this machine and without servers.

mod agents;
mod cast;
mod story;
mod verdict;
mod writer;

use std::fs::{self, File};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use model::line::LogFormat;

use self::agents::DemoAgents;
use self::cast::Cast;
use self::story::Story;
use super::{FAILED, OK};
use crate::adapters::maxmind::Countries;
use crate::adapters::store::History;
use crate::app::{LiveApp, LiveOptions};
use crate::config::{Config, Input, Source, Start};

/// Shows the whole firewall at work: visitors and attackers as lines of a growing nginx log, the topology, three
/// agents over Thrift, the database and the pages, all in a temporary folder
///
/// Where it may (as root on Linux), each agent has a network namespace of its own and bans in its nftables; else
/// agents only run dry. Nothing of this machine's own firewall is touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ccfirewall demo
  ccfirewall demo --seconds 60 --rate 20000

Exit codes:
  0  every attacker was banned and unbanned on time, and no visitor was banned
  1  it wasn't so, or something failed")]
pub(super) struct Args {
    /// How long it takes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(15..=3600))]
    seconds: u32,
    /// How many lines a second the visitors make
    #[arg(long, value_name = "LINES_PER_S", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Keep the folder with the log, the journal and the database, and say where it is
    #[arg(long)]
    keep: bool,
}

/// How many agents there are.
const AGENTS: usize = 3;
/// So many requests fill a window of the rules below.
const FILLS_A_WINDOW: u64 = 50;

/// The rules of the demo: quick enough that everything happens while somebody looks on.
const SETTINGS: &str = r#"{
  "count": 50,
  "threshold_secound": 5,
  "if_warning": false,
  "block_second": 6,
  "default_host": "shop.example",
  "special_rule": {
    "/login": {"threshold_secound": 10, "block_second": 7}
  }
}
"#;

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let folder = tempfile::Builder::new().prefix("ccfirewall-demo-").tempdir()?;
        let keep = self.keep.then(|| folder.path().to_owned());
        let outcome = self.play(folder.path());
        if let Some(path) = keep {
            drop(folder.keep());
            println!("\nEverything is still in {}", path.display());
        }
        outcome
    }

    fn play(&self, folder: &Path) -> anyhow::Result<u8> {
        let log = folder.join("access.log");
        let settings = folder.join("settings.json");
        fs::write(&settings, SETTINGS)?;
        File::create(&log)?;
        let places = Arc::new(Countries::default());
        let cast = Arc::new(Cast::new(&*places));

        let story = Arc::new(Story::new(cast.clone(), std::io::stdout().is_terminal()));
        story.heading("Starting three agents over Thrift, and the firewall");
        let agents = DemoAgents::start(&story)?;
        for line in agents.describe() {
            story.say(&line);
        }
        let config = Config {
            settings: Some(settings),
            sources: vec![Source {
                input: Input::Log { path: log.clone(), start: Start::Beginning },
                format: LogFormat::combined(),
            }],
            agent: None,
            ..Config::for_log(&log, false, folder.join("state"))
        };
        let database = config.store.database.clone();
        let config = Config { http: crate::config::Http { listen: ([127, 0, 0, 1], 0).into() }, ..config };
        let options = LiveOptions { agents: agents.addresses(), sinks: vec![story.clone()] };
        let app = LiveApp::start(config, options).context("the firewall can't start")?;
        let address = app.http_address();
        story.say(&format!("pages: http://{address}/healthz  /metrics  /api/v1/status"));

        story.heading(&format!(
            "{} visitors and {} attackers come, for {} s",
            cast.visitors.len(),
            cast.attackers.len(),
            self.seconds
        ));
        let started = Instant::now();
        let ends = started + Duration::from_secs(self.seconds.into());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (story, stop, rate) = (story.clone(), stop.clone(), self.rate);
            let file = fs::OpenOptions::new().append(true).open(&log)?;
            std::thread::Builder::new()
                .name("visitors".to_owned())
                .spawn(move || writer::write(&story, file, rate, ends, &stop))?
        };
        let lines = writer.join().map_err(|_| anyhow::anyhow!("the writer of the log panicked"))??;
        stop.store(true, Ordering::Relaxed);
        // The last unbans may be under way.
        let settled = || story.nothing_in_force() && app.status().lines.lines >= lines;
        let patience = Instant::now() + Duration::from_secs(10);
        while !settled() && Instant::now() < patience && !app.has_broken() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let status = app.status();
        let ended = app.stop();
        let rows = rows_of_bans(&database);
        let verdict = story.verdict(lines, started.elapsed(), &status, rows);
        agents.stop();
        ended.context("the firewall didn't end well")?;
        let mut out = std::io::stdout().lock();
        verdict.write(&mut out)?;
        out.flush()?;
        Ok(if verdict.is_good() { OK } else { FAILED })
    }
}

/// How many answers to blocks and unblocks the database has.
fn rows_of_bans(database: &crate::config::Database) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let counts = runtime
        .map_err(|error| error.to_string())?
        .block_on(async { History::open(database).await?.counts().await });
    counts.map(|counts| (counts.blocks + counts.unblocks) as u64).map_err(|error| error.to_string())
}
