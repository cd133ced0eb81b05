//! TLS as callers meet it who mean no good, and whose certificates are renewed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use agent::TlsFiles;
use ccfirewall_thrift::tls::ClientTls;
use ccfirewall_thrift::{Client, Timeouts};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::help::{Bytes, Daemon, MKEY, Random, assert_closed, config, raw, send, wait_for};

/// An authority, and the certificates of an agent and an owner, in one folder.
fn certificates() -> (TempDir, TlsFiles, TlsFiles) {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    let issue = |name: &str, who: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([who.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let [cert, key_path] = ["pem", "key"].map(|end| path(&format!("{name}.{end}")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        TlsFiles { cert: Some(cert), key: Some(key_path), ca: Some(path("ca.pem")) }
    };
    let (agent, owner) = (issue("agent", "127.0.0.1"), issue("owner", "owner"));
    (folder, agent, owner)
}

fn daemon(files: &TlsFiles) -> Daemon {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall-agent"));
    command.args(["--enforcer", "dry-run", "--listen", "127.0.0.1:0"]);
    let option = |path: &Option<std::path::PathBuf>| path.as_deref().map(Path::to_owned).unwrap();
    command.arg("--tls-cert").arg(option(&files.cert)).arg("--tls-key").arg(option(&files.key));
    command.arg("--tls-client-ca").arg(option(&files.ca));
    Daemon::run(&mut command)
}

fn connect(daemon: &Daemon, owner: &TlsFiles) -> Result<Client, ccfirewall_thrift::CallError> {
    let tls = ClientTls::new(owner.clone()).unwrap();
    Client::connect_by_tls(daemon.address, &tls, "127.0.0.1", Timeouts::default())
}

fn check_health(daemon: &Daemon, owner: &TlsFiles) {
    let start = Instant::now();
    assert_eq!(connect(daemon, owner).unwrap().status(MKEY).unwrap().flag, Some(1));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let peak = daemon.peak_memory();
    assert!(peak < 96 << 10, "the daemon took {peak} KiB");
}

/// What a client says first.
fn hello(owner: &TlsFiles) -> Vec<u8> {
    let mut session: rustls::Connection =
        ClientTls::new(owner.clone()).unwrap().session("127.0.0.1").unwrap().into();
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    bytes
}

#[test]
fn whatever_comes_instead_of_a_handshake_is_borne() {
    let (_folder, agent, owner) = certificates();
    let daemon = daemon(&agent);
    let hello = hello(&owner);
    let seed = 0x07_1500;
    println!("seed {seed}");
    let mut random = Random(seed);
    let plain = [
        Bytes::status().0,
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 70_000],
        // A record that says it is as long as can be, and one that is longer.
        [&[0x16, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(),
        [&[0x16, 3, 1, 0x40, 0][..], &[1, 0xff, 0xff, 0xff], &[0; 70_000]].concat(),
        // Many hellos.
        hello.repeat(200),
    ];
    for bytes in &plain {
        let stream = raw(daemon.address);
        send(&stream, bytes);
        assert_closed(&stream, "no handshake");
    }
    for round in 0..200 {
        let mut bytes = hello.clone();
        for _ in 0..=random.below(4) {
            let place = random.below(bytes.len());
            bytes[place] = random.bytes(1)[0];
        }
        if round % 2 == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        let stream = raw(daemon.address);
        send(&stream, &bytes);
        drop(stream);
    }
    check_health(&daemon, &owner);
    assert!(!daemon.lines().iter().any(|line| line.contains("panicked")));
}

#[test]
fn a_handshake_that_drips_or_stops_is_cut_off() {
    let (_folder, agent, owner) = certificates();
    let mut config = config();
    config.tls = Some(agent);
    config.limits.handshake = Duration::from_millis(300);
    let agent = agent::start(config).unwrap();
    let start = Instant::now();
    let silent = raw(agent.address());
    let dripping = raw(agent.address());
    let bytes = hello(&owner);
    thread::scope(|scope| {
        scope.spawn(|| {
            for byte in &bytes {
                if (&dripping).write_all(&[*byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert_closed(&silent, "silent");
        let _ = (&dripping).read_to_end(&mut Vec::new());
    });
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn many_who_only_begin_keep_nobody_out() {
    let (_folder, agent, owner) = certificates();
    let daemon = daemon(&agent);
    let mut known = connect(&daemon, &owner).unwrap();
    known.status(MKEY).unwrap();
    let begun: Vec<TcpStream> = (0..400).map(|_| raw(daemon.address)).collect();
    check_health(&daemon, &owner);
    known.status(MKEY).unwrap();
    drop(begun);
}

#[test]
fn a_caller_without_a_certificate_or_a_key_gets_nothing() {
    let (_folder, agent, owner) = certificates();
    let daemon = daemon(&agent);
    let nobody = TlsFiles { ca: owner.ca.clone(), ..TlsFiles::default() };
    // By TLS 1.3 a client learns of it with its first call.
    let refused = connect(&daemon, &nobody).map_or(true, |mut client| client.status(MKEY).is_err());
    assert!(refused);
    let mut client = connect(&daemon, &owner).unwrap();
    assert_eq!(client.status("wrong").unwrap().flag, Some(-3), "the key is asked for all the same");
    check_health(&daemon, &owner);
}

#[test]
fn files_that_cant_be_used_are_told_at_the_start() {
    let (folder, agent, owner) = certificates();
    let check = |files: TlsFiles, says: &str| {
        let mut config = config();
        config.tls = Some(files);
        let error = agent::start(config).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let nowhere = Some(folder.path().join("nowhere.pem"));
    check(TlsFiles { cert: nowhere, ..agent.clone() }, "nowhere.pem");
    check(TlsFiles { key: owner.key.clone(), ..agent.clone() }, "can't be used");
    check(TlsFiles { ca: agent.key.clone(), ..agent.clone() }, "no certificate");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    check(TlsFiles { cert: Some(empty), ..agent }, "no certificate");
}

#[test]
fn a_hangup_has_certificates_read_again_and_stops_nothing() {
    let (_folder, agent, owner) = certificates();
    let mut daemon = daemon(&agent);
    fs::write(agent.cert.as_ref().unwrap(), "nothing").unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let mut lines = Vec::new();
    wait_for("it has looked", || {
        lines.extend(daemon.lines());
        lines.iter().any(|line| line.contains("those before hold on"))
    });
    assert!(daemon.child.try_wait().unwrap().is_none());
    check_health(&daemon, &owner);
}
