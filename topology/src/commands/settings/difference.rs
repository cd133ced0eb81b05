//! What changed between two versions: line by line as `diff -u` shows it, and in short.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use model::settings::Settings;
use model::text::shown;
use serde_json::Value;
use similar::TextDiff;

use super::printable;

/// Comparing two texts that have hardly a line in common ends after so long, with a coarser result.
const LONGEST: Duration = Duration::from_secs(2);
/// A text with longer lines is compared as it would stand in several.
const LONGEST_LINE: usize = 200;
/// Longer values aren't told in short.
const LONGEST_VALUE: usize = 40;

/// Writes how `b` differs from `a`; nothing where it doesn't. Coloured for people.
pub(super) fn write(out: &mut dyn Write, a: (&str, &str), b: (&str, &str)) -> io::Result<()> {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let text = unified(a, b);
    if !colour {
        return write!(out, "{text}");
    }
    for line in text.lines() {
        let code = match line.as_bytes() {
            [b'+', ..] => "32",
            [b'-', ..] => "31",
            [b'@', ..] => "36",
            _ => "0",
        };
        writeln!(out, "\x1b[{code}m{line}\x1b[0m")?;
    }
    Ok(())
}

fn unified((old_name, old): (&str, &str), (new_name, new): (&str, &str)) -> String {
    let lined = |text: &str| {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(format!("{value:#}\n"))
    };
    let is_long = |text: &str| text.lines().any(|line| line.len() > LONGEST_LINE);
    let (old, new) = match (is_long(old) || is_long(new), lined(old), lined(new)) {
        (true, Some(old), Some(new)) => (old, new),
        _ => (old.to_owned(), new.to_owned()),
    };
    let diff = TextDiff::configure().timeout(LONGEST).diff_lines(&old, &new);
    printable(&diff.unified_diff().header(old_name, new_name).to_string())
}

/// What changed in what takes effect, in a line: `count 200 → 300, ip_white_list +2 −1`.
pub(super) fn in_short(old: &str, new: &str) -> String {
    let effective = |text: &str| -> Option<Value> {
        serde_json::from_str(&Settings::parse(text).ok()?.document.to_json()).ok()
    };
    let (Some(old), Some(new)) = (effective(old), effective(new)) else {
        return "one of them has errors".to_owned();
    };
    let mut changes = Vec::new();
    for key in keys(&old, &new) {
        match (&old[&key], &new[&key]) {
            (a, b) if a == b => {}
            (Value::Array(a), Value::Array(b)) => {
                let missing =
                    |from: &[Value], of: &[Value]| of.iter().filter(|item| !from.contains(item)).count();
                changes.push(counted(&key, missing(a, b), missing(b, a), 0));
            }
            (a @ Value::Object(_), b @ Value::Object(_)) => {
                let (mut more, mut fewer, mut others) = (0, 0, 0);
                for member in keys(a, b) {
                    match (a.get(&member), b.get(&member)) {
                        (None, _) => more += 1,
                        (_, None) => fewer += 1,
                        (a, b) => others += usize::from(a != b),
                    }
                }
                changes.push(counted(&key, more, fewer, others));
            }
            (a, b) => changes.push(format!("{key} {} → {}", short(a), short(b))),
        }
    }
    if changes.is_empty() { "nothing but how they are written".to_owned() } else { changes.join(", ") }
}

fn keys(a: &Value, b: &Value) -> BTreeSet<String> {
    let of = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    of(a).into_iter().chain(of(b)).flatten().collect()
}

fn counted(key: &str, more: usize, fewer: usize, others: usize) -> String {
    let mut text = key.to_owned();
    for (sign, count) in [('+', more), ('−', fewer), ('~', others)] {
        if count > 0 {
            write!(text, " {sign}{count}").expect("a String takes everything");
        }
    }
    if text == key { format!("{key} in another order") } else { text }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => shown(value.to_string().as_bytes(), LONGEST_VALUE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_in_short() {
        let check = |old: &str, new: &str, expect: &str| assert_eq!(in_short(old, new), expect);
        check("{}", "{\"count\": \"200\"}", "nothing but how they are written");
        check("{}", "{\"count\": 300, \"if_block\": false}", "count 200 → 300, if_block true → false");
        check(
            "{\"ip_white_list\": [\"10.0.0.1\", \"10.0.0.2\"]}",
            "{\"ip_white_list\": [\"10.0.0.2\", \"10.0.0.3\", \"10.0.0.4\"]}",
            "ip_white_list +2 −1",
        );
        check(
            "{\"special_rule\": {\"h/a\": {}, \"h/b\": {}, \"h/c\": {}}}",
            "{\"special_rule\": {\"h/a\": {}, \"h/b\": {\"block_second\": 1}, \"h/d\": {}}}",
            "special_rule +1 −1 ~1",
        );
        check(
            "{\"ip_white_list\": [\"10.0.0.1\", \"10.0.0.2\"]}",
            "{\"ip_white_list\": [\"10.0.0.2\", \"10.0.0.1\"]}",
            "ip_white_list in another order",
        );
        check("{", "{}", "one of them has errors");
    }

    #[test]
    fn changes_line_by_line() {
        let a = "{\n  \"count\": 200,\n  \"if_block\": true\n}\n";
        let text = unified(("one", a), ("two", &a.replace("200", "300\u{9b}")));
        let expect = "--- one\n+++ two\n@@ -1,4 +1,4 @@\n {\n-  \"count\": 200,\n+  \"count\": 300\\u{9b},\n   \
                      \"if_block\": true\n }\n";
        assert_eq!(text, expect);
        assert_eq!(unified(("one", a), ("two", a)), "");
    }

    #[test]
    fn what_stands_in_one_long_line_is_compared_item_by_item() {
        let list = |n: usize| {
            let items: Vec<String> = (0..n).map(|n| format!("\"10.0.0.{n}\"")).collect();
            format!("{{\"ip_white_list\":[{}]}}", items.join(","))
        };
        let text = unified(("a", &list(40)), ("b", &list(41)));
        assert!(text.lines().count() < 12 && text.contains("+    \"10.0.0.40\""), "{text}");
    }
}
