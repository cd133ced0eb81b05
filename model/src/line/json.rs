//! JSON lines, by the keys of a JSON-shaped `log_format` or by the names of nginx's variables, in any order.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::directive::{self, Escape, Part};
use super::error::LogFormatError;
use super::fields::Fields;
use super::role::{Role, require};
use super::template::Template;
use super::{Line, Unparsed};
use crate::time::TimeCache;

/// Which key holds what.
#[derive(Debug)]
pub(super) struct JsonFormat {
    /// Whether a variable stands outside quotes: nginx then writes `-`, nothing, or a list there.
    bare: bool,
    /// Keys (`a.b` where objects nest), each with the template of its value and whether lines need it.
    keys: Vec<(String, Template, bool)>,
}

impl JsonFormat {
    /// Compiles a template that is shaped like a JSON object; `None` where it isn't.
    pub(super) fn compile(template: &str) -> Result<Option<Self>, LogFormatError> {
        if !template.starts_with('{') || !template.ends_with('}') {
            return Ok(None);
        }
        // Bare variables (`"status":$status`) become strings, so that the shape alone is JSON.
        let (mut shape, mut quoted, mut escaped, mut bare) = (String::new(), false, false, false);
        for part in directive::parts(template)? {
            match part {
                Part::Literal(text) => {
                    for c in text.chars() {
                        match c {
                            _ if escaped => escaped = false,
                            '\\' if quoted => escaped = true,
                            '"' => quoted = !quoted,
                            _ => {}
                        }
                    }
                    shape.push_str(&text);
                }
                Part::Variable(name) if quoted => shape.push_str(&format!("${{{name}}}")),
                Part::Variable(name) => {
                    bare = true;
                    shape.push_str(&format!("\"${{{name}}}\""));
                }
            }
        }
        let Ok(Object(entries)) = serde_json::from_str(&shape) else {
            return Ok(None);
        };
        let mut templates = Vec::new();
        for (key, value) in entries {
            // Values come unescaped from JSON, so a quote in them is a character like any other.
            templates.push((key.into_owned(), Template::compile(directive::parts(&value)?, Escape::None)?));
        }
        if !templates.iter().any(|(_, template)| template.pieces().iter().any(|piece| piece.role.is_target()))
        {
            templates.iter_mut().for_each(|(_, template)| template.uri_as_target());
        }
        // `$host` comes before `$http_host`, whatever the order of the keys.
        templates
            .sort_by_key(|(_, template)| template.pieces().iter().any(|piece| piece.name == "http_host"));
        let mut keys = Vec::new();
        for (key, template) in templates {
            let needed = template.pieces().iter().any(|piece| {
                !matches!(piece.role, Role::Other | Role::Host | Role::Uri | Role::ForwardedFor)
            });
            keys.push((key, template, needed));
        }
        require(keys.iter().flat_map(|(_, template, _)| template.pieces().iter().map(|piece| piece.role)))?;
        Ok(Some(Self { bare, keys }))
    }

    /// Lines whose keys are named like nginx's variables, or as shippers commonly name them.
    pub(super) fn by_variable_names() -> Self {
        let keys = [
            ("remote_addr", "remote_addr", true),
            ("msec", "msec", false),
            ("time_iso8601", "time_iso8601", false),
            ("time_local", "time_local", false),
            ("time", "time_iso8601", false),
            ("timestamp", "time_iso8601", false),
            ("@timestamp", "time_iso8601", false),
            ("request", "request", false),
            ("request_uri", "request_uri", false),
            ("uri", "request_uri", false),
            ("host", "host", false),
            ("http_host", "http_host", false),
            ("http_x_forwarded_for", "http_x_forwarded_for", false),
            ("x_forwarded_for", "http_x_forwarded_for", false),
            ("xff", "http_x_forwarded_for", false),
            ("status", "status", false),
            ("body_bytes_sent", "body_bytes_sent", false),
        ];
        let keys = keys.map(|(key, variable, needed)| {
            let template = Template::compile(vec![Part::Variable(variable.to_owned())], Escape::None);
            (key.to_owned(), template.expect("one variable compiles"), needed)
        });
        Self { bare: false, keys: keys.into() }
    }

    /// The keys whose value holds the address.
    pub(super) fn address_keys(&self) -> impl Iterator<Item = &str> {
        let holds = |template: &Template| template.pieces().iter().any(|piece| piece.role == Role::Address);
        self.keys.iter().filter(move |(_, template, _)| holds(template)).map(|(key, _, _)| key.as_str())
    }

    pub(super) fn parse<'a>(&self, line: &'a [u8], times: &mut TimeCache) -> Result<Line<'a>, Unparsed> {
        if line.is_empty() {
            return Err(Unparsed::Empty);
        }
        let object = self.read(line)?;
        let mut fields = Fields::default();
        let (mut time, mut target) = (false, false);
        for (key, template, needed) in &self.keys {
            let mut values = object.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
            let Some(value) = values.next() else {
                if *needed {
                    return Err(Unparsed::Json);
                }
                continue;
            };
            if values.next().is_some() {
                return Err(Unparsed::Ambiguous);
            }
            template.run(value.as_bytes(), 0, |piece, span| {
                // The first time and the first request that the line has count.
                let seen = match piece.role {
                    role if role.is_time() => &mut time,
                    Role::Request | Role::Target => &mut target,
                    _ => &mut false,
                };
                if std::mem::replace(seen, true) {
                    return Ok(());
                }
                let value = match value {
                    Cow::Borrowed(text) => Cow::Borrowed(&text.as_bytes()[span]),
                    Cow::Owned(text) => Cow::Owned(text.as_bytes()[span].to_vec()),
                };
                fields.take(piece.role, value, times)
            })?;
        }
        fields.line()
    }

    /// Reads a line as an object of texts. Bytes that aren't UTF-8, nginx's `\xHH` (which JSON doesn't have) and
    /// bare values that aren't JSON are what clients and nginx put into lines; they must not make one unreadable.
    fn read<'a>(&self, line: &'a [u8]) -> Result<Entries<'a>, Unparsed> {
        if let Ok(Object(entries)) = serde_json::from_slice(line) {
            return Ok(entries);
        }
        let mut mended = mend_escapes(&String::from_utf8_lossy(line));
        if self.bare {
            mended = quote_bare_values(&mended);
        }
        let Object(entries) = serde_json::from_str(&mended).map_err(|_| Unparsed::Json)?;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Ok(entries.into_iter().map(|(key, value)| (owned(key), owned(value))).collect())
    }

    pub(super) fn fields<'a>(&self, line: &'a [u8]) -> Vec<(String, Cow<'a, [u8]>)> {
        let into_bytes = |text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(str::as_bytes(text)),
            Cow::Owned(text) => Cow::Owned(String::into_bytes(text)),
        };
        let object = self.read(line).unwrap_or_default();
        object.into_iter().map(|(key, value)| (key.into_owned(), into_bytes(value))).collect()
    }
}

/// Names of nested values that are longer are left out.
const MAX_KEY: usize = 256;

type Entries<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// `\xHH` to `\\xHH`, other escapes as they are.
fn mend_escapes(text: &str) -> String {
    let mut mended = String::with_capacity(text.len() + 16);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        mended.push(c);
        if c == '\\' {
            match chars.next() {
                Some('x') => mended.push_str("\\x"),
                Some(other) => mended.push(other),
                None => {}
            }
        }
    }
    mended
}

/// Puts quotes around values that are neither JSON nor quoted: `"t":-,"u":0.1, 0.2,"v":}`.
fn quote_bare_values(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(stop) = rest.find(['"', ':']) {
        quoted.push_str(&rest[..stop]);
        rest = &rest[stop..];
        if rest.starts_with('"') {
            let end = super::closing_quote(rest.as_bytes(), 1).map_or(rest.len(), |close| close + 1);
            quoted.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        quoted.push(':');
        rest = &rest[1..];
        if rest.trim_start().starts_with(['"', '{', '[']) {
            continue;
        }
        let end = bare_end(rest);
        let value = rest[..end].trim();
        if serde_json::from_str::<de::IgnoredAny>(value).is_ok() {
            quoted.push_str(value);
        } else {
            quoted.push_str(&serde_json::Value::from(value).to_string());
        }
        rest = &rest[end..];
    }
    quoted.push_str(rest);
    quoted
}

/// Where a bare value ends: at a brace, or at a comma behind which a key begins.
fn bare_end(text: &str) -> usize {
    let is_end = |(at, c): &(usize, char)| match c {
        '}' => true,
        ',' => text[at + 1..].trim_start().starts_with('"'),
        _ => false,
    };
    text.char_indices().find(is_end).map_or(text.len(), |(at, _)| at)
}

/// The entries of an object, duplicates kept, nested objects by `outer.inner`, lists and nulls left out.
struct Object<'a>(Entries<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(entries) => Ok(Self(entries)),
            _ => Err(de::Error::custom("not an object")),
        }
    }
}

enum Value<'a> {
    Object(Entries<'a>),
    Text(Cow<'a, str>),
    Nothing,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(number.to_string())))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(truth.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Value::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match map.next_value()? {
                Value::Text(text) => entries.push((key.0, text)),
                Value::Object(inner) => {
                    // No format asks for longer names; to join them all would take memory that clients choose.
                    let short = inner.into_iter().filter(|(name, _)| key.0.len() + name.len() < MAX_KEY);
                    entries
                        .extend(short.map(|(name, value)| (Cow::Owned(format!("{}.{name}", key.0)), value)));
                }
                Value::Nothing => {}
            }
        }
        Ok(Value::Object(entries))
    }
}

/// A key, borrowed where it needs no unescaping.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("not a key")),
        }
    }
}
