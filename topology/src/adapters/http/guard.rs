//! Looks at what comes in, and dresses what goes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use super::answer::Failure;

/// No order has more bytes.
const BODY_BYTES: usize = 16 * 1024;
/// A request with its body, and its answer, take no longer; more than [`super::ANSWER`], which says more.
const REQUEST: Duration = Duration::from_secs(15);

/// The TCP listener's guard: whoever got here by a foreign name is turned away.
pub(super) fn tcp(router: Router, address: SocketAddr) -> Router {
    let names = Arc::new(Names::new(address));
    common(router.layer(from_fn_with_state(names, known_host)))
}

/// The control socket's guard. Browsers can't get there, so names don't matter.
pub(super) fn unix(router: Router) -> Router {
    common(router)
}

fn common(router: Router) -> Router {
    router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(from_fn(in_time)).layer(from_fn(dressed))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response(),
    }
}

/// These pages are data: nothing may run, frame or keep them, nor guess their type.
async fn dressed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// By which names we may be called. A page on the web can make a name of its own point to this machine and so
/// read what is here as its own (DNS rebinding); the name that the browser asked for gives it away.
struct Names {
    /// Other machines may ask, too: then by any address, which needs no DNS, and by the machine's own name.
    beyond_loopback: bool,
    own: String,
}

impl Names {
    fn new(address: SocketAddr) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
        Self { beyond_loopback: !address.ip().is_loopback(), own }
    }

    /// Whether `authority` (`localhost:8480`, `[::1]`) is one of them.
    fn know(&self, authority: &str) -> bool {
        let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) if is_port(port) => host,
            Some(_) => return false,
            None => match authority.split_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                Some(_) => return false,
                None => authority,
            },
        };
        match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || self.beyond_loopback,
            Err(_) => {
                let host = host.to_ascii_lowercase();
                host == "localhost" || self.beyond_loopback && host == self.own
            }
        }
    }

    fn know_all(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        // A request may name its host twice: GET http://name/path.
        let named = uri.authority().is_none_or(|authority| self.know(authority.as_str()));
        named && host.to_str().is_ok_and(|host| self.know(host))
    }
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

async fn known_host(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    if names.know_all(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let answer = if names.beyond_loopback {
        "ask by an address, or by this machine's own name: the Host header must be one of them"
    } else {
        "ask by localhost, 127.0.0.1 or [::1]: the Host header must be a loopback name or address"
    };
    Failure::new(StatusCode::FORBIDDEN, answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, known: &[&str], unknown: &[&str]) {
        let names = Names { own: "web1".to_owned(), ..Names::new(listen.parse().unwrap()) };
        for name in known {
            assert!(names.know(name), "{listen}: {name}");
        }
        for name in unknown {
            assert!(!names.know(name), "{listen}: {name}");
        }
    }

    #[test]
    fn a_name_of_a_stranger_is_no_name_of_ours() {
        let known = ["localhost", "LOCALHOST:8480", "127.0.0.1:8480", "127.3.2.1", "[::1]", "[::1]:8480"];
        let strange = [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:8480",
            "example.com:localhost",
            "[::1]example.com",
            "[::1",
            "::1",
            "user@localhost",
            "127.1",
            "2130706433",
        ];
        check("127.0.0.1:8480", &known, &strange);
        check("127.0.0.1:8480", &[], &["192.0.2.1:8480", "web1", "[2001:db8::1]", "0.0.0.0"]);
        check("[::1]:8480", &known, &strange);
        check("0.0.0.0:8480", &known, &strange);
        check("0.0.0.0:8480", &["192.0.2.1:8480", "web1:8480", "[2001:db8::1]"], &["web1.example.com"]);
    }
}
