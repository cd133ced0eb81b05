//! What stands in `nginx.conf`, cut into literals and variables.

use super::error::LogFormatError;

/// How nginx escapes the values of variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Escape {
    /// `"`, `\` and bytes below 32 or above 126 as `\xHH`; missing values as `-`.
    #[default]
    Default,
    /// As in JSON strings.
    Json,
    /// Not at all: a client's quotes stand in the line as they are.
    None,
}

/// A part of a template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Literal(String),
    Variable(String),
}

/// Reads `log_format name escape=… '…' '…';`, or its quoted strings alone, or the bare template.
pub(super) fn read(text: &str) -> Result<(Escape, String), LogFormatError> {
    let mut text = text.trim();
    while let Some(comment) = text.strip_prefix('#') {
        text = comment.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
    }
    if text.is_empty() {
        return Err(LogFormatError::Empty);
    }
    let rest = match text.strip_prefix("log_format") {
        Some(rest) if rest.starts_with(char::is_whitespace) => {
            let rest = rest.trim_start();
            let name_end = rest.find(char::is_whitespace).ok_or(LogFormatError::Empty)?;
            rest[name_end..].trim_start()
        }
        // Only nginx escapes quotes with backslashes, and only in a quoted string.
        _ if text.starts_with('\'') || text.starts_with("escape=") => text,
        _ if text.starts_with('"') && text.contains("\\\"") => text,
        _ if text.contains('\n') => return Err(LogFormatError::Lines),
        _ => return Ok((Escape::Default, text.to_owned())),
    };
    let (escape, strings) = match rest.strip_prefix("escape=") {
        None => (Escape::Default, rest),
        Some(rest) => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let escape = match &rest[..end] {
                "default" => Escape::Default,
                "json" => Escape::Json,
                "none" => Escape::None,
                other => return Err(LogFormatError::Escape(other.to_owned())),
            };
            (escape, rest[end..].trim_start())
        }
    };
    let template = if strings.starts_with(['\'', '"']) {
        quoted_strings(strings)?
    } else {
        strings.trim_end_matches(';').to_owned()
    };
    if template.is_empty() { Err(LogFormatError::Empty) } else { Ok((escape, template)) }
}

/// `'…' "…" ;` joined, with nginx's backslashes taken out.
fn quoted_strings(text: &str) -> Result<String, LogFormatError> {
    let mut joined = String::new();
    let mut chars = text.chars();
    loop {
        let quote = match chars.by_ref().find(|c| !c.is_whitespace()) {
            None => return Ok(joined),
            Some(';') => {
                return match chars.find(|c| !c.is_whitespace()) {
                    None => Ok(joined),
                    Some(_) => Err(LogFormatError::Behind),
                };
            }
            Some('#') => {
                chars.by_ref().find(|&c| c == '\n');
                continue;
            }
            Some(quote @ ('\'' | '"')) => quote,
            Some(_) => return Err(LogFormatError::Behind),
        };
        loop {
            match chars.next().ok_or(LogFormatError::Unclosed)? {
                '\\' => match chars.next().ok_or(LogFormatError::Unclosed)? {
                    't' => joined.push('\t'),
                    'r' => joined.push('\r'),
                    'n' => joined.push('\n'),
                    escaped @ ('\'' | '"' | '\\') => joined.push(escaped),
                    other => joined.extend(['\\', other]),
                },
                c if c == quote => break,
                c => joined.push(c),
            }
        }
    }
}

/// Cuts a template at its variables, `$name` or `${name}`.
pub(super) fn parts(template: &str) -> Result<Vec<Part>, LogFormatError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        if dollar > 0 {
            parts.push(Part::Literal(rest[..dollar].to_owned()));
        }
        let behind = &rest[dollar + 1..];
        let (braced, body) = behind.strip_prefix('{').map_or((false, behind), |body| (true, body));
        let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
        if end == 0 || (braced && !body[end..].starts_with('}')) {
            let shown = rest[dollar..].chars().take(20).collect();
            return Err(LogFormatError::Variable(shown));
        }
        parts.push(Part::Variable(body[..end].to_owned()));
        rest = &body[end + usize::from(braced)..];
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives() {
        let check = |text: &str, expect: (Escape, &str)| {
            assert_eq!(read(text), Ok((expect.0, expect.1.to_owned())), "{text}");
        };
        check(r#"$a "$b""#, (Escape::Default, r#"$a "$b""#));
        check("log_format main '$a '\n  '\"$b\"';", (Escape::Default, r#"$a "$b""#));
        check("log_format j escape=json '{\"a\":\"$a\"}';", (Escape::Json, r#"{"a":"$a"}"#));
        check(r#"log_format d "$a \"$b\"";"#, (Escape::Default, r#"$a "$b""#));
        check(r"'\t\'\\\d'", (Escape::Default, "\t'\\\\d"));
        check("log_format x escape=none $a;", (Escape::None, "$a"));
        check("# main\nlog_format m '$a ' # first\n '$b';", (Escape::Default, "$a $b"));
        check(r#""$a \"$b\"""#, (Escape::Default, r#"$a "$b""#));
        for bad in [
            "",
            "$a\n$b",
            "  ",
            "log_format main",
            "log_format m 'a",
            "log_format m 'a' b;",
            "'a'; 'b'",
            "log_format m escape=xml 'a'",
            "log_format m '';",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for bad in ["$", "$ a", "${a", "a$-", "${}"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
