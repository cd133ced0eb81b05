//! The fields of a line while they come in, by their roles.

use std::borrow::Cow;
use std::net::IpAddr;

use super::role::Role;
use super::{Line, Unparsed, present};
use crate::address::parse_address;
use crate::time::{TimeCache, parse_msec, parse_time_iso8601};
use crate::units::Second;
use crate::url::request_target;

/// The fields of a line while they come in.
#[derive(Default)]
pub(super) struct Fields<'a> {
    address: Option<IpAddr>,
    second: Option<Second>,
    target: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
    uri: Option<Cow<'a, [u8]>>,
    forwarded_for: Option<Cow<'a, [u8]>>,
    status: u16,
}

impl<'a> Fields<'a> {
    pub(super) fn take(
        &mut self,
        role: Role,
        value: Cow<'a, [u8]>,
        times: &mut TimeCache,
    ) -> Result<(), Unparsed> {
        match role {
            Role::Address => self.address = Some(parse_address(&value).ok_or(Unparsed::Address)?),
            Role::TimeLocal => self.second = Some(times.parse_time_local(&value).ok_or(Unparsed::Time)?),
            Role::TimeIso8601 => self.second = Some(parse_time_iso8601(&value).ok_or(Unparsed::Time)?),
            Role::Msec => self.second = Some(parse_msec(&value).ok_or(Unparsed::Time)?),
            Role::Request => {
                self.target = match value {
                    Cow::Borrowed(request) => request_target(request).map(Cow::Borrowed),
                    Cow::Owned(request) => request_target(&request).map(|target| Cow::Owned(target.to_vec())),
                }
            }
            Role::Target => self.target = Some(value),
            Role::OnlyUri => {
                self.target = Some(value.clone());
                self.uri = present(value);
            }
            Role::Uri => self.uri = self.uri.take().or_else(|| present(value)),
            Role::Host => self.host = self.host.take().or_else(|| present(value)),
            Role::ForwardedFor => self.forwarded_for = self.forwarded_for.take().or_else(|| present(value)),
            Role::Status => {
                let digits = std::str::from_utf8(&value).ok().filter(|digits| digits.len() == 3);
                self.status = digits.and_then(|digits| digits.parse().ok()).ok_or(Unparsed::Status)?;
            }
            Role::Bytes if &*value != b"-" && !value.iter().all(u8::is_ascii_digit) => {
                return Err(Unparsed::Bytes);
            }
            Role::Bytes | Role::Other => {}
        }
        Ok(())
    }

    pub(super) fn line(self) -> Result<Line<'a>, Unparsed> {
        Ok(Line {
            remote: self.address.ok_or(Unparsed::Address)?,
            second: self.second.ok_or(Unparsed::Time)?,
            target: self.target,
            host: self.host,
            uri: self.uri,
            forwarded_for: self.forwarded_for,
            status: self.status,
        })
    }
}
