//! The pages and orders over real sockets: what is shown, who may steer, and what happens to those who may not.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod control;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{Fake, agent, exchange, network, now, problem, request, serve, steer};
use model::units::Moment;
use serde_json::json;
use topology::adapters::http::{HttpError, start};
use topology::control::{AgentState, Health};

#[test]
fn health_is_a_status_code() {
    let served = serve();
    let well = served.get("/healthz");
    assert_eq!((well.status, well.json()), (200, json!({"ok": true, "problems": []})));
    let problems = vec![problem("agent_down", "10.0.0.2 can't be reached: is it running?")];
    *served.fake.health.lock().unwrap() = Health { ok: false, problems };
    let ill = served.get("/healthz");
    assert_eq!(ill.status, 503);
    assert_eq!(ill.json()["problems"][0]["kind"], "agent_down");
}

#[test]
fn status_and_agents() {
    let served = serve();
    let status = served.get("/api/v1/status");
    assert_eq!(status.status, 200);
    let status = status.json();
    assert_eq!(status["started_at"], "2026-11-22T10:06:40.000Z");
    assert_eq!(status["uptime_seconds"], 3723);
    assert_eq!(status["lines"]["unparsed"], json!({"time": 10}));
    assert_eq!(status["bans"]["answer_p99_ms"], 40);
    assert_eq!(status["settings"]["errors"], json!(["count: 0"]));
    assert_eq!(status["store"]["last_error"], "locked");
    assert_eq!(status["sources"][0]["name"], control::HOSTILE);
    assert_eq!(status["sources"][0]["behind_bytes"], 77);
    assert_eq!(status["sources"][0]["skew_ms"], -1500);
    let agents = served.get("/api/v1/agents").json();
    assert_eq!(agents["agents"][0]["name"], "10.0.0.2", "sorted by name");
    assert_eq!(agents["agents"][1]["state"], "up");
}

#[test]
fn bans_page_by_page() {
    let served = serve();
    let start = now();
    for n in 0..25 {
        served.fake.ban(&format!("198.51.100.{n}"), "global", Moment(start.0 - i64::from(n / 2)), 600);
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/bans?limit=10".to_owned());
    for pages in 1.. {
        let page = served.get(&path).json();
        assert_eq!(page["total"], 25);
        seen.extend(page["bans"].as_array().unwrap().iter().map(|ban| ban["target"].clone()));
        let Some(next) = page["next"].as_str() else {
            assert_eq!(pages, 3);
            break;
        };
        // The newest goes between two pages: nobody is left out or told twice.
        served.steer("POST", "/api/v1/bans", &json!({"target": "192.0.2.200", "seconds": 60}).to_string());
        served.steer("DELETE", "/api/v1/bans/192.0.2.200", "");
        path = format!("/api/v1/bans?limit=10&after={}", next.replace(',', "%2C"));
    }
    let expect: Vec<_> = (0..25).map(|n| json!(format!("198.51.100.{n}"))).collect();
    let by_number = |target: &serde_json::Value| target.as_str().unwrap()[11..].parse::<u8>().unwrap();
    seen.sort_by_key(by_number);
    assert_eq!(seen, expect);
}

#[test]
fn bans_are_found() {
    let served = serve();
    served.fake.ban("198.51.100.7", "global", now(), 600);
    served.fake.ban("2001:db8::/64", "/login", now(), 600);
    served.fake.ban("10.0.0.0/8", "global", now(), 600);
    let check = |query: &str, expect: &[&str]| {
        let page = served.get(&format!("/api/v1/bans?q={query}")).json();
        let mut found: Vec<&str> =
            page["bans"].as_array().unwrap().iter().map(|ban| ban["target"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expect, "{query}");
    };
    check("198.51.100.0%2F24", &["198.51.100.7"]);
    check("10.1.2.3", &["10.0.0.0/8"]);
    check("2001:db8::99", &["2001:db8::/64"]);
    check("LOGIN", &["2001:db8::/64"]);
    check("51.100", &["198.51.100.7"]);
    check("de", &["10.0.0.0/8", "198.51.100.7", "2001:db8::/64"]);
    check("", &["10.0.0.0/8", "198.51.100.7", "2001:db8::/64"]);
    check("nothing", &[]);
    let ban = &served.get("/api/v1/bans?q=login").json()["bans"][0];
    assert_eq!(
        (&ban["reason"], &ban["country"], &ban["count"]),
        (&json!("special"), &json!("DE"), &json!(200))
    );
    assert!((595..=600).contains(&ban["seconds_left"].as_u64().unwrap()), "{ban}");
}

#[test]
fn history_is_asked_with_its_filter() {
    let served = serve();
    let page = served.get("/api/v1/bans/history?ip=198.51.100.7&since=2026-11-22T10:00:00Z&limit=5").json();
    assert_eq!(page["bans"][0]["start"], "2026-11-22T10:10:03.000Z");
    assert_eq!(page["bans"][1]["agents"][0], json!({"agent": "10.0.0.3", "order": "block", "flag": -4}));
    served.get("/api/v1/bans/history?since=1000");
    let filters = served.fake.filters.lock().unwrap().clone();
    assert_eq!(filters[0].target, Some(network("198.51.100.7")));
    assert_eq!((filters[0].since, filters[0].limit), (Some(Moment(1_795_341_600_000)), 5));
    assert_eq!((filters[1].since, filters[1].limit), (Some(Moment(1_000_000)), 100));
    let failed = served.get("/api/v1/bans/history?ip=192.0.2.66");
    assert_eq!((failed.status, failed.error().as_str()), (503, "the database is locked"));
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let served = serve();
    for (path, status, said) in [
        ("/", 404, "there is no page /"),
        ("/api/v2/bans", 404, "/api/v1/bans"),
        ("/healthz/", 404, "there is no page"),
        ("/%00%ff", 404, "there is no page"),
        ("/api/v1/bans?limit=0", 400, "limit"),
        ("/api/v1/bans?limit=1001", 400, "limit"),
        ("/api/v1/bans?limit=x", 400, "limit"),
        ("/api/v1/bans?limit=1&limit=2", 400, "limit"),
        ("/api/v1/bans?nothing=1", 400, "nothing"),
        ("/api/v1/bans?after=x", 400, "after"),
        ("/api/v1/bans?after=99999999999999999999,10.0.0.1", 400, "after"),
        ("/api/v1/bans/history?ip=example.com", 400, "example.com"),
        ("/api/v1/bans/history?since=yesterday", 400, "since"),
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.error().contains(said), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
}

#[test]
fn only_the_control_socket_steers() {
    let served = serve();
    served.fake.ban("198.51.100.7", "global", now(), 600);
    served.fake.hold("198.51.100.8");
    for (method, path) in [
        ("POST", "/api/v1/bans"),
        ("DELETE", "/api/v1/bans/198.51.100.7"),
        ("POST", "/api/v1/bans/held/release"),
        ("POST", "/api/v1/bans/held/198.51.100.8/discard"),
        ("PUT", "/healthz"),
        ("OPTIONS", "/api/v1/bans"),
    ] {
        let body = json!({"target": "192.0.2.1", "seconds": 60}).to_string();
        let answer = exchange(served.tcp(), &request(method, path, "localhost", &body));
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        assert!(answer.error().contains("control.sock"), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(served.fake.banned(), ["198.51.100.7"]);
    assert_eq!(served.steer("PUT", "/healthz", "").status, 405);
    assert_eq!(served.steer("GET", "/healthz", "").status, 200);
}

#[test]
fn orders_change_what_they_say() {
    let served = serve();
    let order = json!({"target": "2001:db8::1/64", "seconds": 90, "note": "by Ann"}).to_string();
    let banned = served.steer("POST", "/api/v1/bans", &order);
    assert_eq!(banned.status, 200, "{banned:?}");
    let change = &banned.json()["changes"][0];
    assert_eq!((&change["change"], &change["ban"]["note"]), (&json!("banned"), &json!("by Ann")));
    assert_eq!(change["ban"]["target"], "2001:db8::/64");
    let longer = order.replace("90", "600");
    assert_eq!(served.steer("POST", "/api/v1/bans", &longer).json()["changes"][0]["change"], "extended");
    assert_eq!(served.fake.banned(), ["2001:db8::/64"]);
    let lifted = served.steer("DELETE", "/api/v1/bans/2001:db8::%2F64", "");
    assert_eq!(lifted.json()["changes"][0]["change"], "unbanned");
    assert!(served.fake.banned().is_empty());

    for n in 1..=4 {
        served.fake.hold(&format!("198.51.100.{n}"));
    }
    assert_eq!(served.get("/api/v1/bans/held").json()["held"][0]["cap"], "max_new_bans_per_minute");
    let kinds = |path: &str| {
        let answer = served.steer("POST", path, "").json();
        let changes = answer["changes"].as_array().unwrap().clone();
        changes.iter().map(|change| change["change"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("/api/v1/bans/held/198.51.100.1/release"), ["released", "banned"]);
    assert_eq!(kinds("/api/v1/bans/held/198.51.100.2/discard"), ["discarded"]);
    assert_eq!(kinds("/api/v1/bans/held/release").len(), 4);
    assert_eq!(kinds("/api/v1/bans/held/discard").len(), 0);
    assert_eq!(served.fake.banned(), ["198.51.100.1", "198.51.100.3", "198.51.100.4"]);
}

#[test]
fn orders_that_come_to_nothing() {
    let served = serve();
    let order = |target: &str, seconds: i64| json!({"target": target, "seconds": seconds}).to_string();
    let long = json!({"target": "192.0.2.1", "seconds": 1, "note": "x".repeat(501)}).to_string();
    for (method, path, body, status, said) in [
        ("POST", "/api/v1/bans", order("127.0.0.1", 60), 409, "protected"),
        ("DELETE", "/api/v1/bans/192.0.2.1", String::new(), 409, "isn't banned"),
        ("DELETE", "/api/v1/bans/example.com", String::new(), 400, "example.com"),
        ("DELETE", "/api/v1/bans/10.0.0.0%2F33", String::new(), 400, "33"),
        ("DELETE", "/api/v1/bans/%ff", String::new(), 400, ""),
        ("POST", "/api/v1/bans", order("x", 60), 400, "`x`"),
        ("POST", "/api/v1/bans", order("192.0.2.1", 0), 400, "at least 1"),
        ("POST", "/api/v1/bans", order("192.0.2.1", -1), 400, "-1"),
        ("POST", "/api/v1/bans", order("192.0.2.1", 1 << 33), 400, "u32"),
        ("POST", "/api/v1/bans", String::new(), 400, "target"),
        ("POST", "/api/v1/bans", "{".to_owned(), 400, "seconds"),
        ("POST", "/api/v1/bans", "[".repeat(10_000), 400, ""),
        (
            "POST",
            "/api/v1/bans",
            r#"{"target": "192.0.2.1", "seconds": 1, "length": 1}"#.to_owned(),
            400,
            "length",
        ),
        ("POST", "/api/v1/bans", long, 400, "500"),
        ("POST", "/api/v1/bans", " ".repeat(100_000), 413, ""),
        ("POST", "/api/v1/bans/held/192.0.2.1/release", String::new(), 409, "held"),
        ("POST", "/api/v1/bans/held/x/release", String::new(), 400, "`x`"),
    ] {
        let answer = served.steer(method, path, &body);
        assert_eq!(answer.status, status, "{method} {path} {body:.80}: {answer:?}");
        assert!(answer.error().contains(said), "{method} {path} {body:.80}: {answer:?}");
    }
    assert!(served.fake.banned().is_empty());
    *served.fake.stuck.lock().unwrap() = true;
    let answer = served.steer("POST", "/api/v1/bans", &order("192.0.2.1", 60));
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "it wasn't kept within 5 s: the disk refuses")
    );
}

#[test]
fn foreign_names_are_turned_away() {
    let served = serve();
    let port = served.http.address().port();
    for host in ["localhost", "127.0.0.1", "[::1]", &format!("LocalHost:{port}")] {
        assert_eq!(exchange(served.tcp(), &request("GET", "/healthz", host, "")).status, 200, "{host}");
    }
    for host in ["rebound.example.com", "192.0.2.1", "localhost.example.com", ""] {
        let answer = exchange(served.tcp(), &request("GET", "/api/v1/bans", host, ""));
        assert_eq!(answer.status, 403, "{host}: {answer:?}");
        assert!(answer.error().contains("localhost"), "{answer:?}");
    }
    let raw = |text: &str| exchange(served.tcp(), text).status;
    assert_eq!(raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"), 403);
    assert_eq!(raw("GET /healthz HTTP/1.0\r\n\r\n"), 403);
    assert_eq!(
        raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
        403
    );
    assert_eq!(
        raw("GET http://example.com/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        403
    );
}

#[test]
fn answers_are_dressed() {
    let served = serve();
    for path in ["/healthz", "/metrics", "/api/v1/bans", "/none"] {
        let answer = served.get(path);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn what_is_no_http_and_what_is_too_much_is_cut_off() {
    let served = serve();
    let status = |text: &str| exchange(served.tcp(), text).status;
    assert_eq!(status("\x16\x03\x01 hello\r\n\r\n"), 400);
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(status(&many), 431);
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000));
    assert!(matches!(status(&long), 414 | 431));
    assert_eq!(served.get("/healthz").status, 200);
}

/// Takes as long as the time limit of a request's head.
#[test]
fn who_says_nothing_is_let_go() {
    let served = serve();
    let mut silent = served.tcp();
    silent.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let began = Instant::now();
    let mut bytes = Vec::new();
    let _ = silent.read_to_end(&mut bytes);
    assert!(
        (Duration::from_secs(5)..Duration::from_secs(40)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn hanging_questions_end_and_leave_orders_alone() {
    let served = serve();
    served.fake.shut(true);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = served.tcp();
            stream.write_all(request("GET", "/api/v1/agents", "localhost", "").as_bytes()).unwrap();
            stream
        })
        .collect();
    let order = json!({"target": "192.0.2.1", "seconds": 60}).to_string();
    assert_eq!(served.steer("POST", "/api/v1/bans", &order).status, 200, "TCP can't keep orders out");
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        assert!(text.contains("no answer in time"), "{text}");
    }
    served.fake.shut(false);
    let until = Instant::now() + Duration::from_secs(20);
    while served.get("/api/v1/agents").status != 200 {
        assert!(Instant::now() < until, "it never gets well again");
    }
}

#[test]
fn the_socket_is_its_owners_only_and_goes_with_the_program() {
    let served = serve();
    let metadata = std::fs::metadata(served.socket()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let socket = served.socket();
    served.http.stop();
    assert!(!socket.exists());
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let state = tempfile::tempdir().unwrap();
    let socket = state.path().join("control.sock");
    let begin = || start(Arc::new(Fake::default()), "127.0.0.1:0".parse().unwrap(), socket.clone());
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "left by a dead process");
    let alive = begin().unwrap();
    assert_eq!(steer(&socket, "GET", "/healthz", "").status, 503, "the fake isn't well by default");
    let inode = std::fs::metadata(&socket).unwrap().ino();

    let error = begin().unwrap_err();
    assert!(matches!(error, HttpError::Running(_)), "{error}");
    assert!(error.to_string().contains("already runs"));
    assert_eq!(std::fs::metadata(&socket).unwrap().ino(), inode);
    assert_eq!(steer(&socket, "GET", "/healthz", "").status, 503);

    // Somebody else's in its place isn't taken away.
    std::fs::remove_file(&socket).unwrap();
    let other = UnixListener::bind(&socket).unwrap();
    drop(alive);
    assert!(socket.exists());
    drop(other);
    std::fs::remove_file(&socket).unwrap();

    std::fs::write(&socket, "precious").unwrap();
    assert!(matches!(begin().unwrap_err(), HttpError::NotASocket(_)));
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn what_cannot_be_had_is_told() {
    let state = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = |address, socket| start(Arc::new(Fake::default()), address, socket).unwrap_err();
    let socket = state.path().join("control.sock");
    let error = begin(taken.local_addr().unwrap(), socket.clone());
    assert!(matches!(error, HttpError::Port { .. }), "{error}");
    assert!(!socket.exists());
    let any = || "127.0.0.1:0".parse().unwrap();
    let error = begin(any(), state.path().join("none/control.sock"));
    assert!(matches!(error, HttpError::Socket { .. }), "{error}");
    let error = begin(any(), state.path().join("x".repeat(120)));
    assert!(matches!(error, HttpError::TooLong(_)), "{error}");
}

#[test]
fn stopping_lets_what_is_under_way_end_and_waits_for_nobody_else() {
    let served = serve();
    *served.fake.agents.lock().unwrap() = vec![agent("10.0.0.2", AgentState::Up)];
    let _idle = served.tcp();
    served.fake.shut(true);
    let mut hanging = served.tcp();
    hanging.write_all(request("GET", "/api/v1/agents", "localhost", "").as_bytes()).unwrap();
    let began = Instant::now();
    served.http.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    served.fake.shut(false);
}
