//! That real servers come, keep what they were given over a kill, and go.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read, Write};
use std::net::TcpStream;

use real_servers::{Servers, lives};

const NAMES: [&str; 4] = ["kafka", "zookeeper", "mariadb", "redis"];

/// What Redis answers to one command within a connection.
fn redis(url: &str, command: &str) -> String {
    let address = url.trim_start_matches("redis://").trim_end_matches("/0");
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "{command}\r\nQUIT\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The first bytes that a server says by itself.
fn greeting(url: &str) -> Vec<u8> {
    let address = url.rsplit('@').next().unwrap().split('/').next().unwrap();
    let mut bytes = vec![0; 64];
    let read = TcpStream::connect(address).unwrap().read(&mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

#[test]
fn they_start_outlive_a_kill_and_leave_nothing_behind() {
    let Some(servers) = Servers::own("all") else { return };
    let urls = NAMES.map(|name| servers.up(name));
    let [_, _, mariadb, redis_url] = &urls;
    servers.create_topic("lines", 3);
    servers.zkcli(&["create", "/node", "kept"]);
    assert!(redis(redis_url, "SET key kept").starts_with("+OK"));
    assert!(String::from_utf8_lossy(&greeting(mariadb)).contains("MariaDB"));

    let killed: Vec<u32> = NAMES.iter().flat_map(|name| servers.pids(name)).collect();
    NAMES.iter().for_each(|name| servers.kill(name));
    assert!(!killed.iter().any(|pid| lives(*pid)), "{killed:?}");
    assert_eq!(NAMES.map(|name| servers.up(name)), urls, "each is where it was");

    assert!(servers.topics(&["--list"]).lines().any(|topic| topic == "lines"));
    assert!(servers.zkcli(&["get", "/node"]).lines().any(|line| line == "kept"));
    assert!(redis(redis_url, "GET key").contains("kept"));
    assert!(String::from_utf8_lossy(&greeting(mariadb)).contains("MariaDB"));

    let running: Vec<u32> = NAMES.iter().flat_map(|name| servers.pids(name)).collect();
    assert!(running.len() == 4 && running.iter().all(|pid| lives(*pid)), "{running:?}");
    drop(servers);
    assert!(!running.iter().any(|pid| lives(*pid)), "{running:?}");
}

#[test]
fn an_ensemble_outlives_its_leader() {
    let Some(servers) = Servers::own("ensemble") else { return };
    servers.up("zookeeper3");
    servers.zkcli(&["create", "/before", "kept"]);
    let killed = servers.leader();
    servers.kill(&killed);
    let read = servers.zkcli(&["get", "/before"]);
    assert!(read.lines().any(|line| line == "kept"), "{read}");
    assert_ne!(servers.leader(), killed);
    servers.zkcli(&["create", "/after", "new"]);
    servers.up(&killed);
    assert_eq!(servers.pids("zookeeper3").len(), 3);
}
