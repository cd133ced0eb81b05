//! Runs the program as a user does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall"));
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
    command
}

/// Runs it with nothing on its standard input.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    run_with_input(args, b"")
}

/// Runs it with these bytes on its standard input. A panic is never in order.
pub(crate) fn run_with_input<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, input: &[u8]) -> Run {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // It may end before it has read everything.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("panicked"), "{stderr}");
    Run { code: output.status.code(), stdout: output.stdout, stderr }
}

/// Runs it where nobody reads its standard output.
pub(crate) fn run_into_closed_pipe<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
) -> (ExitStatus, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program().args(args).stdin(Stdio::null()).stdout(writer).output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

impl Run {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The decisions, without their countries: these change with the database.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        self.text().lines().map(without_country).collect()
    }

    /// The last line on standard error.
    pub(crate) fn summary(&self) -> Value {
        let last = self.stderr.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {}", self.stderr))
    }

    /// A counter of the summary.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let summary = self.summary();
        summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"))
    }
}

pub(crate) fn without_country(line: &str) -> Value {
    let mut decision: Value = serde_json::from_str(line).unwrap();
    decision.as_object_mut().unwrap().remove("country");
    decision
}

pub(crate) fn file(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// A `combined` line.
pub(crate) fn line(address: &str, second: u32) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        "{address} - - [22/Nov/2026:10:{minute:02}:{second:02} +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n"
    )
}

/// A log with a flood of one address.
pub(crate) fn flood(address: &str, requests: usize) -> String {
    line(address, 0).repeat(requests)
}

/// The test data beside the workspace; `None`, and why on standard output, where there is none.
pub(crate) fn shared_data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: there is no folder shared/data beside the workspace");
    None
}
