//! Lines of other formats: pasted directives, any template, JSON, syslog headers.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use lines_common::check;
use model::line::{LineParser, LogFormat};

const PROXIED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#;
const CORE: &str = r#"10.0.0.1 - - [22/Nov/2026:10:09:00 +0000] "GET /a HTTP/1.1" 200 5"#;
const READ: &str = "10.0.0.1 /a";

/// Expects an error that says this.
#[track_caller]
fn refused(format: &str, said: &str) {
    let error = format.parse::<LogFormat>().map(|_| "it is accepted").unwrap_err().to_string();
    assert!(error.contains(said), "{format:?}: {error}");
}

#[test]
fn forwarded_for_in_the_tail() {
    for (tail, read) in [
        ("", ""),
        (" ", ""),
        (" \"-\"", ""),
        (" \"-\" \"agent\"", ""),
        (" \"-\" \"agent", ""),
        (" \"-\" \"agent\" ", ""),
        (" \"-\" \"agent\" \"", ""),
        (" \"-\" \"agent\" \"1.1.1.1", ""),
        (" \"-\" \"agent\" \"1.1.1.1\\\"", ""),
        (" \"-\" \"agent\" 1.1.1.1", ""),
        (" \"-\" \"agent\"  \"1.1.1.1\"", ""),
        (" \"-\" \"agent\" \"-\"", ""),
        (" \"-\" \"agent\" \"\"", ""),
        (" \"-\" \"agent\" \"1.1.1.1, 2.2.2.2\"", " xff=1.1.1.1, 2.2.2.2"),
        (" \"-\" \"a\\x22 \\x221.1.1.1\\x22\" \"2.2.2.2\"", " xff=2.2.2.2"),
        (" \"-\" \"a\\\" \\\"1.1.1.1\\\"\" \"2.2.2.2\"", " xff=2.2.2.2"),
        (" \"-\" \"\\\\\" \"2.2.2.2\"", " xff=2.2.2.2"),
    ] {
        check(PROXIED, format!("{CORE}{tail}"), &format!("{READ}{read}"));
    }
    let hops = "1.1.1.1, ".repeat(10_000) + "2.2.2.2";
    check(PROXIED, format!("{CORE} \"-\" \"-\" \"{hops}\""), &format!("{READ} xff={hops}"));
}

#[test]
fn pasted_directives() {
    let line = format!("{CORE} \"-\" \"agent\" \"2.2.2.2\"");
    let read = "10.0.0.1 /a xff=2.2.2.2";
    for directive in [
        format!("log_format main '{PROXIED}';"),
        format!("  log_format  main\n  escape=default\n  '{PROXIED}' ;\n"),
        format!("'{PROXIED}'"),
        format!("log_format main \"{}\";", PROXIED.replace('"', "\\\"")),
        PROXIED.replace("$status", "${status}"),
        "log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '\n\t\t\t'$status $body_bytes_sent \
         \"$http_referer\" '\r\n'\"$http_user_agent\" \"$http_x_forwarded_for\"';"
            .to_owned(),
        format!("log_format main escape=json '{PROXIED}';"),
    ] {
        check(&directive, &line, read);
    }
    refused("", "empty");
    refused(" \n", "empty");
    refused("main", "`main` is no known log format");
    refused("log_format main;", "");
    refused("log_format main '$remote_addr $msec", "isn't closed");
    refused("log_format main '$remote_addr $msec'; gzip on;", "behind");
    refused("log_format main escape=xml '$remote_addr $msec';", "escape=xml");
    refused("$remote_addr $ $msec", "isn't a variable");
    refused("$remote_addr$http_user_agent $msec", "$remote_addr$http_user_agent");
    refused("$remote_addr ${msec", "isn't a variable");
    refused("[$time_local] \"$request\"", "no $remote_addr");
    refused("$remote_addr \"$request\"", "no $time_local");
    refused("$remote_addr $msec $http_referer$http_user_agent", "$http_referer$http_user_agent");
}

#[test]
fn quoted_and_unquoted_values() {
    let format = r#""$remote_addr" '$time_iso8601' "$request" "$status""#;
    let time = "2026-11-22T10:09:00+00:00";
    check(format, format!("\"10.0.0.1\" '{time}' \"GET /a\" \"200\""), READ);
    check(format, format!("\"10.0.0.1:80\" '{time}' \"GET /a\" \"200\""), "address");
    check(format, format!("\"10.0.0.1\" '{time}' \"GET /a\" \"20\""), "status");
    check(format, "\"10.0.0.1\" '2026-11-31T10:09:00+00:00' \"GET /a\" \"200\"", "time");

    let format = "$msec $remote_addr $status $request_uri $http_user_agent";
    check(format, "1795342140.000 10.0.0.1 200 /a agent of many words", READ);
    check(format, "1795342140.999 10.0.0.1 404 /a -", "10.0.0.1 /a status=404");
    check(format, "1795342140.000 10.0.0.1 200  ", "10.0.0.1 ");
    check(format, "1795342140.000 10.0.0.1 200", "layout");
    check(format, "1795342140.x 10.0.0.1 200 /a", "time");
    check(format, "-1.0 10.0.0.1 200 /a", "time");
    check(format, "1795342140.000 - 200 /a", "address");

    let format = "[$time_local] $remote_addr \"$request\" $body_bytes_sent";
    check(format, "[22/Nov/2026:10:09:00 +0000] 10.0.0.1 \"GET /a\" -", READ);
    check(format, "[22/Nov/2026:10:09:00 +0000] 10.0.0.1 \"GET /a\" x", "bytes");
    check(format, "22/Nov/2026:10:09:00 +0000 10.0.0.1 \"GET /a\" -", "layout");
    check(format, "[22/Nov/2026:10:09:00 +0000] 10.0.0.1 \"GET /a", "request");
    check(format, "", "empty");
}

#[test]
fn adjacent_variables() {
    let head = "10.0.0.1 1795342140.000 ";
    check(
        "$remote_addr $msec $scheme://$host$request_uri",
        format!("{head}http://h:80/a?b"),
        "10.0.0.1 /a?b host=h:80",
    );
    check("$remote_addr $msec $host$uri$is_args$args", format!("{head}h/a?b=c"), "10.0.0.1 /a host=h uri=/a");
    check("$remote_addr $msec $host$uri$is_args$args", format!("{head}h/a"), "10.0.0.1 /a host=h uri=/a");
    check("$remote_addr $msec \"$host$request_uri\" x", format!("{head}\"h/a b\" x"), "10.0.0.1 /a b host=h");
    for refused_one in ["$msec $remote_addr $host$http_referer", "$msec $remote_addr $host$status"] {
        refused(refused_one, "$host$");
    }
}

#[test]
fn host_and_uri() {
    let format = r#"$remote_addr $msec "$request" $host "$uri" $http_host"#;
    let head = "10.0.0.1 1795342140.000";
    check(format, format!("{head} \"GET /b?x\" h \"/b\" g"), "10.0.0.1 /b?x host=h uri=/b");
    check(format, format!("{head} \"GET /b?x\" h \"/b"), "10.0.0.1 /b?x host=h");
    check(format, format!("{head} \"GET /b?x\""), "10.0.0.1 /b?x");
    check("$remote_addr $msec $http_host", format!("{head} G:80"), "10.0.0.1 none host=G:80");
    check("$remote_addr $msec $uri x", format!("{head} /b?x y x"), "10.0.0.1 /b?x y uri=/b?x y");
}

#[test]
fn unescaped_values() {
    let format =
        "log_format raw escape=none '$remote_addr [$time_local] \"$request\" $status \"$http_user_agent\"';";
    let head = "10.0.0.1 [22/Nov/2026:10:09:00 +0000]";
    check(format, format!("{head} \"GET /a HTTP/1.1\" 200 \"a\""), READ);
    check(format, format!("{head} \"GET /a HTTP/1.1\" 200 \"a \" b\""), READ);
    check(format, format!("{head} \"GET /\" HTTP/1.1\" 200 \"a\""), "10.0.0.1 /\"");
}

#[test]
fn a_client_that_writes_before_the_address_cannot_forge_one() {
    let real = "198.51.100.7 [22/Nov/2026:10:09:00 +0000] \"GET /a HTTP/1.1\" 200";
    let forged = "9.9.9.9 [22/Nov/2026:10:09:00 +0000] \"GET /f HTTP/1.1\" 200";
    for before in ["$http_user_agent", "$http_x_forwarded_for", "$remote_user", "$request_uri"] {
        for escape in ["default", "none"] {
            let format = format!(
                "log_format f escape={escape} '{before} $remote_addr [$time_local] \"$request\" $status';"
            );
            // What the client sends, as nginx writes it.
            let written = |sent: &str| match escape {
                "default" => sent.replace('"', "\\x22"),
                _ => sent.to_owned(),
            };
            let lines = [
                format!("{} {real}", written(forged)),
                format!("x {} {real}", written(forged)),
                format!("{} {} {real}", written(forged), written("\"")),
                format!("{} 198.51.100.7 {real}", written(forged)),
            ];
            for line in lines {
                let mut parser = LineParser::new(lines_common::format(&format));
                let parsed = parser.parse(line.as_bytes()).map(|line| line.remote);
                let real = "198.51.100.7".parse().unwrap();
                assert!(parsed.is_err() || parsed == Ok(real), "{format} {line}: {parsed:?}");
            }
            check(
                &format,
                format!("x {real}"),
                &match before {
                    "$http_x_forwarded_for" => "198.51.100.7 /a xff=x".to_owned(),
                    "$request_uri" => "198.51.100.7 x".to_owned(),
                    _ => "198.51.100.7 /a".to_owned(),
                },
            );
        }
    }
    // In quotes that are escaped there is nothing to forge.
    let format = r#""$http_user_agent" $remote_addr [$time_local] "$request" $status"#;
    check(format, format!("\"{}\" {real}", forged.replace('"', "\\x22")), "198.51.100.7 /a");
}

#[test]
fn syslog_headers_are_stripped() {
    for header in [
        "<190>Nov 22 10:09:00 web1 nginx: ",
        "<190>Nov  2 10:09:00 nginx: ",
        "Nov 22 10:09:00 web1 nginx[12]: ",
        "2026-11-22T10:09:00.123+01:00 web1 nginx: ",
        "<190>1 2026-11-22T10:09:00Z web1 nginx 12 - - ",
        "<190>1 2026-11-22T10:09:00Z web1 nginx - - [a b=\"]\\\"\"][c] ",
    ] {
        check("combined", format!("{header}{CORE}"), READ);
        check("combined", format!("{header}{CORE}\r"), READ);
        check(PROXIED, format!("{header}{CORE} \"-\" \"-\" \"1.1.1.1\""), "10.0.0.1 /a xff=1.1.1.1");
        check(
            "json",
            format!("{header}{{\"msec\":1795342140.0,\"remote_addr\":\"10.0.0.1\",\"uri\":\"/a\"}}"),
            READ,
        );
        check("combined", format!("{header}x"), "address");
        check("combined", header, "address");
    }
    for not_a_header in ["x: ", "<190>", "<1900>Nov 22 10:09:00 a: ", "Nov 22 10:09:00 a b c: "] {
        check("combined", format!("{not_a_header}{CORE}"), "address");
    }
    // A user may have any name.
    check("combined", format!("9.9.9.9 - Nov 22 10:09:00 web1 nginx: {CORE}"), "9.9.9.9 /a");
}

#[test]
fn hops_that_can_be_read_in_two_ways_are_no_hops() {
    let format = r#"$remote_addr - $http_x_forwarded_for - $remote_user [$time_local] "$request" $status"#;
    let rest = "[22/Nov/2026:10:09:00 +0000] \"GET /a HTTP/1.1\" 200";
    check(format, format!("10.0.0.1 - 1.1.1.1, 2.2.2.2 - - {rest}"), "10.0.0.1 /a xff=1.1.1.1, 2.2.2.2");
    check(format, format!("10.0.0.1 - 9.9.9.9 - b - - {rest}"), "10.0.0.1 /a");
    check(format, format!("10.0.0.1 - - - - {rest}"), "10.0.0.1 /a");
    // What nginx makes behind them has no spaces, so there the hops can be told from the right.
    let format = r#"$remote_addr $msec "$request" $http_x_forwarded_for $host $request_time"#;
    let head = "10.0.0.1 1795342140.000 \"GET /a\"";
    check(format, format!("{head} 9.9.9.9 x, 2.2.2.2 h 0.1"), "10.0.0.1 /a host=h xff=9.9.9.9 x, 2.2.2.2");
    let format = r#"$remote_addr $msec "$request" $http_x_forwarded_for $http_user_agent"#;
    check(format, format!("{head} 9.9.9.9 x, 2.2.2.2 agent"), "10.0.0.1 /a");
}

#[test]
fn what_clients_write_shifts_no_field() {
    let format = "$remote_addr|$time_iso8601|$request|$status|$body_bytes_sent|$http_user_agent";
    let head = "10.0.0.1|2026-11-22T10:09:00+00:00";
    check(format, format!("{head}|GET /a|200|zz HTTP/1.1|200|5|x"), "10.0.0.1 /a|200|zz");
    let format = "$remote_addr|$http_user_agent|$time_iso8601|$status";
    check(format, "10.0.0.1|a|2099-01-01T00:00:00Z|200|2026-11-22T10:09:00Z|200", "10.0.0.1 none");
    check(format, "10.0.0.1|a|b|2026-11-22T10:09:00Z|200", "10.0.0.1 none");
}

#[test]
fn a_port_behind_the_address() {
    let format = "$remote_addr:$remote_port $msec $status";
    check(format, "10.0.0.1:1234 1795342140.000 200", "10.0.0.1 none");
    check(format, "2001:db8::7:1234 1795342140.000 200", "2001:db8::7 none");
    check(format, "10.0.0.1 1795342140.000 200", "address");
}
