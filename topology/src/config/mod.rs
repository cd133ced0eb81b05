//! `ccfirewall.toml`: what the program itself needs to know — where lines come from, where it keeps things, who
//! holds the bans. The rules are elsewhere, in the settings (JSON), for they change while it runs.
//!
//! `keys` lists every key with what it accepts and means: errors, `docs/configuration.md` and the hints for
//! mistyped keys come from that list. `reader` walks over the TOML and collects what is wrong, with its place;
//! `read` makes a [`Config`] of it.
//!
//! Invariant: a [`Config`] that [`Config::parse`] gives is in order: paths are whole, addresses and formats are
//! read, and what excludes one another isn't there together.

mod kafka;
mod keys;
mod mkey;
mod read;
mod reader;
mod state;
mod store;
mod value;
mod worker;
mod zookeeper;

use std::fmt;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ccfirewall_thrift::tls::TlsFiles;
use model::line::LogFormat;
use model::settings::Finding;

pub use keys::{key_paths, reference_page};
pub use mkey::{MkeyError, MkeySource};
pub use state::{NoState, default_state};
pub use store::{Database, Mysql, Store, Tls};
pub(crate) use value::parse_size;
pub use worker::{Part, Role, Worker};
pub use zookeeper::{AuthError, ZooKeeperPlace};

pub use crate::adapters::kafka::KafkaConfig;
pub use crate::spouts::kafka::envelope::Shape;

/// The program's own configuration, validated. All paths are whole or relative to the working folder of whoever
/// gave them on the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the journal, the database, the control socket, and the positions in logs.
    pub state: PathBuf,
    /// The settings, JSON, watched while the program runs; `None`: the default rules hold.
    pub settings: Option<PathBuf>,
    /// Decide and keep everything, and block nobody: [`LocalAgent::enforcer`] is the dry run then, and remote
    /// agents are sent nothing.
    pub dry_run: bool,
    /// Where lines come from; at least one, none of them twice.
    pub sources: Vec<Source>,
    /// Where Kafka is; always there with a source that reads a topic.
    pub kafka: Option<Kafka>,
    /// The agent in this process.
    pub agent: Option<LocalAgent>,
    /// Agents elsewhere; no address comes twice.
    pub agents: Vec<RemoteAgent>,
    /// The agents that register in ZooKeeper; only with [`Config::zookeeper`].
    pub registered_agents: Option<RegisteredAgents>,
    /// What this process does.
    pub worker: Worker,
    /// The read-only pages.
    pub http: Http,
    /// Where things are kept.
    pub store: Store,
    /// The ensemble with the settings; then [`Config::settings`] is only what they are created from.
    pub zookeeper: Option<ZooKeeperPlace>,
    /// GeoIP databases in MaxMind's format; none: the built-in countries.
    pub geoip: Vec<PathBuf>,
    /// What the program may use.
    pub limits: Limits,
    /// Which addresses of this machine's surroundings are never banned.
    pub protect: Protect,
}

/// Where lines come from, and how they are written.
#[derive(Clone, Debug)]
pub struct Source {
    /// The log, standard input, or the generator.
    pub input: Input,
    /// How lines are written.
    pub format: LogFormat,
}

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A log that is followed through its rotations.
    Log {
        /// The log.
        path: PathBuf,
        /// Where to begin when it is read for the very first time.
        start: Start,
    },
    /// Standard input.
    Stdin,
    /// Made-up traffic, to try things out.
    Generate(Generate),
    /// A Kafka topic; there is one such source at most.
    Kafka(KafkaInput),
}

/// A topic with access lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaInput {
    /// Its name.
    pub topic: String,
    /// Where to begin when the group has never read it.
    pub start: Start,
    /// What its messages are.
    pub envelope: Shape,
    /// Where the line is in a JSON message; at least one.
    pub message_keys: Vec<String>,
}

/// Where Kafka is, and how its topics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// Where it is and how it is spoken to.
    pub client: KafkaConfig,
    /// The consumer group.
    pub group: String,
    /// Whether all lines of a client are in one partition.
    pub keyed_by_client: bool,
    /// The topic of what is to be counted. The three topics differ, and none is the source's.
    pub hits_topic: String,
    /// The topic of what was found.
    pub findings_topic: String,
    /// The topic of what became of bans.
    pub key_bans_topic: String,
}

/// Where a log is begun when nothing is known of it; later the kept position counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the lines that come from now on.
    #[default]
    End,
    /// With its first line.
    Beginning,
}

/// Made-up traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generate {
    /// Lines a second.
    pub rate: u32,
    /// How many visitors; with [`Generate::attackers`] at least one.
    pub clients: u32,
    /// How many attackers.
    pub attackers: u32,
    /// The same seed makes the same traffic.
    pub seed: u64,
}

/// The agent that runs in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAgent {
    /// What holds the bans.
    pub enforcer: EnforcerChoice,
    /// Where it is spoken to; always loopback. Port 0 is any free one.
    pub listen: SocketAddr,
}

/// What holds the bans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnforcerChoice {
    /// The best that this machine has.
    #[default]
    Auto,
    /// The kernel's nftables.
    Nftables,
    /// Sets of ipset, with rules of iptables.
    Ipset,
    /// A rule of iptables for each ban.
    Iptables,
    /// Nothing: bans are kept in memory and nobody is blocked.
    DryRun,
}

/// An agent on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAgent {
    /// Where it is spoken to.
    pub address: SocketAddr,
    /// Where the shared secret is.
    pub mkey: MkeySource,
    /// How it is spoken to by TLS; `None`: it isn't.
    pub tls: Option<RemoteTls>,
}

/// How an agent is spoken to by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTls {
    /// Whom we believe, and who we are.
    pub files: TlsFiles,
    /// For whom the agent's certificate must be, where that isn't its address.
    pub name: Option<String>,
}

impl RemoteAgent {
    /// The port where none is given.
    pub const PORT: u16 = 9090;

    /// What it is called: its address, with the port where that isn't the usual one.
    #[must_use]
    pub fn name(&self) -> String {
        let usual = self.address.port() == Self::PORT;
        if usual { self.address.ip().to_string() } else { self.address.to_string() }
    }
}

/// How agents that register in ZooKeeper are spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredAgents {
    /// Where the secret is that they share with us.
    pub mkey: MkeySource,
    /// Whom we believe of those that speak TLS, and who we are.
    pub tls: Option<RemoteTls>,
}

/// The read-only pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Loopback, unless the operator wanted it otherwise in so many words (`allow_remote`).
    pub listen: SocketAddr,
}

/// What the program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes the windows of all clients may take.
    pub window_memory: usize,
    /// How many tasks parse and how many count.
    pub tasks: usize,
}

/// Which addresses of this machine's surroundings are never banned. Loopback always is among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protect {
    /// Who is logged in by SSH.
    pub ssh_peers: bool,
    /// The default gateways.
    pub gateway: bool,
    /// The name servers.
    pub resolvers: bool,
    /// The machine's own addresses.
    pub own_addresses: bool,
}

impl Default for LocalAgent {
    fn default() -> Self {
        Self { enforcer: EnforcerChoice::Auto, listen: (Ipv4Addr::LOCALHOST, 0).into() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 8480).into() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { window_memory: 1 << 30, tasks: 1 }
    }
}

impl Default for Protect {
    fn default() -> Self {
        Self { ssh_peers: true, gateway: true, resolvers: true, own_addresses: true }
    }
}

/// Files longer than this aren't read: whatever they are, they are no configuration.
const LONGEST: u64 = 1 << 20;

impl Config {
    /// Where the program looks where nobody says otherwise.
    pub const PATH: &str = "/etc/ccfirewall/ccfirewall.toml";
    /// The state folder of a service.
    pub const STATE: &str = "/var/lib/ccfirewall";

    /// Reads a configuration file; relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// Where it can't be read, and everything at once that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |reason: io::Error| ConfigError::Unreadable { path: path.to_owned(), reason };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > LONGEST {
            return Err(unreadable(io::Error::other("it is longer than 1 MiB, so it is something else")));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| unreadable(io::Error::other("it isn't UTF-8; save it as UTF-8 text")))?;
        let folder = std::path::absolute(path).map_err(unreadable)?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, folder).map_err(|errors| ConfigError::Invalid { path: path.to_owned(), errors })
    }

    /// Reads a configuration. Touches no file: whether what it names is there shows where it is used.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the text.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigErrors> {
        read::read(text, folder)
    }

    /// The configuration of `ccfirewall run --log LOG`, without a file: one log in `combined` (`-` is standard
    /// input), from its end on; the agent in this process; everything else as it is by default.
    #[must_use]
    pub fn for_log(log: &Path, dry_run: bool, state: PathBuf) -> Self {
        let input = if log == Path::new("-") {
            Input::Stdin
        } else {
            Input::Log { path: log.to_owned(), start: Start::End }
        };
        let enforcer = if dry_run { EnforcerChoice::DryRun } else { EnforcerChoice::Auto };
        Self {
            store: Store::in_state(&state),
            state,
            settings: None,
            dry_run,
            sources: vec![Source { input, format: LogFormat::combined() }],
            kafka: None,
            agent: Some(LocalAgent { enforcer, ..LocalAgent::default() }),
            agents: Vec::new(),
            registered_agents: None,
            worker: Worker::default(),
            http: Http::default(),
            zookeeper: None,
            geoip: Vec::new(),
            limits: Limits::default(),
            protect: Protect::default(),
        }
    }
}

/// Why a configuration file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It isn't there, may not be read, or is something else altogether.
    #[error("can't read the configuration in {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It has errors.
    #[error("{}: {}\n{errors}", .path.display(), counted(.errors))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        errors: ConfigErrors,
    },
}

fn counted(errors: &ConfigErrors) -> String {
    match errors.0.len() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    }
}

/// Every error of a configuration, in the order of the text; at least one. Paths are those of TOML with the line,
/// as in `source[0].format (line 7)`; lists count from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<Finding>);

impl ConfigErrors {
    /// The errors, one by one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let line_feed = if index == 0 { "" } else { "\n" };
            write!(f, "{line_feed}{finding}")?;
        }
        Ok(())
    }
}
