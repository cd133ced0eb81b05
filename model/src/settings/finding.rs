//! What is wrong or doubtful in the settings, and where.

use std::fmt;

use serde::Serialize;

/// One error or warning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// Where: a JSON path like `special_rule["/a"].block_second`, or a line and column where it isn't JSON.
    pub path: String,
    /// What is wrong, what is expected and what was found. Values are cut to 60 characters, and control
    /// characters in them are escaped.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Every error of the settings, in the order in which they stand in the text; at least one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct SettingsErrors(Vec<Finding>);

impl SettingsErrors {
    /// The findings as errors; `Ok` where there are none.
    pub(super) fn from_findings(findings: Vec<Finding>) -> Result<(), Self> {
        if findings.is_empty() { Ok(()) } else { Err(Self(findings)) }
    }

    /// The errors, one by one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl From<Finding> for SettingsErrors {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
}

/// Findings while they are collected.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, at: &Path<'_>, message: impl Into<String>) {
        self.0.push(Finding { path: at.to_string(), message: message.into() });
    }
}

/// A place in the JSON. It lives on the stack and is written out only where something is found.
pub(super) enum Path<'a> {
    /// The whole text.
    Top,
    /// A member of an object.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list, counted from 0.
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(super) fn key<'a>(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(super) fn item(&self, index: usize) -> Path<'_> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => f.write_str("top level"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Key(Path::Top, key) if is_plain(key) => f.write_str(key),
            Self::Key(Path::Top, key) => write!(f, "[{}]", shown(key)),
            Self::Key(parent, key) if is_plain(key) => write!(f, "{parent}.{key}"),
            Self::Key(parent, key) => write!(f, "{parent}[{}]", shown(key)),
        }
    }
}

fn is_plain(key: &str) -> bool {
    (1..=LONGEST_SHOWN).contains(&key.len())
        && !key.as_bytes()[0].is_ascii_digit()
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

const LONGEST_SHOWN: usize = 60;

/// A text in quotes, cut to 60 characters, without anything that a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print() {
        let check = |path: &Path<'_>, expect: &str| assert_eq!(path.to_string(), expect);
        check(&Path::Top, "top level");
        check(&Path::Top.key("count"), "count");
        check(&Path::Top.key(""), "[\"\"]");
        check(&Path::Top.key("a b"), "[\"a b\"]");
        check(
            &Path::Top.key("special_rule").key("/a").key("block_second"),
            "special_rule[\"/a\"].block_second",
        );
        check(&Path::Top.key("ip_white_list").item(3), "ip_white_list[3]");
    }

    #[test]
    fn values_are_cut_and_escaped() {
        assert_eq!(shown("a\u{1b}[31m\n\"\u{202e}"), "\"a\\u{1b}[31m\\n\\\"\\u{202e}\"");
        assert_eq!(shown(&"ä".repeat(60)), format!("\"{}\"", "ä".repeat(60)));
        assert_eq!(shown(&"ä".repeat(61)), format!("\"{}\"…", "ä".repeat(60)));
    }
}
