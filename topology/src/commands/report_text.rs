//! The report for people.

use std::io::{self, Write};
use std::time::Duration;

use bolts::ports::PlaceLookup;
use bolts::tuples::Summary;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use model::line::Unparsed;
use model::network::Network;

/// So many rows each table has at most.
const ROWS: usize = 10;
/// So many decisions are listed; `--output json` has them all.
const DECISIONS: usize = 50;

/// One line under the header, and nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Writes it.
pub(super) fn write(
    out: &mut impl Write,
    summary: &Summary,
    places: &dyn PlaceLookup,
    elapsed: Duration,
) -> io::Result<()> {
    decisions(out, summary)?;
    addresses(out, summary, places)?;
    shares(
        out,
        "Busiest URLs",
        "url",
        summary,
        summary.survey.urls.iter().map(|(url, n)| (url.clone(), *n)),
    )?;
    let countries = summary.survey.countries.iter();
    let countries = countries.map(|(code, n)| (code.as_deref().unwrap_or("unknown").to_owned(), *n));
    shares(out, "Countries", "country", summary, countries)?;
    unparsed(out, summary)?;
    totals(out, summary, elapsed)
}

fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}")
}

pub(super) fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn decisions(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    if summary.decisions.is_empty() {
        return writeln!(out, "Nobody would have been blocked or warned.\n");
    }
    heading(out, "Decisions")?;
    let header = ["time", "action", "address", "country", "rule", "requests", "in", "for"];
    let mut table = table(&header, &[5, 6, 7]);
    for decision in summary.decisions.iter().take(DECISIONS) {
        let place = decision.place.as_ref();
        table.add_row([
            decision.time.to_string(),
            decision.action.to_string(),
            decision.target.to_string(),
            place.and_then(|place| place.country.as_deref()).unwrap_or("").to_owned(),
            decision.rule.to_string(),
            decision.count.to_string(),
            decision.during.to_string(),
            decision.length.to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    if let Some(more) = summary.decisions.len().checked_sub(DECISIONS).filter(|&more| more > 0) {
        writeln!(out, "… and {more} more; --output json lists them all")?;
    }
    writeln!(out)
}

fn addresses(out: &mut impl Write, summary: &Summary, places: &dyn PlaceLookup) -> io::Result<()> {
    if summary.survey.addresses.is_empty() {
        return Ok(());
    }
    heading(out, "Busiest addresses")?;
    let mut table = table(&["address", "country", "requests", "share"], &[2, 3]);
    for (address, requests) in summary.survey.addresses.iter().take(ROWS) {
        table.add_row([
            address.to_string(),
            country(places, address),
            grouped(*requests),
            percent(*requests, summary.lines.parsed),
        ]);
    }
    writeln!(out, "{table}\n")
}

fn country(places: &dyn PlaceLookup, network: &Network) -> String {
    places
        .place(network.first())
        .and_then(|place| place.country)
        .map(|code| code.to_string())
        .unwrap_or_default()
}

fn shares(
    out: &mut impl Write,
    title: &str,
    column: &str,
    summary: &Summary,
    rows: impl Iterator<Item = (String, u64)>,
) -> io::Result<()> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    heading(out, title)?;
    let mut table = table(&[column, "requests", "share"], &[1, 2]);
    for (name, requests) in rows.take(ROWS) {
        table.add_row([name, grouped(requests), percent(requests, summary.lines.parsed)]);
    }
    writeln!(out, "{table}\n")
}

fn unparsed(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let lines = &summary.lines;
    if lines.unparsed.iter().all(|&n| n == 0) {
        return Ok(());
    }
    heading(out, "Unparsed lines")?;
    let mut table = table(&["why", "lines", "the first of them"], &[1]);
    for (reason, n) in Unparsed::ALL.into_iter().zip(lines.unparsed).filter(|&(_, n)| n > 0) {
        let sample = lines.samples.iter().find(|sample| sample.0 == reason).map(|sample| sample.1.as_str());
        table.add_row([reason.to_string(), grouped(n), sample.unwrap_or("").to_owned()]);
    }
    writeln!(out, "{table}\n")
}

fn totals(out: &mut impl Write, summary: &Summary, elapsed: Duration) -> io::Result<()> {
    let lines = &summary.lines;
    let rate = lines.lines as f64 / elapsed.as_secs_f64().max(1e-9);
    let about = if summary.clients.estimated { "about " } else { "" };
    writeln!(
        out,
        "{} lines ({} parsed) of {about}{} clients in {:.2} s: {} lines a second",
        grouped(lines.lines),
        grouped(lines.parsed),
        grouped(summary.clients.keys),
        elapsed.as_secs_f64(),
        grouped(rate as u64),
    )?;
    writeln!(
        out,
        "{}, {}, {}, {}",
        counted(summary.blocks, "block", "blocks"),
        counted(summary.warns, "warning", "warnings"),
        counted(summary.records, "frequency record", "frequency records"),
        counted(summary.while_banned, "request while banned", "requests while banned"),
    )?;
    for (n, what) in [
        (summary.late, "lines came too late to count (max_lateness)"),
        (
            lines.unattributed,
            "lines came through trusted proxies without a proven client, and counted for nobody",
        ),
        (summary.evicted, "clients were forgotten because --window-memory was full"),
    ] {
        if n > 0 {
            writeln!(out, "{} {what}", grouped(n))?;
        }
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
