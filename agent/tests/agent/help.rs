//! What the tests share.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use agent::enforcer::{Enforcer, EnforcerError};
use agent::key::Key;
use agent::{Choice, Config};
use ccfirewall_thrift::{Ban, Client, Timeouts};
use model::network::Network;

pub(crate) const MKEY: &str = "a key for tests";

/// An agent's config that runs dry, on a port that the system chooses.
pub(crate) fn config() -> Config {
    let mut config = Config::new(Key::new(MKEY).unwrap());
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.enforcer = Choice::DryRun;
    config
}

pub(crate) fn connect(address: SocketAddr) -> Client {
    Client::connect(address, Timeouts::default()).unwrap()
}

pub(crate) fn ban(target: &str, left_ms: i64) -> Ban {
    Ban::new(target.to_owned(), left_ms, String::new())
}

/// Asserts that the agent answers somebody new, and soon.
pub(crate) fn assert_answers(address: SocketAddr) {
    let start = Instant::now();
    let status = connect(address).status(MKEY).unwrap();
    assert_eq!(status.flag, Some(1));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "an answer took {took:?}");
}

/// Waits until something is so, for at most 10 s.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A connection for bytes of our own.
pub(crate) fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Asserts that the agent closes a connection, by an end or a reset, after whatever it still says.
pub(crate) fn assert_closed(mut stream: &TcpStream, what: &str) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{what}: {error}"),
    }
}

/// Builds messages byte by byte.
#[derive(Clone, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    /// The beginning of a call.
    pub(crate) fn call(name: &str) -> Self {
        Self(vec![0x80, 1, 0, 1]).text(name).raw(&[0, 0, 0, 7])
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap();
        self.raw(&length.to_be_bytes()).raw(text.as_bytes())
    }

    pub(crate) fn field(self, kind: u8, id: u8) -> Self {
        self.raw(&[kind, 0, id])
    }

    /// The key as the first field.
    pub(crate) fn key(self, key: &str) -> Self {
        self.field(11, 1).text(key)
    }

    /// A whole `status` call.
    pub(crate) fn status() -> Self {
        Self::call("status").key(MKEY).raw(&[0])
    }
}

/// Sends bytes; whether the agent takes them all is its business.
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) {
    let _ = (&*stream).write_all(bytes);
}

/// Refuses everything.
pub(crate) struct Refusing;

impl Enforcer for Refusing {
    fn name(&self) -> &'static str {
        "refusing"
    }
    fn apply(&mut self, _: &[(Network, Duration)], _: &[Network]) -> Result<(), EnforcerError> {
        Err(EnforcerError::Failed("as told".to_owned()))
    }
    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        Ok(Vec::new())
    }
    fn remove(&mut self) -> Result<(), EnforcerError> {
        Ok(())
    }
}

/// The daemon as a process of its own; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    lines: mpsc::Receiver<String>,
}

impl Daemon {
    /// Starts a dry run.
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall-agent"));
        command.args(["--enforcer", "dry-run", "--listen", "127.0.0.1:0"]);
        Self::run(&mut command)
    }

    /// Starts a command that ends in the daemon, and waits until it listens.
    pub(crate) fn run(command: &mut Command) -> Self {
        command.env("CCFIREWALL_MKEY", MKEY).env_remove("RUST_LOG");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let address = loop {
            let line = lines.recv_timeout(Duration::from_secs(20)).expect("the daemon doesn't listen");
            if line.contains("the agent listens") {
                let words = line.split_whitespace();
                break words
                    .filter_map(|word| word.strip_prefix("address="))
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
            }
        };
        Self { child, address, lines }
    }

    /// The lines that it has written since it listened, or since the last time.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// The most memory that it has taken so far, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}
