//! The URL that a request asks for, and the URL patterns of the settings.

use std::borrow::Cow;
use std::fmt;

/// A request's URL: what rules are matched against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url<'a> {
    /// Lower-case host without userinfo and port; `None` where neither line nor settings tell one.
    pub host: Option<Cow<'a, [u8]>>,
    /// The path as it stands in the log, without query and fragment; never empty.
    pub path: &'a [u8],
}

/// What a line says about its URL, before it is one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct UrlParts<'a> {
    /// `$request`'s second word, or `$request_uri`.
    pub target: Option<&'a [u8]>,
    /// `$host` (or `$http_host`), as logged.
    pub host: Option<&'a [u8]>,
    /// `$uri`: nginx's own normalised path.
    pub uri: Option<&'a [u8]>,
}

impl<'a> UrlParts<'a> {
    /// The URL, or `None` where the request names none (empty, binary, `OPTIONS *`).
    ///
    /// `default_host` is lower-case already (see [`normal_host`]).
    #[must_use]
    pub fn url(&self, default_host: Option<&'a [u8]>) -> Option<Url<'a>> {
        let (authority, path) = split_target(self.target?)?;
        let path = self.uri.filter(|uri| uri.starts_with(b"/")).unwrap_or(path);
        let host = match authority {
            Some(authority) => Some(normal_host(authority)),
            None => self.host.map(normal_host),
        };
        let host = host.or(default_host.map(Cow::Borrowed)).filter(|host| !host.is_empty());
        Some(Url { host, path: if path.is_empty() { b"/" } else { path } })
    }
}

/// The second word of a request line (words stand between single spaces).
#[must_use]
pub fn request_target(request: &[u8]) -> Option<&[u8]> {
    let rest = &request[memchr::memchr(b' ', request)? + 1..];
    Some(&rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())])
}

/// A target cut into its authority, where it is absolute, and its path; `None` where it's no URL.
fn split_target(target: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    if target.first() == Some(&b'/') {
        return Some((None, cut_query(target)));
    }
    let scheme_end =
        target.iter().position(|&b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')))?;
    if !target[0].is_ascii_alphabetic() || !target[scheme_end..].starts_with(b"://") {
        return None;
    }
    let rest = cut_query(&target[scheme_end + 3..]);
    let authority_end = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    Some((Some(&rest[..authority_end]), &rest[authority_end..]))
}

fn cut_query(target: &[u8]) -> &[u8] {
    &target[..memchr::memchr2(b'?', b'#', target).unwrap_or(target.len())]
}

/// A host as it is compared: without userinfo and port, in lower case.
#[must_use]
pub fn normal_host(authority: &[u8]) -> Cow<'_, [u8]> {
    let host = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    let end = if host.first() == Some(&b'[') {
        memchr::memchr(b']', host).map_or(host.len(), |close| close + 1)
    } else {
        memchr::memchr(b':', host).unwrap_or(host.len())
    };
    let host = &host[..end];
    if host.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// A URL of the settings: exact or (with a trailing `*`) a prefix; with a host or (starting with `/`) for any.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UrlPattern {
    text: String,
    host: Option<Vec<u8>>,
    path: Vec<u8>,
    prefix: bool,
}

/// Why a text isn't a URL pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlPatternError {
    /// There is nothing in it.
    #[error("an empty URL matches nothing; write `host/path`, `/path` or `/*`")]
    Empty,
    /// Neither host nor path is left of it.
    #[error("no host and no path; write `/*` for every URL of every host")]
    NoHost,
}

impl UrlPattern {
    /// Reads a pattern as the settings have it.
    ///
    /// # Errors
    /// Where neither a host nor a path can be read from it.
    pub fn parse(text: &str) -> Result<Self, UrlPatternError> {
        if text.is_empty() {
            return Err(UrlPatternError::Empty);
        }
        let (body, prefix) = text.strip_suffix('*').map_or((text, false), |body| (body, true));
        let slash = body.find('/').unwrap_or(body.len());
        let (authority, path) = body.split_at(slash);
        let path = if path.is_empty() { "/" } else { path };
        let host = match (slash, normal_host(authority.as_bytes()).into_owned()) {
            (0, _) if !body.is_empty() => None,
            (_, host) if host.is_empty() => return Err(UrlPatternError::NoHost),
            (_, host) => Some(host),
        };
        Ok(Self { text: text.to_owned(), host, path: path.as_bytes().to_owned(), prefix })
    }

    /// The pattern as the settings have it: what decisions print.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lower-case host that it asks for; `None` matches any.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.host.as_deref()
    }

    /// The path, or what a path must start with.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether the path is a prefix.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.prefix
    }

    /// Whether a URL matches.
    #[must_use]
    pub fn matches(&self, url: &Url<'_>) -> bool {
        let host = self.host.as_ref().is_none_or(|host| url.host.as_deref() == Some(host));
        host && if self.prefix { url.path.starts_with(&self.path) } else { url.path == self.path }
    }

    /// The order in which patterns are tried where several match: exact before prefix, with host before
    /// any-host, longer before shorter, then byte order.
    #[must_use]
    pub fn precedence(&self) -> impl Ord + '_ {
        (self.prefix, self.host.is_none(), std::cmp::Reverse(self.path.len()), self.text.as_bytes())
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, host: Option<&str>, default: Option<&str>, expect: &str) {
        let parts =
            UrlParts { target: request_target(request.as_bytes()), host: host.map(str::as_bytes), uri: None };
        let found = parts.url(default.map(str::as_bytes)).map_or("none".to_owned(), |url| {
            let host = url.host.map_or("*".to_owned(), |h| String::from_utf8_lossy(&h).into_owned());
            format!("{host} {}", String::from_utf8_lossy(url.path))
        });
        assert_eq!(found, expect, "{request:?} {host:?} {default:?}");
    }

    #[test]
    fn url_of_a_request() {
        check("GET /a?b=c HTTP/1.1", None, None, "* /a");
        check("GET /a#b?c HTTP/1.1", None, Some("d"), "d /a");
        check("GET ?b HTTP/1.1", None, None, "none");
        check("GET /?b", None, None, "* /");
        check(
            "GET http://WWW.Example.com:80/Login HTTP/1.1",
            Some("other"),
            Some("d"),
            "www.example.com /Login",
        );
        check("GET http://user:pw@h@Host:8080 HTTP/1.1", None, None, "host /");
        check("GET http://host?x HTTP/1.1", None, None, "host /");
        check("GET http://[2001:DB8::1]:80/x HTTP/1.1", None, None, "[2001:db8::1] /x");
        check("GET http:///x HTTP/1.1", Some("h"), Some("d"), "* /x");
        check("GET HTTP+x.1-://h/x HTTP/1.1", None, None, "h /x");
        check("GET 1http://h/x HTTP/1.1", None, None, "none");
        check("OPTIONS * HTTP/1.1", Some("h"), Some("d"), "none");
        check("CONNECT h:443 HTTP/1.1", None, None, "none");
        check("GET  /a HTTP/1.1", None, None, "none");
        check("GET", None, None, "none");
        check("", None, None, "none");
        check("\\x16\\x03\\x01", None, None, "none");
        check("GET /a HTTP/1.1", Some("WWW.b:8080"), Some("d"), "www.b /a");
        check("GET //a//b HTTP/1.1", None, None, "* //a//b");
    }

    #[test]
    fn uri_is_the_path_where_it_is_logged() {
        let parts = UrlParts { target: Some(b"http://h/%61?x"), host: Some(b"i"), uri: Some(b"/a?b") };
        let url = parts.url(None).unwrap();
        assert_eq!((url.host.as_deref(), url.path), (Some(&b"h"[..]), &b"/a?b"[..]));
        let bad = UrlParts { target: Some(b"/b?x"), host: None, uri: Some(b"-") };
        assert_eq!(bad.url(None).unwrap().path, b"/b");
        let none = UrlParts { target: Some(b"*"), host: None, uri: Some(b"/a") };
        assert_eq!(none.url(None), None);
    }

    #[test]
    fn patterns() {
        let matches = |pattern: &str, host: Option<&'static str>, path: &'static str| {
            let url = Url { host: host.map(|h| Cow::Borrowed(h.as_bytes())), path: path.as_bytes() };
            UrlPattern::parse(pattern).unwrap().matches(&url)
        };
        assert!(matches("www.Example.com:80/a", Some("www.example.com"), "/a"));
        assert!(!matches("www.example.com/a", Some("www.example.com"), "/a/"));
        assert!(!matches("www.example.com/a", None, "/a"));
        assert!(matches("/a*", None, "/abc"));
        assert!(matches("/a", Some("x"), "/a"));
        assert!(matches("x", Some("x"), "/"));
        assert!(!matches("x", Some("x"), "/a"));
        assert!(matches("x*", Some("x"), "/a"));
        assert_eq!(UrlPattern::parse(""), Err(UrlPatternError::Empty));
        assert_eq!(UrlPattern::parse("*"), Err(UrlPatternError::NoHost));
        assert_eq!(UrlPattern::parse(":80/a"), Err(UrlPatternError::NoHost));
    }
}
