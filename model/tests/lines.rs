//! `combined` lines: each rule of what is parsed and what isn't, and the parser against a slow, obvious one.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use std::net::IpAddr;

use lines_common::{NOW, check, format, runner, shown};
use model::line::LineParser;
use proptest::prelude::*;

const MIB: usize = 1 << 20;

/// A line of this address.
fn from(address: &str) -> String {
    format!("{address} - - [{NOW}] \"GET /a HTTP/1.1\" 200 5 \"-\" \"agent\"")
}

/// A line of this time.
fn at(time: &str) -> String {
    format!("198.51.100.7 - - [{time}] \"GET /a HTTP/1.1\" 200 5")
}

/// A line that goes on like this behind its time.
fn rest(rest: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("198.51.100.7 - - [{NOW}] ").as_bytes(), rest.as_ref()].concat()
}

/// A line with this between address and time.
fn user(user: impl AsRef<[u8]>) -> Vec<u8> {
    let tail = format!(" [{NOW}] \"GET /a HTTP/1.1\" 200 5");
    [b"198.51.100.7 - ", user.as_ref(), tail.as_bytes()].concat()
}

#[test]
fn first_a_bare_address() {
    for (literal, address) in [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0000:0:0:0:0:0001", "2001:db8::1"),
        ("::", "::"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::FFFF:c633:6407", "198.51.100.7"),
        ("::198.51.100.7", "::c633:6407"),
    ] {
        check("combined", from(literal), &format!("{address} /a"));
    }
    for literal in [
        "",
        "-",
        " 198.51.100.7",
        "198.51.100.7:80",
        "[2001:db8::1]",
        "[2001:db8::1]:80",
        "fe80::1%eth0",
        "198.51.100.07",
        "198.51.100",
        "198.51.100.256",
        "198.51.100.7/32",
        "198.51.100.7,",
        "\"198.51.100.7\"",
        "2001:db8:::1",
        "2001:db8::00001",
        "::ffff:198.51.100.07",
        "www.example.com",
        "unix:",
        "3325256711",
        "0xc6.51.100.7",
        "１９８.51.100.7",
    ] {
        check("combined", from(literal), "address");
    }
    check("combined", "198.51.100.7", "address");
    check("combined", "x".repeat(MIB), "address");
    check("combined", [0u8; 100], "address");
}

#[test]
fn then_a_time_that_exists() {
    for (time, second) in [
        ("29/Feb/2028:23:59:59 +0000", "2028-02-29T23:59:59Z"),
        ("22/Nov/2026:10:09:00 +1400", "2026-11-21T20:09:00Z"),
        ("22/Nov/2026:10:09:00 -1400", "2026-11-23T00:09:00Z"),
        ("22/Nov/2026:10:09:00 -0030", "2026-11-22T10:39:00Z"),
        ("01/Jan/1970:00:00:00 +0100", "1969-12-31T23:00:00Z"),
        ("31/Dec/9999:23:59:59 +0000", "9999-12-31T23:59:59Z"),
    ] {
        check("combined", at(time), &format!("198.51.100.7 /a at={second}"));
    }
    for time in [
        "",
        "-",
        "31/Nov/2026:10:09:00 +0000",
        "29/Feb/2027:10:09:00 +0000",
        "29/Feb/2100:10:09:00 +0000",
        "00/Nov/2026:10:09:00 +0000",
        "22/nov/2026:10:09:00 +0000",
        "22/Foo/2026:10:09:00 +0000",
        "22/11/2026:10:09:00 +0000",
        "22/Nov/2026:24:00:00 +0000",
        "22/Nov/2026:10:60:00 +0000",
        "22/Nov/2026:10:09:60 +0000",
        "22/Nov/2026:10:09:00 +1401",
        "22/Nov/2026:10:09:00 -1500",
        "22/Nov/2026:10:09:00 +0060",
        "22/Nov/2026:10:09:00 0000",
        "22/Nov/2026:10:09:00",
        "22/Nov/2026:10:09:00 +00:00",
        "22/Nov/2026:10:09:00.5 +0000",
        "2/Nov/2026:10:09:00 +0000",
        "22/Nov/26:10:09:00 +0000",
        "22/Nov/2026 10:09:00 +0000",
        " 22/Nov/2026:10:09:00 +0000",
        "22/Nov/2026:10:09:00 +0000 ",
        "2026-11-22T10:09:00Z",
    ] {
        check("combined", at(time), "time");
    }
    check("combined", at(NOW).replace(['[', ']'], ""), "time");
    check("combined", at(NOW).replace("] \"", "]\""), "time");
    check("combined", "198.51.100.7 - - ", "time");
}

#[test]
fn the_user_name_may_hold_anything_that_nginx_writes() {
    for name in [
        "-",
        "bob",
        "bob smith",
        "",
        "\\x22quoted\\x22",
        "[x]",
        "] \\x22",
        "x [01/Jan/2000:00:00:00 +0000]",
        "x [01/Jan/2000:00:00:00 +0000] \\x22GET /forged HTTP/1.1\\x22 200 5",
        "192.0.2.1 - -",
    ] {
        check("combined", user(name), "198.51.100.7 /a");
    }
    check("combined", user(b"\xff\xfe\x00\x1b"), "198.51.100.7 /a");
    check("combined", user("x".repeat(MIB)), "198.51.100.7 /a");
    check("combined", user("[".repeat(MIB)), "198.51.100.7 /a");
}

#[test]
fn then_a_closed_request() {
    for (request, target) in [
        ("GET /a HTTP/1.1", "/a"),
        ("GET /a?b=\\x22&c=%22 HTTP/1.1", "/a?b=\\x22&c=%22"),
        ("GET /a", "/a"),
        ("GET  /a HTTP/1.1", ""),
        (
            "GET http://www.example.com/a HTTP/1.1",
            "http://www.example.com/a",
        ),
        ("", "none"),
        ("-", "none"),
        ("\\x16\\x03\\x01\\x02\\x00", "none"),
        ("GET /\\\" HTTP/1.1", "/\\\""),
        ("GET /\\\\", "/\\\\"),
        (" /a", "/a"),
        ("GET ", ""),
        ("[22/Nov/2000:10:09:00 +0000]", "+0000]"),
    ] {
        check(
            "combined",
            rest(format!("\"{request}\" 200 5")),
            &format!("198.51.100.7 {target}"),
        );
    }
    check(
        "combined",
        rest(b"\"\x16\x03\x01\x00\xff\" 200 5"),
        "198.51.100.7 none",
    );
    check(
        "combined",
        rest(b"\"GET /\xff HTTP/1.1\" 200 5"),
        "198.51.100.7 /\u{fffd}",
    );
    let long = "a".repeat(MIB);
    check(
        "combined",
        rest(format!("\"GET /{long}\" 200 5")),
        &format!("198.51.100.7 /{long}"),
    );
    for broken in [
        "\"GET /a HTTP/1.1 200 5",
        "\"",
        "\"GET /a HTTP/1.1\\\" 200 5",
        "\"GET /a HTTP/1.1\\\\\\\" 200 5",
    ] {
        check("combined", rest(broken), "request");
    }
    for unquoted in ["GET /a HTTP/1.1 200 5", "GET /a HTTP/1.1\" 200 5", ""] {
        let line = rest(unquoted);
        let parsed = LineParser::new(format("combined"))
            .parse(&line)
            .map(|line| line.remote);
        assert!(parsed.is_err(), "{unquoted}");
    }
    check("combined", rest(format!("\"{long}")), "request");
    check(
        "combined",
        rest(format!("\"{}", "\\\"".repeat(MIB / 2))),
        "request",
    );
}

#[test]
fn then_status_and_bytes() {
    for (status, shown) in [("200", ""), ("000", " status=0"), ("999", " status=999")] {
        let line = rest(format!("\"GET /a HTTP/1.1\" {status} 5"));
        check("combined", line, &format!("198.51.100.7 /a{shown}"));
    }
    for status in ["", "-", "20", "2000", "20x", "+20", " 200", "2 00", "٢٠٠"] {
        check(
            "combined",
            rest(format!("\"GET /a HTTP/1.1\" {status} 5")),
            "status",
        );
    }
    check("combined", rest("\"GET /a HTTP/1.1\"200 5"), "status");
    check("combined", rest("\"GET /a HTTP/1.1\""), "status");
    check("combined", rest("\"GET /a\" HTTP/1.1\" 200 5"), "status");
    for bytes in ["0", "5", "-", "00", "99999999999999999999999999"] {
        check(
            "combined",
            rest(format!("\"GET /a HTTP/1.1\" 200 {bytes}")),
            "198.51.100.7 /a",
        );
    }
    for bytes in [
        "", " ", "x", "5x", "-5", "--", "5,", "0x10", "5\t", "5\"", "+5", "1.5",
    ] {
        check(
            "combined",
            rest(format!("\"GET /a HTTP/1.1\" 200 {bytes}")),
            "bytes",
        );
    }
    check("combined", rest("\"GET /a HTTP/1.1\" 200"), "bytes");
}

#[test]
fn what_follows_may_be_broken() {
    for tail in [
        "",
        " ",
        " \"",
        " \"-\" \"-\"",
        " \"-\" \"unclosed",
        " x",
        " \"a\" \"b\" \"c\" d",
        " \\",
    ] {
        let line = rest(format!("\"GET /a HTTP/1.1\" 200 5{tail}"));
        check("combined", line, "198.51.100.7 /a");
    }
    check(
        "combined",
        rest(b"\"GET /a HTTP/1.1\" 200 5 \xff\x00\"\x80"),
        "198.51.100.7 /a",
    );
    let tail = "\"".repeat(MIB);
    check(
        "combined",
        rest(format!("\"GET /a HTTP/1.1\" 200 5 {tail}")),
        "198.51.100.7 /a",
    );
}

#[test]
fn line_ends() {
    check("combined", "", "empty");
    check("combined", "\r", "empty");
    check("combined", " ", "address");
    check("combined", "\r\r", "address");
    check("combined", rest("\"GET /a HTTP/1.1\" 200 5\r"), "198.51.100.7 /a");
    check("combined", rest("\"GET /a HTTP/1.1\" 200 5\r\r"), "bytes");
    check("combined", rest("\"GET /a HTTP/1.1\" 200 -\r"), "198.51.100.7 /a");
}

/// The slow parser: cut by hand, with the standard library alone. What [`shown`] tells, or "unparsed".
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
    let shape = (
        &text[2..3],
        &text[6..7],
        &text[11..12],
        &text[14..15],
        &text[17..18],
    );
    if shape != ("/", "/", ":", ":", ":") {
        return None;
    }
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<i64>().ok())?
    };
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
    let time = (
        0u32..33,
        0usize..13,
        1900u32..2200,
        0u32..26,
        0u32..62,
        0u32..1500,
    )
        .prop_map(|(day, month, year, hour, minute, zone)| {
            let month = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec xxx"
                .split(' ')
                .nth(month)
                .unwrap();
            let sign = if zone % 2 == 0 { '+' } else { '-' };
            format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{minute:02} {sign}{zone:04}")
        });
    let parts = (
        part(
            &["198.51.100.7", "2001:db8::1", "::ffff:1.2.3.4"],
            &["1.2.3.4:80", "01.2.3.4", "-", ""],
        ),
        part(
            &[" - - ", " - bob ", " - a b "],
            &[" ", "", " - \\\" ", " - \" ", " - [ ", " - x [y] "],
        ),
        prop_oneof![4 => Just(NOW.to_owned()), 3 => time, 1 => "[ -~]{20,30}"],
        part(
            &["GET /a HTTP/1.1", "", "GET /\\\" x", "a\\\\"],
            &["GET \" /a", "GET /a\\", "\\\\\\"],
        ),
        part(
            &[" 200 5", " 404 -", " 200 0 \"-\" \"-\""],
            &[" 20 5", " 200", " 200 5x", "200 5", "  200 5"],
        ),
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
                let target = parsed
                    .target
                    .as_deref()
                    .map_or("none".into(), String::from_utf8_lossy);
                format!("{} {target} {} {}", parsed.remote, parsed.second.0, parsed.status)
            }
        };
        prop_assert_eq!(found, slow(&line), "{}", shown(&parser.parse(line.as_bytes())));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let share = (3_000..17_000).contains(&parsed_lines.get());
    assert!(share, "both kinds come up: {} parsed", parsed_lines.get());
}
