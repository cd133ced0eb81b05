//! The flags in which agents say what became of a call, and the texts that carry them in the two oldest calls.

use serde_json::{Value, json};

/// Done.
pub const DONE: i32 = 1;
/// It was so already: the target is banned (or isn't, where it should be let through).
pub const ALREADY: i32 = -1;
/// Not a target that can be banned.
pub const INVALID: i32 = -2;
/// Not the agent's key.
pub const WRONG_KEY: i32 = -3;
/// The firewall refused, or the agent couldn't ask it.
pub const FAILED: i32 = -4;
/// From an owner that another one has followed.
pub const OLD_EPOCH: i32 = -5;

/// What the two oldest calls answer: `{"flag":1,"result":"…"}`.
#[must_use]
pub fn to_text(flag: i32, result: &str) -> String {
    // By hand, because the flag has always stood first.
    format!("{{\"flag\":{flag},\"result\":{}}}", json!(result))
}

/// Reads what [`to_text`] writes, and the bare number that some agents answer. Flags that are written as texts
/// count too. `None` where there is no flag in it.
#[must_use]
pub fn from_text(text: &str) -> Option<(i32, String)> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    };
    match serde_json::from_str(text.trim()).ok()? {
        Value::Object(fields) => {
            let result = match fields.get("result") {
                Some(Value::String(result)) => result.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            Some((number(fields.get("flag")?)?, result))
        }
        bare => Some((number(&bare)?, String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_it_has_always_been() {
        assert_eq!(to_text(1, "203.0.113.9 is banned"), r#"{"flag":1,"result":"203.0.113.9 is banned"}"#);
        assert_eq!(to_text(-2, "\"\n"), r#"{"flag":-2,"result":"\"\n"}"#);
    }

    #[test]
    fn reads_every_form() {
        let check = |text: &str, expect: Option<(i32, &str)>| {
            assert_eq!(from_text(text), expect.map(|(flag, result)| (flag, result.to_owned())), "{text}");
        };
        check(r#"{"flag":1,"result":"x"}"#, Some((1, "x")));
        check(r#"{"result":["x"],"flag":"-4"}"#, Some((-4, r#"["x"]"#)));
        check(r#"{"flag":-1}"#, Some((-1, "")));
        check(" -3\n", Some((-3, "")));
        check("\"1\"", Some((1, "")));
        for bad in ["", "{}", "ok", "[1]", "1.5", "99999999999", r#"{"flag":null}"#, r#"{"flag":{"flag":1}}"#]
        {
            check(bad, None);
        }
    }
}
