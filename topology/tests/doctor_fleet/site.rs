//! A site with a configuration, and what the doctor says of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{file, program, run};

/// The key of agents that are in order.
pub(crate) const KEY: &str = "a key for tests that is long enough";

/// A folder with what a configuration names.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
}

/// What the doctor said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    report: Value,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        file(&folder, "mkey", format!("{KEY}\n"));
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Asks the doctor about a configuration. Relative paths in it are in the site's folder.
    pub(crate) fn doctor(&self, config: &str) -> Said {
        let config = self.configuration(config);
        let json = run(["doctor", "--config", config.to_str().unwrap(), "-o", "json"]);
        Said::of(json.code, json.text())
    }

    /// The same, by a user who may do all but change the firewall; `None` where that can't be tested.
    pub(crate) fn doctor_without_net_admin(&self, config: &str) -> Option<Said> {
        let config = self.configuration(config);
        let mut command = without_net_admin(&["doctor", "--config", config.to_str().unwrap(), "-o", "json"])?;
        let output = command.output().unwrap();
        Some(Said::of(output.status.code(), std::str::from_utf8(&output.stdout).unwrap()))
    }

    fn configuration(&self, config: &str) -> PathBuf {
        file(&self.folder, "ccfirewall.toml", format!("state = \"state\"\n{config}"))
    }
}

/// The program as somebody who may not change the firewall runs it; `None`, and why on standard output, where that
/// can't be tested.
pub(crate) fn without_net_admin(args: &[&str]) -> Option<std::process::Command> {
    let dropped = ["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--ambient-caps=-net_admin"];
    let mut command = std::process::Command::new("setpriv");
    match command.args(dropped).arg("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("skipped: setpriv: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(error) => {
            println!("skipped: setpriv: {error}");
            return None;
        }
    }
    let mut command = std::process::Command::new("setpriv");
    command.args(dropped).arg(program().get_program()).args(args);
    command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "0");
    Some(command)
}

impl Said {
    fn of(code: Option<i32>, text: &str) -> Self {
        let report = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        Self { code, report }
    }

    pub(crate) fn checks(&self) -> &[Value] {
        self.report["checks"].as_array().unwrap()
    }

    /// That one finding of a check has that level and those words, and its mending those.
    #[track_caller]
    pub(crate) fn has(&self, check: &str, level: &str, found: &str, mend: &str) {
        let says = |finding: &&Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            finding["check"] == check
                && finding["level"] == level
                && text("found").contains(found)
                && text("mend").contains(mend)
        };
        assert!(self.checks().iter().any(|finding| says(&finding)), "{check} {level} in {self:#?}");
    }

    /// The names of the checks that have something to complain of.
    pub(crate) fn complaints(&self) -> Vec<&str> {
        let is_one = |finding: &&Value| finding["level"] == "bad" || finding["level"] == "warn";
        self.checks().iter().filter(is_one).map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {:#}", self.code, self.report)
    }
}

/// Where nobody listens. The port is held for as long as the value lives, so that nobody else comes to it.
pub(crate) struct Nobody(rustix::fd::OwnedFd, SocketAddr);

impl Nobody {
    pub(crate) fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
        Self(socket, address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let _ = &self.0;
        self.1
    }
}

/// Takes connections and says nothing.
pub(crate) fn silent() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}
