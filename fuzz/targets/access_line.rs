//! Any bytes as an access line, in several formats.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use model::line::{LineParser, LogFormat};
use model::network::NetworkSet;
use model::time::Civil;

const FORMATS: [&str; 8] = [
    "combined",
    "json",
    r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for" $host"#,
    r#"$host $remote_addr [$time_iso8601] "$request" $status $http_x_forwarded_for end"#,
    "$msec $remote_addr $status $scheme://$host$request_uri $uri",
    "log_format free escape=none '$http_x_forwarded_for|$remote_addr|$time_local|$request|$status';",
    r#"log_format j escape=json '{"t":"$time_iso8601","ip":"$remote_addr","q":"$request","h":"$host","s":$status,"x":"$http_x_forwarded_for"}';"#,
    r#"'$remote_user $remote_addr $msec "$request" "$http_x_forwarded_for" $body_bytes_sent'"#,
];

struct State {
    parsers: Vec<LineParser>,
    combined: LineParser,
    proxies: NetworkSet,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State {
        parsers: FORMATS.iter().map(|text| LineParser::new(text.parse().expect("a format"))).collect(),
        combined: LineParser::new(LogFormat::combined()),
        proxies: fuzz::proxies(),
    });
}

fuzz_target!(|line: &[u8]| {
    STATE.with_borrow_mut(|state| {
        for parser in &mut state.parsers {
            fuzz::check_line(parser, line, &state.proxies);
        }
        written_anew(&mut state.combined, line);
    });
});

/// A `combined` line that is written anew from what was read of it reads the same.
fn written_anew(parser: &mut LineParser, line: &[u8]) {
    let Ok(parsed) = parser.clone().parse(line) else {
        return;
    };
    let head = format!("{} - - [{}] \"", parsed.remote, Civil::of(parsed.second).time_local());
    let mut anew = head.into_bytes();
    if let Some(target) = &parsed.target {
        anew.extend_from_slice(b"G ");
        anew.extend_from_slice(target);
        anew.push(b' ');
    }
    anew.extend_from_slice(format!("\" {:03} -", parsed.status).as_bytes());
    let again = parser.parse(&anew);
    assert_eq!(again.as_ref(), Ok(&parsed), "{}", anew.escape_ascii());
}
