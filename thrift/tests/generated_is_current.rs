//! `src/generated.rs` is what the Thrift compiler makes of `ccfirewall.thrift`, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The version that the file was made with; another one writes other code.
const COMPILER: &str = "Thrift version 0.17.0";

#[test]
fn the_checked_in_code_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let version = match Command::new("thrift").arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => return println!("skipped: no thrift compiler ({error})"),
    };
    if version != COMPILER {
        return println!("skipped: the compiler is `{version}`, the code was made with `{COMPILER}`");
    }
    let made = tempfile::tempdir().unwrap();
    let status = Command::new("thrift")
        .args(["--gen", "rs", "-out"])
        .arg(made.path())
        .arg(here.join("ccfirewall.thrift"))
        .status()
        .unwrap();
    assert!(status.success());
    let fresh = fs::read_to_string(made.path().join("ccfirewall.rs")).unwrap();
    let held = fs::read_to_string(here.join("src/generated.rs")).unwrap();
    assert!(
        fresh == held,
        "src/generated.rs is out of date: in thrift/, run\n  \
         thrift --gen rs -out src ccfirewall.thrift && mv src/ccfirewall.rs src/generated.rs"
    );
}
