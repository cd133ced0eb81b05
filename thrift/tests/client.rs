//! The client against agents that don't behave.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ccfirewall_thrift::{Ban, CallError, Client, Timeouts};

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_millis(500),
    read: Duration::from_millis(300),
    write: Duration::from_millis(300),
};

/// An agent that does this with its one connection.
fn agent(behave: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || behave(listener.accept().unwrap().0));
    address
}

/// Asserts that a call ends soon, and broken.
fn check(what: &str, behave: impl FnOnce(TcpStream) + Send + 'static) {
    let mut client = Client::connect(agent(behave), TIMEOUTS).unwrap();
    let start = Instant::now();
    let error = client.status("a key").unwrap_err();
    assert!(matches!(error, CallError::Broken { .. }), "{what}: {error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{what}");
    assert!(client.is_broken(), "{what}");
    // And isn't used any more, for answers may be late.
    let start = Instant::now();
    assert!(matches!(client.held("a key", 0, 1), Err(CallError::Broken { .. })), "{what}");
    assert!(start.elapsed() < Duration::from_millis(200), "{what}");
}

fn answer(bytes: &'static [u8]) -> impl FnOnce(TcpStream) + Send + 'static {
    move |mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        let _ = stream.write_all(bytes);
        let _ = stream.read(&mut [0; 1000]);
    }
}

#[test]
fn an_agent_that_doesnt_behave_costs_little_time() {
    check("closes", drop);
    check("says nothing", |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    check("drips", |mut stream| {
        for _ in 0..1000 {
            // Beginnings of a long name.
            if stream.write_all(&[0, 0, 0, 0][..1]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    check("speaks HTTP", answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    check("has a huge name", answer(b"\x80\x01\x00\x02\x7f\xff\xff\xff"));
    check("answers another call", answer(b"\x80\x01\x00\x02\0\0\0\x04held\0\0\0\x01\0"));
    check("answers an earlier call", answer(b"\x80\x01\x00\x02\0\0\0\x06status\0\0\0\x00\0"));
    let huge = b"\x80\x01\x00\x02\0\0\0\x06status\0\0\0\x01\x0c\0\0\x0f\0\x09\x0b\x7f\xff\xff\xff";
    check("warns of two billion things", answer(huge));
}

#[test]
fn an_agent_that_takes_nothing_costs_little_time() {
    let address = agent(|stream| {
        thread::sleep(Duration::from_secs(5));
        drop(stream);
    });
    let mut client = Client::connect(address, TIMEOUTS).unwrap();
    let bans = vec![Ban::new("x".repeat(1000), 1, String::new()); 20_000];
    let start = Instant::now();
    assert!(matches!(client.apply("a key", 1, bans, vec![]), Err(CallError::Broken { .. })));
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_agent_of_2016_says_what_it_doesnt_know() {
    let unknown = b"\x80\x01\x00\x03\0\0\0\x06status\0\0\0\x01\x0b\0\x01\0\0\0\x02no\x08\0\x02\0\0\0\x01\0";
    let mut client = Client::connect(agent(answer(unknown)), TIMEOUTS).unwrap();
    let error = client.status("a key").unwrap_err();
    assert!(error.is_unknown_method(), "{error}");
    assert!(!client.is_broken());
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::connect(address, TIMEOUTS).unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }) && error.to_string().contains(&address.to_string()));
}

#[test]
fn a_client_can_go_to_another_thread() {
    fn check<T: Send>() {}
    check::<Client>();
}
