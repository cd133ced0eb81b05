//! Bolts and model are pure: no sockets, no files, no clocks, no threads. The world comes in through ports, the time
//! as an argument.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that only code has that reaches the world. `net` has addresses too, so its sockets are named.
const FORBIDDEN: &str = "TcpStream TcpListener UdpSocket UnixStream UnixListener UnixDatagram ToSocketAddrs File \
    OpenOptions read_to_string Instant SystemTime UNIX_EPOCH sleep stdin stdout stderr println eprintln print \
    eprint tokio async_std smol mio rayon crossbeam reqwest hyper chrono getrandom ThreadRng thread_local";

/// Parts of the standard library, wherever they are named.
const FORBIDDEN_PATHS: [&str; 7] =
    ["std::fs", "std::io", "std::thread", "std::process", "std::env", "std::os", "std::time::"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, no tests at its bottom, and `use std::{a, b}` as if each stood alone.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n").replace("std::{", "std::{ std::")
}

fn world_words(text: &str) -> Vec<&'static str> {
    let code = code(text);
    let words: Vec<&str> = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let mut found: Vec<&str> = FORBIDDEN.split_whitespace().filter(|word| words.contains(word)).collect();
    // `std::io::Write` writes text into memory too.
    let code = code.replace("use std::io::Write as _;", "");
    // A length of time is no clock.
    let code = code.replace("std::time::Duration", "");
    found.extend(FORBIDDEN_PATHS.iter().filter(|path| code.contains(**path)));
    found
}

fn check(folder: &str, at_least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    sources(&folder, &mut found);
    assert!(found.len() >= at_least, "the sources were not found");
    let tripped: Vec<_> = found
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).expect("a source file can be read");
            let words = world_words(&text);
            (!words.is_empty()).then(|| (path.display().to_string(), words))
        })
        .collect();
    assert!(tripped.is_empty(), "{tripped:#?}");
}

#[test]
fn bolts_name_nothing_of_the_world() {
    check("src", 8);
}

#[test]
fn the_model_names_nothing_of_the_world() {
    check("../model/src", 20);
}

#[test]
fn the_check_sees_what_it_is_for() {
    assert_eq!(world_words("use std::net::TcpStream;"), ["TcpStream"]);
    assert_eq!(world_words("use std::time::{Duration, Instant};"), ["Instant", "std::time::"]);
    assert_eq!(world_words("let x = std::thread::spawn(f);"), ["std::thread"]);
    assert_eq!(world_words("use std::{fs, fmt};"), ["std::fs"]);
    assert_eq!(world_words("let n = fs; // std::fs\nprintln!(\"\")"), ["println"]);
    assert!(world_words("use std::net::IpAddr; use std::time::Duration; struct Profile;").is_empty());
    assert!(world_words("fn f() {}\n#[cfg(test)]\nmod tests { use std::fs; }").is_empty());
}
