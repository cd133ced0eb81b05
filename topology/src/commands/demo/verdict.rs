//! What the demo came to.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bolts::tuples::LineCounts;
use model::ban::{Ban, Ended};
use model::network::Network;
use model::units::Moment;

use super::super::report_text::table;
use super::AGENTS;

/// What became of an attacker in a wave.
#[derive(Clone, Default)]
pub(super) struct Act {
    /// When the request that filled the window was written.
    pub(super) filled: Option<Instant>,
    pub(super) ban: Option<Ban>,
    /// When each agent had it in force.
    pub(super) enforced: [Option<Instant>; AGENTS],
    pub(super) over: Option<(Moment, Ended)>,
    /// When each agent was told to let it go.
    pub(super) lifted: [Option<Moment>; AGENTS],
}

/// So much late an unban may be: ticks come every tenth of a second, and machines are busy.
const ON_TIME: i64 = 1_000;

impl Act {
    /// From the log to each agent.
    pub(super) fn latencies(&self) -> impl Iterator<Item = Duration> {
        let filled = self.filled;
        self.enforced.iter().filter_map(move |at| Some(at.as_ref()?.saturating_duration_since(filled?)))
    }

    pub(super) fn is_enforced(&self) -> bool {
        self.enforced.iter().all(Option::is_some)
    }

    pub(super) fn ended_on_time(&self) -> bool {
        let (Some(ban), Some((at, Ended::Expired))) = (&self.ban, self.over) else { return false };
        let on_time = |at: Moment| (0..=ON_TIME).contains(&(at.0 - ban.end.0));
        on_time(at) && self.lifted.iter().all(|lifted| lifted.is_some_and(on_time))
    }
}

/// What happened, to be judged.
pub(super) struct Verdict {
    pub(super) waves: Vec<Vec<Act>>,
    pub(super) wrongly: Vec<Ban>,
    pub(super) targets: Vec<Network>,
    pub(super) visitors: usize,
    /// Written.
    pub(super) lines: u64,
    pub(super) took: Duration,
    /// Read.
    pub(super) counted: LineCounts,
    /// Rows of bans and unbans in the database, or why they aren't known.
    pub(super) rows: Result<u64, String>,
    pub(super) colour: bool,
}

impl Verdict {
    fn acts(&self) -> impl Iterator<Item = &Act> {
        self.waves.iter().flatten()
    }

    /// A row for each agent and ban, and one for its end.
    fn rows_expected(&self) -> u64 {
        self.acts().filter(|act| act.ban.is_some()).count() as u64 * AGENTS as u64 * 2
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (wave, acts) in self.waves.iter().enumerate() {
            for (act, target) in acts.iter().zip(&self.targets) {
                let fault = if act.ban.is_none() {
                    "was not banned"
                } else if !act.is_enforced() {
                    "was not banned by every agent"
                } else if !act.ended_on_time() {
                    "was not unbanned on time"
                } else {
                    continue;
                };
                faults.push(format!("{target} {fault} in wave {}", wave + 1));
            }
        }
        faults.extend(self.wrongly.iter().map(|ban| format!("{} is a visitor, and was banned", ban.target)));
        if self.counted.lines != self.lines {
            faults.push(format!("{} lines were written and {} read", self.lines, self.counted.lines));
        }
        match &self.rows {
            Ok(rows) if *rows == self.rows_expected() => {}
            Ok(rows) => {
                faults.push(format!(
                    "the database has {rows} rows of bans and unbans, not {}",
                    self.rows_expected()
                ));
            }
            Err(why) => faults.push(format!("the database can't be read: {why}")),
        }
        faults
    }

    pub(super) fn is_good(&self) -> bool {
        self.faults().is_empty()
    }

    /// The longest of the shortest `share` of the latencies.
    fn latency(&self, share: f64) -> Option<Duration> {
        let mut all: Vec<Duration> = self.acts().flat_map(Act::latencies).collect();
        all.sort_unstable();
        all.get(((all.len() as f64 * share).ceil() as usize).max(1) - 1).copied()
    }

    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (bold, red, green, plain) =
            if self.colour { ("\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[0m") } else { ("", "", "", "") };
        writeln!(out, "\n{bold}Summary{plain}")?;
        let header = ["banned", "country", "rule", "log to agents", "for", "unbanned"];
        let mut bans = table(&header, &[3, 4]);
        for act in self.acts() {
            let Some(ban) = &act.ban else { continue };
            let country = ban.place.as_ref().and_then(|place| place.country.as_deref()).unwrap_or("-");
            let slowest = act.latencies().max().map_or("-".to_owned(), millis);
            let over = if act.ended_on_time() { "on time" } else { "NOT ON TIME" };
            bans.add_row([
                ban.target.to_string(),
                country.to_owned(),
                ban.rule.to_string(),
                slowest,
                ban.length().to_string(),
                over.to_owned(),
            ]);
        }
        writeln!(out, "{bans}")?;
        let per_second = self.lines as f64 / self.took.as_secs_f64();
        writeln!(
            out,
            "  lines          {} read of {} written, {per_second:.0} a second",
            self.counted.lines, self.lines
        )?;
        let banned = self.acts().filter(|act| act.ban.is_some()).count();
        let on_time = self.acts().filter(|act| act.ended_on_time()).count();
        writeln!(
            out,
            "  attackers      {} came, {banned} banned, {on_time} unbanned on time",
            self.acts().count()
        )?;
        let latency = |share| self.latency(share).map_or("-".to_owned(), millis);
        writeln!(out, "  log to agent   p50 {}, p99 {}", latency(0.5), latency(0.99))?;
        writeln!(out, "  visitors       {}, {} wrongly banned", self.visitors, self.wrongly.len())?;
        match &self.rows {
            Ok(rows) => writeln!(out, "  database       {rows} rows of bans and unbans")?,
            Err(why) => writeln!(out, "  database       {why}")?,
        }
        let faults = self.faults();
        for fault in &faults {
            writeln!(out, "{red}  {fault}{plain}")?;
        }
        if faults.is_empty() {
            writeln!(
                out,
                "{green}Every attacker was banned and unbanned on time, and no visitor was banned.{plain}"
            )?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
