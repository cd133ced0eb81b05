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
            if c.is_control() || reorders(c) {
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

/// Characters that are not seen, and can make a terminal show others in another order (Unicode's category Cf).
fn reorders(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(shown(b"GET \"/\" \x1b[2J\t\xff \xc3\xa4", 100), "GET \"/\" \\u{1b}[2J\\t\\xff \u{e4}");
        assert_eq!(shown(b"0123456789", 4), "0123… (10 bytes)");
    }

    #[test]
    fn what_reorders_text_is_escaped() {
        assert_eq!(shown("a\u{202e}b\u{feff}".as_bytes(), 80), "a\\u{202e}b\\u{feff}");
    }
}
