//! Do lines come at once, or in bursts? Where nginx keeps them back (`buffer=`), a flood is seen late.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::finding::{Finding, ago};
use super::growth::Growth;

const CHECK: &str = "buffering";

/// Where nginx's configuration is.
pub(super) const FOLDER: &str = "/etc/nginx";

/// An `access_log` of nginx's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AccessLog {
    path: String,
    /// What stands behind the path: format, `buffer=32k`, `flush=5s`, `gzip`.
    options: Vec<String>,
}

/// Looks at nginx's configuration, and at what was written just now.
pub(super) fn buffering(log: &Path, folder: &Path, growth: &Growth) -> Finding {
    if let Some(late) = burst(growth) {
        return Finding::warn(
            CHECK,
            format!("what was written just now had been kept back for up to {}", ago(late)),
            "take `buffer=` out of nginx's access_log, or add `flush=1s`: a flood is blocked that much later",
        );
    }
    if !folder.is_dir() {
        return Finding::skipped(CHECK, format!("no {} here to look at", folder.display()));
    }
    match configuration(folder) {
        Err(error) => Finding::skipped(CHECK, format!("{} can't be read: {error}", folder.display())),
        Ok(texts) => {
            let logs: Vec<AccessLog> = texts.iter().flat_map(|text| access_logs(text)).collect();
            judge(log, &logs)
        }
    }
}

/// The age in seconds of the oldest line that was written while we watched, where that is more than writing takes
/// and the newest is fresh, so that the clocks agree.
fn burst(growth: &Growth) -> Option<u64> {
    let now = growth.now.second();
    let newest = growth.lines.newest?.behind(now);
    let oldest = growth.lines.oldest?.behind(now);
    let waited = growth.waited.as_secs().cast_signed();
    (newest.abs() <= 2 && oldest > waited + 3).then(|| oldest.unsigned_abs())
}

fn judge(log: &Path, all: &[AccessLog]) -> Finding {
    let file = |path: &str| fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    let here = file(&log.to_string_lossy());
    let ours: Vec<&AccessLog> = all.iter().filter(|other| file(&other.path) == here).collect();
    if ours.is_empty() {
        let files = all.iter().map(|log| log.path.as_str()).filter(|path| path.starts_with('/'));
        let mut files: Vec<&str> = files.take(5).collect();
        files.sort_unstable();
        files.dedup();
        return if files.is_empty() {
            Finding::skipped(CHECK, "nginx's configuration names no access_log, so nothing is known")
        } else {
            Finding::warn(
                CHECK,
                format!(
                    "nginx's configuration has no access_log that writes to it; there is {}",
                    files.join(", ")
                ),
                "name the log that nginx writes to, unless another program writes this one",
            )
        };
    }
    let option = |name: &str| {
        let mut options = ours.iter().flat_map(|log| &log.options);
        options.find(|option| option.as_str() == name || option.starts_with(&format!("{name}="))).cloned()
    };
    if let Some(gzip) = option("gzip") {
        return Finding::bad(
            CHECK,
            format!("nginx writes it compressed ({gzip}), which can't be followed"),
            "take `gzip` out of that access_log",
        );
    }
    let (buffer, flush) = (option("buffer"), option("flush"));
    match (buffer, flush.as_deref().map(|flush| millis(&flush["flush=".len().min(flush.len())..]))) {
        (Some(buffer), Some(Some(flush))) if flush <= 1000 => {
            Finding::ok(CHECK, format!("nginx keeps lines back ({buffer}) for a second at most"))
        }
        (Some(buffer), None) => Finding::warn(
            CHECK,
            format!("nginx keeps lines back until a buffer is full ({buffer}), so a flood is seen late"),
            "take `buffer=` out of that access_log, or add `flush=1s`",
        ),
        (buffer, Some(_)) => {
            let options = [buffer, flush].into_iter().flatten().collect::<Vec<_>>().join(" ");
            Finding::warn(
                CHECK,
                format!("nginx keeps lines back ({options}), so a flood is seen that much later"),
                "take `buffer=` out of that access_log, or make it `flush=1s`",
            )
        }
        (None, None) => Finding::ok(CHECK, "nginx writes each line at once"),
    }
}

/// nginx's times: `500ms`, `5s`, `1m`, `1m30s`, and seconds without a unit.
fn millis(text: &str) -> Option<u64> {
    let (mut total, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("", 1000)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(number.checked_mul(factor)?)?;
    }
    Some(total)
}

/// The texts of nginx's configuration, bounded.
fn configuration(folder: &Path) -> io::Result<Vec<String>> {
    const FILES: usize = 500;
    const BYTES: u64 = 1 << 20;
    const DEPTH: usize = 4;
    let mut texts = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let is_site = folder.ends_with("sites-enabled");
            if path.is_dir() {
                if depth < DEPTH && !path.ends_with("sites-available") {
                    folders.push((path, depth + 1));
                }
            } else if path.is_file() && (is_site || path.extension().is_some_and(|end| end == "conf")) {
                let mut bytes = Vec::new();
                File::open(&path)?.take(BYTES).read_to_end(&mut bytes)?;
                texts.push(String::from_utf8_lossy(&bytes).into_owned());
                if texts.len() == FILES {
                    return Ok(texts);
                }
            }
        }
    }
    Ok(texts)
}

/// The `access_log`s of a text that really write to a file.
fn access_logs(text: &str) -> Vec<AccessLog> {
    let mut logs = Vec::new();
    for words in statements(text) {
        if let [name, path, options @ ..] = words.as_slice()
            && name == "access_log"
            && path != "off"
        {
            logs.push(AccessLog { path: path.clone(), options: options.to_vec() });
        }
    }
    logs
}

/// Statements as words: up to `;`, `{` or `}`, without comments, quotes taken off.
fn statements(text: &str) -> Vec<Vec<String>> {
    let (mut statements, mut words, mut word) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_empty() => {
                // The rest of the line.
                chars.by_ref().find(|&c| c == '\n');
            }
            quote @ ('"' | '\'') if word.is_empty() => {
                while let Some(c) = chars.next().filter(|&c| c != quote) {
                    word.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
                }
                words.push(std::mem::take(&mut word));
            }
            ';' | '{' | '}' => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                statements.push(std::mem::take(&mut words));
            }
            c if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::units::{Moment, Second};

    use super::super::finding::Level;
    use super::super::lines::Read;
    use super::super::logs::Look;
    use super::*;

    fn growth(oldest: i64, newest: i64) -> Growth {
        let lines = Read { oldest: Some(Second(oldest)), newest: Some(Second(newest)), ..Read::default() };
        let first = Look { size: 1, written: Moment(0), inode: 1 };
        Growth { first, second: None, now: Moment(1_000_000), waited: Duration::from_secs(2), lines }
    }

    fn check(conf: &str, level: Level, part: &str) {
        let finding = judge(Path::new("/nonexistent/a.log"), &access_logs(conf));
        assert_eq!(finding.level, level, "{conf}: {finding:?}");
        assert!(finding.found.contains(part), "{conf}: {finding:?}");
    }

    #[test]
    fn what_nginx_is_told() {
        check("", Level::Skipped, "nothing is known");
        check("access_log off;", Level::Skipped, "");
        check("http { access_log /nonexistent/a.log; }", Level::Ok, "at once");
        check("access_log /nonexistent/b.log main;", Level::Warn, "/nonexistent/b.log");
        check("access_log '/nonexistent/a.log' main buffer=32k;", Level::Warn, "buffer=32k");
        check("access_log /nonexistent/a.log main buffer=32k flush=5s;", Level::Warn, "flush=5s");
        check("access_log /nonexistent/a.log main buffer=32k flush=1s;", Level::Ok, "a second at most");
        check("access_log /nonexistent/a.log main buffer=32k flush=500ms;", Level::Ok, "");
        check("access_log /nonexistent/a.log main buffer=32k flush=;", Level::Ok, "");
        check("access_log /nonexistent/a.log main flush=1m;", Level::Warn, "flush=1m");
        check("access_log /nonexistent/a.log main gzip=5;", Level::Bad, "compressed");
        check("# access_log /nonexistent/a.log x buffer=1k;\naccess_log /nonexistent/a.log;", Level::Ok, "");
        check("access_log \"/nonexistent/a.log", Level::Skipped, "");
    }

    #[test]
    fn the_whole_configuration_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let sites = folder.path().join("sites-enabled");
        fs::create_dir_all(&sites).unwrap();
        fs::write(folder.path().join("nginx.conf"), "http { include sites-enabled/*; }").unwrap();
        fs::write(sites.join("shop"), format!("server {{ access_log {} main buffer=4k; }}", log.display()))
            .unwrap();
        let finding = buffering(&log, folder.path(), &growth(1000, 1000));
        assert_eq!(finding.level, Level::Warn, "{finding:?}");
        let none = buffering(&log, &folder.path().join("none"), &growth(1000, 1000));
        assert_eq!(none.level, Level::Skipped);
    }

    #[test]
    fn bursts_are_seen() {
        assert_eq!(burst(&growth(999, 1000)), None);
        assert_eq!(burst(&growth(980, 1000)), Some(20));
        assert_eq!(burst(&growth(980, 985)), None, "the clocks don't agree");
    }

    #[test]
    fn times_of_nginx() {
        for (text, expect) in
            [("5s", Some(5000)), ("1m30s", Some(90_000)), ("500ms", Some(500)), ("2", Some(2000))]
        {
            assert_eq!(millis(text), expect);
        }
        for bad in ["s", "1x", "-1s", "99999999999999999999s"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
