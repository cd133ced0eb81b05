//! From lines to requests.

use std::borrow::Cow;
use std::sync::Arc;

use engine::Tuple;
use model::key::Key;
use model::line::Unparsed;
use model::mark::Mark;
use model::units::Second;
use model::url::UrlParts;
use serde::{Deserialize, Serialize};

/// Whole access lines with their line feeds, as a source read them. Only the last may lack its line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineBatch {
    /// The lines. Shared, for the engine keeps every batch until it is acked.
    pub bytes: Arc<Vec<u8>>,
    /// How many lines the source cut out because they were longer than a line may be.
    pub too_long: u64,
    /// Where it came from, with live sources.
    pub mark: Option<Arc<Mark>>,
    /// How many lines `bytes` has.
    lines: u64,
}

impl LineBatch {
    /// A batch of the lines in `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let unclosed = bytes.last().is_some_and(|&byte| byte != b'\n');
        let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64 + u64::from(unclosed);
        Self { bytes: Arc::new(bytes), too_long: 0, mark: None, lines }
    }

    /// The same batch, from there.
    #[must_use]
    pub fn marked(self, mark: Mark) -> Self {
        Self { mark: Some(Arc::new(mark)), ..self }
    }

    /// A batch that only tells of a line which was too long.
    #[must_use]
    pub fn too_long() -> Self {
        Self { too_long: 1, ..Self::default() }
    }
}

impl Tuple for LineBatch {
    fn records(&self) -> u64 {
        self.lines + self.too_long
    }
}

/// A line with more bytes is cut out and counted, so that memory stays bounded whatever comes.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// A part of a batch's bytes; see [`RequestBatch::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

impl Span {
    /// Nothing there.
    pub const NONE: Self = Self { start: u32::MAX, length: 0 };
}

/// A parsed and attributed request: what is needed to find its rule and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose.
    pub key: Key,
    /// When.
    pub second: Second,
    /// The request's target, as [`UrlParts::target`].
    pub target: Span,
    /// The logged host.
    pub host: Span,
    /// The logged `$uri`.
    pub uri: Span,
}

/// Requests as spans of their lines.
#[derive(Clone, Debug, Default)]
pub struct RequestBatch {
    /// The bytes that spans point into.
    pub lines: LineBatch,
    /// Values that had to be unescaped; spans point into them from `lines.bytes.len()` on.
    pub unescaped: Vec<u8>,
    /// In the order of their lines.
    pub requests: Vec<Request>,
    /// For each request where its line begins; with live sources only.
    pub line_starts: Vec<u32>,
    /// By what length of IPv6 prefixes their keys were made; with live sources only.
    pub ipv6_prefix: Option<u8>,
}

impl Tuple for RequestBatch {
    fn records(&self) -> u64 {
        self.requests.len() as u64
    }
}

impl RequestBatch {
    /// The bytes of a span.
    #[must_use]
    pub fn text(&self, span: Span) -> Option<&[u8]> {
        let (start, length) = (span.start as usize, span.length as usize);
        match start.checked_sub(self.lines.bytes.len()) {
            _ if span == Span::NONE => None,
            None => self.lines.bytes.get(start..start + length),
            Some(start) => self.unescaped.get(start..start + length),
        }
    }

    /// The span of a value: where it stands in this batch's lines, or where it stands once it is copied, which
    /// is for values that had to be unescaped.
    pub fn span(&mut self, value: Option<&Cow<'_, [u8]>>) -> Span {
        let Some(value) = value else { return Span::NONE };
        let lines = self.lines.bytes.as_ptr_range();
        // A part of the lines is told by its address.
        let start = match value {
            Cow::Borrowed(text) if lines.contains(&text.as_ptr()) => {
                text.as_ptr().addr() - lines.start.addr()
            }
            text => {
                self.unescaped.extend_from_slice(text);
                self.lines.bytes.len() + self.unescaped.len() - text.len()
            }
        };
        Span { start: start as u32, length: value.len() as u32 }
    }

    /// What a request of this batch says about its URL.
    #[must_use]
    pub fn url_parts(&self, request: &Request) -> UrlParts<'_> {
        UrlParts {
            target: self.text(request.target),
            host: self.text(request.host),
            uri: self.text(request.uri),
        }
    }
}

/// How lines fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// All lines.
    pub lines: u64,
    /// Those that could be read.
    pub parsed: u64,
    /// Of the parsed ones those whose client isn't proven.
    pub unattributed: u64,
    /// Those that couldn't be read, by reason, in the order of [`Unparsed::ALL`].
    pub unparsed: [u64; Unparsed::ALL.len()],
    /// Those that lie too far in the future to be counted.
    pub future: u64,
    /// With live sources, where they came from.
    pub mark: Option<Arc<Mark>>,
    /// With live sources, the oldest and the newest time of a parsed line.
    pub span: Option<(Second, Second)>,
    /// The first few unparsed lines of the batch, cut to [`SAMPLE_LEN`] bytes.
    pub samples: Vec<(Unparsed, String)>,
}

/// At most so many bytes of an unparsed line are shown.
pub const SAMPLE_LEN: usize = 80;

impl LineCounts {
    /// Counts lines that couldn't be read.
    pub fn count_unparsed(&mut self, reason: Unparsed, lines: u64) {
        let at = Unparsed::ALL.iter().position(|&known| known == reason);
        self.unparsed[at.expect("ALL has every reason")] += lines;
    }
}

impl Tuple for LineCounts {
    fn records(&self) -> u64 {
        self.lines
    }
}

/// What format emits for each batch of lines: the requests, then the counts.
#[derive(Clone, Debug)]
pub enum Formatted {
    /// On the default stream.
    Requests(RequestBatch),
    /// On the stream of counts.
    Counts(Box<LineCounts>),
}

impl Tuple for Formatted {
    fn records(&self) -> u64 {
        match self {
            Self::Requests(batch) => batch.records(),
            Self::Counts(counts) => counts.records(),
        }
    }
}

impl Formatted {
    /// Takes the counts out of the stream.
    ///
    /// # Errors
    /// Gives back what isn't counts.
    pub fn counts(self) -> Result<LineCounts, Self> {
        match self {
            Self::Counts(counts) => Ok(*counts),
            other => Err(other),
        }
    }
}

/// What stays when the counts are taken out.
impl From<Formatted> for RequestBatch {
    fn from(formatted: Formatted) -> Self {
        match formatted {
            Formatted::Requests(batch) => batch,
            Formatted::Counts(_) => Self::default(),
        }
    }
}

/// Requests as they come on local edges from [`Format`](crate::Format).
#[derive(Clone, Debug)]
pub struct Requests(pub RequestBatch);

impl Tuple for Requests {
    fn records(&self) -> u64 {
        self.0.records()
    }
}

impl From<Formatted> for Requests {
    fn from(formatted: Formatted) -> Self {
        Self(formatted.into())
    }
}
