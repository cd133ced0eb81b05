//! `ccfirewall replay`: what would have been decided on these logs?

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bolts::ports::SettingsPort;
use bolts::tuples::Summary;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use model::verdict::Decision;
use serde::Serialize;

use super::inputs::{self, Rules};
use super::{FAILED, OK, report_text};
use crate::app::{self, KeptSummary};
use crate::config::parse_size;
use crate::spouts::log_files::{BATCH_BYTES, InputFailure, Lines};
use crate::wiring::Replay;

/// Run logs through the rules in event time, as fast as it goes, and tell what would have been decided
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Logs are read in the order given, each in the order of its lines; .gz and .zst are unpacked.
The results are the same whatever the number of threads. The last line on standard error
is a JSON summary.

Examples:
  ccfirewall replay /var/log/nginx/access.log
  ccfirewall replay -s settings.json -o json access.log.1.gz access.log > decisions.jsonl
  ccfirewall replay -f '$remote_addr [$time_local] \"$request\" $status' access.log
  zcat access.log.*.gz | ccfirewall replay -")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
    /// How many tasks parse and how many count, each with a thread; 1 does all on one thread. Without it, one for
    /// each processor
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// What is written to standard output
    #[arg(short, long, value_enum, default_value_t = Output::Text, value_name = "FORM")]
    output: Output,
    /// How many bytes the windows of all addresses may take (suffixes K, M, G); past it idle ones are forgotten
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_size)]
    window_memory: usize,
    /// About how many bytes are read at a time
    #[arg(long, value_name = "BYTES", default_value_t = BATCH_BYTES as u32, hide = true, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    batch_bytes: u32,
    /// The logs; - is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A report for people
    Text,
    /// One JSON object a decision
    Json,
    /// Nothing: only the summary on standard error
    None,
}

/// A decision as it is printed.
#[derive(Serialize)]
struct DecisionLine<'a> {
    time: String,
    ip: String,
    action: model::verdict::Action,
    rule: &'a str,
    reason: u8,
    count: u32,
    during: u32,
    seconds: u32,
    country: Option<&'a str>,
}

/// The last line on standard error.
#[derive(Serialize)]
struct SummaryLine {
    lines: u64,
    parsed: u64,
    unparsed: u64,
    clients: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clients_estimated: bool,
    records: u64,
    blocks: u64,
    warns: u64,
    while_banned: u64,
    late: u64,
    unattributed: u64,
    evicted: u64,
    elapsed_seconds: f64,
    lines_per_second: u64,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let settings = self.rules.settings()?;
        let log_format = self.rules.log_format()?;
        let places = self.rules.places()?;
        inputs::check_logs(&self.logs)?;
        let tasks = self.threads.map_or_else(processors, usize::from);
        tracing::info!(%log_format, tasks, window_memory = self.window_memory, logs = self.logs.len(), "replaying");

        let bar = progress_bar(&self.logs);
        let failures = Arc::<Mutex<Vec<InputFailure>>>::default();
        let read = bar.clone();
        let kept = Arc::<KeptSummary>::default();
        let started = Instant::now();
        let summary = app::replay(
            &kept,
            Replay {
                lines: Lines {
                    inputs: self.logs,
                    batch_bytes: self.batch_bytes as usize,
                    progress: Arc::new(move |bytes| read.inc(bytes)),
                    failures: failures.clone(),
                },
                log_format,
                settings: SettingsPort::new(settings),
                places: places.clone(),
                summary: kept.clone(),
                survey: self.output == Output::Text,
                tasks,
                window_memory: self.window_memory,
            },
        )?;
        let elapsed = started.elapsed();
        bar.finish_and_clear();

        let written = write_output(self.output, &summary, &*places, elapsed);
        let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        for failure in failures.iter() {
            eprintln!("error: {failure} (what could be read of it counted)");
        }
        let unparsed: u64 = summary.lines.unparsed.iter().sum();
        if unparsed > summary.lines.parsed {
            eprintln!(
                "warning: most lines couldn't be read; is --log-format right? `ccfirewall explain` shows why"
            );
        }
        eprintln!("{}", serde_json::to_string(&summary_line(&summary, elapsed))?);
        written.context("can't write the output")?;
        Ok(if failures.is_empty() { OK } else { FAILED })
    }
}

fn write_output(
    output: Output,
    summary: &Summary,
    places: &dyn bolts::ports::PlaceLookup,
    elapsed: Duration,
) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match output {
        Output::None => {}
        Output::Text => report_text::write(&mut out, summary, places, elapsed)?,
        Output::Json => {
            for decision in &summary.decisions {
                serde_json::to_writer(&mut out, &decision_line(decision))?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()
}

fn decision_line(decision: &Decision) -> DecisionLine<'_> {
    DecisionLine {
        time: decision.time.to_string(),
        ip: decision.target.to_string(),
        action: decision.action,
        rule: &decision.rule,
        reason: decision.reason,
        count: decision.count,
        during: decision.during.0,
        seconds: decision.length.0,
        country: decision.place.as_ref().and_then(|place| place.country.as_deref()),
    }
}

fn summary_line(summary: &Summary, elapsed: Duration) -> SummaryLine {
    let lines = &summary.lines;
    let seconds = elapsed.as_secs_f64();
    SummaryLine {
        lines: lines.lines,
        parsed: lines.parsed,
        unparsed: lines.unparsed.iter().sum(),
        clients: summary.clients.keys,
        clients_estimated: summary.clients.estimated,
        records: summary.records,
        blocks: summary.blocks,
        warns: summary.warns,
        while_banned: summary.while_banned,
        late: summary.late,
        unattributed: lines.unattributed,
        evicted: summary.evicted,
        elapsed_seconds: (seconds * 1000.0).round() / 1000.0,
        lines_per_second: (lines.lines as f64 / seconds.max(1e-9)) as u64,
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn progress_bar(logs: &[PathBuf]) -> ProgressBar {
    if !inputs::stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match inputs::total_size(logs) {
        Some(size) => (
            ProgressBar::new(size),
            "{bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is fixed, a test draws it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_can_be_drawn() {
        for template in [
            "{bar:40} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
            "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
