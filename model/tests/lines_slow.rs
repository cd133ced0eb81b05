//! The parser of `combined` lines against a slow and obvious one.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use std::net::IpAddr;

use lines_common::{NOW, format, runner};
use model::line::LineParser;
use proptest::prelude::*;

/// The slow parser: cut by hand, with the standard library alone.
fn slow(line: &str) -> String {
    slow_parse(line).unwrap_or_else(|| "unparsed".to_owned())
}

fn slow_parse(line: &str) -> Option<String> {
    let (address, rest) = line.split_once(' ')?;
    let address: IpAddr = address.parse().ok()?;
    let (head, rest) = slow_quote(rest)?;
    let head = format!(" {}", head).strip_suffix("] ")?.to_owned();
    let (_, time) = head.rsplit_once(" [")?;
    let seconds = slow_time(time)?;
    let (request, rest) = slow_quote(rest)?;
    let target = request.split(' ').nth(1).unwrap_or("none");
    let mut words = rest.strip_prefix(' ')?.split(' ');
    let status = words.next().filter(|word| word.len() == 3)?;
    let bytes = words.next().filter(|word| !word.is_empty())?;
    let digits = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(status) || !(bytes == "-" || digits(bytes)) {
        return None;
    }
    let status: u16 = status.parse().ok()?;
    Some(format!("{} {target} {seconds} {status}", address.to_canonical()))
}

/// What stands before and behind the first quote that no odd number of backslashes precedes.
fn slow_quote(text: &str) -> Option<(&str, &str)> {
    let mut backslashes = 0;
    for (at, c) in text.char_indices() {
        match c {
            '"' if backslashes % 2 == 0 => return Some((&text[..at], &text[at + 1..])),
            '\\' => backslashes += 1,
            _ => backslashes = 0,
        }
    }
    None
}

/// `$time_local` as seconds, one year and one month at a time.
fn slow_time(text: &str) -> Option<i64> {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    if text.len() != 26 || !text.is_ascii() || text.as_bytes()[20] != b' ' {
        return None;
    }
    let parts: Vec<&str> = text[..20].split(['/', ':']).collect();
    let [day, month, year, hour, minute, second] = parts[..] else {
        return None;
    };
    let shape = (&text[2..3], &text[6..7], &text[11..12], &text[14..15], &text[17..18]);
    if shape != ("/", "/", ":", ":", ":") {
        return None;
    }
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    let month = MONTHS.split(' ').position(|name| name == month)?;
    let (day, year, hour) = (number(day)?, number(year)?, number(hour)?);
    let (minute, second) = (number(minute)?, number(second)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = |year, month| match month {
        1 => 28 + i64::from(leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    let exists = (1..=length(year, month)).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let (sign, east) = (&text[21..22], number(&text[22..24])? * 60 + number(&text[24..])?);
    if !exists || !["+", "-"].contains(&sign) || east > 14 * 60 || number(&text[24..])? > 59 {
        return None;
    }
    let mut days: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    days -= (year..1970).map(|year| 365 + i64::from(leap(year))).sum::<i64>();
    days += (0..month).map(|month| length(year, month)).sum::<i64>() + day - 1;
    let east = if sign == "-" { -east } else { east };
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - east * 60)
}

/// A part of a line: mostly in order, sometimes not.
fn part(good: &'static [&'static str], bad: &'static [&'static str]) -> impl Strategy<Value = String> {
    let pick = |from: &'static [&'static str]| prop::sample::select(from).prop_map(str::to_owned);
    prop_oneof![12 => pick(good), 1 => pick(bad), 1 => "[ -~\u{e9}]{0,12}"]
}

fn line() -> impl Strategy<Value = String> {
    let time = (0u32..33, 0usize..13, 1900u32..2200, 0u32..26, 0u32..62, 0u32..1500).prop_map(
        |(day, month, year, hour, minute, zone)| {
            let month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec xxx".split(' ').nth(month).unwrap();
            let sign = if zone % 2 == 0 { '+' } else { '-' };
            format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{minute:02} {sign}{zone:04}")
        },
    );
    let parts = (
        part(&["198.51.100.7", "2001:db8::1", "::ffff:1.2.3.4"], &["1.2.3.4:80", "01.2.3.4", "-", ""]),
        part(&[" - - ", " - bob ", " - a b "], &[" ", "", " - \\\" ", " - \" ", " - [ ", " - x [y] "]),
        prop_oneof![4 => Just(NOW.to_owned()), 3 => time, 1 => "[ -~]{20,30}"],
        part(&["GET /a HTTP/1.1", "", "GET /\\\" x", "a\\\\"], &["GET \" /a", "GET /a\\", "\\\\\\"]),
        part(&[" 200 5", " 404 -", " 200 0 \"-\" \"-\""], &[" 20 5", " 200", " 200 5x", "200 5", "  200 5"]),
        prop::option::weighted(0.2, (0usize..200, prop::bool::ANY)),
    );
    parts.prop_map(|(address, user, time, request, end, damage)| {
        let mut line = format!("{address}{user}[{time}] \"{request}\"{end}");
        if let Some((at, double)) = damage
            && let Some((at, c)) = line.char_indices().nth(at)
        {
            if double {
                line.insert(at, c);
            } else {
                line.remove(at);
            }
        }
        line
    })
}

#[test]
fn equals_the_slow_parser() {
    let parsed_lines = std::cell::Cell::new(0);
    let result = runner(20_000).run(&line(), |line| {
        let mut parser = LineParser::new(format("combined"));
        let found = match parser.parse(line.as_bytes()) {
            Err(_) => "unparsed".to_owned(),
            Ok(parsed) => {
                parsed_lines.set(parsed_lines.get() + 1);
                let target = parsed.target.as_deref().map_or("none".into(), String::from_utf8_lossy);
                format!("{} {target} {} {}", parsed.remote, parsed.second.0, parsed.status)
            }
        };
        prop_assert_eq!(found, slow(&line));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let share = (3_000..17_000).contains(&parsed_lines.get());
    assert!(share, "both kinds come up: {} parsed", parsed_lines.get());
}
