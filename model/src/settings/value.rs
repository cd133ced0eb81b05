//! The single values of the settings: how each is read from JSON, printed, and described by the schema.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};

use super::finding::{Findings, Path, shown};
use super::raw::Raw;
use crate::units::Seconds;
use crate::url::normal_host;

/// The value of a key: reads itself, and tells what it can be in the words of messages and of the page.
pub(super) trait Field {
    /// What it must be, as in "must be …".
    fn expected(&self) -> Cow<'static, str>;

    /// Takes the value over; where it is wrong, says so and keeps what it had.
    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings);
}

/// Says that a value must be something else.
pub(super) fn mismatch(expected: &str, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
    findings.add(at, format!("must be {expected}, found {}", value.found()));
}

/// A value that JSON may hold natively or as a string: `20` or `"20"`, `true` or `"True"`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Scalar<T>(pub(super) T);

/// What a [`Scalar`] can hold.
pub(super) trait ScalarValue: Sized {
    /// What it must be, as in "must be …".
    fn expected() -> Cow<'static, str>;

    /// Reads it from a string without spaces around it. Native values come as their JSON text, so that both
    /// spellings mean the same.
    fn parse(text: &str) -> Option<Self>;

    /// The schema of the native form, and a pattern for the string form.
    fn schema() -> (Value, &'static str);
}

impl<T: ScalarValue> Scalar<T> {
    fn of(value: &Raw) -> Option<Self> {
        let parsed = match value {
            Raw::Text(text) => T::parse(text.trim_ascii()),
            Raw::Number(number) => T::parse(&number.to_string()),
            Raw::Bool(value) => T::parse(if *value { "true" } else { "false" }),
            Raw::Null | Raw::List(_) | Raw::Object(_) => None,
        };
        parsed.map(Self)
    }
}

impl<T: ScalarValue> Field for Scalar<T> {
    fn expected(&self) -> Cow<'static, str> {
        T::expected()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        match Self::of(value) {
            Some(scalar) => *self = scalar,
            None => mismatch(&T::expected(), value, at, findings),
        }
    }
}

/// A value that is inherited where it isn't given.
impl<T: ScalarValue> Field for Option<Scalar<T>> {
    fn expected(&self) -> Cow<'static, str> {
        T::expected()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        match Scalar::of(value) {
            Some(scalar) => *self = Some(scalar),
            None => mismatch(&T::expected(), value, at, findings),
        }
    }
}

impl<T: ScalarValue> JsonSchema for Scalar<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::expected()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (native, pattern) = T::schema();
        json_schema!({ "anyOf": [native, { "type": "string", "pattern": pattern }] })
    }
}

impl ScalarValue for bool {
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    fn schema() -> (Value, &'static str) {
        (json!({ "type": "boolean" }), r"^\s*([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])\s*$")
    }
}

/// A whole number with a unit.
trait Whole: Sized {
    const UNIT: &'static str;
    const RANGE: RangeInclusive<u64>;

    /// The value of a number in range.
    fn new(number: u64) -> Option<Self>;
}

impl<T: Whole> ScalarValue for T {
    fn expected() -> Cow<'static, str> {
        format!("a whole number of {} from {} to {}", T::UNIT, T::RANGE.start(), T::RANGE.end()).into()
    }

    fn parse(text: &str) -> Option<Self> {
        // `parse` alone would take a plus sign.
        let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).filter(|n| T::RANGE.contains(n)).and_then(T::new)
    }

    fn schema() -> (Value, &'static str) {
        let native = json!({ "type": "integer", "minimum": T::RANGE.start(), "maximum": T::RANGE.end() });
        (native, r"^\s*[0-9]+\s*$")
    }
}

const U32_MAX: u64 = u32::MAX as u64;

impl Whole for NonZeroU32 {
    const UNIT: &'static str = "requests";
    const RANGE: RangeInclusive<u64> = 1..=U32_MAX;

    fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().and_then(Self::new)
    }
}

impl Whole for Seconds {
    const UNIT: &'static str = "seconds";
    const RANGE: RangeInclusive<u64> = 0..=U32_MAX;

    fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// How many bits of an IPv6 address are counted and banned as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct PrefixBits(pub(super) u8);

impl Whole for PrefixBits {
    const UNIT: &'static str = "bits";
    const RANGE: RangeInclusive<u64> = 1..=128;

    fn new(number: u64) -> Option<Self> {
        u8::try_from(number).ok().map(Self)
    }
}

/// A number of bans.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Bans(pub(super) u32);

impl Whole for Bans {
    const UNIT: &'static str = "bans";
    const RANGE: RangeInclusive<u64> = 0..=U32_MAX;

    fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// A number of days.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Days(pub(super) u32);

impl Whole for Days {
    const UNIT: &'static str = "days";
    const RANGE: RangeInclusive<u64> = 0..=U32_MAX;

    fn new(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(Self)
    }
}

/// A number of records in the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Records(pub(super) u64);

impl Whole for Records {
    const UNIT: &'static str = "records";
    /// Up to what every JSON program carries exactly: 2^53 - 1.
    const RANGE: RangeInclusive<u64> = 0..=(1 << 53) - 1;

    fn new(number: u64) -> Option<Self> {
        Some(Self(number))
    }
}

/// A part of a whole.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Share(pub(super) f64);

impl ScalarValue for Share {
    fn expected() -> Cow<'static, str> {
        "a number from 0 to 1".into()
    }

    fn parse(text: &str) -> Option<Self> {
        // Neither `inf` nor `nan` is a number of JSON.
        let digits =
            Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b)));
        let number: f64 = digits?.parse().ok()?;
        (0.0..=1.0).contains(&number).then(|| Self(number.abs()))
    }

    fn schema() -> (Value, &'static str) {
        let native = json!({ "type": "number", "minimum": 0, "maximum": 1 });
        (native, r"^\s*[0-9.eE+-]+\s*$")
    }
}

/// A host as it is compared: lower case, without userinfo and port; empty for none.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct HostName(String);

impl HostName {
    pub(super) fn get(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|host| !host.is_empty())
    }

    fn parse(text: &str) -> Option<Self> {
        let no_host = |c: char| c.is_control() || c.is_whitespace() || "/\\?#*\"".contains(c);
        if text.contains(no_host) {
            return None;
        }
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        if host.matches(':').count() > 1 && !host.starts_with('[') {
            return None; // an IPv6 address, which a URL has in brackets
        }
        let normal = String::from_utf8(normal_host(text.as_bytes()).into_owned()).ok()?;
        (text.is_empty() || !normal.is_empty()).then_some(Self(normal))
    }
}

impl Field for HostName {
    fn expected(&self) -> Cow<'static, str> {
        "a host name such as www.example.com, or empty for none".into()
    }

    fn read(&mut self, value: &Raw, at: &Path<'_>, findings: &mut Findings) {
        let host = if let Raw::Text(text) = value { Self::parse(text.trim_ascii()) } else { None };
        match host {
            Some(host) => *self = host,
            None => mismatch(&self.expected(), value, at, findings),
        }
    }
}

impl JsonSchema for HostName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "host name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r#"^\s*[^\s/\\?#*"]*\s*$"# })
    }
}

/// Reads each item of a list; those that are wrong are reported and left out.
pub(super) fn read_list<T>(
    (list_expected, item_expected): (&str, &str),
    value: &Raw,
    at: &Path<'_>,
    findings: &mut Findings,
    mut read: impl FnMut(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let Raw::List(items) = value else {
        mismatch(list_expected, value, at, findings);
        return None;
    };
    let mut values = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = at.item(index);
        match item {
            Raw::Text(text) => match read(text) {
                Ok(value) => values.push(value),
                Err(reason) => findings.add(&at, format!("{reason}, found {}", shown(text))),
            },
            _ => mismatch(item_expected, item, &at, findings),
        }
    }
    Some(values)
}
