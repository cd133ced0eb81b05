//! A `log_format`, compiled.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::combined;
use super::directive::{self, Escape};
use super::error::LogFormatError;
use super::fields::Fields;
use super::json::JsonFormat;
use super::role::{Role, require};
use super::template::Template;
use super::{Line, Unparsed, present};
use crate::time::TimeCache;

/// How access lines are written. Made from `combined`, `json`, or what stands in `nginx.conf`:
///
/// ```
/// use model::line::{LineParser, LogFormat};
///
/// let format: LogFormat = r#"$remote_addr [$time_local] "$request" $status "$http_x_forwarded_for""#.parse()?;
/// let mut parser = LineParser::new(format);
/// let line = br#"192.0.2.1 [22/Nov/2026:10:09:00 +0000] "GET /a HTTP/1.1" 200 "198.51.100.7""#;
/// let parsed = parser.parse(line).unwrap();
/// assert_eq!(parsed.target.as_deref(), Some(&b"/a"[..]));
/// assert_eq!(parsed.forwarded_for.as_deref(), Some(&b"198.51.100.7"[..]));
/// # Ok::<(), model::line::LogFormatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogFormat {
    layout: Arc<Layout>,
}

#[derive(Debug)]
enum Layout {
    /// Begins like `combined`; `tail` is what follows, cut behind the last field that matters.
    Combined {
        tail: Template,
        whole_tail: Template,
    },
    Text(Template),
    Json(JsonFormat),
}

const COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

/// The literals and variables of the part that `combined.rs` reads.
const CORE: [(&str, Role); 6] = [
    ("", Role::Address),
    (" - ", Role::Other),
    (" [", Role::TimeLocal),
    ("] \"", Role::Request),
    ("\" ", Role::Status),
    (" ", Role::Bytes),
];

impl Default for LogFormat {
    fn default() -> Self {
        Self::combined()
    }
}

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text.trim() {
            "combined" => Ok(Self::combined()),
            "json" => Ok(Self::with(Layout::Json(JsonFormat::by_variable_names()))),
            word if !word.is_empty() && !word.contains(['$', ' ']) => {
                Err(LogFormatError::Unknown(word.to_owned()))
            }
            text => Self::compile(text),
        }
    }
}

impl LogFormat {
    /// nginx's `combined`, and Apache's.
    #[must_use]
    pub fn combined() -> Self {
        Self::compile(COMBINED).expect("combined compiles: a test holds it")
    }

    fn with(layout: Layout) -> Self {
        Self { layout: Arc::new(layout) }
    }

    fn compile(text: &str) -> Result<Self, LogFormatError> {
        let (escape, template) = directive::read(text)?;
        if let Some(json) = JsonFormat::compile(&template)? {
            return Ok(Self::with(Layout::Json(json)));
        }
        let mut template = Template::compile(directive::parts(&template)?, escape)?;
        if !template.pieces().iter().any(|piece| piece.role.is_target()) {
            template.uri_as_target();
        }
        require(template.pieces().iter().map(|piece| piece.role))?;
        let core = template.pieces().iter().zip(CORE);
        let is_core = |((piece, core), at): ((&super::template::Piece, (&str, Role)), usize)| {
            piece.literal == core.0.as_bytes()
                && piece.role == core.1
                && (at != 1 || piece.name == "remote_user")
        };
        let begins_like_combined = core.zip(0..).filter(|&pair| is_core(pair)).count() == CORE.len();
        let next = template.pieces().get(CORE.len());
        if begins_like_combined
            && escape != Escape::None
            && next.is_none_or(|piece| piece.literal.starts_with(b" "))
        {
            let whole_tail = template.tail(CORE.len());
            let tail = whole_tail.clone().trimmed();
            return Ok(Self::with(Layout::Combined { tail, whole_tail }));
        }
        Ok(Self::with(Layout::Text(template)))
    }

    /// With JSON lines, the keys that hold `$remote_addr`, nested ones as `outer.inner`; every line has them all. Other
    /// formats have none.
    #[must_use]
    pub fn json_address_keys(&self) -> Vec<&str> {
        match &*self.layout {
            Layout::Json(json) => json.address_keys().collect(),
            Layout::Combined { .. } | Layout::Text(_) => Vec::new(),
        }
    }

    #[inline(always)]
    pub(super) fn parse<'a>(&self, line: &'a [u8], times: &mut TimeCache) -> Result<Line<'a>, Unparsed> {
        match &*self.layout {
            Layout::Combined { tail, .. } => {
                let core = combined::parse(line, times)?;
                let mut parsed = core.line();
                if !tail.pieces().is_empty() {
                    tail.run(line, core.end, |piece, span| {
                        let value = Cow::Borrowed(&line[span]);
                        match piece.role {
                            Role::Host => parsed.host = present(value),
                            Role::Uri => parsed.uri = present(value),
                            Role::ForwardedFor => parsed.forwarded_for = present(value),
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
                Ok(parsed)
            }
            Layout::Text(template) => {
                let mut fields = Fields::default();
                template
                    .run(line, 0, |piece, span| fields.take(piece.role, Cow::Borrowed(&line[span]), times))?;
                fields.line()
            }
            Layout::Json(json) => json.parse(line, times),
        }
    }

    pub(super) fn fields<'a>(&self, line: &'a [u8]) -> Vec<(String, Cow<'a, [u8]>)> {
        let mut fields: Vec<(String, Cow<'a, [u8]>)> = Vec::new();
        let (template, start) = match &*self.layout {
            Layout::Json(json) => return json.fields(line),
            Layout::Text(template) => (template, 0),
            Layout::Combined { whole_tail, .. } => {
                let Ok(core) = combined::parse(line, &mut TimeCache::default()) else {
                    return fields;
                };
                let address_end = memchr::memchr(b' ', line).unwrap_or(0);
                for (name, value) in [
                    ("remote_addr", &line[..address_end]),
                    ("remote_user", core.user),
                    ("time_local", core.time),
                    ("request", core.request),
                    ("status", &line[core.end - core.bytes.len() - 4..core.end - core.bytes.len() - 1]),
                    ("body_bytes_sent", core.bytes),
                ] {
                    fields.push((name.to_owned(), Cow::Borrowed(value)));
                }
                (whole_tail, core.end)
            }
        };
        // How far it came is what is shown; why it stopped is the parser's to say.
        let _ = template.run(line, start, |piece, span| {
            fields.push((piece.name.clone(), Cow::Borrowed(&line[span])));
            Ok(())
        });
        fields
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.layout {
            Layout::Combined { .. } => "text that begins like `combined`",
            Layout::Text(_) => "text by its log_format",
            Layout::Json(_) => "JSON lines",
        })
    }
}
