//! `ccfirewall completions`: for the shell.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, OK};

/// Write a completion script for a shell to standard output
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ccfirewall completions bash > /etc/bash_completion.d/ccfirewall
  ccfirewall completions zsh > ~/.zfunc/_ccfirewall")]
pub(super) struct Args {
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ccfirewall", &mut script);
        io::stdout().write_all(&script)?;
        Ok(OK)
    }
}
