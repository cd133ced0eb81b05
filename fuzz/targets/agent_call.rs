//! Any bytes as what an owner (or whoever else) sends to an agent: the scanner finds the same end of the call however
//! the bytes come in.
#![no_main]

use ccfirewall_thrift::message::{Malformed, Scanner, Step};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fn end(scanner: &mut Scanner, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    loop {
        match scanner.advance(bytes)? {
            Step::More => return Ok(None),
            Step::Key(key) => assert!(key.end <= bytes.len()),
            Step::Done(length) => {
                assert!(length <= bytes.len() && length <= LIMIT);
                return Ok(Some(length));
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let at_once = end(&mut Scanner::new(LIMIT, 100), bytes);
    let mut scanner = Scanner::new(LIMIT, 100);
    for come in 1..=bytes.len() {
        match end(&mut scanner, &bytes[..come]) {
            Ok(None) => {}
            Ok(Some(length)) => {
                assert_eq!(at_once, Ok(Some(length)));
                return;
            }
            Err(_) => {
                assert!(at_once.is_err());
                return;
            }
        }
    }
});
