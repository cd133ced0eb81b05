//! Syslog headers in front of access lines: nginx's `access_log syslog:…`, rsyslog's and journald's files.

/// What stands behind a syslog header; `None` where none stands in front.
///
/// Taken are RFC 5424 (`<190>1 2026-11-22T10:09:00Z host nginx - - - line`), RFC 3164 (`<190>Nov 22 10:09:00 host
/// nginx: line`, the host may be missing, as nginx writes it), and both times without `<priority>`, as files
/// have them.
pub(super) fn strip(line: &[u8]) -> Option<&[u8]> {
    match strip_priority(line) {
        Some([b'1', b' ', rest @ ..]) => strip_5424(rest),
        Some(rest) => strip_tag(strip_time(rest)?),
        None => strip_tag(strip_time(line)?),
    }
}

fn strip_priority(line: &[u8]) -> Option<&[u8]> {
    let digits = line.strip_prefix(b"<")?;
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    (1..=3).contains(&length).then(|| digits[length..].strip_prefix(b">"))?
}

/// `Nov 22 10:09:00 ` or an RFC 3339 time and a space.
fn strip_time(text: &[u8]) -> Option<&[u8]> {
    const BSD: &[u8] = b"Aaa d0 00:00:00 ";
    if text.len() >= BSD.len() && BSD.iter().zip(text).all(|(&shape, &byte)| fits(shape, byte)) {
        return Some(&text[BSD.len()..]);
    }
    let end = memchr::memchr(b' ', &text[..text.len().min(36)])?;
    crate::time::parse_time_iso8601(&text[..end])?;
    Some(&text[end + 1..])
}

fn fits(shape: u8, byte: u8) -> bool {
    match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'd' => byte == b' ' || byte.is_ascii_digit(),
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    }
}

/// An optional host and `tag: ` or `tag[pid]: `.
fn strip_tag(text: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memmem::find(&text[..text.len().min(300)], b": ")?;
    let words = text[..colon].split(|&b| b == b' ').count();
    (words <= 2).then(|| &text[colon + 2..])
}

/// Behind `<pri>1 `: time, host, app, process, message id, structured data, message.
fn strip_5424(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    for _ in 0..5 {
        rest = &rest[memchr::memchr(b' ', rest)? + 1..];
    }
    let mut rest = match rest {
        [b'-', rest @ ..] => rest,
        [b'[', ..] => &rest[structured_data_len(rest)?..],
        _ => return None,
    };
    rest = rest.strip_prefix(b" ")?;
    Some(rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest))
}

/// The length of `[id name="value" …][…]`; quotes hide brackets, backslashes hide quotes.
fn structured_data_len(text: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted && text.get(at + 1) != Some(&b'[') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<&str>) {
        assert_eq!(strip(line.as_bytes()).map(String::from_utf8_lossy).as_deref(), expect, "{line}");
    }

    #[test]
    fn headers() {
        check("<190>Nov 22 10:09:00 web1 nginx: 192.0.2.1 - -", Some("192.0.2.1 - -"));
        check("<190>Nov  2 10:09:00 nginx: 192.0.2.1 - -", Some("192.0.2.1 - -"));
        check("Nov 22 10:09:00 web1 nginx[12]: 192.0.2.1", Some("192.0.2.1"));
        check("2026-11-22T10:09:00.123+01:00 web1 nginx: x", Some("x"));
        check("<190>1 2026-11-22T10:09:00Z web1 nginx 12 - - x y", Some("x y"));
        check(r#"<190>1 2026-11-22T10:09:00Z web1 nginx - - [a b="]\""][c] x"#, Some("x"));
        for bad in [
            "",
            "<",
            "<190>",
            "<190>x",
            "<1900>Nov 22 10:09:00 a: x",
            "192.0.2.1 - - x: y",
            "Nov 22 10:09:00 a b c: x",
            "<190>1 a b c d e",
            "<190>1 a b c d e [",
            "Nov 22 10:09:00 ",
        ] {
            check(bad, None);
        }
    }
}
