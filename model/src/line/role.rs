//! What variables mean, and what their values look like.

use super::Unparsed;
use super::error::LogFormatError;
use crate::address::parse_address;
use crate::time::{TIME_LOCAL_LEN, parse_msec, parse_time_iso8601, parse_time_local};

/// What a variable means to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Address,
    TimeLocal,
    TimeIso8601,
    Msec,
    Request,
    Target,
    /// `$uri` where the format has no request.
    OnlyUri,
    Uri,
    Host,
    ForwardedFor,
    Status,
    Bytes,
    Other,
}

impl Role {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "remote_addr" => Self::Address,
            "time_local" => Self::TimeLocal,
            "time_iso8601" => Self::TimeIso8601,
            "msec" => Self::Msec,
            "request" => Self::Request,
            "request_uri" => Self::Target,
            "uri" | "document_uri" => Self::Uri,
            "host" | "http_host" => Self::Host,
            "http_x_forwarded_for" | "proxy_add_x_forwarded_for" => Self::ForwardedFor,
            "status" => Self::Status,
            "body_bytes_sent" | "bytes_sent" => Self::Bytes,
            _ => Self::Other,
        }
    }

    pub(super) fn is_time(self) -> bool {
        matches!(self, Self::TimeLocal | Self::TimeIso8601 | Self::Msec)
    }

    pub(super) fn is_target(self) -> bool {
        matches!(self, Self::Request | Self::Target | Self::OnlyUri)
    }

    /// A line can't do without these, where its format has them.
    pub(super) fn is_required(self) -> bool {
        self.is_time() || self.is_target() || matches!(self, Self::Address | Self::Status | Self::Bytes)
    }

    /// Where a value of this type that begins `text` ends; `None` where none begins it. Outer `None`: the type
    /// doesn't tell.
    pub(super) fn extent(self, text: &[u8]) -> Option<Option<usize>> {
        let run = |fits: fn(&u8) -> bool| {
            let length = text.iter().take_while(|b| fits(b)).count();
            (length > 0).then_some(length)
        };
        Some(match self {
            Self::Address => run(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
            Self::TimeLocal => (text.len() >= TIME_LOCAL_LEN).then_some(TIME_LOCAL_LEN),
            Self::TimeIso8601 => {
                run(|b| b.is_ascii_digit() || matches!(b, b'T' | b'Z' | b':' | b'+' | b'-' | b'.'))
            }
            Self::Msec => run(|b| b.is_ascii_digit() || *b == b'.'),
            Self::Status => run(u8::is_ascii_digit).filter(|&length| length == 3),
            Self::Bytes if text.first() == Some(&b'-') => Some(1),
            Self::Bytes => run(u8::is_ascii_digit),
            _ => return None,
        })
    }

    /// Whether a text is a value of this type.
    pub(super) fn is_valid(self, value: &[u8]) -> bool {
        match self {
            Self::Address => parse_address(value).is_some(),
            Self::TimeLocal => parse_time_local(value).is_some(),
            Self::TimeIso8601 => parse_time_iso8601(value).is_some(),
            Self::Msec => parse_msec(value).is_some(),
            _ => true,
        }
    }

    pub(super) fn missing(self) -> Unparsed {
        match self {
            Self::Address => Unparsed::Address,
            Self::TimeLocal | Self::TimeIso8601 | Self::Msec => Unparsed::Time,
            Self::Request | Self::Target | Self::OnlyUri => Unparsed::Request,
            Self::Status => Unparsed::Status,
            Self::Bytes => Unparsed::Bytes,
            _ => Unparsed::Layout,
        }
    }
}

/// A format must tell the client and the time.
pub(super) fn require(roles: impl Iterator<Item = Role>) -> Result<(), LogFormatError> {
    let (mut address, mut time) = (false, false);
    for role in roles {
        address |= role == Role::Address;
        time |= role.is_time();
    }
    match (address, time) {
        (false, _) => Err(LogFormatError::NoAddress),
        (_, false) => Err(LogFormatError::NoTime),
        _ => Ok(()),
    }
}
