//! `ccfirewall generate`: a synthetic access log.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use model::synthetic::Traffic;
use model::time::parse_time_iso8601;
use model::units::Second;

use super::{Failure, OK};

/// Write a synthetic access log (nginx's `combined`) to standard output: visitors, and attackers who flood
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The same seed makes the same log. Each attacker makes 50 requests a second all the time, far over the default
threshold; no visitor comes near it.

Examples:
  ccfirewall generate --lines 5000000 --clients 100000 --attackers 5 > access.log
  ccfirewall generate --lines 1000000 --seed 7 | ccfirewall replay -")]
pub(super) struct Args {
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 100_000, value_name = "N")]
    lines: u64,
    /// How many visitors
    #[arg(short, long, default_value_t = 10_000, value_name = "N")]
    clients: u32,
    /// How many attackers
    #[arg(short, long, default_value_t = 5, value_name = "N")]
    attackers: u32,
    /// What decides everything that is drawn by lot
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The first line's time, RFC 3339 or `now`
    #[arg(long, default_value = "2026-01-01T00:00:00Z", value_name = "TIME")]
    start: String,
}

/// Lines are written in pieces of about this size.
const PIECE: usize = 256 * 1024;

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        if self.clients == 0 && self.attackers == 0 {
            return Err(Failure::usage(
                "--clients and --attackers are both 0: nobody is left to make requests",
            ));
        }
        let traffic = Traffic {
            clients: self.clients,
            attackers: self.attackers,
            start: self.start()?,
            seed: self.seed,
        };
        let mut lines = traffic.lines();
        let mut out = io::stdout().lock();
        let mut piece = Vec::with_capacity(PIECE + 1024);
        while lines.made() < self.lines {
            lines.append(&mut piece);
            if piece.len() >= PIECE {
                out.write_all(&piece)?;
                piece.clear();
            }
        }
        out.write_all(&piece)?;
        out.flush()?;
        Ok(OK)
    }

    fn start(&self) -> anyhow::Result<Second> {
        if self.start == "now" {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
            return Ok(Second(i64::try_from(now.as_secs())?));
        }
        parse_time_iso8601(self.start.as_bytes()).ok_or_else(|| {
            Failure::usage(format!("--start: `{}` is not a time like 2026-01-01T00:00:00Z", self.start))
        })
    }
}
