//! Protects web servers against HTTP floods.

use std::process::ExitCode;

fn main() -> ExitCode {
    topology::commands::main()
}
