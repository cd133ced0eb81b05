//! Bans, as people see them.

use std::io::{self, Write};

use model::ban::{Ended, Order, Reason};
use model::text::shown;

use super::super::report_text::{grouped, table};
use super::super::running::lasting;
use crate::control::AgentAnswer;
use crate::control::views::{BanPage, BanView, ChangeKind, Changed, HeldPage, HistoryPage};

/// Longer notes and rules are cut; `--output json` has them whole.
const LONGEST: usize = 60;
/// So many changes are told one by one.
const CHANGES: usize = 20;

pub(super) fn bans(out: &mut dyn Write, page: &BanPage, query: Option<&str>) -> io::Result<()> {
    let about = query.map(|query| format!(" for `{}`", shown(query.as_bytes(), LONGEST))).unwrap_or_default();
    if page.bans.is_empty() {
        return match query {
            None => writeln!(out, "Nobody is banned."),
            Some(_) => writeln!(out, "No ban in force{about}."),
        };
    }
    let mut table = table(&["target", "country", "rule", "reason", "since", "left", "note"], &[5]);
    for ban in &page.bans {
        table.add_row([
            ban.target.clone(),
            ban.country.clone().unwrap_or_default(),
            shown(ban.rule.as_bytes(), LONGEST),
            reason(ban.reason).to_owned(),
            to_the_second(&ban.start),
            lasting(ban.seconds_left),
            note(ban.note.as_deref()),
        ]);
    }
    writeln!(out, "{table}")?;
    let bans = if page.total == 1 { "ban" } else { "bans" };
    write!(out, "\n{} {bans} in force{about}", grouped(page.total))?;
    match page.total.saturating_sub(page.bans.len() as u64) {
        0 => writeln!(out),
        more => writeln!(out, "; {} more than shown, --limit shows them", grouped(more)),
    }
}

pub(super) fn held(out: &mut dyn Write, page: &HeldPage) -> io::Result<()> {
    if page.held.is_empty() {
        return writeln!(out, "No bans are held.");
    }
    let mut table = table(&["target", "country", "rule", "decided", "held by"], &[]);
    for held in &page.held {
        table.add_row([
            held.ban.target.clone(),
            held.ban.country.clone().unwrap_or_default(),
            shown(held.ban.rule.as_bytes(), LONGEST),
            to_the_second(&held.ban.decided),
            held.cap.clone(),
        ]);
    }
    writeln!(out, "{table}")?;
    let count = page.held.len() as u64;
    writeln!(
        out,
        "\n{} held {}: `ccfirewall bans release` puts them in force, `bans discard` forgets them",
        grouped(count),
        if count == 1 { "ban" } else { "bans" },
    )
}

pub(super) fn history(out: &mut dyn Write, page: &HistoryPage) -> io::Result<()> {
    if page.bans.is_empty() {
        return writeln!(out, "No such bans in the database.");
    }
    let header = ["target", "country", "rule", "reason", "began", "ended", "requests", "agents", "note"];
    let mut table = table(&header, &[6]);
    for ban in &page.bans {
        let ended = match (&ban.ended_at, ban.ended_cause) {
            (None, _) => format!("in force until {}", to_the_second(&ban.end)),
            (Some(at), cause) => format!("{}{}", to_the_second(at), cause.map_or("", why)),
        };
        table.add_row([
            ban.target.clone(),
            ban.country.clone().unwrap_or_default(),
            shown(ban.rule.as_bytes(), LONGEST),
            reason(ban.reason).to_owned(),
            to_the_second(&ban.start),
            ended,
            if ban.count == 0 { String::new() } else { grouped(ban.count.into()) },
            answers(&ban.agents),
            note(ban.note.as_deref()),
        ]);
    }
    writeln!(out, "{table}")
}

pub(super) fn changes(out: &mut dyn Write, changed: &Changed) -> io::Result<()> {
    // A ban that was released is told by the ban that follows.
    let told = || changed.changes.iter().filter(|change| change.change != ChangeKind::Released);
    for change in told().take(CHANGES) {
        let BanView { target, end, seconds_left, .. } = &change.ban;
        let until = || format!("until {} ({})", to_the_second(end), lasting(*seconds_left));
        match change.change {
            ChangeKind::Banned => writeln!(out, "{target} is banned {}", until())?,
            ChangeKind::Extended => writeln!(out, "{target} was banned already; now {}", until())?,
            ChangeKind::Unbanned => writeln!(out, "{target} isn't banned any more")?,
            ChangeKind::Held => {
                writeln!(out, "the ban of {target} is held back by a cap (`ccfirewall bans held`)")?;
            }
            ChangeKind::Discarded => writeln!(out, "the held ban of {target} is forgotten")?,
            ChangeKind::Released => {}
        }
    }
    match told().count() {
        0 => writeln!(out, "There was nothing to do."),
        count => match count.saturating_sub(CHANGES) {
            0 => Ok(()),
            more => writeln!(out, "… and {} more", grouped(more as u64)),
        },
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Global => "global",
        Reason::Special => "special",
        Reason::ByHand => "by hand",
        Reason::Adopted => "adopted",
    }
}

fn why(cause: Ended) -> &'static str {
    match cause {
        Ended::Expired => "",
        Ended::ByHand => ", by hand",
        Ended::Guarded => ", allowlisted or protected",
    }
}

fn note(note: Option<&str>) -> String {
    note.map(|note| shown(note.as_bytes(), LONGEST)).unwrap_or_default()
}

/// `2026-11-22T10:00:03.250Z` without its milliseconds.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// What agents answered to the order to block.
fn answers(answers: &[AgentAnswer]) -> String {
    let blocks = || answers.iter().filter(|answer| answer.order == Order::Block);
    let done = blocks().filter(|answer| matches!(answer.flag, 1 | -1)).count();
    let failed: Vec<&str> = blocks()
        .filter(|answer| !matches!(answer.flag, 1 | -1))
        .map(|answer| answer.agent.as_str())
        .collect();
    match (done, failed.as_slice()) {
        (0, []) => "none answered".to_owned(),
        (done, []) => format!("{done} done"),
        (done, failed) => format!("{done} done, failed: {}", shown(failed.join(", ").as_bytes(), LONGEST)),
    }
}
