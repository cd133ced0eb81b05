//! The daemon as operators start it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};

use crate::help::{Daemon, MKEY, ban, connect, wait_for};

const DAEMON: &str = env!("CARGO_BIN_EXE_ccfirewall-agent");

/// Runs the daemon where it can't start, or has nothing to run for.
fn run(args: &[&str], key: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(DAEMON);
    command.args(args).env_remove("CCFIREWALL_MKEY");
    if let Some(key) = key {
        command.env("CCFIREWALL_MKEY", key);
    }
    let Output { status, stderr, stdout } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned() + &String::from_utf8_lossy(&stdout))
}

#[test]
fn after_a_kill_it_starts_as_another() {
    let mut daemon = Daemon::start();
    let mut client = connect(daemon.address);
    client.apply(MKEY, 3, vec![ban("203.0.113.9", 60_000)], vec![]).unwrap();
    let before = client.status(MKEY).unwrap();
    assert_eq!((before.held, before.epoch), (Some(1), Some(3)));
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(client.status(MKEY).is_err());
    let mut again = Command::new(DAEMON);
    again.args(["--enforcer", "dry-run", "--listen", &daemon.address.to_string()]);
    let again = Daemon::run(&mut again);
    let after = connect(again.address).status(MKEY).unwrap();
    assert_ne!(before.instance, after.instance);
    assert_eq!((after.held, after.epoch), (Some(0), Some(0)));
}

#[test]
fn it_stops_in_order_and_says_each_ban_once() {
    let mut daemon = Daemon::start();
    let mut client = connect(daemon.address);
    client.apply(MKEY, 1, vec![ban("203.0.113.9", 60_000), ban("203.0.113.9", 60_000)], vec![]).unwrap();
    client.unblock_ip(MKEY, "203.0.113.9").unwrap();
    let pid = Pid::from_raw(i32::try_from(daemon.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut code = None;
    wait_for("the daemon has stopped", || {
        code = daemon.child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
    let mut lines = Vec::new();
    wait_for("it has said that it stops", || {
        lines.extend(daemon.lines());
        lines.iter().any(|line| line.contains("stops"))
    });
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count(" ban target=203.0.113.9"), count(" unban target=203.0.113.9")), (1, 1), "{lines:#?}");
    assert_eq!(count(MKEY), 0, "the key is in the log");
}

#[test]
fn weak_keys_arent_for_the_network() {
    for key in [None, Some(""), Some("123456"), Some("changeme"), Some("short")] {
        let (code, text) = run(&["--listen", "0.0.0.0:0", "--enforcer", "dry-run"], key);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("can be reached from other machines"), "{text}");
    }
    let mut without = Command::new(DAEMON);
    without.args(["--enforcer", "dry-run", "--listen", "127.0.0.1:0", "--mkey-file"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mkey");
    fs::write(&path, "another key\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = Daemon::run(without.arg(&path));
    let mut client = connect(daemon.address);
    // The file goes before the environment.
    assert_eq!(client.status(MKEY).unwrap().flag, Some(-3));
    let status = client.status("another key").unwrap();
    assert!(status.warnings.unwrap().iter().any(|warning| warning.contains("chmod 600")));
}

#[test]
fn wrong_usage_is_2_and_what_cant_be_is_1() {
    for args in [
        &["--mkey", "secret"][..],
        &["--listen", "localhost"],
        &["--enforcer", "pf"],
        &["--legacy-max-seconds", "0"],
        &["--max-connections", "0"],
        &["--remove", "--listen", "127.0.0.1"],
        &["--remove", "--cut-established"],
    ] {
        assert_eq!(run(args, None).0, Some(2), "{args:?}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, text) = run(&["--enforcer", "dry-run", "--listen", &address], Some(MKEY));
    assert_eq!(code, Some(1));
    assert!(text.contains("another agent"), "{text}");
    assert_eq!(run(&["--mkey-file", "/nowhere/mkey"], None).0, Some(1));
    let (code, text) = run(&["--help"], None);
    assert_eq!(code, Some(0));
    assert!(text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
}

/// As somebody without rights; `None` where that can't be.
fn without_rights(args: &[&str]) -> Option<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", "--no-new-privs", "--", DAEMON]).args(args);
    let mut trial = Command::new("setpriv");
    trial.args(["--reuid", "65534", "--clear-groups", "--no-new-privs", "--", DAEMON, "--version"]);
    match trial.output() {
        Ok(output) if output.status.success() => Some(command),
        Ok(output) => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: setpriv: {error}");
            None
        }
    }
}

#[test]
fn without_rights_it_says_so() {
    let Some(mut command) = without_rights(&["--enforcer", "nftables", "--listen", "127.0.0.1:0"]) else {
        return;
    };
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let Some(mut command) = without_rights(&["--listen", "127.0.0.1:0"]) else {
        return;
    };
    let daemon = Daemon::run(&mut command);
    let status = connect(daemon.address).status(MKEY).unwrap();
    assert_eq!(status.enforcer.as_deref(), Some("dry_run"));
    let warnings = status.warnings.unwrap();
    assert!(warnings.iter().any(|warning| warning.contains("NOBODY IS BLOCKED")), "{warnings:?}");
}
