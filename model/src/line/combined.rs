//! `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent`: the beginning of `combined`,
//! of `common`, and of most formats that people write.
//!
//! The user name may hold anything but a raw quote, so the time is looked for from the first quote backwards: a
//! name like `x [01/Jan/2000:00:00:00 +0000] ` can't shift it.

use std::borrow::Cow;
use std::net::IpAddr;

use super::{Line, Unparsed, closing_quote};
use crate::address::leading_address;
use crate::time::{TIME_LOCAL_LEN, TimeCache};
use crate::units::Second;
use crate::url::request_target;

/// What [`parse`] found, as spans.
pub(super) struct Core<'a> {
    pub(super) address: IpAddr,
    pub(super) user: &'a [u8],
    pub(super) time: &'a [u8],
    pub(super) second: Second,
    pub(super) request: &'a [u8],
    pub(super) status: u16,
    pub(super) bytes: &'a [u8],
    /// Where the rest of the line begins: its end, or a space.
    pub(super) end: usize,
}

impl<'a> Core<'a> {
    #[inline(always)]
    pub(super) fn line(&self) -> Line<'a> {
        Line {
            remote: self.address,
            second: self.second,
            target: request_target(self.request).map(Cow::Borrowed),
            host: None,
            uri: None,
            forwarded_for: None,
            status: self.status,
        }
    }
}

#[inline(always)]
pub(super) fn parse<'a>(line: &'a [u8], times: &mut TimeCache) -> Result<Core<'a>, Unparsed> {
    let (address, address_end) = leading_address(line).ok_or(Unparsed::Address)?;
    let quote = opening_quote(line, address_end)?;
    // Before the quote: a space, `[`, the time, `]`, a space.
    let bracket =
        quote.checked_sub(TIME_LOCAL_LEN + 3).filter(|&at| at > address_end).ok_or(Unparsed::Time)?;
    if line[bracket] != b'[' || line[bracket - 1] != b' ' || line[quote - 2..quote] != *b"] " {
        return Err(Unparsed::Time);
    }
    let time = &line[bracket + 1..quote - 2];
    let second = times.parse_time_local(time).ok_or(Unparsed::Time)?;
    let close = closing_quote(line, quote + 1).ok_or(Unparsed::Request)?;
    let (status, bytes, end) = status_and_bytes(line, close + 1)?;
    let user = line[address_end..bracket - 1].strip_prefix(b" - ").unwrap_or(b"");
    Ok(Core { address, user, time, second, request: &line[quote + 1..close], status, bytes, end })
}

/// The request's opening quote: the first one that nothing escapes.
fn opening_quote(line: &[u8], from: usize) -> Result<usize, Unparsed> {
    match closing_quote(line, from) {
        Some(quote) => Ok(quote),
        None if line[from..].contains(&b'[') => Err(Unparsed::Request),
        None => Err(Unparsed::Time),
    }
}

/// ` 200 1234` and then the end or a space.
fn status_and_bytes(line: &[u8], at: usize) -> Result<(u16, &[u8], usize), Unparsed> {
    let [b' ', a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = &line[at..] else {
        return Err(Unparsed::Status);
    };
    if !matches!(rest.first(), None | Some(b' ')) {
        return Err(Unparsed::Status);
    }
    let status = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    let bytes = rest.get(1..).ok_or(Unparsed::Bytes)?;
    let length = match bytes.first() {
        Some(b'-') => 1,
        _ => bytes.iter().take_while(|b| b.is_ascii_digit()).count(),
    };
    if length == 0 || !matches!(bytes.get(length), None | Some(b' ')) {
        return Err(Unparsed::Bytes);
    }
    Ok((status, &bytes[..length], at + 5 + length))
}
