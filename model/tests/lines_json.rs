//! JSON lines: by the keys of a pasted directive, and by the names of nginx's variables.

mod lines_common;

use lines_common::check;

const JSON: &str = r#"log_format j escape=json '{"t":"$time_iso8601","ip":"$remote_addr","q":"$request","in":{"h":"$host"},'
    '"s":$status,"x":"$http_x_forwarded_for"}';"#;

#[test]
fn json_by_the_keys_of_a_directive() {
    let whole = r#"{"t":"2026-11-22T10:09:00+00:00","ip":"10.0.0.1","q":"GET /a HTTP/1.1","s":200,"x":"1.1.1.1","in":{"h":"h"}}"#;
    let read = "10.0.0.1 /a host=h xff=1.1.1.1";
    check(JSON, whole, read);
    let reordered = r#" { "in" : {"h":"h","v":[1,{}]}, "x":"1.1.1.1", "more":{"ip":"9.9.9.9"}, "s":"200", "h":"g",
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
        (r#""s":200"#, r#""s":"#, "status"),
        (r#""s":200"#, r#""s":-"#, "status"),
        (r#""s":200"#, r#""s":200,"up":0.1, 0.2"#, read),
        (r#""s":200,"#, "", "json"),
        (r#"+00:00"#, "+15:00", "time"),
        (r#""x":"1.1.1.1""#, r#""x":"""#, "10.0.0.1 /a host=h"),
        (r#","x":"1.1.1.1""#, "", "10.0.0.1 /a host=h"),
        (r#""h":"h""#, "", "10.0.0.1 /a xff=1.1.1.1"),
        ("GET /a", r"GET \/a\t\u00e9\x41", "10.0.0.1 /a\té\\x41 host=h xff=1.1.1.1"),
        ("GET /a HTTP/1.1", "", "10.0.0.1 none host=h xff=1.1.1.1"),
        ("}}", "}", "json"),
        ("}}", "}},", "json"),
        ("{\"t\"", "[\"t\"", "json"),
    ] {
        check(JSON, whole.replacen(from, to, 1), expect);
    }
    let latin1 = whole.replace(r#":"h""#, ":\"h\u{ff}\"").chars().map(|c| c as u8).collect::<Vec<u8>>();
    check(JSON, latin1, "10.0.0.1 /a host=h\u{fffd} xff=1.1.1.1");
    check(JSON, "", "empty");
    check(JSON, "[".repeat(1 << 20), "json");
    check(JSON, "{\"a\":".repeat(1 << 18), "json");
}

#[test]
fn json_by_the_names_of_variables() {
    check(
        "json",
        r#"{"remote_addr":"10.0.0.1","time_local":"22/Nov/2026:10:09:00 +0000","request":"GET /a x"}"#,
        "10.0.0.1 /a",
    );
    check(
        "json",
        r#"{"msec":1795342140.5,"remote_addr":"10.0.0.1","request_uri":"/a","status":200}"#,
        "10.0.0.1 /a",
    );
    check(
        "json",
        r#"{"@timestamp":"2026-11-22T10:09:00.123Z","remote_addr":"10.0.0.1","uri":"/a","host":"h","xff":"-"}"#,
        "10.0.0.1 /a host=h",
    );
    check("json", r#"{"remote_addr":"10.0.0.1","request":"GET /a x"}"#, "time");
    check("json", r#"{"time":"2026-11-22T10:09:00Z","request":"GET /a x"}"#, "json");
    check("json", r#"{"time":"2026-11-22T10:09:00Z","remote_addr":"10.0.0.1"}"#, "10.0.0.1 none");
    check("json", "10.0.0.1 - - [22/Nov/2026:10:09:00 +0000] \"GET /a HTTP/1.1\" 200 5", "json");
}

#[test]
fn what_only_json_can_hold() {
    let format = r#"log_format j escape=json '{"ip":"$remote_addr","t":"$msec","q":"$request","u":"$uri"}';"#;
    check(
        format,
        r#"{"ip":"10.0.0.1","t":"1795342140.0","q":"GET /%61 HTTP/1.1","u":"/a"}"#,
        "10.0.0.1 /%61 uri=/a",
    );
    check(format, r#"{"ip":"10.0.0.1","t":"1795342140.0","q":"GET /\" HTTP/1.1","u":"-"}"#, "10.0.0.1 /\"");
    let without_request = r#"log_format j escape=json '{"ip":"$remote_addr","t":"$msec","u":"$uri"}';"#;
    check(without_request, r#"{"ip":"10.0.0.1","t":"1795342140.0","u":"/a"}"#, "10.0.0.1 /a uri=/a");
    let time = r#""time":"2026-11-22T10:09:00Z""#;
    check("json", format!(r#"{{"remote_addr":"10.0.0.1",{time},"host":true}}"#), "10.0.0.1 none host=true");
}
