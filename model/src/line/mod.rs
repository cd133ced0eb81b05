//! Access lines: bytes in, the few fields that matter out.
//!
//! A [`LogFormat`] is compiled once from what stands in `nginx.conf`; a [`LineParser`] applies it line by line.
//! `combined` and everything that begins like it takes a hand-written path (`combined.rs`), other text formats a
//! list of pieces (`template.rs`, `ends.rs`), JSON lines a look-up by key (`json.rs`).
//!
//! Invariant: a line is never attributed to an address that it doesn't prove. What can be read in two ways with
//! different clients is unparsed.

mod combined;
mod directive;
mod ends;
mod error;
mod fields;
mod format;
mod json;
mod role;
mod syslog;
mod template;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::time::TimeCache;
use crate::units::Second;
use crate::url::UrlParts;

pub use error::LogFormatError;
pub use format::LogFormat;

/// A parsed access line: spans of its bytes, nothing copied but what had to be unescaped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line<'a> {
    /// `$remote_addr`: the TCP peer (or what nginx's realip module made of it).
    pub remote: IpAddr,
    /// When the request was logged.
    pub second: Second,
    /// `$request`'s second word or `$request_uri`.
    pub target: Option<Cow<'a, [u8]>>,
    /// `$host` or `$http_host`; here and below `None` where the log has `-` or nothing.
    pub host: Option<Cow<'a, [u8]>>,
    /// `$uri`.
    pub uri: Option<Cow<'a, [u8]>>,
    /// `X-Forwarded-For`, whole.
    pub forwarded_for: Option<Cow<'a, [u8]>>,
    /// `$status`; 0 where the format has none.
    pub status: u16,
}

impl Line<'_> {
    /// What the line says about the request's URL.
    #[must_use]
    pub fn url_parts(&self) -> UrlParts<'_> {
        UrlParts { target: self.target.as_deref(), host: self.host.as_deref(), uri: self.uri.as_deref() }
    }
}

/// Why a line couldn't be parsed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unparsed {
    /// There is nothing in it.
    Empty,
    /// Longer than a line may be; the rest of it was skipped.
    TooLong,
    /// The address isn't a bare IP literal.
    Address,
    /// The time isn't one, doesn't exist, or isn't where it should be.
    Time,
    /// The request isn't there or isn't closed.
    Request,
    /// The status isn't three digits.
    Status,
    /// The bytes sent are neither digits nor `-`.
    Bytes,
    /// The fixed text of the format doesn't stand where it should.
    Layout,
    /// It can be read in more than one way, with different clients.
    Ambiguous,
    /// Not a JSON object, or one without the fields of the format.
    Json,
}

impl Unparsed {
    /// All reasons, in the order in which reports list them.
    pub const ALL: [Self; 10] = [
        Self::Empty,
        Self::TooLong,
        Self::Address,
        Self::Time,
        Self::Request,
        Self::Status,
        Self::Bytes,
        Self::Layout,
        Self::Ambiguous,
        Self::Json,
    ];

    /// The reason's name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::Address => "address",
            Self::Time => "time",
            Self::Request => "request",
            Self::Status => "status",
            Self::Bytes => "bytes",
            Self::Layout => "layout",
            Self::Ambiguous => "ambiguous",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Unparsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the line is empty",
            Self::TooLong => "the line is too long",
            Self::Address => "no bare IP address where the client's should stand",
            Self::Time => "no time that exists where it should stand",
            Self::Request => "no closed \"request\" where it should stand",
            Self::Status => "the status isn't three digits",
            Self::Bytes => "the bytes sent are neither digits nor `-`",
            Self::Layout => "the fixed text of the log_format doesn't stand where it should",
            Self::Ambiguous => "it can be read in more than one way",
            Self::Json => "not a JSON object with the fields of the log_format",
        })
    }
}

/// Applies a format to lines, one after the other. Cheap to make; each thread has its own.
#[derive(Clone, Debug)]
pub struct LineParser {
    format: LogFormat,
    times: TimeCache,
}

impl LineParser {
    /// A parser of lines in `format`.
    #[must_use]
    pub fn new(format: LogFormat) -> Self {
        Self { format, times: TimeCache::default() }
    }

    /// Reads one line (without its LF; one CR at its end is ignored). Where it fails and a syslog header stands
    /// in front, what stands behind the header is read instead.
    ///
    /// # Errors
    /// Why it couldn't be read.
    #[inline(always)]
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Result<Line<'a>, Unparsed> {
        let line = trim_cr(line);
        match self.format.parse(line, &mut self.times) {
            Ok(parsed) => Ok(parsed),
            Err(reason) => self.parse_behind_header(line, reason),
        }
    }

    /// The fields of a line by their names, as far as they can be read: for people, not for the hot path.
    #[must_use]
    pub fn fields<'a>(&self, line: &'a [u8]) -> Vec<(String, Cow<'a, [u8]>)> {
        let line = trim_cr(line);
        let fields = self.format.fields(line);
        match syslog::strip(line) {
            Some(rest)
                if fields.is_empty() || self.format.parse(line, &mut TimeCache::default()).is_err() =>
            {
                self.format.fields(rest)
            }
            _ => fields,
        }
    }

    #[cold]
    fn parse_behind_header<'a>(&mut self, line: &'a [u8], reason: Unparsed) -> Result<Line<'a>, Unparsed> {
        if line.is_empty() {
            return Err(Unparsed::Empty);
        }
        match syslog::strip(line) {
            Some(rest) => self.format.parse(rest, &mut self.times),
            None => Err(reason),
        }
    }
}

fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where the quoted text that begins at `from` is closed: the next quote without an escaping backslash.
fn closing_quote(line: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr(b'"', line.get(at..)?)?;
        let backslashes = line[from..at].iter().rev().take_while(|&&b| b == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(at);
        }
        at += 1;
    }
}

/// A variable's value; nginx writes `-` (or nothing) where it had none.
fn present(value: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    (!matches!(&*value, [] | [b'-'])).then_some(value)
}
