//! Settings that are wrong or doubtful: what is said of them.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use model::settings::Settings;
use proptest::prelude::*;

/// Expects the errors, one a line.
#[track_caller]
fn check(json: &str, expect: &[&str]) {
    let errors = Settings::parse(json).map_or_else(|errors| errors.to_string(), |_| "no error".to_owned());
    assert_eq!(errors, expect.join("\n"), "{json}");
}

/// Expects that all is in order but for the warnings, one a line.
#[track_caller]
fn check_warnings(json: &str, expect: &[&str]) {
    let parsed = Settings::parse(json).unwrap();
    let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.join("\n"), expect.join("\n"), "{json}");
}

#[test]
fn every_error_at_once_in_document_order() {
    let expect: Vec<&str> = include_str!("settings/every_error.txt").lines().collect();
    check(include_str!("settings/every_error.json"), &expect);
}

#[test]
fn every_warning_at_once() {
    let expect: Vec<&str> = include_str!("settings/every_warning.txt").lines().collect();
    check_warnings(include_str!("settings/every_warning.json"), &expect);
}

#[test]
fn the_text_as_a_whole() {
    check("{count: 1}", &["line 1, column 2: not JSON: key must be a string"]);
    check("[]", &["top level: must be an object such as {\"count\": 200}, found a list"]);
    check("null", &["top level: must be an object such as {\"count\": 200}, found null"]);
    check(
        "\u{feff}{\"count\": \"\"}",
        &["count: must be a whole number of requests from 1 to 4294967295, found \"\""],
    );
}

#[test]
fn numbers_are_whole_and_in_range() {
    let seconds = "block_second: must be a whole number of seconds from 0 to 4294967295, found ";
    for (value, found) in [
        ("\"x\"", "\"x\""),
        ("\"+1\"", "\"+1\""),
        ("\"-1\"", "\"-1\""),
        ("\"1 0\"", "\"1 0\""),
        ("\"0x10\"", "\"0x10\""),
        ("\"١\"", "\"١\""),
        ("\"99999999999999999999999\"", "\"99999999999999999999999\""),
        ("4294967296", "4294967296"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("true", "true"),
        ("[1]", "a list"),
        ("{}", "an object"),
    ] {
        check(&format!("{{\"block_second\": {value}}}"), &[&format!("{seconds}{found}")]);
    }
    for share in ["-0.1", "1.01", "\"inf\"", "\"nan\"", "\"\"", "\".\""] {
        check(
            &format!("{{\"max_banned_share\": {share}}}"),
            &[&format!("max_banned_share: must be a number from 0 to 1, found {share}")],
        );
    }
    check(
        "{\"ipv6_prefix\": 129}",
        &["ipv6_prefix: must be a whole number of bits from 1 to 128, found 129"],
    );
}

#[test]
fn unknown_keys_get_a_suggestion() {
    for (key, expect) in [
        ("threshold_second", "did you mean `threshold_secound`?"),
        ("threshold_w_second", "did you mean `threshold_w_secound`?"),
        ("Count", "did you mean `count`?"),
        ("ifBlock", "did you mean `if_block`?"),
        ("if_warn", "did you mean `if_warning`?"),
        ("block_seconds", "did you mean `block_second`?"),
        ("ip_whitelist", "did you mean `ip_white_list`?"),
        ("special_rules", "did you mean `special_rule`?"),
        ("trusted_proxy", "did you mean `trusted_proxies`?"),
        ("log_format", "`ccfirewall settings schema` has them all"),
        ("kafka", "`ccfirewall settings schema` has them all"),
    ] {
        check(&format!("{{\"{key}\": null}}"), &[&format!("{key}: unknown key; {expect}")]);
    }
    check(
        "{\"special_rule\": {\"/a\": {\"treshold_secound\": 1}}}",
        &["special_rule[\"/a\"].treshold_secound: unknown key; did you mean `threshold_secound`?"],
    );
}

#[test]
fn a_default_host_is_only_a_host() {
    for host in ["www.Example.com", "h:80", "u:p@h", "[2001:db8::1]:80", " h ", ""] {
        check(&format!("{{\"default_host\": \"{host}\"}}"), &["no error"]);
    }
    for host in ["http://h", "h/", "a b", ":80", "2001:db8::1", "h?x", "*.h", "h\\\\n"] {
        let errors = Settings::parse(format!("{{\"default_host\": \"{host}\"}}")).unwrap_err();
        assert!(
            errors.to_string().starts_with("default_host: must be a host name such as"),
            "{host}: {errors}"
        );
    }
}

#[test]
fn what_is_meant_is_not_warned_of() {
    check_warnings("{}", &[]);
    check_warnings("{\"if_block\": false, \"threshold_w_secound\": 5}", &[]);
    check_warnings("{\"if_warning\": false, \"threshold_w_secound\": 5}", &[]);
    check_warnings(
        "{\"default_host\": \"h\", \"special_rule\": {\"h/a\": {}, \"h/a*\": {}, \"/a\": {}}}",
        &[],
    );
    check_warnings("{\"url_black_list\": [], \"special_rule\": {\"/a\": {}}}", &[]);
    check_warnings("{\"url_black_list\": [\"/*\"], \"ipv6_prefix\": \"56\"}", &[]);
}

#[test]
fn nothing_to_do_is_warned_of() {
    check_warnings(
        "{\"if_block\": false, \"if_warning\": \"False\", \"url_black_list\": []}",
        &[
            "if_block: `if_block` and `if_warning` are both off: nobody is ever blocked or warned",
            "url_black_list: empty, and there is no special rule: nothing is counted; `[\"all\"]` is every URL",
        ],
    );
}

#[test]
fn of_the_same_url_the_first_in_byte_order_wins() {
    let json = "{\"default_host\": \"h\", \"special_rule\": {\"h/a\": {}, \"H/a\": {}, \"h:80/a\": {}}}";
    let losers = ["h/a", "h:80/a"].map(|url| {
        format!("special_rule[\"{url}\"]: the same URL as \"H/a\", which wins: this rule never counts")
    });
    check_warnings(json, &losers.each_ref().map(String::as_str));
}

#[test]
fn hostile_texts_are_answered_in_proportion() {
    let deep = "{\"special_rule\":".repeat(100_000);
    let errors = Settings::parse(deep).unwrap_err().to_string();
    assert_eq!(errors, "line 1, column 2033: not JSON: recursion limit exceeded");
    let long_key = "k".repeat(100_000);
    let members: Vec<String> = (0..1000).map(|i| format!("\"{i}{long_key}\": 1")).collect();
    let json = format!("{{\"special_rule\": {{\"{long_key}\": {{{}}}}}}}", members.join(","));
    let errors = Settings::parse(json).unwrap_err();
    assert_eq!(errors.findings().len(), 1000);
    assert!(errors.findings().iter().all(|finding| finding.to_string().len() < 300));
    let unknown: Vec<String> = (0..10_000).map(|i| format!("\"treshold_secound{i}\": 1")).collect();
    let errors = Settings::parse(format!("{{{}}}", unknown.join(","))).unwrap_err();
    assert_eq!(
        errors.findings().iter().filter(|finding| finding.message.contains("did you mean")).count(),
        100
    );
    let value = format!("{{\"count\": \"{}\"}}", "\u{7f}".repeat(100_000));
    assert!(Settings::parse(value).unwrap_err().to_string().len() < 600);
}

/// JSON-like noise around the keys there are.
fn noise() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(vec!["\"count\":", "\"special_rule\":", "\"/a\":", "\"block_second\":",
            "\"ip_white_list\":", "\"url_black_list\":", "\"default_host\":", "\"max_banned_share\":"]),
        4 => prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"", "\\", "null", "1", "-0", "1e308", "\"\"",
            "\"all\"", "\"*\"", "\"::/0\"", "\"h:/*\"", "\"@\"", "\"://?\"", "\"\\u0000\"", "\"\\ud800\"", " "]),
    ];
    proptest::collection::vec(word, 0..20).prop_map(|words| format!("{{{}}}", words.concat()))
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Settings::parse(bytes);
    }

    #[test]
    fn any_noise_is_answered(text in noise()) {
        match Settings::parse(&text) {
            Ok(parsed) => {
                let again = Settings::parse(parsed.document.to_json()).unwrap();
                prop_assert_eq!(again.document, parsed.document);
                prop_assert_eq!(again.warnings, parsed.warnings);
            }
            Err(errors) => prop_assert!(!errors.findings().is_empty()),
        }
    }

    #[test]
    fn any_url_and_host_are_answered(url in "\\PC{0,12}|[a*/:?#@. ]{0,8}", host in "[a*/:?#@. \\[\\]]{0,8}") {
        let json = serde_json::json!({"special_rule": {&url: {}}, "url_black_list": [url], "default_host": host});
        let _ = Settings::parse(json.to_string());
    }
}
