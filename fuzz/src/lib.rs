//! What must hold of any line in any format: shared by the targets.

use std::borrow::Cow;

use model::client::attribute;
use model::line::{Line, LineParser};
use model::network::{Network, NetworkSet};

/// Some proxies, so that `X-Forwarded-For` is looked at.
#[must_use]
pub fn proxies() -> NetworkSet {
    ["10.0.0.0/8", "2001:db8:cdcd::/48"]
        .iter()
        .map(|text| text.parse::<Network>().expect("a network"))
        .collect()
}

/// Parses a line and checks what must hold, whatever comes of it.
pub fn check_line(parser: &mut LineParser, line: &[u8], proxies: &NetworkSet) {
    let parsed = parser.parse(line);
    let again = parser.clone().parse(line);
    assert_eq!(parsed, again, "what a parser has read before changes nothing");
    let _ = parser.fields(line);
    if !line.ends_with(b"\r") {
        let with_cr = [line, b"\r"].concat();
        assert_eq!(parser.parse(&with_cr), parsed, "one CR at the end is ignored");
    }
    let Ok(parsed) = parsed else { return };
    check_spans(line, &parsed);
    check_client(&parsed, proxies);
    check_url(&parsed);
    assert!(parsed.status < 1000);
}

/// Whatever is borrowed is borrowed from the line: batches keep spans of it.
fn check_spans(line: &[u8], parsed: &Line<'_>) {
    for value in [&parsed.target, &parsed.host, &parsed.uri, &parsed.forwarded_for].into_iter().flatten() {
        if let Cow::Borrowed(value) = value {
            let (whole, part) = (line.as_ptr_range(), value.as_ptr_range());
            assert!(whole.start <= part.start && part.end <= whole.end, "{value:?} isn't a part of the line");
        }
    }
}

fn check_client(parsed: &Line<'_>, proxies: &NetworkSet) {
    let nobody = NetworkSet::default();
    let direct = attribute(parsed.remote, parsed.forwarded_for.as_deref(), &nobody);
    assert_eq!(direct.map(|client| client.address), Ok(parsed.remote));
    match attribute(parsed.remote, parsed.forwarded_for.as_deref(), proxies) {
        Ok(client) if client.hop == 0 => {
            assert_eq!(client.address, parsed.remote);
            assert!(!proxies.contains(parsed.remote));
        }
        Ok(client) => {
            assert!(proxies.contains(parsed.remote));
            assert!(!proxies.contains(client.address), "the first hop that isn't trusted");
        }
        Err(_) => assert!(proxies.contains(parsed.remote)),
    }
}

fn check_url(parsed: &Line<'_>) {
    let parts = parsed.url_parts();
    let Some(url) = parts.url(Some(b"default.example")) else {
        return;
    };
    assert!(parsed.target.is_some());
    assert!(!url.path.is_empty());
    if parsed.uri.is_none() {
        assert!(url.path.starts_with(b"/"));
        assert!(!url.path.iter().any(|byte| matches!(byte, b'?' | b'#')));
    }
    if let Some(host) = url.host {
        assert!(!host.is_empty());
        assert!(!host.iter().any(u8::is_ascii_uppercase));
    }
}
