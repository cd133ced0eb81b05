//! Real Kafka, ZooKeeper, MariaDB and Redis for tests, on 127.0.0.1: `scripts/services` as a type. For dev-dependencies.
//!
//! [`Servers::shared`] are the same ones for all tests, which start what they need and leave it running; keep to topics,
//! nodes and databases of your own there. [`Servers::own`] are for tests that kill or pause: nobody else's, and gone when
//! dropped.
//!
//! Where the servers aren't installed there are none, and the test has to [`skip`]. Everything else that goes wrong is a
//! panic with the words of `scripts/services`.

use std::fs;
use std::path::PathBuf;
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The exit code of `scripts/services` where something isn't installed.
const NOT_INSTALLED: i32 = 3;

/// Says why a test is left out, which returns then. Panics where `CCFIREWALL_TEST_SERVERS=required` says that everything a
/// test could need is installed: nobody reads what a test that passes has printed.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("CCFIREWALL_TEST_SERVERS").is_none_or(|value| value != "required"),
        "this can't be tested here, and CCFIREWALL_TEST_SERVERS=required: {reason}"
    );
    println!("skipped: {reason}");
}

/// A set of servers with data and ports of its own.
#[derive(Debug)]
pub struct Servers {
    state: String,
    ours: bool,
}

impl Servers {
    /// Those that all tests share, and that go on after them until `scripts/services --state shared down`.
    pub fn shared() -> Option<Self> {
        Self::installed(Self { state: "shared".to_owned(), ours: false })
    }

    /// New ones, with no data, which end with the value, or at the latest after this process. `name` says whose they
    /// are; it holds letters, digits and dashes.
    pub fn own(name: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::installed(Self { state: format!("{name}-{}-{count}", process::id()), ours: true })
    }

    fn installed(servers: Self) -> Option<Self> {
        let output = servers.run(&["installed"]);
        if output.status.code() != Some(NOT_INSTALLED) {
            checked(&["installed"], &output);
            return Some(servers);
        }
        skip(String::from_utf8_lossy(&output.stderr).trim());
        None
    }

    /// Starts `name` where it isn't running, wakes it where it's paused, and waits until it serves. Names are those of
    /// `scripts/services`: `kafka`, `zookeeper`, `zookeeper3` (an ensemble; its nodes are `zookeeper3.1` to `.3`),
    /// `mariadb`, `redis`. Gives where it listens: `host:port`, of an ensemble several with commas between, or a
    /// `mysql://` or `redis://` URL. It stays the same over kills and restarts.
    pub fn up(&self, name: &str) -> String {
        if self.ours {
            self.call(&["--owner", &process::id().to_string(), "up", name]);
        } else {
            self.call(&["up", name]);
        }
        self.url(name)
    }

    /// Where `name` listens, also while it is down, once it was up.
    pub fn url(&self, name: &str) -> String {
        self.call(&["url", name]).trim().to_owned()
    }

    /// Stops `name` in good order.
    pub fn down(&self, name: &str) {
        self.call(&["down", name]);
    }

    /// SIGKILL. What `name` held is there again after the next [`up`](Self::up).
    pub fn kill(&self, name: &str) {
        self.call(&["kill", name]);
    }

    /// SIGSTOP.
    pub fn pause(&self, name: &str) {
        self.call(&["pause", name]);
    }

    /// SIGCONT.
    pub fn resume(&self, name: &str) {
        self.call(&["resume", name]);
    }

    /// Kills `name` and removes its data; the next [`up`](Self::up) starts with nothing, on the same port.
    pub fn wipe(&self, name: &str) {
        self.call(&["wipe", name]);
    }

    /// The processes of `name`, of an ensemble three; all of them must be running.
    pub fn pids(&self, name: &str) -> Vec<u32> {
        let pids = self.call(&["pid", name]);
        pids.lines().map(|pid| pid.parse().expect("scripts/services prints ids")).collect()
    }

    /// The node that leads `zookeeper3`, such as `zookeeper3.2`.
    pub fn leader(&self) -> String {
        self.call(&["leader"]).trim().to_owned()
    }

    /// Calls ZooKeeper's own `zkCli` with one command, such as `["set", "/node", "data"]`, and gives what it prints: a few
    /// lines about its connection among it. Panics where it fails.
    pub fn zkcli(&self, command: &[&str]) -> String {
        self.call(&[&["zkcli"], command].concat())
    }

    /// Makes a topic of Kafka, which doesn't make any by itself.
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.topics(&["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
    }

    /// Calls Kafka's own `kafka-topics`, connected to the broker, and gives what it prints.
    pub fn topics(&self, arguments: &[&str]) -> String {
        self.call(&[&["topics"], arguments].concat())
    }

    fn call(&self, arguments: &[&str]) -> String {
        checked(arguments, &self.run(arguments))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let program = repository().join("scripts/services");
        Command::new(&program)
            .args(["--state", &self.state])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{} can't be run: {error}", program.display()))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if self.ours {
            let output = self.run(&["wipe"]);
            // A second panic would end the test's program without a word on the first.
            if !output.status.success() && !std::thread::panicking() {
                checked(&["wipe"], &output);
            }
        }
    }
}

/// Whether a process still does anything; one that only waits for its parent to notice its end doesn't.
pub fn lives(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // After the program's name, which may hold anything.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn checked(arguments: &[&str], output: &Output) -> String {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "scripts/services {}: {}\n{printed}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    printed.into_owned()
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
