//! `ccfirewall explain`: what each stage makes of a line.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt as _;

use model::client::{Unattributed, attribute};
use model::line::{Line, LineParser};
use model::rule::RuleId;
use model::settings::Settings;
use model::text::shown;

use super::OK;
use super::inputs::Rules;
use bolts::ports::PlaceLookup;

/// Show what each stage makes of access lines: fields, client and why that one, place, URL, rule, guards
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ccfirewall explain '203.0.113.7 - - [22/Nov/2026:10:09:00 +0000] \"GET /login HTTP/1.1\" 200 5'
  tail -n 3 /var/log/nginx/access.log | ccfirewall explain -s settings.json -")]
pub(super) struct Args {
    #[command(flatten)]
    rules: Rules,
    /// Access lines, each as one argument; - reads them from standard input
    #[arg(required = true, value_name = "LINE")]
    lines: Vec<OsString>,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let explainer = Explainer {
            settings: self.rules.settings()?,
            parser: LineParser::new(self.rules.log_format()?),
            places: self.rules.places()?,
        };
        let mut out = io::stdout().lock();
        for line in &self.lines {
            if line == "-" {
                for line in io::stdin().lock().split(b'\n') {
                    explainer.explain(&mut out, &line?)?;
                }
            } else {
                explainer.explain(&mut out, line.as_bytes())?;
            }
        }
        Ok(OK)
    }
}

/// Longer values are cut.
const LONGEST: usize = 500;

struct Explainer {
    settings: Settings,
    parser: LineParser,
    places: std::sync::Arc<dyn PlaceLookup>,
}

impl Explainer {
    fn explain(&self, out: &mut impl Write, line: &[u8]) -> io::Result<()> {
        writeln!(out, "line      {}", shown(line, LONGEST))?;
        for (name, value) in self.parser.fields(line) {
            writeln!(out, "field     {name} = {}", shown(&value, LONGEST))?;
        }
        match self.parser.clone().parse(line) {
            Err(reason) => {
                writeln!(out, "unparsed  {}: {reason}", reason.name())?;
                writeln!(out, "          it counts as unparsed, and against nobody")?;
            }
            Ok(parsed) => self.explain_parsed(out, &parsed)?,
        }
        writeln!(out)
    }

    fn explain_parsed(&self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        writeln!(out, "time      {}", line.second)?;
        let trusted = &self.settings.trusted_proxies;
        let client = match attribute(line.remote, line.forwarded_for.as_deref(), trusted) {
            Ok(client) => client,
            Err(reason) => return explain_unattributed(out, &reason),
        };
        let why = match client.hop {
            0 if trusted.is_empty() => "the TCP peer; no trusted_proxies are set".to_owned(),
            0 => "the TCP peer, which isn't in trusted_proxies".to_owned(),
            hop => format!(
                "hop {hop} from the right of X-Forwarded-For, the first that isn't in trusted_proxies"
            ),
        };
        writeln!(out, "client    {}: {why}", client.address)?;
        let target = self.settings.keys.network(self.settings.keys.key(client.address));
        writeln!(out, "counted   as {target} ({})", self.settings.keys)?;
        let place = self.places.place(client.address).unwrap_or_default();
        let parts = [place.country, place.province, place.area].into_iter().flatten();
        let place = parts.map(|part| part.to_string()).collect::<Vec<_>>().join(", ");
        writeln!(out, "place     {}", if place.is_empty() { "unknown" } else { &place })?;

        let url = line.url_parts();
        let url = url.url(self.settings.default_host.as_deref());
        match &url {
            None => writeln!(out, "url       none: the request names no path")?,
            Some(url) => {
                let host = url.host.as_deref().map_or("(any host)".to_owned(), |host| shown(host, LONGEST));
                writeln!(out, "url       {host}{}", shown(url.path, LONGEST))?;
            }
        }
        let id = self.settings.rules.find(url.as_ref());
        match self.settings.rules.get(id) {
            None => writeln!(out, "rule      none: tallied for records, counts towards no decision")?,
            Some(rule) => {
                let count = self.settings.count;
                let name =
                    if id == RuleId::GLOBAL { "global".to_owned() } else { format!("special {}", rule.name) };
                writeln!(out, "rule      {name}: {}", levels(&self.settings, rule, count.get()))?;
            }
        }
        let guard = if self.settings.protected.overlaps(&target) {
            "protected: never blocked or warned"
        } else if self.settings.allowlist.overlaps(&target) {
            "allowlisted (ip_white_list): never blocked or warned"
        } else {
            "none: decisions apply"
        };
        writeln!(out, "guards    {guard}")
    }
}

fn explain_unattributed(out: &mut impl Write, reason: &Unattributed) -> io::Result<()> {
    writeln!(out, "client    unattributed: {reason}")?;
    writeln!(out, "          it counts as unattributed, and against nobody")
}

fn levels(settings: &Settings, rule: &model::rule::Rule, count: u32) -> String {
    let mut levels = Vec::new();
    if settings.block_enabled {
        levels.push(format!("block for {} at {count} requests within {}", rule.block_for, rule.block_within));
    }
    if settings.warn_enabled {
        levels.push(format!("warn at {count} within {}", rule.warn_within));
    }
    if levels.is_empty() { "blocking and warning are both off".to_owned() } else { levels.join(", ") }
}
