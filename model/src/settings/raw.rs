//! JSON as it stands in the text: members in order, and each of them, where a key comes twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::finding::{Finding, shown};

/// Any JSON value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Raw>),
    Object(Vec<(String, Raw)>),
}

impl Raw {
    /// Reads a text; a byte-order mark in front of it is skipped. Deep nesting is refused, not followed.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Finding> {
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        serde_json::from_slice(json).map_err(|error| {
            let path = format!("line {}, column {}", error.line(), error.column());
            let message = if json.trim_ascii().is_empty() {
                "not JSON: there is nothing in it; write {} for the defaults".to_owned()
            } else {
                let text = error.to_string();
                let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
                format!("not JSON: {reason}")
            };
            Finding { path, message }
        })
    }

    /// The value in few words: what messages call "found".
    pub(super) fn found(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => shown(text),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Number::from_f64(value).map_or(Raw::Null, Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Raw, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Raw::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_duplicates_stay() {
        let raw = Raw::parse(b"\xef\xbb\xbf{\"b\":[null,-1,1.5],\"a\":true,\"b\":\"\\u0000\"}").unwrap();
        let list =
            Raw::List(vec![Raw::Null, Raw::Number((-1).into()), Raw::Number(Number::from_f64(1.5).unwrap())]);
        let members = [("b", list), ("a", Raw::Bool(true)), ("b", Raw::Text("\0".to_owned()))];
        assert_eq!(raw, Raw::Object(members.map(|(key, value)| (key.to_owned(), value)).into()));
    }

    #[test]
    fn what_is_no_json_has_a_place() {
        let check = |json: &[u8], expect: &str| assert_eq!(Raw::parse(json).unwrap_err().to_string(), expect);
        check(b"", "line 1, column 0: not JSON: there is nothing in it; write {} for the defaults");
        check(b"{\n \"a\": 1,\n}", "line 3, column 1: not JSON: trailing comma");
        check(b"{} {}", "line 1, column 4: not JSON: trailing characters");
        check(b"{'a': 1}", "line 1, column 2: not JSON: key must be a string");
        check(b"\"\xff\"", "line 1, column 2: not JSON: invalid unicode code point");
        check(b"1e999", "line 1, column 5: not JSON: number out of range");
        check(&b"[".repeat(1_000_000), "line 1, column 128: not JSON: recursion limit exceeded");
    }
}
