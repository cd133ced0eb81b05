//! Lines of other formats: pasted directives, any template, JSON, syslog headers.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod lines_common;

use lines_common::check;
use model::line::LogFormat;

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
        (" \"-\" \"agent\" \"-\"", " xff=-"),
        (" \"-\" \"agent\" \"\"", " xff="),
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
    check(format, "1795342140.999 10.0.0.1 404 /a", "10.0.0.1 /a status=404");
    check(format, "1795342140.000 10.0.0.1 200 ", "10.0.0.1 ");
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
    check("$remote_addr $msec $scheme://$host$request_uri", format!("{head}http://h:80/a?b"), "10.0.0.1 /a?b host=h:80");
    check("$remote_addr $msec $host$uri$is_args$args", format!("{head}h/a?b=c"), "10.0.0.1 /a host=h");
    check("$remote_addr $msec $host$uri$is_args$args", format!("{head}h/a"), "10.0.0.1 /a host=h");
    check("$remote_addr $msec \"$host$request_uri\" x", format!("{head}\"h/a b\" x"), "10.0.0.1 /a b host=h");
    for refused_one in ["$remote_addr$msec", "$msec $remote_addr$request", "$msec $remote_addr $host$status"] {
        assert!(refused_one.parse::<LogFormat>().is_err(), "{refused_one}");
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
    check("$remote_addr $msec $uri x", format!("{head} /b x"), "10.0.0.1 /b");
}

#[test]
fn unescaped_values() {
    let format = "log_format raw escape=none '$remote_addr [$time_local] \"$request\" $status \"$http_user_agent\"';";
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
            let lines = [
                format!("{forged} {real}"),
                format!("x {forged} {real}"),
                format!("{forged} \" {real}"),
                format!("{forged} 198.51.100.7 {real}"),
            ];
            for line in lines {
                let parsed = format.parse().map(model::line::LineParser::new).unwrap().parse(line.as_bytes()).map(|l| l.remote);
                assert!(parsed.is_err() || parsed == Ok("198.51.100.7".parse().unwrap()), "{format} {line}: {parsed:?}");
            }
            check(&format, format!("x {real}"), &match before {
                "$http_x_forwarded_for" => "198.51.100.7 /a xff=x".to_owned(),
                "$request_uri" => "198.51.100.7 x".to_owned(),
                _ => "198.51.100.7 /a".to_owned(),
            });
        }
    }
    // In quotes that are escaped there is nothing to forge.
    let format = r#""$http_user_agent" $remote_addr [$time_local] "$request" $status"#;
    check(format, format!("\"{}\" {real}", forged.replace('"', "\\x22")), "198.51.100.7 /a");
}

const JSON: &str = r#"log_format j escape=json '{"t":"$time_iso8601","ip":"$remote_addr","q":"$request","h":"$host",'
    '"s":$status,"x":"$http_x_forwarded_for","in":{"u":"$uri"}}';"#;

#[test]
fn json_by_the_keys_of_a_directive() {
    let whole = r#"{"t":"2026-11-22T10:09:00+00:00","ip":"10.0.0.1","q":"GET /a HTTP/1.1","h":"h","s":200,"x":"1.1.1.1","in":{"u":"/u"}}"#;
    let read = "10.0.0.1 /a host=h uri=/u xff=1.1.1.1";
    check(JSON, whole, read);
    let reordered = r#" { "in" : {"u":"/u","v":[1,{}]}, "x":"1.1.1.1", "more":{"ip":"9.9.9.9"}, "s":"200", "h":"h",
        "q":"GET /a HTTP/1.1", "ip":"10.0.0.1", "list":["ip"], "none":null, "t":"2026-11-22T10:09:00Z" } "#;
    check(JSON, reordered.replace('\n', " "), read);
    for (from, to, expect) in [
        (r#""ip":"10.0.0.1""#, r#""ip":"10.0.0.1","ip":"9.9.9.9""#, "ambiguous"),
        (r#""ip":"10.0.0.1""#, r#""ip":"10.0.0.1","i\u0070":"9.9.9.9""#, "ambiguous"),
        (r#""x":"1.1.1.1""#, r#""x":"1.1.1.1","x":"9.9.9.9""#, "ambiguous"),
        (r#""ip":"10.0.0.1","#, "", "json"),
        (r#""ip":"10.0.0.1""#, r#""ip":null"#, "json"),
        (r#""ip":"10.0.0.1""#, r#""ip":"10.0.0.1:80""#, "address"),
        (r#""ip":"10.0.0.1""#, r#""ip":["10.0.0.1"]"#, "json"),
        (r#""ip":"10.0.0.1""#, r#""ip":"10.0.0.\u0031""#, read),
        (r#""s":200"#, r#""s":20"#, "status"),
        (r#""s":200"#, r#""s":"#, "json"),
        (r#""s":200,"#, "", "json"),
        (r#"+00:00"#, "+15:00", "time"),
        (r#""x":"1.1.1.1""#, r#""x":"""#, "10.0.0.1 /a host=h uri=/u xff="),
        (r#","x":"1.1.1.1""#, "", "10.0.0.1 /a host=h uri=/u"),
        (r#""h":"h","#, "", "10.0.0.1 /a uri=/u xff=1.1.1.1"),
        ("GET /a", r"GET \/a\t\u00e9\x41", "10.0.0.1 /a\té\\x41 host=h uri=/u xff=1.1.1.1"),
        ("GET /a HTTP/1.1", "", "10.0.0.1 none host=h uri=/u xff=1.1.1.1"),
        ("}}", "}", "json"),
        ("}}", "}},", "json"),
        ("{\"t\"", "[\"t\"", "json"),
    ] {
        check(JSON, whole.replacen(from, to, 1), expect);
    }
    let bytes = [whole.replace("h\"", "h\u{7f}\""), String::new()].concat().replace('\u{7f}', "\u{ff}");
    let latin1: Vec<u8> = bytes.chars().map(|c| c as u8).collect();
    check(JSON, latin1, "10.0.0.1 /a host=h\u{fffd} uri=/u xff=1.1.1.1");
    check(JSON, "", "empty");
    check(JSON, "[".repeat(1 << 20), "json");
    check(JSON, "{\"a\":".repeat(1 << 18), "json");
}

#[test]
fn json_by_the_names_of_variables() {
    check("json", r#"{"remote_addr":"10.0.0.1","time_local":"22/Nov/2026:10:09:00 +0000","request":"GET /a x"}"#, READ);
    check("json", r#"{"msec":1795342140.5,"remote_addr":"10.0.0.1","request_uri":"/a","status":200}"#, READ);
    check("json", r#"{"@timestamp":"2026-11-22T10:09:00.123Z","remote_addr":"10.0.0.1","uri":"/a","host":"h","xff":"-"}"#, "10.0.0.1 /a host=h xff=-");
    check("json", r#"{"remote_addr":"10.0.0.1","request":"GET /a x"}"#, "time");
    check("json", r#"{"time":"2026-11-22T10:09:00Z","request":"GET /a x"}"#, "json");
    check("json", r#"{"time":"2026-11-22T10:09:00Z","remote_addr":"10.0.0.1"}"#, "10.0.0.1 none");
    check("json", CORE, "json");
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
        check("json", format!("{header}{{\"msec\":1795342140.0,\"remote_addr\":\"10.0.0.1\",\"uri\":\"/a\"}}"), READ);
        check("combined", format!("{header}x"), "address");
        check("combined", header, "address");
    }
    for not_a_header in ["x: ", "<190>", "<1900>Nov 22 10:09:00 a: ", "Nov 22 10:09:00 a b c: ", "9.9.9.9 - - x: "] {
        let found = check_unparsed(&format!("{not_a_header}{CORE}"));
        assert!(found, "{not_a_header}");
    }
}

fn check_unparsed(line: &str) -> bool {
    model::line::LineParser::new(LogFormat::combined()).parse(line.as_bytes()).is_err()
}
