//! `combined` lines: each rule of what is parsed and what isn't.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use lines_common::{NOW, check, format};
use model::line::LineParser;

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
        ("GET http://www.example.com/a HTTP/1.1", "http://www.example.com/a"),
        ("", "none"),
        ("-", "none"),
        ("\\x16\\x03\\x01\\x02\\x00", "none"),
        ("GET /\\\" HTTP/1.1", "/\\\""),
        ("GET /\\\\", "/\\\\"),
        (" /a", "/a"),
        ("GET ", ""),
        ("[22/Nov/2000:10:09:00 +0000]", "+0000]"),
    ] {
        check("combined", rest(format!("\"{request}\" 200 5")), &format!("198.51.100.7 {target}"));
    }
    check("combined", rest(b"\"\x16\x03\x01\x00\xff\" 200 5"), "198.51.100.7 none");
    check("combined", rest(b"\"GET /\xff HTTP/1.1\" 200 5"), "198.51.100.7 /\u{fffd}");
    let long = "a".repeat(MIB);
    check("combined", rest(format!("\"GET /{long}\" 200 5")), &format!("198.51.100.7 /{long}"));
    for broken in
        ["\"GET /a HTTP/1.1 200 5", "\"", "\"GET /a HTTP/1.1\\\" 200 5", "\"GET /a HTTP/1.1\\\\\\\" 200 5"]
    {
        check("combined", rest(broken), "request");
    }
    for unquoted in ["GET /a HTTP/1.1 200 5", "GET /a HTTP/1.1\" 200 5", ""] {
        let line = rest(unquoted);
        let parsed = LineParser::new(format("combined")).parse(&line).map(|line| line.remote);
        assert!(parsed.is_err(), "{unquoted}");
    }
    check("combined", rest(format!("\"{long}")), "request");
    check("combined", rest(format!("\"{}", "\\\"".repeat(MIB / 2))), "request");
}

#[test]
fn then_status_and_bytes() {
    for (status, shown) in [("200", ""), ("000", ""), ("999", " status=999")] {
        let line = rest(format!("\"GET /a HTTP/1.1\" {status} 5"));
        check("combined", line, &format!("198.51.100.7 /a{shown}"));
    }
    for status in ["", "-", "20", "2000", "20x", "+20", " 200", "2 00", "٢٠٠"] {
        check("combined", rest(format!("\"GET /a HTTP/1.1\" {status} 5")), "status");
    }
    check("combined", rest("\"GET /a HTTP/1.1\"200 5"), "status");
    check("combined", rest("\"GET /a HTTP/1.1\""), "status");
    check("combined", rest("\"GET /a\" HTTP/1.1\" 200 5"), "status");
    for bytes in ["0", "5", "-", "00", "99999999999999999999999999"] {
        check("combined", rest(format!("\"GET /a HTTP/1.1\" 200 {bytes}")), "198.51.100.7 /a");
    }
    for bytes in ["", " ", "x", "5x", "-5", "--", "5,", "0x10", "5\t", "5\"", "+5", "1.5"] {
        check("combined", rest(format!("\"GET /a HTTP/1.1\" 200 {bytes}")), "bytes");
    }
    check("combined", rest("\"GET /a HTTP/1.1\" 200"), "bytes");
}

#[test]
fn what_follows_may_be_broken() {
    for tail in ["", " ", " \"", " \"-\" \"-\"", " \"-\" \"unclosed", " x", " \"a\" \"b\" \"c\" d", " \\"] {
        let line = rest(format!("\"GET /a HTTP/1.1\" 200 5{tail}"));
        check("combined", line, "198.51.100.7 /a");
    }
    check("combined", rest(b"\"GET /a HTTP/1.1\" 200 5 \xff\x00\"\x80"), "198.51.100.7 /a");
    let tail = "\"".repeat(MIB);
    check("combined", rest(format!("\"GET /a HTTP/1.1\" 200 5 {tail}")), "198.51.100.7 /a");
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
