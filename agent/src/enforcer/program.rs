//! Runs the programs that speak to the kernel for us: `ipset`, `iptables-save`, `iptables-restore`, `ss`, `conntrack`.
//!
//! No shell is between us and them: arguments and input are made of our own words and of parsed addresses. They get
//! none of our environment (the key may be in it), and have a deadline, for whatever they wait for.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::EnforcerError;

/// Where programs are looked for besides PATH: those of the firewall aren't always in it.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// How long a program may take. A hundred thousand bans take a few seconds on a slow machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// So much of what a program complains about is shown.
const COMPLAINT: usize = 400;

/// A program that is installed.
#[derive(Clone, Debug)]
pub(super) struct Program {
    name: String,
    path: PathBuf,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it ended well.
    pub(super) well: bool,
    pub(super) output: String,
    /// What it wrote to standard error, in one line and cut.
    pub(super) complaint: String,
}

impl Program {
    /// Looks for it, in PATH and where such programs are.
    pub(super) fn find(name: &str) -> Result<Self, EnforcerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::find_in(&path, name).ok_or_else(|| {
            let package = match name {
                "ss" => "iproute2",
                name if name.contains("tables") => "iptables",
                name => name,
            };
            EnforcerError::Unsupported(format!(
                "the program {name} isn't installed, neither in PATH nor in {}: install the package {package}",
                PLACES.join(", ")
            ))
        })
    }

    fn find_in(path: &OsStr, name: &str) -> Option<Self> {
        // A place that isn't absolute would be another one wherever we are started.
        let places = std::env::split_paths(path).filter(|place| place.is_absolute());
        (places.chain(PLACES.map(PathBuf::from)))
            .map(|place| place.join(name))
            .find(|path| executable(path))
            .map(|path| Self { name: name.to_owned(), path })
    }

    /// Runs it to its end.
    pub(super) fn run(&self, arguments: &[&str], input: String) -> Result<Said, EnforcerError> {
        self.run_within(DEADLINE, arguments, input)
    }

    fn run_within(
        &self,
        deadline: Duration,
        arguments: &[&str],
        input: String,
    ) -> Result<Said, EnforcerError> {
        let end = Instant::now() + deadline;
        let cant = |error: std::io::Error| EnforcerError::Failed(format!("{} can't run: {error}", self.name));
        let mut command = Command::new(&self.path);
        command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", PLACES.join(":"));
        for name in ["XTABLES_LOCKFILE", "XTABLES_LIBDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // In a group of its own, so that a Ctrl-C that is meant for us doesn't end it half-way.
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let mut child = (command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()))
            .process_group(0)
            .spawn()
            .map_err(cant)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends early says itself why.
            thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        }
        let (output, complaint) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let left = || end.saturating_duration_since(Instant::now());
        let read = |from: &mpsc::Receiver<Vec<u8>>| from.recv_timeout(left()).ok();
        let (output, complaint) = (read(&output), read(&complaint));
        let status = wait(&mut child, end).map_err(cant)?;
        let (Some(output), Some(complaint), Some(status)) = (output, complaint, status) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(EnforcerError::Failed(format!(
                "{} hasn't come to an end within {} s and was stopped (does another program hold the lock of \
                 the firewall?)",
                self.name,
                deadline.as_secs_f32()
            )));
        };
        Ok(Said {
            well: status.success(),
            output: String::from_utf8_lossy(&output).into_owned(),
            complaint: one_line(&String::from_utf8_lossy(&complaint)),
        })
    }

    /// The error of one that didn't end well.
    pub(super) fn refused(&self, doing: &str, said: &Said) -> EnforcerError {
        let complaint = if said.complaint.is_empty() { "it doesn't say why" } else { &said.complaint };
        let text = format!("{}, {doing}: {complaint}", self.name);
        let says = |parts: &[&str]| parts.iter().any(|part| complaint.contains(part));
        if says(&["not permitted", "ermission denied", "you must be root"]) {
            EnforcerError::Rights(text)
        } else if says(&[
            "can't initialize",
            "Couldn't load",
            "not supported",
            "Cannot open session",
            "upgrade",
        ]) {
            let modules = "needs the modules ip_set_hash_net, xt_set, xt_comment and iptable_raw, ip6table_raw or nft_compat";
            EnforcerError::Unsupported(format!("{text} (it {modules}; in a container, on the host)"))
        } else {
            EnforcerError::Failed(text)
        }
    }
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Reads to the end, in a thread: whoever writes into both pipes must never wait for us.
fn collect(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (done, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read until an error counts.
            let _ = from.read_to_end(&mut bytes);
        }
        let _ = done.send(bytes);
    });
    receive
}

/// Waits for its end; `None` where that doesn't come in time. Its pipes are closed by now, so it comes at once.
fn wait(child: &mut Child, end: Instant) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut pause = Duration::from_micros(100);
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() >= end {
            return Ok(status);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = words.chars().take(COMPLAINT).collect();
    if shown.len() < words.len() { shown + " …" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh() -> Program {
        Program::find("sh").unwrap()
    }

    fn script(text: &str, input: &str) -> Said {
        sh().run(&["-c", text], input.to_owned()).unwrap()
    }

    #[test]
    fn what_a_program_says_comes_back() {
        let said = script("cat; echo \"not  well\n\" >&2; exit 3", "put in");
        assert!(!said.well);
        assert_eq!((said.output.as_str(), said.complaint.as_str()), ("put in", "not well"));
        let error = sh().refused("trying", &said);
        assert_eq!(error.to_string(), "the firewall refused: sh, trying: not well");
        assert!(matches!(
            sh().refused("trying", &script("echo Operation not permitted >&2; exit 1", "")),
            EnforcerError::Rights(_)
        ));
    }

    #[test]
    fn much_in_and_out_at_once_is_no_deadlock() {
        let much = "0123456789abcdef\n".repeat(200_000);
        let said = script("tee /dev/stderr", &much);
        assert_eq!(said.output, much);
        assert!(said.complaint.chars().count() <= COMPLAINT + 2);
        // Nor is one that never reads.
        assert!(script("exit 0", &much).well);
    }

    #[test]
    fn one_that_hangs_is_stopped() {
        for hang in
            ["exec sleep 60", "exec 1>&- 2>&-; exec sleep 60", "trap '' TERM; read -r line; exec sleep 60"]
        {
            let start = Instant::now();
            let error =
                sh().run_within(Duration::from_millis(300), &["-c", hang], String::new()).unwrap_err();
            assert!(error.to_string().contains("sh hasn't come to an end within 0.3 s"), "{error}");
            assert!(start.elapsed() < Duration::from_secs(10), "{hang}");
        }
    }

    #[test]
    fn the_key_isnt_handed_on() {
        let said = script("env", "");
        let names: Vec<_> = said.output.lines().filter_map(|line| line.split('=').next()).collect();
        assert!(
            names.iter().all(|name| ["LC_ALL", "PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)),
            "{names:?}"
        );
    }

    #[test]
    fn programs_are_found_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ccfirewall-some-program");
        let find = |path: &Path| Program::find_in(path.as_os_str(), "ccfirewall-some-program");
        assert!(find(folder.path()).is_none());
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        assert!(find(folder.path()).is_none(), "it can't be run");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(folder.path()).unwrap().path, file);
        assert!(find(Path::new(".")).is_none());
        let error = Program::find("ccfirewall-no-tables").unwrap_err().to_string();
        assert!(error.contains("install the package iptables"), "{error}");
        assert!(sh().path.is_absolute());
    }
}
