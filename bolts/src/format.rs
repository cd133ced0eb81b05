//! Lines in, requests out: parses each line and finds whose request it is.
//!
//! A line that can't be read, or whose client isn't proven, is counted and goes no further.

use std::sync::Arc;

use engine::{Bolt, Collector};
use memchr::memchr_iter;
use model::client::attribute;
use model::line::{LineParser, LogFormat, Unparsed};
use model::mark::Mark;
use model::settings::Settings;
use model::text::shown;
use model::units::{Second, Seconds};

use crate::ports::SettingsPort;
use crate::tuples::{Formatted, LineBatch, LineCounts, MAX_LINE, Request, RequestBatch, SAMPLE_LEN};

/// The bolt.
#[derive(Debug)]
pub struct Format {
    /// By source; lines of others, and those without a mark, take the first.
    parsers: Vec<(Option<Arc<str>>, LineParser)>,
    settings: SettingsPort,
}

/// So many unparsed lines of a batch are shown as samples.
const SAMPLES: usize = 4;

/// With live sources, a line that is further ahead of the clock isn't counted.
pub const MAX_AHEAD: Seconds = Seconds(60);

impl Format {
    /// Reads lines in `format`.
    #[must_use]
    pub fn new(format: LogFormat, settings: SettingsPort) -> Self {
        Self { parsers: vec![(None, LineParser::new(format))], settings }
    }

    /// Reads the lines of each source in its format.
    ///
    /// # Panics
    /// Where there are none.
    #[must_use]
    pub fn of_sources(formats: Vec<(Arc<str>, LogFormat)>, settings: SettingsPort) -> Self {
        assert!(!formats.is_empty(), "a format must be given");
        let parser = |(source, format)| (Some(source), LineParser::new(format));
        Self { parsers: formats.into_iter().map(parser).collect(), settings }
    }

    fn lines(&mut self, batch: &mut RequestBatch, counts: &mut LineCounts) {
        let held = self.settings.load();
        let bytes = batch.lines.bytes.clone();
        batch.ipv6_prefix = batch.lines.mark.is_some().then(|| held.settings().keys.ipv6_prefix());
        let mark = batch.lines.mark.as_deref();
        let of_source = |(source, _): &(Option<Arc<str>>, _)| {
            source.is_some() && source.as_deref() == mark.map(Mark::origin)
        };
        let at = self.parsers.iter().position(of_source).unwrap_or(0);
        let mut reader = Reader {
            parser: &mut self.parsers[at].1,
            settings: held.settings(),
            latest: mark.map(|mark| mark.read_at.second().plus(MAX_AHEAD)),
        };
        let mut start = 0;
        for end in memchr_iter(b'\n', &bytes) {
            reader.line(&bytes[start..end], start, batch, counts);
            start = end + 1;
        }
        if start < bytes.len() {
            reader.line(&bytes[start..], start, batch, counts);
        }
    }
}

/// Reads the lines of a batch.
struct Reader<'a> {
    parser: &'a mut LineParser,
    settings: &'a Settings,
    /// With live sources, the latest time that a line may have.
    latest: Option<Second>,
}

impl Reader<'_> {
    /// `line` is the part of the batch's bytes that begins at `start`.
    fn line(&mut self, line: &[u8], start: usize, batch: &mut RequestBatch, counts: &mut LineCounts) {
        counts.lines += 1;
        if line.len() > MAX_LINE {
            return unparsed(line, Unparsed::TooLong, counts);
        }
        let parsed = match self.parser.parse(line) {
            Ok(parsed) => parsed,
            Err(reason) => return unparsed(line, reason, counts),
        };
        counts.parsed += 1;
        if let Some(latest) = self.latest {
            let (oldest, newest) = counts.span.unwrap_or((parsed.second, parsed.second));
            counts.span = Some((oldest.min(parsed.second), newest.max(parsed.second)));
            if parsed.second > latest {
                counts.future += 1;
                return;
            }
        }
        let trusted = &self.settings.trusted_proxies;
        let Ok(client) = attribute(parsed.remote, parsed.forwarded_for.as_deref(), trusted) else {
            counts.unattributed += 1;
            return;
        };
        let request = Request {
            key: self.settings.keys.key(client.address),
            second: parsed.second,
            target: batch.span(parsed.target.as_ref()),
            host: batch.span(parsed.host.as_ref()),
            uri: batch.span(parsed.uri.as_ref()),
        };
        batch.requests.push(request);
        if self.latest.is_some() {
            batch.line_starts.push(start as u32);
        }
    }
}

#[cold]
fn unparsed(line: &[u8], reason: Unparsed, counts: &mut LineCounts) {
    counts.count_unparsed(reason, 1);
    if counts.samples.len() < SAMPLES {
        counts.samples.push((reason, shown(line, SAMPLE_LEN)));
    }
}

impl Bolt for Format {
    type In = LineBatch;
    type Out = Formatted;

    fn execute(&mut self, lines: LineBatch, out: &mut Collector<'_, Formatted>) {
        let mut counts = LineCounts { mark: lines.mark.clone(), ..LineCounts::default() };
        if lines.too_long > 0 {
            counts.lines += lines.too_long;
            counts.count_unparsed(Unparsed::TooLong, lines.too_long);
        }
        // Access lines are rarely shorter than this.
        let requests = Vec::with_capacity(lines.bytes.len() / 96 + 1);
        let mut batch = RequestBatch { lines, requests, ..RequestBatch::default() };
        self.lines(&mut batch, &mut counts);
        if counts.future > 0 {
            out.error("future", counts.future);
        }
        if counts.unparsed.iter().any(|&n| n > 0) {
            for (reason, n) in Unparsed::ALL.iter().zip(counts.unparsed) {
                if n > 0 {
                    out.error(reason.name(), n);
                }
            }
        }
        out.emit(Formatted::Requests(batch));
        out.emit(Formatted::Counts(Box::new(counts)));
    }
}
