//! What the scanner must bear, and that it never errs about where a call ends.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::server::TProcessor as _;

use super::*;
use crate::generated::{
    CCfirewallAgentSyncClient, CCfirewallAgentSyncHandler, CCfirewallAgentSyncProcessor,
    CCfirewallSyncHandler, TCCfirewallAgentSyncClient as _, TCCfirewallSyncClient as _,
};
use crate::{Answer, Ban, Held, Status};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Call {
    Block(String, String),
    Unblock(String, String),
    Apply(String, i64, Vec<(String, i64)>, Vec<String>),
    Sync(String, i64, Vec<(String, i64)>, bool, bool),
    Held(String, i64, i32),
    Status(String),
}

fn bans(bans: &[(String, i64)]) -> Vec<Ban> {
    bans.iter().map(|(target, left)| Ban::new(target.clone(), *left, String::new())).collect()
}

/// What the generated client writes for a call.
fn written(call: &Call, strict: bool) -> Vec<u8> {
    let output = Written::default();
    let mut client = CCfirewallAgentSyncClient::new(
        TBinaryInputProtocol::new(io::empty(), false),
        TBinaryOutputProtocol::new(output.clone(), strict),
    );
    // Nothing answers.
    let _ = match call.clone() {
        Call::Block(mkey, ip) => client.blockipbyiptables(mkey, ip).is_ok(),
        Call::Unblock(mkey, ip) => client.unblockipbyiptables(mkey, ip).is_ok(),
        Call::Apply(mkey, epoch, block, unblock) => client.apply(mkey, epoch, bans(&block), unblock).is_ok(),
        Call::Sync(mkey, epoch, held, first, last) => {
            client.sync(mkey, epoch, bans(&held), first, last).is_ok()
        }
        Call::Held(mkey, offset, limit) => client.held(mkey, offset, limit).is_ok(),
        Call::Status(mkey) => client.status(mkey).is_ok(),
    };
    output.0.lock().unwrap().clone()
}

/// Answers everything with nothing.
struct Nothing;

impl CCfirewallSyncHandler for Nothing {
    fn handle_blockipbyiptables(&self, _: String, _: String) -> thrift::Result<String> {
        Ok(String::new())
    }
    fn handle_unblockipbyiptables(&self, _: String, _: String) -> thrift::Result<String> {
        Ok(String::new())
    }
}

impl CCfirewallAgentSyncHandler for Nothing {
    fn handle_apply(&self, _: String, _: i64, _: Vec<Ban>, _: Vec<String>) -> thrift::Result<Answer> {
        Ok(Answer::default())
    }
    fn handle_sync(&self, _: String, _: i64, _: Vec<Ban>, _: bool, _: bool) -> thrift::Result<Answer> {
        Ok(Answer::default())
    }
    fn handle_held(&self, _: String, _: i64, _: i32) -> thrift::Result<Held> {
        Ok(Held::default())
    }
    fn handle_status(&self, _: String) -> thrift::Result<Status> {
        Ok(Status::default())
    }
}

/// Has the generated code read a message that the scanner has passed. It answers, if only with an exception.
fn decode(message: &[u8]) {
    let mut answer = Vec::new();
    let mut input = TBinaryInputProtocol::new(message, false);
    let mut output = TBinaryOutputProtocol::new(&mut answer, true);
    // A name that isn't UTF-8 can't be answered; the connection is closed.
    let answered = CCfirewallAgentSyncProcessor::new(Nothing).process(&mut input, &mut output);
    assert!(answered.is_err() || !answer.is_empty());
}

/// The last step for `bytes` with this limit, and the key on the way to it.
fn scan(bytes: &[u8], limit: usize) -> Result<(Step, Option<Range<usize>>), Malformed> {
    let mut scanner = Scanner::new(limit, 1000);
    let mut key = None;
    loop {
        match scanner.advance(bytes)? {
            Step::Key(range) => assert!(key.replace(range).is_none(), "the key comes once"),
            step => return Ok((step, key)),
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    let text = || "[a-z0-9.:/]{0,20}";
    let some = || proptest::collection::vec((text(), any::<i64>()), 0..5);
    prop_oneof![
        (text(), text()).prop_map(|(mkey, ip)| Call::Block(mkey, ip)),
        (text(), text()).prop_map(|(mkey, ip)| Call::Unblock(mkey, ip)),
        (text(), any::<i64>(), some(), proptest::collection::vec(text(), 0..5))
            .prop_map(|(mkey, epoch, block, unblock)| Call::Apply(mkey, epoch, block, unblock)),
        (text(), any::<i64>(), some(), any::<bool>(), any::<bool>())
            .prop_map(|(mkey, epoch, held, first, last)| Call::Sync(mkey, epoch, held, first, last)),
        (text(), any::<i64>(), any::<i32>())
            .prop_map(|(mkey, offset, limit)| Call::Held(mkey, offset, limit)),
        text().prop_map(Call::Status),
    ]
}

fn key_of(call: &Call) -> &str {
    match call {
        Call::Block(mkey, _)
        | Call::Unblock(mkey, _)
        | Call::Apply(mkey, ..)
        | Call::Sync(mkey, ..)
        | Call::Held(mkey, ..)
        | Call::Status(mkey) => mkey,
    }
}

/// Every field of every call is of a type that the interface gives it, and none is missing among the shapes.
#[test]
fn the_shapes_are_those_of_the_interface() {
    let calls = [
        Call::Block("k".into(), "i".into()),
        Call::Unblock("k".into(), "i".into()),
        Call::Apply("k".into(), 1, vec![("t".into(), 1)], vec!["t".into()]),
        Call::Sync("k".into(), 1, vec![("t".into(), 1)], true, false),
        Call::Held("k".into(), 1, 1),
        Call::Status("k".into()),
    ];
    assert_eq!(calls.len(), CALLS.len());
    for call in &calls {
        let bytes = written(call, true);
        assert!(matches!(scan(&bytes, 1000), Ok((Step::Done(_), Some(_)))), "{call:?}");
        let name = usize::try_from(number(&bytes, 4).unwrap()).unwrap();
        // Any other type of the key is noticed, so the call is known by its name.
        let mut wrong = bytes.clone();
        wrong[8 + name + 4] = I64;
        assert_eq!(scan(&wrong, 1000), Err(Malformed::WrongType), "{call:?}");
    }
}

#[test]
fn what_speaks_something_else_is_noticed_at_its_first_bytes() {
    for bytes in [&b"G"[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", b"\x00\x00\x01\x00", b"SSH-2.0"]
    {
        assert_eq!(scan(bytes, 1000), Err(Malformed::NotThrift), "{bytes:?}");
    }
    assert_eq!(scan(b"\x80\x01\x00\x02\0\0\0\x01x\0\0\0\0", 1000), Err(Malformed::NotACall));
}

#[test]
fn lengths_are_held_against_what_the_message_may_hold() {
    // An unknown call with one field of this type and these bytes.
    let check = |kind: u8, value: &[u8], expect: Result<Step, Malformed>| {
        let mut bytes = b"\x80\x01\x00\x01\0\0\0\x01x\0\0\0\0".to_vec();
        bytes.extend_from_slice(&[kind, 0, 9]);
        bytes.extend_from_slice(value);
        assert_eq!(scan(&bytes, 1000).map(|(step, _)| step), expect, "{kind} {value:?}");
    };
    check(TEXT, &[0x7f, 255, 255, 255], Err(Malformed::TooLarge));
    check(TEXT, &[255, 255, 255, 255], Err(Malformed::Negative));
    check(TEXT, &[0, 0, 0, 9], Ok(Step::More));
    check(LIST, &[STRUCT, 0x7f, 255, 255, 255], Err(Malformed::TooLarge));
    check(LIST, &[STRUCT, 0, 0, 3, 232], Err(Malformed::TooLarge));
    check(LIST, &[STRUCT, 0, 0, 0, 100], Ok(Step::More));
    check(LIST, &[I64, 0, 0, 0, 200], Err(Malformed::TooLarge));
    check(LIST, &[I64, 128, 0, 0, 0], Err(Malformed::Negative));
    check(LIST, &[1, 0, 0, 0, 1], Err(Malformed::WrongType));
    check(MAP, &[0, 0, 0, 0, 0, 0, 0], Ok(Step::Done(23)));
    check(MAP, &[BOOL, BOOL, 0, 0, 0, 1, 1, 1, 0], Ok(Step::Done(25)));
    check(MAP, &[TEXT, LIST, 0x7f, 255, 255, 255], Err(Malformed::TooLarge));
    check(5, &[], Err(Malformed::WrongType));
    check(STRUCT, &[STRUCT, 0, 1].repeat(15), Err(Malformed::TooDeep));
    check(LIST, &[LIST, 0, 0, 0, 1].repeat(20), Err(Malformed::TooDeep));
}

proptest! {
    #[test]
    fn a_call_ends_where_it_ends(call in call(), strict: bool, behind in proptest::collection::vec(any::<u8>(), 0..9)) {
        let bytes = written(&call, strict);
        let mut scanner = Scanner::new(bytes.len(), 1000);
        for come in 0..bytes.len() {
            match scanner.advance(&bytes[..come]) {
                Ok(Step::More) => {}
                Ok(Step::Key(range)) => {
                    prop_assert_eq!(&bytes[range], key_of(&call).as_bytes());
                    prop_assert_eq!(scanner.advance(&bytes[..come]), Ok(Step::More));
                }
                other => prop_assert!(false, "{:?} after {} of {} bytes", other, come, bytes.len()),
            }
        }
        let length = bytes.len();
        let together = [bytes, behind].concat();
        prop_assert_eq!(scanner.advance(&together), Ok(Step::Done(length)));
        // One byte less may come, and it is too large.
        prop_assert_eq!(scan(&together, length - 1).map(|(step, _)| step), Err(Malformed::TooLarge));
    }

    #[test]
    fn nothing_makes_it_panic_or_differ(
        call in call(),
        strict: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut bytes = written(&call, strict);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let at_once = scan(&bytes, 2000);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut scanner = Scanner::new(2000, 1000);
        let mut last = Ok(Step::More);
        for cut in cuts {
            last = scanner.advance(&bytes[..cut]);
            while let Ok(Step::Key(_)) = last {
                last = scanner.advance(&bytes[..cut]);
            }
            if last != Ok(Step::More) {
                break;
            }
        }
        prop_assert_eq!(&last, &at_once.map(|(step, _)| step));
        if let Ok(Step::Done(length)) = last {
            decode(&bytes[..length]);
        }
    }

    #[test]
    fn any_bytes_are_borne(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = scan(&bytes, 200);
        // Behind a header, where more is believed.
        let _ = scan(&[&b"\x80\x01\x00\x01\0\0\0\x01x\0\0\0\0"[..], &bytes].concat(), 200);
    }
}
