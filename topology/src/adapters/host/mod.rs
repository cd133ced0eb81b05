//! Which addresses must never be banned on this machine, whatever they do: its own, its gateways and name servers,
//! the people who are logged in by SSH, and the agents.
//!
//! [`HostGuards::scan`] reads the files of the system, each time anew, and gives what stands in them; one file
//! here for each kind of them. A file that is missing or malformed gives nothing and stops nothing. An address
//! stays for a minute after it was last seen, so that a file which is just being rewritten uncovers nobody, and an
//! agent that lost its ZooKeeper isn't banned while it is still called.
//! What is kept is bounded: files are read up to a length, and so many addresses of each kind are taken.
//!
//! What others could write there is the danger: an attacker who got an address of its own in could never be
//! banned. So a connection to the SSH port counts only once sshd has had the time to cut those who don't log in.

mod files;
mod network;
mod registered;
mod sessions;
mod tcp;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::network::Network;

use crate::config::Protect;
use files::Files;
pub use registered::RegisteredAgents;
use tcp::Connections;

/// Why an address is never banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// It is one of the machine's own.
    Own,
    /// It is where packets for others go.
    Gateway,
    /// It is asked for names.
    Resolver,
    /// Somebody there is logged in here.
    SshSession,
    /// An agent is there.
    Agent,
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "the machine's own address",
            Self::Gateway => "a gateway",
            Self::Resolver => "a resolver",
            Self::SshSession => "an SSH session",
            Self::Agent => "an agent",
        })
    }
}

/// Finds the addresses that must never be banned here.
pub struct HostGuards {
    files: Files,
    protect: Protect,
    /// Those that hold for as long as the program runs.
    fixed: Vec<(Network, Guard)>,
    own_addresses: OwnAddresses,
    registered: Option<RegisteredAgents>,
    connections: Connections,
    /// When each was seen last.
    seen: BTreeMap<(Network, Guard), Instant>,
}

/// Asks the system for the machine's own addresses.
pub type OwnAddresses = Box<dyn FnMut() -> std::io::Result<Vec<IpAddr>> + Send>;

/// So long an address stays after it was last seen.
pub const LINGER: Duration = Duration::from_secs(60);
/// So many addresses of each kind are taken.
const MOST: usize = 4096;

impl HostGuards {
    /// For the files under `root`, which is `/` but in tests, and the interfaces of this machine. `agents` are
    /// the configured remote ones.
    #[must_use]
    pub fn new(root: PathBuf, protect: Protect, agents: &[IpAddr]) -> Self {
        let interfaces = || {
            let interfaces = if_addrs::get_if_addrs()?;
            Ok(interfaces.into_iter().map(|interface| interface.ip()).collect())
        };
        let loopback =
            [Network::new(Ipv4Addr::LOCALHOST.into(), 8), Network::host(Ipv6Addr::LOCALHOST.into())];
        let agents = agents.iter().filter(|agent| is_somebody(agent));
        let fixed = loopback.map(|network| (network, Guard::Own)).into_iter();
        Self {
            connections: Connections::default(),
            files: Files::new(root),
            protect,
            fixed: fixed.chain(agents.map(|agent| (Network::host(*agent), Guard::Agent))).collect(),
            own_addresses: Box::new(interfaces),
            registered: None,
            seen: BTreeMap::new(),
        }
    }

    /// Asks somebody else for the machine's own addresses.
    #[must_use]
    pub fn with_own_addresses(mut self, own_addresses: OwnAddresses) -> Self {
        self.own_addresses = own_addresses;
        self
    }

    /// Takes in the agents that register in ZooKeeper.
    #[must_use]
    pub fn with_registered_agents(mut self, registered: RegisteredAgents) -> Self {
        self.registered = Some(registered);
        self
    }

    /// Takes in the SSH session from which the program was started: the environment variables `SSH_CONNECTION`
    /// and `SSH_CLIENT`, of which `environment` gives the values. Its peer holds for as long as the program runs,
    /// and its local port is taken for one of sshd.
    #[must_use]
    pub fn with_ssh_environment(mut self, environment: impl Fn(&str) -> Option<String>) -> Self {
        if !self.protect.ssh_peers {
            return self;
        }
        for name in ["SSH_CONNECTION", "SSH_CLIENT"] {
            let Some(value) = environment(name) else { continue };
            let (peer, port) = sessions::ssh_environment(&value);
            let peer = peer.filter(is_somebody).map(|peer| (Network::host(peer), Guard::SshSession));
            self.fixed.extend(peer);
            if let Some(port) = port {
                self.connections.add_port(port);
            }
        }
        self
    }

    /// What must never be banned now, with the reasons, sorted and without doubles. `now` must not run backwards.
    pub fn scan(&mut self, now: Instant) -> Vec<(Network, Guard)> {
        let protect = self.protect;
        if let Some(registered) = &self.registered {
            let agents = registered.addresses();
            self.note(Guard::Agent, agents, now);
        }
        if protect.own_addresses {
            match (self.own_addresses)() {
                Ok(addresses) => self.note(Guard::Own, addresses, now),
                Err(error) => self.files.complain("the network interfaces", &error),
            }
        }
        if protect.gateway {
            let gateways = network::gateways(&mut self.files);
            self.note(Guard::Gateway, gateways, now);
        }
        if protect.resolvers {
            let resolvers = network::resolvers(&mut self.files);
            self.note(Guard::Resolver, resolvers, now);
        }
        if protect.ssh_peers {
            let sessions = sessions::logged_in(&mut self.files);
            self.note(Guard::SshSession, sessions, now);
            // Whoever holds a connection to sshd may be a stranger, so that counts only where nobody keeps account of
            // sessions.
            if !sessions::are_known(&mut self.files) {
                let connected = self.connections.poll(&mut self.files, now);
                self.note(Guard::SshSession, connected, now);
            }
        }
        self.seen.retain(|_, seen| now.saturating_duration_since(*seen) <= LINGER);
        let mut guards: Vec<_> = self.fixed.iter().chain(self.seen.keys()).copied().collect();
        guards.sort_unstable();
        guards.dedup();
        guards
    }

    fn note(&mut self, guard: Guard, addresses: Vec<IpAddr>, now: Instant) {
        for address in addresses.into_iter().filter(is_somebody).take(MOST) {
            self.seen.insert((Network::host(address), guard), now);
        }
    }
}

/// Whether an address can be anybody's: `0.0.0.0` in a file means that there is none.
fn is_somebody(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}
