//! What a client can write into a line never makes it somebody else's, and nothing makes the parser panic.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use std::cell::Cell;
use std::net::IpAddr;

use lines_common::{NOW, format, runner};
use model::client::attribute;
use model::line::{LineParser, LogFormat};
use model::network::{Network, NetworkSet};
use proptest::prelude::*;

const REAL: &str = "198.51.100.7";
const PROXY: &str = "10.0.0.1";

/// Formats whose lines can be read whatever a client writes.
const PROOF: [&str; 4] = [
    "combined",
    r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_user_agent" "$http_x_forwarded_for""#,
    r#""$http_user_agent" "$http_x_forwarded_for" $remote_addr $time_iso8601 "$request" $status "$remote_user""#,
    r#"log_format j escape=json '{"a":"$http_user_agent","x":"$http_x_forwarded_for","ip":"$remote_addr","t":"$msec","q":"$request","u":"$remote_user"}';"#,
];

/// Formats that some clients can make unreadable. Then they count for nobody.
const WEAK: [&str; 7] = [
    r#"$http_user_agent $remote_addr [$time_local] "$request" $status"#,
    r#"$http_x_forwarded_for - $remote_user $remote_addr [$time_local] "$request" $status"#,
    r#"$remote_addr [$time_local] $request $status $http_x_forwarded_for $http_user_agent"#,
    "log_format n escape=none '$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_user_agent\" \"$http_x_forwarded_for\"';",
    "log_format n escape=none '\"$http_user_agent\" \"$http_x_forwarded_for\" $remote_addr $msec \"$request\" $status';",
    "log_format n escape=none '$http_x_forwarded_for|$remote_user|$remote_addr|$time_iso8601|$request|$status';",
    "log_format n escape=json '$http_user_agent $http_x_forwarded_for $remote_addr $msec $status $request';",
];

/// What a client chooses.
#[derive(Clone, Debug)]
struct Chosen {
    user: Vec<u8>,
    agent: Vec<u8>,
    forwarded_for: Vec<u8>,
    target: Vec<u8>,
}

/// Bytes that look like parts of a line, one after the other.
fn chosen_bytes() -> impl Strategy<Value = Vec<u8>> {
    let tokens: Vec<Vec<u8>> = [
        "9.9.9.9",
        " ",
        "\"",
        "\" ",
        " \"",
        "\\",
        "\\\"",
        "\\x22",
        "|",
        ", ",
        ",",
        "[",
        "] ",
        " - ",
        "200",
        " 200 5",
        "10.0.0.1",
        "2001:db8::9",
        "[22/Nov/2026:10:09:00 +0000]",
        "1795342140.000",
        "2026-11-22T10:09:00+00:00",
        "GET /f HTTP/1.1",
        "\"GET /f HTTP/1.1\"",
        "9.9.9.9 [22/Nov/2026:10:09:00 +0000] \"GET /f HTTP/1.1\" 200",
        "9.9.9.9 1795342140.000 \"GET /f\" 200",
        "|9.9.9.9|2026-11-22T10:09:00+00:00|GET /f|200",
        "\",\"ip\":\"9.9.9.9\"",
        "}",
        "{",
        "\r",
        "\t",
        "<190>Nov 22 10:09:00 web1 nginx: ",
        "9.9.9.9 - - ",
        "é",
    ]
    .iter()
    .map(|token| token.as_bytes().to_vec())
    .chain([vec![0xff], vec![0], vec![0x1b]])
    .collect();
    prop::collection::vec(prop::sample::select(tokens), 0..8).prop_map(|tokens| tokens.concat())
}

fn chosen() -> impl Strategy<Value = Chosen> {
    (chosen_bytes(), chosen_bytes(), chosen_bytes(), chosen_bytes())
        .prop_map(|(user, agent, forwarded_for, target)| Chosen { user, agent, forwarded_for, target })
}

/// Writes a line as nginx does.
fn written(format: &str, address: &str, chosen: &Chosen) -> Vec<u8> {
    let template = match format {
        "combined" => PROOF[1].replace(" \"$http_x_forwarded_for\"", ""),
        _ => format.rsplit_once('\'').map_or(format, |(text, _)| text.split_once('\'').unwrap().1).to_owned(),
    };
    let escape = ["json", "none"].into_iter().find(|escape| format.contains(&format!("escape={escape}")));
    let mut line = Vec::new();
    let mut rest = template.as_str();
    while let Some((literal, behind)) = rest.split_once('$') {
        line.extend_from_slice(literal.as_bytes());
        let end = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(behind.len());
        let request = [b"GET ", &chosen.target[..], b" HTTP/1.1"].concat();
        let value: &[u8] = match &behind[..end] {
            "remote_addr" => address.as_bytes(),
            "remote_user" => &chosen.user,
            "http_user_agent" => &chosen.agent,
            "http_x_forwarded_for" => &chosen.forwarded_for,
            "request" => &request,
            "time_local" => NOW.as_bytes(),
            "time_iso8601" => b"2026-11-22T10:09:00+00:00",
            "msec" => b"1795342140.000",
            "status" => b"200",
            "body_bytes_sent" => b"5",
            other => panic!("{other}"),
        };
        escaped(value, escape, &mut line);
        rest = &behind[end..];
    }
    line.extend_from_slice(rest.as_bytes());
    line
}

fn escaped(value: &[u8], escape: Option<&str>, line: &mut Vec<u8>) {
    if value.is_empty() && escape.is_none() {
        return line.push(b'-');
    }
    for &byte in value {
        match (escape, byte) {
            (Some("none"), _) => line.push(byte),
            (Some("json"), b'"' | b'\\') => line.extend([b'\\', byte]),
            (Some("json"), 0..32) => line.extend(format!("\\u{byte:04X}").bytes()),
            (None, b'"' | b'\\' | 0..32 | 127..) => line.extend(format!("\\x{byte:02X}").bytes()),
            _ => line.push(byte),
        }
    }
}

fn proxies() -> NetworkSet {
    [PROXY.parse::<Network>().unwrap()].into_iter().collect()
}

/// Whose the line is: an address, or nobody's.
fn owner(format: &LogFormat, line: &[u8], trusted: &NetworkSet) -> Option<IpAddr> {
    let parsed = LineParser::new(format.clone()).parse(line).ok()?.clone();
    attribute(parsed.remote, parsed.forwarded_for.as_deref(), trusted).ok().map(|client| client.address)
}

#[test]
fn whatever_a_client_writes_the_line_is_its_own_or_nobodys() {
    let real: IpAddr = REAL.parse().unwrap();
    let read = Cell::new(0);
    let result = runner(4_000).run(&chosen(), |chosen| {
        for text in PROOF.iter().chain(&WEAK) {
            let line = written(text, REAL, &chosen);
            let owner = owner(&format(text), &line, &proxies());
            if PROOF.contains(text) {
                prop_assert_eq!(owner, Some(real), "{}: {}", text, line.escape_ascii());
            } else if let Some(owner) = owner {
                prop_assert_eq!(owner, real, "{}: {}", text, line.escape_ascii());
                read.set(read.get() + 1);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(read.get() > 4_000, "weak formats are read too: {}", read.get());
}

#[test]
fn behind_a_proxy_too() {
    let real: IpAddr = REAL.parse().unwrap();
    let read = Cell::new(0);
    let result = runner(4_000).run(&(chosen(), prop::bool::ANY), |(mut chosen, alone)| {
        // The proxy appends the client's address to what the client sent.
        chosen.forwarded_for = if alone {
            REAL.as_bytes().to_vec()
        } else {
            [&chosen.forwarded_for[..], b", ", REAL.as_bytes()].concat()
        };
        for text in PROOF.iter().chain(&WEAK).filter(|text| text.contains("forwarded")) {
            let line = written(text, PROXY, &chosen);
            let owner = owner(&format(text), &line, &proxies());
            if PROOF.contains(text) {
                prop_assert_eq!(owner, Some(real), "{}: {}", text, line.escape_ascii());
            } else if let Some(owner) = owner {
                prop_assert_eq!(owner, real, "{}: {}", text, line.escape_ascii());
                read.set(read.get() + 1);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(read.get() > 2_000, "weak formats are read too: {}", read.get());
}

#[test]
fn no_bytes_make_the_parser_panic() {
    let formats: Vec<LogFormat> = PROOF
        .iter()
        .chain(&WEAK)
        .chain(&["json", "$msec $remote_addr $scheme://$host$uri$is_args$args \"$host$request_uri\""])
        .map(|text| format(text))
        .collect();
    let line = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), chosen_bytes()];
    let result = runner(3_000).run(&line, |line| {
        for format in &formats {
            let mut parser = LineParser::new(format.clone());
            let _ = parser.parse(&line);
            let _ = parser.fields(&line);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn no_text_makes_the_compiler_panic() {
    let tokens = [
        "$remote_addr",
        "$msec",
        "$time_local",
        "$request",
        "$http_x_forwarded_for",
        "${host}",
        "$uri",
        "$is_args",
        "$",
        "${",
        "}",
        "{",
        "'",
        "\"",
        "\\",
        " ",
        "\n",
        ";",
        "log_format x ",
        "escape=json ",
        "escape=none ",
        "json",
        "é",
        ":",
        ",",
    ];
    let template = prop::collection::vec(prop::sample::select(tokens.to_vec()), 0..14)
        .prop_map(|tokens| tokens.concat());
    let compiled = Cell::new(0);
    let result = runner(20_000).run(&prop_oneof![4 => template, 1 => "\\PC{0,40}"], |text| {
        if let Ok(format) = text.parse::<LogFormat>() {
            compiled.set(compiled.get() + 1);
            let _ = LineParser::new(format).parse(text.as_bytes());
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(compiled.get() > 20, "some compile: {}", compiled.get());
}
