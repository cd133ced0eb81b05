//! Are lines written as we read them?

use std::net::IpAddr;

use model::line::{LineParser, LogFormat, Unparsed};
use model::text::shown;
use model::units::Second;

use super::finding::Finding;
use super::logs::Tail;

const CHECK: &str = "lines";

/// What could be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    pub(super) lines: usize,
    pub(super) parsed: usize,
    /// Why others couldn't be, the most frequent reason first, with the last line of each.
    pub(super) unparsed: Vec<(Unparsed, usize, String)>,
    pub(super) oldest: Option<Second>,
    pub(super) newest: Option<Second>,
    /// Who made the connections.
    pub(super) peers: Vec<Peer>,
}

/// Who made a connection, and for whom as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// `X-Forwarded-For`.
    pub(super) forwarded_for: Option<Vec<u8>>,
}

/// So many bytes of a line are shown.
const SHOWN: usize = 160;

/// Reads lines in a format.
pub(super) fn read(tail: &Tail, format: &LogFormat) -> Read {
    let mut parser = LineParser::new(format.clone());
    let mut read = Read::default();
    for line in tail.lines() {
        read.lines += 1;
        match parser.parse(line) {
            Ok(parsed) => {
                read.parsed += 1;
                read.oldest = Some(read.oldest.map_or(parsed.second, |oldest| oldest.min(parsed.second)));
                read.newest = read.newest.max(Some(parsed.second));
                let forwarded_for = parsed.forwarded_for.map(std::borrow::Cow::into_owned);
                read.peers.push(Peer { address: parsed.remote, forwarded_for });
            }
            Err(reason) => match read.unparsed.iter_mut().find(|(known, ..)| *known == reason) {
                Some((_, n, last)) => {
                    *n += 1;
                    *last = shown(line, SHOWN);
                }
                None => read.unparsed.push((reason, 1, shown(line, SHOWN))),
            },
        }
    }
    read.unparsed.sort_by_key(|(_, n, _)| std::cmp::Reverse(*n));
    read
}

/// Formats that are met often. All stand in nginx's own words.
const KNOWN: [&str; 6] = [
    "combined",
    "json",
    r#"$host:$server_port $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
    r#"$host $remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
    r#"$remote_addr - $remote_user [$time_iso8601] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#,
    r#"[$time_local] $remote_addr "$request" $status $body_bytes_sent"#,
];

/// The known format that reads the most lines, with how many.
fn best(tail: &Tail) -> Option<(&'static str, usize)> {
    let parsed = |text: &'static str| Some((text, read(tail, &text.parse().ok()?).parsed));
    KNOWN.into_iter().filter_map(parsed).rev().max_by_key(|(_, parsed)| *parsed)
}

/// Whether they could be read.
pub(super) fn judge(tail: &Tail, read: &Read) -> Finding {
    if tail.is_compressed() {
        return Finding::bad(
            CHECK,
            "the log is compressed",
            "name the log that nginx writes to; `ccfirewall replay` reads compressed ones",
        );
    }
    let Read { lines, parsed, .. } = *read;
    if lines == 0 {
        return Finding::skipped(CHECK, "there is no whole line yet");
    }
    let Some((reason, n, sample)) = read.unparsed.first() else {
        return Finding::ok(CHECK, format!("the last {lines} can all be read"));
    };
    let unparsed = lines - parsed;
    let most = if *n == unparsed { String::new() } else { format!("{n} of them as ") };
    let mut found = format!("{unparsed} of the last {lines} can't be read: {most}{reason}");
    // Scanners and broken clients are everywhere.
    if unparsed * 100 <= lines {
        return Finding::ok(CHECK, found);
    }
    found.push_str(&format!("\nsuch as: {sample}"));
    let better = best(tail).filter(|(_, could)| could * 10 >= lines * 9 && *could > parsed);
    let mend = match better {
        Some((format, could)) => {
            format!("this format reads {could} of them: --log-format '{format}', or `format` in [[source]]")
        }
        None => {
            "paste nginx's log_format, without its name, into `format` or --log-format; `ccfirewall explain` \
                 shows what is made of a line"
                .to_owned()
        }
    };
    if unparsed * 2 > lines { Finding::bad(CHECK, found, mend) } else { Finding::warn(CHECK, found, mend) }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const COMBINED: &str = r#"192.0.2.7 - - [22/Nov/2026:10:09:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;

    fn check(lines: &[(&str, usize)], format: &str, level: Level, part: &str, mend: &str) {
        let text: String = lines.iter().map(|(line, n)| format!("{line}\n").repeat(*n)).collect();
        let tail = Tail::whole(text.into_bytes());
        let finding = judge(&tail, &read(&tail, &format.parse().unwrap()));
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
        assert!(finding.mend.clone().unwrap_or_default().contains(mend), "{finding:?}");
    }

    #[test]
    fn lines_that_can_and_cannot_be_read() {
        check(&[], "combined", Level::Skipped, "no whole line", "");
        check(&[(COMBINED, 100)], "combined", Level::Ok, "all", "");
        check(&[(COMBINED, 99), ("", 1)], "combined", Level::Ok, "1 of the last 100", "");
        check(&[(COMBINED, 90), ("rubbish", 10)], "combined", Level::Warn, "such as: rubbish", "explain");
        check(&[("rub\x1b[2Jbish", 10)], "combined", Level::Bad, "rub\\u{1b}[2Jbish", "explain");
        check(&[("\x1f\u{8b}", 10)], "combined", Level::Bad, "", "");
    }

    #[test]
    fn a_format_that_fits_is_named() {
        check(&[(COMBINED, 10)], "json", Level::Bad, "10 of the last 10", "--log-format 'combined'");
        let vhost = format!("example.com:443 {COMBINED}");
        check(&[(&vhost, 10)], "combined", Level::Bad, "", "'$host:$server_port ");
        let iso = COMBINED.replace("22/Nov/2026:10:09:00 +0000", "2026-11-22T10:09:00+00:00");
        check(&[(&iso, 10)], "combined", Level::Bad, "", "$time_iso8601");
        let json = r#"{"remote_addr": "192.0.2.7", "time_iso8601": "2026-11-22T10:09:00+00:00", "request": "GET / HTTP/1.1"}"#;
        check(&[(json, 10)], "combined", Level::Bad, "", "--log-format 'json'");
    }

    #[test]
    fn every_known_format_compiles() {
        for format in KNOWN {
            assert!(format.parse::<LogFormat>().is_ok(), "{format}");
        }
    }

    #[test]
    fn compressed_logs_are_told() {
        let tail = Tail::whole(vec![0x1f, 0x8b, 8, 0, b'\n']);
        assert!(judge(&tail, &Read::default()).found.contains("compressed"));
    }
}
