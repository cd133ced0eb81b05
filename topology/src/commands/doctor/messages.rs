//! What stands in a topic: can its lines be read, do the clocks of those who ship them agree with ours, and who made the
//! connections? Judged by the newest messages, unwrapped and parsed as a worker does it.

use std::collections::BTreeMap;

use model::line::{LineParser, LogFormat};
use model::settings::Settings;
use model::text::shown;
use model::units::{Moment, Second, Seconds};
use serde_json::Value;

use super::finding::{Finding, Level, Report, ago};
use super::lines::{self, Read};
use super::logs::Tail;
use super::reach::{self, Place};
use super::when::is_zone;
use crate::adapters::kafka::Seen;
use crate::config::{KafkaInput, Shape};
use crate::spouts::kafka::envelope::{Envelope, Lines};

const LINES: &str = "lines";
const CLOCK: &str = "clock";

/// The newest messages of a topic.
#[derive(Default)]
pub(super) struct Messages {
    count: usize,
    tail: Tail,
    read: Read,
    times: Vec<Times>,
    /// The texts of a JSON message of which no line could be read, by their keys.
    keys: Vec<String>,
}

/// The newest line of a message, and when that was sent and came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Times {
    /// Who logged it, where the message says.
    host: Option<String>,
    line: Second,
    /// By the clock of whoever sent it, or of the broker.
    stamped: Option<Moment>,
    /// By our clock, where it came while we looked.
    came: Option<Moment>,
}

impl Messages {
    pub(super) fn read(seen: &[Seen], input: &KafkaInput, format: &LogFormat) -> Self {
        let envelope = Envelope::new(input.envelope, &input.message_keys, format);
        let mut parser = LineParser::new(format.clone());
        let (mut lines, mut times, mut keys) = (Lines::default(), Vec::new(), Vec::new());
        for Seen { message, came } in seen {
            let from = lines.bytes.len();
            envelope.unwrap_into(message.payload.as_deref(), &mut lines);
            let of_message = lines.bytes[from..].split(|&byte| byte == b'\n');
            let newest = of_message.filter_map(|line| Some(parser.parse(line).ok()?.second)).max();
            // What is no JSON is none of a shipper's.
            let payload = message.payload.as_deref().unwrap_or_default();
            let json =
                (input.envelope != Shape::None).then(|| serde_json::from_slice(payload).ok()).flatten();
            match newest {
                Some(line) => times.push(Times {
                    host: json.as_ref().and_then(host),
                    line,
                    stamped: message.timestamp.map(Moment),
                    came: *came,
                }),
                None => {
                    let found = json.as_ref().map(texts).unwrap_or_default();
                    // Where one of ours is there, that isn't what is wrong.
                    if !found.iter().any(|key| input.message_keys.contains(key)) {
                        keys = found;
                    }
                }
            }
        }
        let tail = Tail::whole(lines.bytes);
        let read = lines::read(&tail, format);
        Self { count: seen.len(), tail, read, times, keys }
    }
}

/// Where shippers say which host a line is from.
fn host(json: &Value) -> Option<String> {
    const PLACES: [&str; 7] = [
        "/host/name",
        "/host/hostname",
        "/host",
        "/hostname",
        "/agent/hostname",
        "/headers/host",
        "/beat/hostname",
    ];
    let one = json.get(0).unwrap_or(json);
    let host = PLACES.iter().find_map(|place| one.pointer(place)?.as_str());
    host.filter(|host| !host.is_empty()).map(|host| shown(host.as_bytes(), 100))
}

/// Where texts are in a message that could be lines: keys of the first level, or `outer.inner`.
fn texts(json: &Value) -> Vec<String> {
    let Some(object) = json.get(0).unwrap_or(json).as_object() else { return Vec::new() };
    let of = |(key, value): (&String, &Value)| match value {
        Value::String(_) => vec![key.clone()],
        Value::Object(inner) => inner
            .iter()
            .filter(|(_, value)| value.is_string())
            .map(|(inner, _)| format!("{key}.{inner}"))
            .collect(),
        _ => Vec::new(),
    };
    let all = object.iter().flat_map(of);
    all.filter(|key| key.len() < 100).map(|key| shown(key.as_bytes(), 100)).take(12).collect()
}

/// Says all that they tell.
pub(super) fn judge(messages: &Messages, settings: &Settings, now: Moment, report: &mut Report) {
    if messages.count == 0 {
        return report.add(Finding::warn(
            LINES,
            "the topic is empty: nothing was ever sent there, or its retention has deleted it",
            "see that the shipper on the web servers runs and sends to this topic; its log says why not",
        ));
    }
    report.add(readable(messages));
    clocks(&messages.times, now, settings.max_event_age).into_iter().for_each(|finding| report.add(finding));
    report.add(reach::judge(&messages.read.peers, &settings.trusted_proxies, Place::Elsewhere));
}

fn readable(messages: &Messages) -> Finding {
    let finding = lines::judge(&messages.tail, &messages.read);
    let unparsed = messages.read.lines - messages.read.parsed;
    // Where most are JSON that nothing was found in, the format isn't to blame.
    if finding.level < Level::Warn || messages.keys.is_empty() || unparsed * 2 <= messages.read.lines {
        return finding;
    }
    let keys = messages.keys.join(", ");
    Finding::bad(
        LINES,
        format!("{}\nthe messages are JSON, with texts under {keys}", finding.found),
        "name the key that has the line: `message_key` in [[source]]; where the JSON is the line itself, say so: \
         `format = \"json\"`, or its log_format",
    )
}

/// A host that sent nothing for longer tells nothing of its clock.
const LATELY: i64 = 600_000;
/// Clocks that differ by less agree, in milliseconds.
const SMALL: i64 = 2_000;
/// Lines further ahead count for nothing.
const FUTURE: i64 = 60_000;
/// So many hosts are told one by one.
const TOLD: usize = 3;

/// Compares the newest lines of each host with when they came, or were sent. `too_old` is the settings' `max_event_age`.
fn clocks(times: &[Times], now: Moment, too_old: Seconds) -> Vec<Finding> {
    let mut hosts: BTreeMap<Option<&str>, Vec<&Times>> = BTreeMap::new();
    times.iter().for_each(|time| hosts.entry(time.host.as_deref()).or_default().push(time));
    if hosts.is_empty() {
        return vec![Finding::skipped(CLOCK, "no line tells the time")];
    }
    let offs = hosts.iter().map(|(host, times)| (*host, off(times, now)));
    let (known, quiet): (Vec<_>, Vec<_>) = offs.partition(|(_, off)| off.is_some());
    if known.is_empty() {
        return vec![Finding::skipped(CLOCK, "nothing was sent lately, so it can't be told")];
    }
    let mut wrong: Vec<(Option<&str>, Off)> = known
        .iter()
        .filter_map(|(host, off)| Some((*host, (*off)?)))
        .filter(|(_, off)| off.is_wrong())
        .collect();
    if wrong.is_empty() {
        let of = match (known.len(), known[0].0) {
            (1, Some(host)) => format!(" of {host}"),
            (1, None) => String::new(),
            (n, _) => format!(" of {n} hosts"),
        };
        let rest =
            if quiet.is_empty() { String::new() } else { format!(" ({} sent nothing lately)", quiet.len()) };
        return vec![Finding::ok(
            CLOCK,
            format!("the newest lines{of} agree with this machine's clock{rest}"),
        )];
    }
    wrong.sort_by_key(|(_, off)| std::cmp::Reverse(off.millis()));
    let more = wrong.len().saturating_sub(TOLD);
    let mut findings: Vec<Finding> =
        wrong.into_iter().take(TOLD).map(|(host, off)| off.finding(host, too_old)).collect();
    if more > 0 {
        findings.push(Finding::warn(CLOCK, format!("{more} more hosts are off"), "as above"));
    }
    findings
}

/// How a host's lines stand to our clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    Ahead(i64),
    /// They were so old when they came; `sent` where it is only known when they were sent.
    Old {
        millis: i64,
        sent: bool,
    },
}

/// `None` where nothing came lately.
fn off(times: &[&Times], now: Moment) -> Option<Off> {
    let begin = |time: &Times| time.line.0.saturating_mul(1000);
    let ahead = times.iter().map(|time| begin(time).saturating_sub(time.came.unwrap_or(now).0)).max()?;
    if ahead > SMALL {
        return Some(Off::Ahead(ahead));
    }
    // A line is written at some time within its second.
    let old = |time: &Times, at: Moment| at.0.saturating_sub(begin(time).saturating_add(999)).max(0);
    if let Some(millis) = times.iter().filter_map(|time| Some(old(time, time.came?))).min() {
        return Some(Off::Old { millis, sent: false });
    }
    let last =
        times.iter().filter_map(|time| Some((time.stamped?, *time))).max_by_key(|(stamped, _)| *stamped);
    let (stamped, time) = last?;
    let lately = now.0.saturating_sub(stamped.0) < LATELY;
    lately.then(|| Off::Old { millis: old(time, stamped), sent: true })
}

impl Off {
    fn millis(self) -> i64 {
        match self {
            Self::Ahead(millis) | Self::Old { millis, .. } => millis,
        }
    }

    fn is_wrong(self) -> bool {
        self.millis() > SMALL
    }

    fn finding(self, host: Option<&str>, too_old: Seconds) -> Finding {
        let host = host.map(|host| format!(" of {host}")).unwrap_or_default();
        let off = u64::try_from(self.millis() / 1000).unwrap_or(0);
        let zone =
            "that looks like a wrong time zone: see $time_local's offset, and the zone of who writes the log";
        let (found, mend, bad) = match self {
            Self::Ahead(millis) => (
                format!("the newest line{host} is {} ahead of this machine's clock", ago(off)),
                "set the clocks by NTP there and here (`timedatectl set-ntp true`, or chrony); lines more than a minute \
                 ahead don't count"
                    .to_owned(),
                millis > FUTURE,
            ),
            Self::Old { millis, sent } => (
                format!(
                    "the newest line{host} was {} old when it {}",
                    ago(off),
                    if sent { "was sent" } else { "came" }
                ),
                format!(
                    "either that clock is behind: set it by NTP (`timedatectl set-ntp true`, or chrony); or the shipper \
                     holds lines back: let it send at once; decisions on lines older than {too_old} aren't enforced \
                     (max_event_age)"
                ),
                millis >= i64::from(too_old.0).saturating_mul(1000),
            ),
        };
        let mend = if is_zone(off) { zone.to_owned() } else { mend };
        if bad { Finding::bad(CLOCK, found, mend) } else { Finding::warn(CLOCK, found, mend) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::kafka::Message;
    use serde_json::json;

    const LINE: &str = r#"192.0.2.7 - - [22/Nov/2026:10:09:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#;

    fn input() -> KafkaInput {
        KafkaInput {
            topic: "t".to_owned(),
            start: crate::config::Start::End,
            envelope: Shape::Auto,
            message_keys: Envelope::KEYS.map(str::to_owned).into(),
        }
    }

    fn of(payloads: &[String]) -> Messages {
        let seen = payloads.iter().enumerate().map(|(n, payload)| Seen {
            message: Message {
                partition: 0,
                offset: n as i64,
                timestamp: None,
                key: None,
                payload: Some(payload.clone().into_bytes()),
            },
            came: None,
        });
        Messages::read(&seen.collect::<Vec<_>>(), &input(), &LogFormat::combined())
    }

    #[test]
    fn lines_within_messages() {
        let check = |payloads: &[String], level, part: &str, mend: &str| {
            let finding = readable(&of(payloads));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
            assert!(finding.mend.clone().unwrap_or_default().contains(mend), "{finding:?}");
        };
        let with = |key: &str| json!({ key: LINE, "n": 1, "log": {"file": "/a"} }).to_string();
        check(&[LINE.to_owned(), with("message")], Level::Ok, "the last 2", "");
        check(&[with("text"), with("text")], Level::Bad, "log.file, text", "`message_key`");
        check(&["rubbish".to_owned(), with("message")], Level::Warn, "1 of the last 2", "explain");
        check(&["\u{0}\u{1}".to_owned()], Level::Bad, "1 of the last 1", "");
        check(&[String::new()], Level::Bad, "1 of the last 1", "");
        let mut report = Report::default();
        judge(&Messages::default(), &Settings::default(), Moment(0), &mut report);
        assert_eq!(report.worst(), Level::Warn);
    }

    #[test]
    fn hosts_are_named_in_many_ways() {
        for (json, expect) in [
            (json!({"host": "web1"}), Some("web1")),
            (json!({"host": {"name": "web1", "os": {}}}), Some("web1")),
            (json!([{"headers": {"host": "web1"}, "body": ""}]), Some("web1")),
            (json!({"agent": {"hostname": "web1"}}), Some("web1")),
            (json!({"host": ""}), None),
            (json!({"host": 7}), None),
            (json!("web1"), None),
            (json!([]), None),
        ] {
            assert_eq!(host(&json).as_deref(), expect, "{json}");
        }
        assert!(!host(&json!({"host": "\u{1b}[2J"})).unwrap().contains('\u{1b}'));
    }

    #[test]
    fn clocks_of_hosts() {
        const NOW: i64 = 1_000_000;
        let time = |host: &str, line: i64, stamped: Option<i64>, came: Option<i64>| Times {
            host: (!host.is_empty()).then(|| host.to_owned()),
            line: Second(line),
            stamped: stamped.map(Moment),
            came: came.map(Moment),
        };
        let check = |times: &[Times], level, part: &str| {
            let findings = clocks(times, Moment(NOW * 1000), Seconds(300));
            let worst = findings.iter().max_by_key(|finding| finding.level).unwrap();
            assert_eq!(worst.level, level, "{findings:?}");
            let text = format!("{} {}", worst.found, worst.mend.clone().unwrap_or_default());
            assert!(text.contains(part), "{text}");
        };
        let now = Some(NOW * 1000);
        check(&[], Level::Skipped, "no line");
        check(&[time("", NOW - 9_000, Some((NOW - 8_000) * 1000), None)], Level::Skipped, "lately");
        check(&[time("web1", NOW, now, None), time("web2", NOW - 1, now, now)], Level::Ok, "2 hosts");
        check(
            &[time("web1", NOW - 1, now, None), time("web2", NOW + 5, now, None)],
            Level::Warn,
            "web2 is 5 s ahead",
        );
        check(&[time("", NOW + 2, now, None)], Level::Ok, "agree");
        check(&[time("", NOW + 3, now, None)], Level::Warn, "timedatectl");
        check(&[time("", NOW + 90, now, None)], Level::Bad, "ahead");
        check(&[time("", NOW + 7200, now, None)], Level::Bad, "time zone");
        check(&[time("", NOW - 10, Some(NOW * 1000 - 5000), None)], Level::Warn, "4 s old when it was sent");
        check(&[time("", NOW - 10, None, now)], Level::Warn, "9 s old when it came");
        check(&[time("", NOW - 10, None, now), time("", NOW - 1, None, now)], Level::Ok, "agree");
        check(&[time("", NOW - 400, now, None)], Level::Bad, "max_event_age");
        check(&[time("", i64::MAX, Some(i64::MIN), None)], Level::Bad, "ahead");
        let many: Vec<Times> = (0..9).map(|n| time(&format!("w{n}"), NOW + 10, now, None)).collect();
        assert_eq!(clocks(&many, Moment(NOW * 1000), Seconds(300)).len(), TOLD + 1);
    }
}
