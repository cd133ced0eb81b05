//! Texts as long as their columns are: what is longer is cut, and ends with `…`, for a row without its end is better
//! than none.

use std::borrow::Cow;

/// How long texts may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest text of a MEDIUMTEXT, in bytes.
    pub(super) long: usize,
    /// A statement of several rows has at most so many bytes.
    pub(super) statement: usize,
}

/// A MEDIUMTEXT takes so many bytes.
const MEDIUMTEXT: u64 = (1 << 24) - 1;
const ELLIPSIS: char = '…';

impl Limits {
    /// What fits where the server takes packets of so many bytes.
    pub(super) fn of_packets(bytes: u64) -> Self {
        // sqlx sends a statement as one packet, and some 16 MiB is the most that one can be.
        let bytes = bytes.clamp(1 << 16, MEDIUMTEXT);
        let part = |of: u64| usize::try_from(bytes / of).expect("a packet's length fits");
        Self { long: part(10), statement: part(2) }
    }

    /// A text for a MEDIUMTEXT.
    pub(super) fn cut_long<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.len() <= self.long {
            return Cow::Borrowed(text);
        }
        let end = text.floor_char_boundary(self.long - ELLIPSIS.len_utf8());
        Cow::Owned(format!("{}{ELLIPSIS}", &text[..end]))
    }
}

/// A text for a VARCHAR of so many characters.
pub(super) fn cut(text: &str, characters: usize) -> Cow<'_, str> {
    // No character is shorter than a byte.
    if text.len() <= characters {
        return Cow::Borrowed(text);
    }
    let mut starts = text.char_indices().map(|(at, _)| at);
    let Some(last) = starts.nth(characters - 1) else { return Cow::Borrowed(text) };
    if starts.next().is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}{ELLIPSIS}", &text[..last]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_is_longer_ends_in_an_ellipsis() {
        let check = |text: &str, expect: &str| assert_eq!(cut(text, 4), expect, "{text}");
        check("", "");
        check("abcd", "abcd");
        check("abcde", "abc…");
        check("äöüß", "äöüß");
        check("äöüßé", "äöü…");
        check("\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}", "\u{1f600}\u{1f600}\u{1f600}…");
        assert_eq!(cut("ab", 1), "…");
    }

    #[test]
    fn long_texts_are_cut_by_their_bytes() {
        let limits = Limits::of_packets(1 << 16);
        let fits = "x".repeat(limits.long);
        assert_eq!(limits.cut_long(&fits), fits);
        for text in ["x".repeat(limits.long + 1), "€".repeat(limits.long), "\u{1f600}".repeat(limits.long)]
        {
            let cut = limits.cut_long(&text);
            assert!(cut.len() <= limits.long && cut.len() + 8 > limits.long && cut.ends_with('…'));
        }
        assert!(4 * limits.long + limits.statement < 1 << 16);
        assert!(Limits::of_packets(u64::MAX).statement < 1 << 24);
        assert!(Limits::of_packets(0).long > 1_000);
    }
}
