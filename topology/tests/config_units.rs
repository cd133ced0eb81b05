//! The systemd units are such as systemd takes, and keep what their comments promise.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn unit(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd").join(name);
    std::fs::read_to_string(path).unwrap()
}

const UNITS: [&str; 2] = ["ccfirewall.service", "ccfirewall-agent.service"];

#[test]
fn they_are_hardened_and_come_back() {
    for name in UNITS {
        let unit = unit(name);
        for line in [
            "User=ccfirewall",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "AmbientCapabilities=CAP_NET_ADMIN",
            "CapabilityBoundingSet=CAP_NET_ADMIN",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "Restart=always",
            "StartLimitIntervalSec=0",
        ] {
            assert!(unit.lines().any(|found| found == line), "{name}: {line}");
        }
        for key in ["ExecStart=/usr/bin/ccfirewall", "StateDirectory=", "MemoryMax=", "TimeoutStopSec="] {
            assert!(unit.lines().any(|found| found.starts_with(key)), "{name}: {key}");
        }
        // Whoever is logged in is found in /proc.
        assert!(
            !unit.lines().any(|line| line.starts_with("ProtectProc=") || line.starts_with("ProcSubset="))
        );
    }
}

#[test]
fn systemd_takes_them() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in UNITS {
        // What is verified, too, is that the program is there.
        let program = env!("CARGO_BIN_EXE_ccfirewall");
        let text: String = unit(name)
            .lines()
            .map(|line| match line.strip_prefix("ExecStart=") {
                Some(command) => {
                    let arguments = command.split_once(' ').unwrap().1;
                    format!("ExecStart={program} {arguments}\n")
                }
                None => format!("{line}\n"),
            })
            .collect();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // An unknown key is only a warning to it. What it says of other units of the machine is not our matter.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("ccfirewall")).collect();
        assert!(output.status.success() && ours.is_empty(), "{name}\n{said}");
    }
}
