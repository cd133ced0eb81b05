//! Lines in, requests out: parses each line and finds whose request it is.
//!
//! A line that can't be read, or whose client isn't proven, is counted and goes no further.

use engine::{Bolt, Collector};
use memchr::memchr_iter;
use model::client::attribute;
use model::line::{LineParser, LogFormat, Unparsed};
use model::settings::Settings;
use model::text::shown;

use crate::ports::SettingsPort;
use crate::tuples::{Formatted, LineBatch, LineCounts, MAX_LINE, Request, RequestBatch, SAMPLE_LEN};

/// The bolt.
#[derive(Debug)]
pub struct Format {
    parser: LineParser,
    settings: SettingsPort,
}

/// So many unparsed lines of a batch are shown as samples.
const SAMPLES: usize = 4;

impl Format {
    /// Reads lines in `format`.
    #[must_use]
    pub fn new(format: LogFormat, settings: SettingsPort) -> Self {
        Self { parser: LineParser::new(format), settings }
    }

    /// `line` is a part of the batch's bytes.
    fn line(&mut self, line: &[u8], settings: &Settings, batch: &mut RequestBatch, counts: &mut LineCounts) {
        counts.lines += 1;
        if line.len() > MAX_LINE {
            return unparsed(line, Unparsed::TooLong, counts);
        }
        let parsed = match self.parser.parse(line) {
            Ok(parsed) => parsed,
            Err(reason) => return unparsed(line, reason, counts),
        };
        counts.parsed += 1;
        let Ok(client) = attribute(parsed.remote, parsed.forwarded_for.as_deref(), &settings.trusted_proxies)
        else {
            counts.unattributed += 1;
            return;
        };
        let request = Request {
            key: settings.keys.key(client.address),
            second: parsed.second,
            target: batch.span(parsed.target.as_ref()),
            host: batch.span(parsed.host.as_ref()),
            uri: batch.span(parsed.uri.as_ref()),
        };
        batch.requests.push(request);
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
        let held = self.settings.load();
        let bytes = lines.bytes.clone();
        let mut counts = LineCounts::default();
        if lines.too_long > 0 {
            counts.lines += lines.too_long;
            counts.count_unparsed(Unparsed::TooLong, lines.too_long);
        }
        // Access lines are rarely shorter than this.
        let requests = Vec::with_capacity(bytes.len() / 96 + 1);
        let mut batch = RequestBatch { lines, unescaped: Vec::new(), requests };
        let mut start = 0;
        for end in memchr_iter(b'\n', &bytes) {
            self.line(&bytes[start..end], held.settings(), &mut batch, &mut counts);
            start = end + 1;
        }
        if start < bytes.len() {
            self.line(&bytes[start..], held.settings(), &mut batch, &mut counts);
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
