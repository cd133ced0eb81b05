//! Any bytes as a message of a topic, taken for each shape and several formats of lines.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use model::line::LogFormat;
use topology::spouts::kafka::envelope::{Envelope, Lines, Shape};

const NESTED: &str =
    r#"log_format j escape=json '{"c":{"ip":"$remote_addr"},"t":"$msec","message":"$http_user_agent"}';"#;

thread_local! {
    static ENVELOPES: RefCell<Vec<(Shape, Envelope)>> = RefCell::new(envelopes());
}

fn envelopes() -> Vec<(Shape, Envelope)> {
    let formats: Vec<LogFormat> =
        ["combined", "json", NESTED].iter().map(|text| text.parse().expect("a format")).collect();
    let shapes = [Shape::Auto, Shape::None, Shape::Json];
    let of = |format: &LogFormat| shapes.map(|shape| (shape, Envelope::new(shape, &Envelope::KEYS, format)));
    let nested = Envelope::new(Shape::Auto, &["event.original", "message"], &LogFormat::combined());
    formats.iter().flat_map(of).chain([(Shape::Auto, nested)]).collect()
}

fuzz_target!(|payload: &[u8]| {
    ENVELOPES.with_borrow(|envelopes| {
        for (shape, envelope) in envelopes {
            let mut lines = Lines { bytes: b"before\n".to_vec(), too_long: 0 };
            envelope.unwrap_into(Some(payload), &mut lines);
            let added = lines.bytes.strip_prefix(b"before\n").expect("what was there stays");
            assert!(added.ends_with(b"\n"), "whole lines, and at least one");
            // JSON says each byte of a text in at least one of its own.
            assert!(added.len() <= payload.len() + 1 || *shape == Shape::Json);
            if *shape == Shape::None
                || !matches!(payload.trim_ascii_start().first(), Some(b'{' | b'[')) && *shape == Shape::Auto
            {
                assert_eq!(added, [payload.strip_suffix(b"\n").unwrap_or(payload), b"\n"].concat());
            }
        }
    });
});
