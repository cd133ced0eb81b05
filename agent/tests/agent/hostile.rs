//! What attackers send: whatever it is, the agent answers others soon and its memory doesn't grow.

use std::io::Read as _;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::help::{Bytes, Daemon, MKEY, Random, assert_answers, assert_closed, raw, send};

/// In KiB. An idle daemon takes about 8 MiB.
const MAX_MEMORY: u64 = 96 << 10;

fn check_health(daemon: &Daemon) {
    assert_answers(daemon.address);
    let peak = daemon.peak_memory();
    assert!(peak < MAX_MEMORY, "the daemon took {peak} KiB");
}

fn apply() -> Bytes {
    let ban = Bytes::default()
        .field(11, 1)
        .text("203.0.113.9")
        .field(10, 2)
        .raw(&60_000i64.to_be_bytes())
        .raw(&[0]);
    Bytes::call("apply")
        .key(MKEY)
        .field(10, 2)
        .raw(&1i64.to_be_bytes())
        .field(15, 3)
        .raw(&[12, 0, 0, 0, 1])
        .raw(&ban.0)
        .field(15, 4)
        .raw(&[11, 0, 0, 0, 1])
        .text("203.0.113.8")
        .raw(&[0])
}

#[test]
fn what_no_call_can_be_is_closed() {
    let daemon = Daemon::start();
    let max = i32::MAX.to_be_bytes();
    let to_list = Bytes::call("apply").key(MKEY).field(10, 2).raw(&[0; 8]).field(15, 3);
    let cases: [(&str, Bytes); 19] = [
        ("a web browser", Bytes::default().raw(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")),
        ("a TLS hello", Bytes::default().raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
        ("a framed call", Bytes::default().raw(&[0, 0, 0, 200]).raw(&Bytes::status().0)),
        ("zeros", Bytes::default().raw(&[0; 4096])),
        ("a reply", Bytes::default().raw(&[0x80, 1, 0, 2]).text("status").raw(&[0, 0, 0, 1, 0])),
        (
            "a call without answer",
            Bytes::default().raw(&[0x80, 1, 0, 4]).text("status").raw(&[0, 0, 0, 1, 0]),
        ),
        ("a huge name", Bytes::default().raw(&[0x80, 1, 0, 1]).raw(&max)),
        ("a negative name", Bytes::default().raw(&[0x80, 1, 0, 1, 255, 255, 255, 255])),
        ("a huge old name", Bytes::default().raw(&max).raw(b"x")),
        ("a huge key", Bytes::call("status").field(11, 1).raw(&max).raw(&[b'x'; 1000])),
        ("a negative key", Bytes::call("status").field(11, 1).raw(&[128, 0, 0, 0])),
        ("a huge list of bans", to_list.clone().raw(&[12]).raw(&max)),
        ("a list of more than there are bytes", to_list.clone().raw(&[12, 0, 127, 255, 255])),
        ("a negative list", to_list.clone().raw(&[12, 255, 255, 255, 255])),
        ("a list of something else", to_list.clone().raw(&[10, 0, 0, 0, 1])),
        ("a list of nothing", to_list.raw(&[1, 0, 0, 0, 100])),
        ("a wrong type", Bytes::call("status").field(10, 1).raw(&[0; 9])),
        ("a huge map", Bytes::call("x").field(13, 1).raw(&[2, 2]).raw(&max)),
        ("deep nesting", Bytes::call("x").raw(&[12, 0, 1].repeat(10_000))),
    ];
    for (what, bytes) in cases {
        let stream = raw(daemon.address);
        send(&stream, &bytes.0);
        assert_closed(&stream, what);
        check_health(&daemon);
    }
    assert_eq!(crate::help::connect(daemon.address).status(MKEY).unwrap().held, Some(0));
}

#[test]
fn a_call_that_breaks_off_does_nothing() {
    let daemon = Daemon::start();
    let whole = apply().0;
    for come in 0..whole.len() {
        let stream = raw(daemon.address);
        send(&stream, &whole[..come]);
        stream.shutdown(Shutdown::Write).unwrap();
        assert_closed(&stream, "truncated");
    }
    let mut client = crate::help::connect(daemon.address);
    let status = client.status(MKEY).unwrap();
    assert_eq!((status.held, status.epoch), (Some(0), Some(0)));
    // And whole it does something, for who waits for the answer.
    let mut stream = raw(daemon.address);
    send(&stream, &whole);
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(client.status(MKEY).unwrap().held, Some(1));
    check_health(&daemon);
}

#[test]
fn random_bytes_are_borne() {
    let daemon = Daemon::start();
    let seed = 0x00cc_f12e;
    println!("seed {seed}");
    let mut random = Random(seed);
    for round in 0..600 {
        let mut bytes = match round % 3 {
            0 => {
                let length = random.below(2_000);
                random.bytes(length)
            }
            1 => {
                let length = random.below(200);
                Bytes::call("sync").key(MKEY).raw(&random.bytes(length)).0
            }
            _ => apply().0,
        };
        if round % 3 == 2 {
            for _ in 0..=random.below(4) {
                let place = random.below(bytes.len());
                bytes[place] = random.bytes(1)[0];
            }
        }
        let stream = raw(daemon.address);
        send(&stream, &bytes);
        if round % 50 == 0 {
            check_health(&daemon);
        }
    }
    check_health(&daemon);
    assert!(!daemon.lines().iter().any(|line| line.contains("panicked")));
}

#[test]
fn slow_senders_hold_nobody_up() {
    let daemon = Daemon::start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let stream = raw(daemon.address);
                for byte in apply().0.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    send(&stream, &[*byte]);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for _ in 0..50 {
            check_health(&daemon);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_thousand_silent_connections_keep_nobody_out() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let daemon = Daemon::start();
    let mut known = crate::help::connect(daemon.address);
    known.status(MKEY).unwrap();
    // Each has begun a message as large as one may be that doesn't show the key.
    let begun = Bytes::call("status").field(11, 1).raw(&60_000u32.to_be_bytes()).raw(&[b'x'; 50_000]).0;
    let silent: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let stream = raw(daemon.address);
            if number % 2 == 0 {
                send(&stream, &begun);
            }
            stream
        })
        .collect();
    check_health(&daemon);
    known.status(MKEY).unwrap();
    let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap().count();
    assert!(threads < 300, "{threads} threads for at most 256 connections");
    drop(silent);
    check_health(&daemon);
}
