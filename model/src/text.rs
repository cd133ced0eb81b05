//! Bytes of logs, shown to people.

use std::fmt::Write as _;

/// Bytes as text that a terminal can print: control characters and what isn't UTF-8 escaped, cut to `longest`
/// bytes.
#[must_use]
pub fn shown(bytes: &[u8], longest: usize) -> String {
    let cut = &bytes[..bytes.len().min(longest)];
    let mut text = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to memory doesn't fail");
        }
    }
    if cut.len() < bytes.len() {
        write!(text, "… ({} bytes)", bytes.len()).expect("writing to memory doesn't fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(shown(b"GET \"/\" \x1b[2J\t\xff \xc3\xa4", 100), "GET \"/\" \\u{1b}[2J\\t\\xff \u{e4}");
        assert_eq!(shown(b"0123456789", 4), "0123… (10 bytes)");
    }
}
