//! What is in a message: access lines, as they are or as shippers wrap them.
//!
//! | who ships | what a message is |
//! |---|---|
//! | rsyslog, Flume's Kafka channel and sink | the line, or several, each on its own |
//! | Flume, `JSONHandler` | `[{"headers":{…},"body":"line"}]` |
//! | Filebeat | `{"@timestamp":"…","host":{…},"message":"line"}` |
//! | Fluent Bit | `{"@timestamp":1763805600.5,"log":"line\n"}` |
//! | Vector | `{"host":"…","message":"line","timestamp":"…"}` |
//!
//! **Which it is** ([`Shape`]) is never guessed from what a client can write. `None`: each line as it is. `Json`: always an
//! object, or a list of them, or one on each line; what isn't counts as an empty line. `Auto`: an object is an envelope
//! where it is valid JSON, has a text under one of the keys, and hasn't got the key of `$remote_addr` that every JSON line
//! of the log format has; whatever else is there is a line. Only a log format that begins with something a client writes,
//! without nginx's escaping, could be led astray by that: it should say `None`.
//!
//! What stands in an envelope is unwrapped once: a line that is JSON itself stays as it is. It may be several lines, as the
//! shipper put them together; nginx escapes the line feeds of clients. Nothing is fatal: binary, empty and missing values
//! become lines that nobody can parse and that are counted as such, and lines longer than [`MAX_LINE`] are cut out.

use std::borrow::Cow;
use std::fmt;

use bolts::tuples::MAX_LINE;
use memchr::memchr_iter;
use model::line::LogFormat;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a message may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// Whatever it looks like.
    #[default]
    Auto,
    /// Lines as they are.
    None,
    /// Always JSON around them.
    Json,
}

/// Takes lines out of messages.
#[derive(Clone, Debug)]
pub struct Envelope {
    shape: Shape,
    /// Where the line may be, the first that is there counts.
    keys: Vec<String>,
    /// An object with one of these is a line itself.
    of_lines: Vec<String>,
    longest: usize,
}

/// Whole lines, each with its line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines.
    pub bytes: Vec<u8>,
    /// How many were cut out because they were longer than a line may be.
    pub too_long: u64,
}

impl Envelope {
    /// Where the line may be, where nobody says otherwise.
    pub const KEYS: [&str; 3] = ["message", "log", "body"];

    /// Takes lines of that format out of messages of that shape. Nested keys are `outer.inner`.
    #[must_use]
    pub fn new(shape: Shape, keys: &[impl AsRef<str>], format: &LogFormat) -> Self {
        let keys = keys.iter().map(|key| key.as_ref().to_owned()).collect();
        let of_lines = match shape {
            Shape::Auto => format.json_address_keys().into_iter().map(str::to_owned).collect(),
            Shape::None | Shape::Json => Vec::new(),
        };
        Self { shape, keys, of_lines, longest: MAX_LINE }
    }

    /// Puts a message's lines behind those that are there: always at least one, or a count of one.
    pub fn unwrap_into(&self, payload: Option<&[u8]>, lines: &mut Lines) {
        let payload = payload.unwrap_or_default();
        if self.shape == Shape::None {
            return self.put(payload, lines);
        }
        match payload.trim_ascii_start().first() {
            Some(b'{' | b'[') => {}
            _ if self.shape == Shape::Json => return self.put(b"", lines),
            // Lines behind the first may still be objects, but no shipper sends that.
            _ => return self.put(payload, lines),
        }
        if let Some(texts) = self.read(payload) {
            texts.iter().for_each(|text| self.put(text.as_bytes(), lines));
            return;
        }
        for line in each_line(payload) {
            match self.read(line) {
                Some(texts) => texts.iter().for_each(|text| self.put(text.as_bytes(), lines)),
                None if self.shape == Shape::Json => self.put(b"", lines),
                None => self.put(line, lines),
            }
        }
    }

    /// The texts of an envelope, or of a list of them; nothing where it is something else.
    fn read<'a>(&self, json: &'a [u8]) -> Option<Vec<Cow<'a, str>>> {
        let mut reader = serde_json::Deserializer::from_str(str::from_utf8(json).ok()?);
        let texts = Envelopes(self).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        (!texts.is_empty()).then_some(texts)
    }

    fn put(&self, text: &[u8], lines: &mut Lines) {
        for line in each_line(text) {
            if line.len() > self.longest {
                lines.too_long += 1;
            } else {
                lines.bytes.extend_from_slice(line);
                lines.bytes.push(b'\n');
            }
        }
    }
}

/// Lines without their line feeds. The last may lack its own; nothing at all is an empty line.
fn each_line(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = memchr_iter(b'\n', text).chain([text.len()]);
    ends.scan(0, |start, end| {
        let line = &text[*start..end];
        *start = end + 1;
        Some(line)
    })
}

/// An envelope, or a list of them.
struct Envelopes<'e>(&'e Envelope);

impl<'de> DeserializeSeed<'de> for Envelopes<'_> {
    type Value = Vec<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Envelopes<'_> {
    type Value = Vec<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope or a list of envelopes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element_seed(One(self.0))? {
            texts.push(text);
        }
        Ok(texts)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        One(self.0).visit_map(map).map(|text| vec![text])
    }
}

/// An envelope.
struct One<'e>(&'e Envelope);

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found { envelope: self.0, texts: vec![None; self.0.keys.len()] };
        found.object("", map)?;
        found.texts.into_iter().flatten().next().ok_or_else(|| A::Error::custom("nothing under the keys"))
    }
}

/// What was found of the keys.
struct Found<'e, 'de> {
    envelope: &'e Envelope,
    texts: Vec<Option<Cow<'de, str>>>,
}

impl<'de> Found<'_, 'de> {
    fn object<A: MapAccess<'de>>(&mut self, path: &str, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let path = if path.is_empty() { key.into_owned() } else { format!("{path}.{key}") };
            if self.envelope.of_lines.contains(&path) {
                return Err(A::Error::custom("it is a line"));
            }
            let leads = |wanted: &String| {
                wanted
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            if self.envelope.keys.iter().chain(&self.envelope.of_lines).any(leads) {
                map.next_value_seed(Member { found: self, path: &path })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A value that is one of the keys', or on the way to one.
struct Member<'f, 'e, 'de> {
    found: &'f mut Found<'e, 'de>,
    path: &'f str,
}

impl<'de> Member<'_, '_, 'de> {
    fn text<E: Error>(self, text: Cow<'de, str>) -> Result<(), E> {
        let Some(at) = self.found.envelope.keys.iter().position(|key| key == self.path) else {
            return Ok(());
        };
        match self.found.texts[at].replace(text) {
            None => Ok(()),
            Some(_) => Err(E::custom("it is there twice, so it can't be told which one holds")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.found.object(self.path, map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const LINE: &str = r#"192.0.2.1 - - [22/Nov/2026:10:09:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#;

    fn lines(shape: Shape, format: &str, payload: &[u8]) -> String {
        let mut lines = Lines::default();
        let envelope = Envelope::new(shape, &Envelope::KEYS, &format.parse().unwrap());
        envelope.unwrap_into(Some(payload), &mut lines);
        String::from_utf8_lossy(&lines.bytes).into_owned()
    }

    fn check(payload: &str, expect: &[&str]) {
        let found = lines(Shape::Auto, "combined", payload.as_bytes());
        assert_eq!(found, expect.iter().map(|line| format!("{line}\n")).collect::<String>(), "{payload}");
    }

    #[test]
    fn what_shippers_send() {
        check(LINE, &[LINE]);
        check(&format!("{LINE}\n"), &[LINE]);
        check(&format!("{LINE}\r\n"), &[&format!("{LINE}\r")]);
        check(&format!("{LINE}\n{LINE}"), &[LINE, LINE]);
        check(&format!("{LINE}\n\n{LINE}\n"), &[LINE, "", LINE]);
        let flume = json!([{"headers": {"host": "web1"}, "body": LINE}, {"headers": {}, "body": LINE}]);
        check(&flume.to_string(), &[LINE, LINE]);
        let filebeat = json!({
            "@timestamp": "2026-11-22T10:09:00.000Z", "@metadata": {"beat": "filebeat", "type": "_doc"},
            "host": {"name": "web1"}, "log": {"offset": 7, "file": {"path": "/var/log/nginx/access.log"}},
            "message": LINE, "input": {"type": "log"},
        });
        check(&filebeat.to_string(), &[LINE]);
        let fluent_bit = json!({"@timestamp": 1_763_805_600.5, "log": format!("{LINE}\n")});
        check(&fluent_bit.to_string(), &[LINE]);
        let vector =
            json!({"file": "a", "host": "web1", "message": LINE, "timestamp": "2026-11-22T10:09:00Z"});
        check(&format!("{vector}\n{vector}\n"), &[LINE, LINE]);
        check(&serde_json::to_string_pretty(&vector).unwrap(), &[LINE]);
        check(&json!({"message": format!("{LINE}\n{LINE}")}).to_string(), &[LINE, LINE]);
    }

    #[test]
    fn what_nobody_should_send() {
        check("", &[""]);
        check("\n", &[""]);
        check("{", &["{"]);
        check("[]", &["[]"]);
        check("{}", &["{}"]);
        check("[1]", &["[1]"]);
        check(r#"{"message":7}"#, &[r#"{"message":7}"#]);
        check(r#"{"message":null,"log":"a"}"#, &["a"]);
        check(r#"{"body":"c","log":"b","message":"a"}"#, &["a"]);
        check(r#"{"message":"a","message":"b"}"#, &[r#"{"message":"a","message":"b"}"#]);
        check(r#"{"message":"a"} x"#, &[r#"{"message":"a"} x"#]);
        check(r#"[{"message":"a"},{"x":1}]"#, &[r#"[{"message":"a"},{"x":1}]"#]);
        check(r#"{"message":""}"#, &[""]);
        check(&"[".repeat(100_000), &[&"[".repeat(100_000)]);
        let mut binary = Lines::default();
        let envelope = Envelope::new(Shape::Auto, &Envelope::KEYS, &LogFormat::combined());
        envelope.unwrap_into(Some(b"{\"message\":\"\xff\"}"), &mut binary);
        envelope.unwrap_into(None, &mut binary);
        assert_eq!(binary.bytes, b"{\"message\":\"\xff\"}\n\n");
    }

    #[test]
    fn long_lines_are_cut_out() {
        let mut envelope = Envelope::new(Shape::Auto, &Envelope::KEYS, &LogFormat::combined());
        envelope.longest = 3;
        let mut found = Lines::default();
        envelope.unwrap_into(Some(b"abc\nabcd\nab"), &mut found);
        assert_eq!((found.bytes.as_slice(), found.too_long), (&b"abc\nab\n"[..], 1));
    }

    #[test]
    fn json_lines_are_no_envelopes() {
        let line = r#"{"remote_addr":"192.0.2.1","msec":"1.0","status":200,"message":"{\"remote_addr\":\"192.0.2.9\"}"}"#;
        let check = |shape, format: &str, payload: &str, expect: &str| {
            assert_eq!(lines(shape, format, payload.as_bytes()), format!("{expect}\n"), "{payload}");
        };
        check(Shape::Auto, "json", line, line);
        let wrapped =
            json!({"message": line, "@timestamp": "2026-11-22T10:09:00Z", "host": "web1"}).to_string();
        check(Shape::Auto, "json", &wrapped, line);
        // A line that can't be parsed stays a line, so what a client wrote into it is never taken for one.
        let broken = line.replace("1.0", "now");
        check(Shape::Auto, "json", &broken, &broken);
        let nested =
            r#"log_format j escape=json '{"c":{"ip":"$remote_addr"},"t":"$msec","log":"$http_user_agent"}';"#;
        let line = r#"{"c":{"ip":"192.0.2.1"},"t":"1.0","log":"x"}"#;
        check(Shape::Auto, nested, line, line);
        check(Shape::Auto, nested, r#"{"c":{"id":"7"},"log":"x"}"#, "x");
        check(Shape::Json, nested, line, "x");
        check(Shape::None, nested, &wrapped, &wrapped);
        check(Shape::Json, "combined", LINE, "");
        check(Shape::Json, "combined", r#"{"x":"y"}"#, "");
    }

    #[test]
    fn keys_may_be_nested() {
        let keys = ["event.original", "message"];
        let envelope = Envelope::new(Shape::Auto, &keys, &LogFormat::combined());
        let mut found = Lines::default();
        let payload = json!({"message": "b", "event": {"original": "a", "x": [1, {"y": 2}]}}).to_string();
        envelope.unwrap_into(Some(payload.as_bytes()), &mut found);
        assert_eq!(found.bytes, b"a\n");
    }

    /// The same by way of whole values.
    fn slow(payload: &[u8]) -> Vec<u8> {
        let text_of = |value: &serde_json::Value| {
            let object = value.as_object()?;
            Envelope::KEYS.iter().find_map(|key| object.get(*key)?.as_str()).map(str::to_owned)
        };
        let texts = |json: &[u8]| -> Option<Vec<String>> {
            match serde_json::from_slice(json).ok()? {
                serde_json::Value::Array(list) if !list.is_empty() => list.iter().map(text_of).collect(),
                value => text_of(&value).map(|text| vec![text]),
            }
        };
        let put = |text: &[u8]| [text.strip_suffix(b"\n").unwrap_or(text), b"\n"].concat();
        let all =
            |texts: Vec<String>| texts.iter().flat_map(|text| put(text.as_bytes())).collect::<Vec<u8>>();
        let trimmed = payload.trim_ascii_start();
        if !trimmed.starts_with(b"{") && !trimmed.starts_with(b"[") {
            return put(payload);
        }
        if let Some(texts) = texts(payload) {
            return all(texts);
        }
        let lines = payload.strip_suffix(b"\n").unwrap_or(payload).split(|&byte| byte == b'\n');
        lines.flat_map(|line| texts(line).map_or_else(|| put(line), all)).collect()
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![3 => Just(LINE.to_owned()), 1 => "[ -~\n\"{}]{0,12}", 1 => any::<String>()]
    }

    fn object() -> impl Strategy<Value = String> {
        let key = prop_oneof![Just("message"), Just("log"), Just("body"), Just("host"), Just("x")];
        let value = prop_oneof![
            4 => text().prop_map(serde_json::Value::from),
            1 => any::<f64>().prop_map(serde_json::Value::from),
            1 => Just(json!({"message": "inner", "name": ["web1", null]})),
            1 => Just(json!([{"message": "inner"}])),
        ];
        proptest::collection::btree_map(key, value, 0..5).prop_map(|object| json!(object).to_string())
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let list = || proptest::collection::vec(object(), 0..4);
        prop_oneof![
            text().prop_map(String::into_bytes),
            object().prop_map(String::into_bytes),
            list().prop_map(|list| format!("[{}]", list.join(",")).into_bytes()),
            list().prop_map(|list| list.join("\n").into_bytes()),
            proptest::collection::vec(any::<u8>(), 0..40),
            (object(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(object, at, byte)| {
                let mut bytes = object.into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            }),
        ]
    }

    proptest! {
        #[test]
        fn as_the_slow_one(payload in payload()) {
            let mut found = Lines::default();
            let envelope = Envelope::new(Shape::Auto, &Envelope::KEYS, &LogFormat::combined());
            envelope.unwrap_into(Some(&payload), &mut found);
            prop_assert_eq!(found.too_long, 0);
            prop_assert_eq!(found.bytes.escape_ascii().to_string(), slow(&payload).escape_ascii().to_string());
        }
    }
}
