//! Any text as a `log_format`, and below a line of `---` an access line in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::line::{LineParser, LogFormat};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (format, line) = text.split_once("\n---\n").unwrap_or((text, ""));
    let Ok(format) = format.parse::<LogFormat>() else {
        return;
    };
    let proxies = fuzz::proxies();
    let mut parser = LineParser::new(format);
    for line in line.split('\n') {
        fuzz::check_line(&mut parser, line.as_bytes(), &proxies);
    }
});
