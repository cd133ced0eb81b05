//! A key in settings, as errors name it: `count`, `ip_white_list[0]`, `special_rule["www.example.com/login"]`. It is
//! looked up and set in the text itself, so that order, spaces and everything else stay as somebody wrote them.

use std::fmt;
use std::ops::Range;

use anyhow::{Context as _, bail};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Item(usize),
}

impl Key {
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = || {
            format!(
                "`{text}` is no key; write it like count, ip_white_list[0] or special_rule[\"h/path\"].block_second"
            )
        };
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, length) = if inner.starts_with('"') {
                    let mut names = serde_json::Deserializer::from_str(inner).into_iter::<String>();
                    let name = names.next().and_then(Result::ok).with_context(wrong)?;
                    (Step::Name(name), names.byte_offset())
                } else {
                    let digits = inner.find(']').with_context(wrong)?;
                    (Step::Item(inner[..digits].parse().ok().with_context(wrong)?), digits)
                };
                steps.push(step);
                rest = inner[length..].strip_prefix(']').with_context(wrong)?;
            } else {
                let name =
                    if steps.is_empty() { rest } else { rest.strip_prefix('.').with_context(wrong)? };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    bail!(wrong());
                }
                steps.push(Step::Name(name[..end].to_owned()));
                rest = &name[end..];
            }
        }
        if steps.is_empty() {
            bail!(wrong());
        }
        Ok(Self(steps))
    }

    /// The name, where it is a key of the top level.
    pub(super) fn top(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Step::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// The value as it stands in `json`.
    pub(super) fn get<'j>(&self, json: &'j str) -> Option<&'j str> {
        self.0.iter().try_fold(json, |json, step| match step {
            Step::Name(name) => {
                let (_, span) = members(json)?.into_iter().rev().find(|(member, _)| member == name)?;
                Some(&json[span])
            }
            Step::Item(at) => {
                serde_json::from_str::<Vec<&RawValue>>(json).ok()?.get(*at).map(|item| item.get())
            }
        })
    }

    /// `json` with `value` at this key; objects on the way to it are made where there are none.
    pub(super) fn set(&self, json: &str, value: &str) -> anyhow::Result<String> {
        let names = self.0.iter().map(|step| match step {
            Step::Name(name) => Ok(name.as_str()),
            Step::Item(_) => {
                bail!("an item of a list can't be set; set the whole list, or use `settings edit`")
            }
        });
        let names = names.collect::<anyhow::Result<Vec<_>>>()?;
        let (span, new) = change(json, &names, value)?;
        Ok(format!("{}{new}{}", &json[..span.start], &json[span.end..]))
    }
}

/// What is to be replaced in `json`, and by what.
fn change(json: &str, names: &[&str], value: &str) -> anyhow::Result<(Range<usize>, String)> {
    let Some((first, rest)) = names.split_first() else { return Ok((0..json.len(), value.to_owned())) };
    let Some(members) = members(json) else {
        bail!(
            "`{first}` can't be set: what is stored there is no object; use `settings edit`, or set it as a whole"
        );
    };
    if let Some((_, span)) = members.iter().rev().find(|(name, _)| name == first) {
        let (inner, new) = change(&json[span.clone()], rest, value)?;
        return Ok((span.start + inner.start..span.start + inner.end, new));
    }
    let nested =
        rest.iter().rev().fold(value.to_owned(), |value, name| format!("{{{}: {value}}}", quoted(name)));
    let member = format!("{}: {nested}", quoted(first));
    let Some((_, last)) = members.last() else {
        let empty = json.find('{').unwrap_or(0)..json.rfind('}').map_or(json.len(), |end| end + 1);
        return Ok((empty, format!("{{{member}}}")));
    };
    // Behind the last member, with the same space before it as that one has.
    let before = match members.len() {
        1 => &json[json.find('{').unwrap_or(0)..last.start],
        n => &json[members[n - 2].1.end..last.start],
    };
    let before = before.trim_start().trim_start_matches(['{', ',']);
    let space = &before[..before.len() - before.trim_start().len()];
    let space = if space.is_empty() && members.len() == 1 { " " } else { space };
    Ok((last.end..last.end, format!(",{space}{member}")))
}

fn quoted(name: &str) -> String {
    serde_json::Value::from(name).to_string()
}

/// The members of an object with the places of their values; `None` where it isn't one.
fn members(json: &str) -> Option<Vec<(String, Range<usize>)>> {
    let Members(members) = serde_json::from_str(json).ok()?;
    let span = |value: &RawValue| {
        // It borrows from `json`, so it lies within.
        let start = value.get().as_ptr().addr() - json.as_ptr().addr();
        start..start + value.get().len()
    };
    Some(members.into_iter().map(|(name, value)| (name, span(value))).collect())
}

struct Members<'j>(Vec<(String, &'j RawValue)>);

impl<'de: 'j, 'j> Deserialize<'de> for Members<'j> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn keys_are_written_as_errors_name_them() {
        let name = |name: &str| Step::Name(name.to_owned());
        assert_eq!(key("count").0, [name("count")]);
        assert_eq!(key("ip_white_list[12]").0, [name("ip_white_list"), Step::Item(12)]);
        let deep = key("special_rule[\"a.b/c\\\"]\"].block_second");
        assert_eq!(deep.0, [name("special_rule"), name("a.b/c\"]"), name("block_second")]);
        assert_eq!((key("count").top(), deep.top()), (Some("count"), None));
        for wrong in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[",
            "a[]",
            "a[x]",
            "a[-1]",
            "a[\"b]",
            "a[1]b",
            "a[\"b\"",
            "a[99999999999999999999]",
        ] {
            assert!(Key::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_found_as_it_stands() {
        let json = " {\"a\" : 1.50, \"b\":{\"x\": [ 1,\"\\u0041\" ] }, \"a\": true }\n";
        let check = |text: &str, expect: Option<&str>| assert_eq!(key(text).get(json), expect, "{text}");
        check("a", Some("true"));
        check("b.x", Some("[ 1,\"\\u0041\" ]"));
        check("b.x[1]", Some("\"\\u0041\""));
        check("b.x[2]", None);
        check("a.x", None);
        check("c", None);
        assert_eq!(key("a").get("{\"a\": 1"), None);
    }

    #[test]
    fn nothing_but_the_value_changes() {
        let check = |json: &str, text: &str, value: &str, expect: &str| {
            assert_eq!(key(text).set(json, value).unwrap(), expect);
        };
        check("{\n  \"a\": 1,\n  \"b\": 2\n}\n", "a", "[3]", "{\n  \"a\": [3],\n  \"b\": 2\n}\n");
        check("{\n  \"a\": 1,\n  \"b\": 2\n}\n", "c", "3", "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n");
        check("{\"a\":1,\"b\":2}", "c", "3", "{\"a\":1,\"b\":2,\"c\": 3}");
        check("{\"a\": 1}", "b", "2", "{\"a\": 1, \"b\": 2}");
        check("{\n\t\"a\": 1}", "b", "2", "{\n\t\"a\": 1,\n\t\"b\": 2}");
        check(" { } \n", "a.b.c", "1", " {\"a\": {\"b\": {\"c\": 1}}} \n");
        check("{\"s\": {\"x\": {}}}", "s.x.y", "1", "{\"s\": {\"x\": {\"y\": 1}}}");
        check("{\"s\": {\"x\": 1}}", "s[\"ä\\n\"]", "2", "{\"s\": {\"x\": 1, \"ä\\n\": 2}}");
        for (json, text) in
            [("{\"a\": 1}", "a.b"), ("[]", "a"), ("", "a"), ("{\"a\": 1", "a"), ("{\"a\": [1]}", "a[0]")]
        {
            assert!(key(text).set(json, "1").is_err(), "{json} {text}");
        }
    }
}
