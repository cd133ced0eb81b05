//! Parsing lines: ours beside what one would write first with the standard library (and `serde_json` for JSON).

use std::hint::black_box;
use std::net::IpAddr;

use benches::{lines, log};
use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use model::line::{LineParser, LogFormat};

const LINES: usize = 20_000;

/// What the baselines find: as much as our parser hands on.
struct Plain<'a> {
    remote: IpAddr,
    second: i64,
    target: Option<&'a str>,
    status: u16,
}

/// A line of `combined`, cut with `str::split`.
fn plain_combined(line: &str) -> Option<Plain<'_>> {
    let mut quoted = line.split('"');
    let (head, request, numbers) = (quoted.next()?, quoted.next()?, quoted.next()?);
    let (remote, rest) = head.split_once(' ')?;
    let time = rest.split_once('[')?.1.split_once(']')?.0;
    Some(Plain {
        remote: remote.parse().ok()?,
        second: plain_time(time)?,
        target: request.split(' ').nth(1),
        status: numbers.split_whitespace().next()?.parse().ok()?,
    })
}

/// `22/Nov/2026:10:09:00 +0000`
fn plain_time(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (moment, zone) = text.split_once(' ')?;
    let mut parts = moment.split(['/', ':']);
    let day: i64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|&month| month == name)? as i64 + 1;
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (year, hour, minute, second) = (number()?, number()?, number()?, number()?);
    let zone: i64 = zone.parse().ok()?;
    // Days of the civil calendar, years from March.
    let year = if month <= 2 { year - 1 } else { year };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day - 719_469;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second - (zone / 100 * 3_600 + zone % 100 * 60))
}

/// A line of the long format: `combined`, and the host and X-Forwarded-For behind it.
fn plain_tail(line: &str) -> Option<(Plain<'_>, &str, &str)> {
    let mut quoted = line.split('"').skip(7);
    let (host, forwarded_for) = (quoted.next()?, quoted.nth(1)?);
    Some((plain_combined(line)?, host, forwarded_for))
}

/// A JSON line, read as a tree.
fn plain_json(line: &str) -> Option<(IpAddr, i64, String, u64)> {
    let tree: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((
        tree["remote_addr"].as_str()?.parse().ok()?,
        plain_time(tree["time_local"].as_str()?)?,
        tree["request"].as_str()?.split(' ').nth(1)?.to_owned(),
        tree["status"].as_u64()?,
    ))
}

fn ours(group: &mut BenchmarkGroup<'_, WallTime>, log: &[u8], format: &str) {
    let format: LogFormat = format.parse().expect("the format is fixed");
    group.bench_function("ours", |bench| {
        let mut parser = LineParser::new(format.clone());
        bench.iter(|| {
            for line in lines(log) {
                black_box(parser.parse(line).expect("generated lines parse"));
            }
        });
    });
}

fn baseline<'a, T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    log: &'a [u8],
    parse: impl Fn(&'a str) -> Option<T>,
) {
    group.bench_function("baseline", |bench| {
        bench.iter(|| {
            for line in lines(log) {
                let line = str::from_utf8(line).expect("generated lines are ASCII");
                black_box(parse(line).expect("generated lines parse"));
            }
        });
    });
}

/// The baselines must do the work that they are compared for.
fn check(log: &[u8]) {
    let mut parser = LineParser::new(LogFormat::combined());
    for line in lines(log).take(100) {
        let parsed = parser.parse(line).expect("generated lines parse");
        let plain = str::from_utf8(line).ok().and_then(plain_combined).expect("generated lines parse");
        assert_eq!((plain.remote, plain.second), (parsed.remote, parsed.second.0));
        assert_eq!(plain.target.map(str::as_bytes), parsed.target.as_deref());
        assert_eq!(plain.status, parsed.status);
    }
}

fn benches(c: &mut Criterion) {
    let combined = log(LINES);
    check(&combined);
    let mut group = c.benchmark_group("lines/combined");
    group.throughput(Throughput::Elements(LINES as u64));
    ours(&mut group, &combined, "combined");
    baseline(&mut group, &combined, plain_combined);
    group.finish();

    let (mut tailed, mut json) = (Vec::new(), Vec::new());
    for line in lines(&combined) {
        tailed.extend_from_slice(line);
        tailed.extend_from_slice(b" \"www.example.com\" \"198.51.100.7, 203.0.113.9\"\n");
        json.extend_from_slice(&as_json(line));
    }

    let mut group = c.benchmark_group("lines/log_format");
    group.throughput(Throughput::Elements(LINES as u64));
    let format = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$host" "$http_x_forwarded_for""#;
    ours(&mut group, &tailed, format);
    baseline(&mut group, &tailed, plain_tail);
    group.finish();

    let mut group = c.benchmark_group("lines/json");
    group.throughput(Throughput::Elements(LINES as u64));
    ours(&mut group, &json, "json");
    baseline(&mut group, &json, plain_json);
    group.finish();
}

fn as_json(line: &[u8]) -> Vec<u8> {
    let text = str::from_utf8(line).expect("generated lines are ASCII");
    let mut quoted = text.split('"');
    let (head, request) = (quoted.next().unwrap_or(""), quoted.next().unwrap_or(""));
    let agent = quoted.nth(3).unwrap_or("-");
    let (remote, rest) = head.split_once(' ').unwrap_or((head, ""));
    let time = rest.trim_start_matches("- - [").trim_end_matches("] ");
    let object = serde_json::json!({
        "remote_addr": remote, "time_local": time, "request": request, "status": 200, "body_bytes_sent": 5120,
        "http_user_agent": agent,
    });
    let mut json = object.to_string().into_bytes();
    json.push(b'\n');
    json
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
}
