//! What callers may ask of a connection, and what they get for things that aren't calls of ours.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use agent::Limits;
use thrift::protocol::{TBinaryInputProtocol, TInputProtocol as _, TMessageType};

use crate::help::{Bytes, MKEY, assert_answers, assert_closed, ban, config, connect, raw, send, wait_for};

/// Reads an answer's beginning: its name, number and whether it is an exception with this text.
fn answer(stream: &TcpStream) -> (String, i32, Option<thrift::ApplicationError>) {
    let mut input = TBinaryInputProtocol::new(stream, true);
    let begin = input.read_message_begin().unwrap();
    let exception = (begin.message_type == TMessageType::Exception)
        .then(|| thrift::Error::read_application_error_from_in_protocol(&mut input).unwrap());
    (begin.name, begin.sequence_number, exception)
}

#[test]
fn an_unknown_call_gets_an_exception_and_the_next_one_an_answer() {
    let agent = agent::start(config()).unwrap();
    let stream = raw(agent.address());
    // With a nested argument that nobody knows.
    let unknown = Bytes::call("reboot")
        .field(13, 3)
        .raw(&[11, 15, 0, 0, 0, 1])
        .text("x")
        .raw(&[8, 0, 0, 0, 1, 0, 0, 0, 5, 0]);
    send(&stream, &unknown.0);
    let (name, number, exception) = answer(&stream);
    let exception = exception.unwrap();
    assert_eq!(
        (name.as_str(), number, exception.kind),
        ("reboot", 7, thrift::ApplicationErrorKind::UnknownMethod)
    );
    // A known call with an argument that nobody knows, and one that lacks its arguments.
    send(&stream, &Bytes::call("status").key(MKEY).field(11, 99).text("later").raw(&[0]).0);
    let mut rest = [0; 4096];
    assert!((&stream).read(&mut rest).unwrap() > 40);
    send(&stream, &Bytes::call("apply").key(MKEY).raw(&[0]).0);
    assert!(answer(&stream).2.unwrap().message.contains("epoch"));
    // Text that isn't UTF-8.
    send(&stream, &Bytes::call("status").field(11, 1).raw(&[0, 0, 0, 2, 0xff, 0xfe, 0]).0);
    assert!(answer(&stream).2.is_some());
}

#[test]
fn calls_may_come_all_at_once() {
    let agent = agent::start(config()).unwrap();
    let stream = raw(agent.address());
    let one = Bytes::call("nothing").raw(&[0]).0;
    send(&stream, &one.repeat(200));
    for _ in 0..200 {
        let (name, number, exception) = answer(&stream);
        assert_eq!((name.as_str(), number, exception.is_some()), ("nothing", 7, true));
    }
}

#[test]
fn large_messages_are_for_who_knows_the_key() {
    let agent = agent::start(config()).unwrap();
    let many: Vec<_> =
        (0..5_000).map(|low| ban(&format!("10.0.{}.{}", low / 256, low % 256), 60_000)).collect();
    let mut client = connect(agent.address());
    assert_eq!(client.apply(MKEY, 1, many.clone(), vec![]).unwrap().flag, Some(1));
    assert!(connect(agent.address()).apply("wrong", 1, many.clone(), vec![]).is_err());
    // Once it was seen, larger ones may come; but only up to the limit.
    let huge: Vec<_> = (0..100_001).map(|_| ban("10.0.0.1", 60_000)).collect();
    assert!(client.apply(MKEY, 1, huge, vec![]).is_err());
    assert_eq!(connect(agent.address()).status(MKEY).unwrap().held, Some(5_000));
}

#[test]
fn who_says_nothing_is_closed_and_who_knows_the_key_may_wait_longer() {
    let mut config = config();
    config.limits = Limits {
        unproven_idle: Duration::from_millis(100),
        message_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let agent = agent::start(config).unwrap();
    let mut known = connect(agent.address());
    known.status(MKEY).unwrap();
    let start = Instant::now();
    let silent = raw(agent.address());
    assert_closed(&silent, "silent");
    // A message that isn't ended in time, though its bytes keep coming.
    let slow = raw(agent.address());
    for byte in Bytes::status().0.iter().take(8) {
        send(&slow, &[*byte]);
    }
    assert_closed(&slow, "slow");
    assert!(start.elapsed() < Duration::from_secs(5));
    known.status(MKEY).unwrap();
}

#[test]
fn who_hasnt_shown_the_key_makes_room() {
    let mut config = config();
    config.limits.connections = 3;
    let agent = agent::start(config).unwrap();
    let mut known = connect(agent.address());
    known.status(MKEY).unwrap();
    let silent: Vec<_> = (0..5).map(|_| raw(agent.address())).collect();
    assert_closed(&silent[0], "the oldest");
    assert_answers(agent.address());
    known.status(MKEY).unwrap();
    // Where all have shown it, one more is closed at once.
    let mut others = [connect(agent.address()), connect(agent.address())];
    for other in &mut others {
        wait_for("there is room", || match other.status(MKEY) {
            Ok(_) => true,
            Err(_) => {
                *other = connect(agent.address());
                false
            }
        });
    }
    assert_closed(&raw(agent.address()), "one too many");
    drop(others);
    wait_for("there is room again", || connect(agent.address()).status(MKEY).is_ok());
    known.status(MKEY).unwrap();
}
