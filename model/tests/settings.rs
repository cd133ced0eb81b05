//! What settings mean: defaults, both spellings of values, inheritance, and the schema.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::net::IpAddr;

use model::rule::RuleId;
use model::settings::{Document, Parsed, Settings, schema};
use model::units::Seconds;
use proptest::prelude::*;
use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../src/settings/example.json");

fn parse(json: &Value) -> Parsed {
    Settings::parse(json.to_string()).unwrap()
}

fn address(literal: &str) -> IpAddr {
    literal.parse().unwrap()
}

/// Name, reason, warn and block threshold, length of a block.
fn rules(settings: &Settings) -> Vec<(String, u8, u32, u32, u32)> {
    let rule = |(_, rule): (RuleId, &model::rule::Rule)| {
        let (Seconds(warn), Seconds(block), Seconds(length)) =
            (rule.warn_within, rule.block_within, rule.block_for);
        (rule.name.to_string(), rule.reason, warn, block, length)
    };
    settings.rules.iter().map(rule).collect()
}

#[test]
fn an_empty_object_is_the_defaults() {
    let Parsed { settings, document, warnings } = Settings::parse("{}").unwrap();
    assert_eq!(warnings, []);
    assert_eq!(document, Document::default());
    assert_eq!(settings.count.get(), 200);
    assert!(settings.warn_enabled && settings.block_enabled);
    assert_eq!(rules(&settings), [("global".to_owned(), 0, 20, 10, 600)]);
    assert_eq!(rules(&settings), rules(&Settings::default()));
    assert_eq!(settings.rules.only(), Some(RuleId::GLOBAL));
    assert!(settings.allowlist.is_empty() && settings.trusted_proxies.is_empty());
    assert_eq!(settings.keys.to_string(), "IPv4 by address, IPv6 by /64");
    assert_eq!(settings.default_host, None);
    let seconds = [settings.max_lateness, settings.max_event_age, settings.warn_for];
    assert_eq!(seconds, [Seconds(60), Seconds(300), Seconds(60)]);
    assert_eq!((settings.max_new_bans_per_minute, settings.max_banned_share), (10_000, 0.2));
    assert_eq!((settings.retention_days, settings.records_kept), (30, 1_000_000));
}

#[test]
fn the_example_of_2016() {
    let Parsed { settings, warnings, .. } = Settings::parse(EXAMPLE).unwrap();
    let captcha = "www.example.com/captcha/create/".to_owned();
    assert_eq!(rules(&settings), [("global".to_owned(), 0, 20, 20, 1), (captcha, 1, 20, 20, 1)]);
    assert!(settings.allowlist.contains(address("36.110.40.170")));
    assert!(!settings.allowlist.contains(address("36.110.40.171")));
    let warnings: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["threshold_w_secound", "special_rule[\"www.example.com/captcha/create/\"]"]);
}

#[test]
fn special_rules_inherit_wherever_they_stand() {
    let json = r#"{"special_rule": {"/b": {}, "/a": {"threshold_secound": "3"}, "H/c*": {"block_second": 0}},
        "threshold_w_secound": 7, "threshold_secound": 6, "block_second": 5}"#;
    let Parsed { settings, document, .. } = Settings::parse(json).unwrap();
    let expect = [("global", 0, 7, 6, 5), ("/b", 1, 7, 6, 5), ("/a", 1, 7, 3, 5), ("H/c*", 1, 7, 6, 0)];
    assert_eq!(rules(&settings), expect.map(|(name, r, w, b, l)| (name.to_owned(), r, w, b, l)));
    let shown: Value = serde_json::from_str(&document.to_json()).unwrap();
    let inherited = json!({"threshold_w_secound": 7, "threshold_secound": 3, "block_second": 5});
    assert_eq!(shown["special_rule"]["/a"], inherited);
}

#[test]
fn loopback_is_always_protected() {
    for json in [json!({}), json!({"protected": ["203.0.113.7"]})] {
        let settings = parse(&json).settings;
        for literal in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(settings.protected.contains(address(literal)), "{literal}");
        }
        assert!(!settings.protected.contains(address("::2")));
    }
}

#[test]
fn a_prefix_that_overlaps_a_guarded_address_is_guarded() {
    let json = json!({"ip_white_list": ["2001:db8:1:2::7", "203.0.113.0/30"], "protected": ["198.51.100.9"]});
    let settings = parse(&json).settings;
    let guards = |literal: &str| settings.guards(&settings.keys.network(settings.keys.key(address(literal))));
    for literal in ["2001:db8:1:2::99", "203.0.113.3", "198.51.100.9", "127.0.0.5", "::2"] {
        assert!(guards(literal), "{literal}");
    }
    for literal in ["2001:db8:1:3::7", "203.0.113.4", "198.51.100.8", "126.0.0.5", "0:0:0:1::1"] {
        assert!(!guards(literal), "{literal}");
    }
}

#[test]
fn lists_of_urls() {
    let only = |list: Value| parse(&json!({"url_black_list": list})).settings.rules.only();
    assert_eq!(only(json!([])), Some(RuleId::NONE));
    assert_eq!(only(json!(["/a", "all", "/b"])), Some(RuleId::GLOBAL));
    assert_eq!(only(json!(["/a"])), None);
}

#[test]
fn hosts_are_normalised() {
    let host = |text: &str| parse(&json!({"default_host": text})).settings.default_host;
    assert_eq!(host("WWW.Example.com:8080"), Some(b"www.example.com".to_vec()));
    assert_eq!(host(" user@H "), Some(b"h".to_vec()));
    assert_eq!(host(""), None);
}

#[test]
fn the_effective_settings_stand_in_order_and_read_back() {
    let json = r#"{"records_kept": "5", "special_rule": {"/z": {}, "/a": {}}, "protected": ["10.1.2.3/8", "::1"],
        "max_banned_share": "0.25", "if_block": "FALSE", "count": " 7 "}"#;
    let document = Settings::parse(json).unwrap().document;
    assert_eq!(document.to_json(), include_str!("settings/effective.json").trim_end());
    let again = Settings::parse(document.to_json()).unwrap();
    assert_eq!(again.document, document);
}

/// The schema's keywords that ours uses, but `pattern`, and `description` and the like, which bind nobody.
fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return schema == &Value::Bool(true);
    };
    keywords.iter().all(|(keyword, asked)| match keyword.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" | "pattern" | "properties" => true,
        "$ref" => accepts(root, root.pointer(&asked.as_str().unwrap()[1..]).unwrap(), value),
        "anyOf" => asked.as_array().unwrap().iter().any(|schema| accepts(root, schema, value)),
        "type" => match asked.as_str().unwrap() {
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("type {other}"),
        },
        "minimum" => value.as_f64().is_none_or(|number| number >= asked.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= asked.as_f64().unwrap()),
        "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= asked.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| accepts(root, asked, item))),
        "propertyNames" => {
            let names = value.as_object().into_iter().flat_map(|object| object.keys());
            names.into_iter().all(|name| accepts(root, asked, &json!(name)))
        }
        "additionalProperties" => {
            let known = |name: &str| keywords.get("properties").and_then(|properties| properties.get(name));
            let members = value.as_object().into_iter().flatten();
            members.into_iter().all(|(name, member)| accepts(root, known(name).unwrap_or(asked), member))
        }
        other => panic!("the schema has a keyword that this test doesn't know: {other}"),
    })
}

fn check_schema(json: &str, expect: bool) {
    let schema = schema();
    let value: Value = serde_json::from_str(json).unwrap();
    assert_eq!(accepts(&schema, &schema, &value), expect, "{json}");
    if !expect {
        assert!(Settings::parse(json).is_err(), "{json}");
    }
}

#[test]
fn the_schema_accepts_what_is_right() {
    check_schema(EXAMPLE, true);
    check_schema("{}", true);
    check_schema(&Document::default().to_json(), true);
    check_schema(include_str!("settings/every_warning.json"), true);
    check_schema(include_str!("settings/effective.json"), true);
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    for json in [
        "[]",
        "{\"count\": 0}",
        "{\"count\": null}",
        "{\"count\": 1.5}",
        "{\"if_block\": 1}",
        "{\"ipv6_prefix\": 129}",
        "{\"max_banned_share\": 2}",
        "{\"threshold_second\": 1}",
        "{\"ip_white_list\": \"10.0.0.1\"}",
        "{\"url_black_list\": [\"\"]}",
        "{\"special_rule\": {\"\": {}}}",
        "{\"special_rule\": {\"/a\": {\"count\": 1}}}",
        "{\"special_rule\": {\"/a\": {\"block_second\": null}}}",
    ] {
        check_schema(json, false);
    }
}

/// A value once native and once as a string, with spaces around it.
fn spellings(value: &Value, before: &str, after: &str) -> Value {
    match value {
        Value::Number(_) | Value::Bool(_) => json!(format!("{before}{value}{after}")),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), spellings(value, before, after))).collect()
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn strings_mean_what_native_values_mean(
        numbers in proptest::collection::vec(any::<u32>(), 11),
        (count, bits, records) in (1..=u32::MAX, 1..=128u8, 0..1u64 << 53),
        (warning, block, share) in (any::<bool>(), any::<bool>(), 0..=1000u32),
        before in "[ \\t]{0,2}", after in "[ \\n]{0,2}",
    ) {
        // More than 15 digits might differ in the last one: serde_json doesn't round them exactly.
        let share = f64::from(share) / 1000.0;
        let native = json!({
            "count": count, "if_warning": warning, "if_block": block, "threshold_w_secound": numbers[0],
            "threshold_secound": numbers[1], "block_second": numbers[2],
            "special_rule": {"/a": {
                "threshold_w_secound": numbers[3], "threshold_secound": numbers[4], "block_second": numbers[5],
            }},
            "ipv6_prefix": bits, "max_lateness": numbers[6], "max_event_age": numbers[7],
            "warn_second": numbers[8], "max_new_bans_per_minute": numbers[9], "max_banned_share": share,
            "retention_days": numbers[10], "records_kept": records,
        });
        let parsed = parse(&native);
        prop_assert_eq!(&parsed.document, &parse(&spellings(&native, &before, &after)).document);
        let shown: Value = serde_json::from_str(&parsed.document.to_json()).unwrap();
        for (key, value) in native.as_object().unwrap() {
            prop_assert_eq!(&shown[key], value);
        }
    }
}

#[test]
fn live_the_trusted_proxies_and_the_machines_own_addresses_are_guarded() {
    let parsed = Settings::parse(r#"{"trusted_proxies": ["192.0.2.0/24"]}"#).unwrap();
    let target = |text: &str| text.parse().unwrap();
    assert!(!parsed.settings.guards(&target("192.0.2.7")), "a replay drops nobody's packets");
    let live = parsed.settings.with_protected([target("203.0.113.9")]);
    for guarded in ["192.0.2.7", "203.0.113.9", "127.0.0.1", "192.0.0.0/8"] {
        assert!(live.guards(&target(guarded)), "{guarded}");
    }
    assert!(!live.guards(&target("203.0.113.10")));
}
