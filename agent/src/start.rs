//! Starts an agent in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ccfirewall_thrift::DEFAULT_PORT;
use ccfirewall_thrift::tls::{ServerTls, TlsError, TlsFiles};
use model::network::Network;
use model::units::Seconds;

use crate::clock::{self, Clock};
use crate::enforcer::cut::Cutting;
use crate::enforcer::dry_run::DryRun;
use crate::enforcer::ipset::Ipset;
use crate::enforcer::iptables::Iptables;
use crate::enforcer::nftables::Nftables;
use crate::enforcer::{self, Enforcer, EnforcerError};
use crate::keeper::Keeper;
use crate::key::{Key, KeyError};
use crate::notify::notify;
use crate::ready::Ready;
use crate::registration::{Registered, Registration};
use crate::server::{Limits, Server};
use crate::service::Service;

/// Is told what the enforcer has just done: bans with the time that they hold, and what was lifted. It is called
/// while other calls wait, so it must be quick, and never ask the agent for anything.
pub type Observer = Arc<dyn Fn(&[(Network, Duration)], &[Network]) + Send + Sync>;

/// What drops packets.
pub enum Choice {
    /// The best that works here: nftables, else ipset, else iptables, else a dry run.
    Auto,
    /// nftables, or no start.
    Nftables,
    /// ipset with rules of iptables, or no start.
    Ipset,
    /// iptables with a rule for each ban, or no start.
    Iptables,
    /// Nothing: bans are only held in memory.
    DryRun,
    /// What the caller brings.
    Own(Box<dyn Enforcer>),
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "Auto",
            Self::Nftables => "Nftables",
            Self::Ipset => "Ipset",
            Self::Iptables => "Iptables",
            Self::DryRun => "DryRun",
            Self::Own(enforcer) => enforcer.name(),
        })
    }
}

/// How an agent is started. `Config::new` gives what holds where nothing is said.
pub struct Config {
    /// Where it listens; port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// The key that owners must know.
    pub mkey: Key,
    /// What drops packets.
    pub enforcer: Choice,
    /// Whether live connections of whoever is banned are ended; see [`crate::enforcer::cut`].
    pub cut_established: bool,
    /// How long a ban lasts that comes by the call of 2016, which says no end.
    pub legacy_max: Seconds,
    /// What callers may ask of the server.
    pub limits: Limits,
    /// Is told what was done.
    pub observer: Option<Observer>,
    /// The time that passes, where it isn't the machine's clock.
    pub clock: Clock,
    /// What a person should know besides what the agent finds itself; shown in its status.
    pub warnings: Vec<String>,
    /// Speak TLS only, by these files; with `ca`, callers must show a certificate of that authority.
    pub tls: Option<TlsFiles>,
    /// Register in ZooKeeper.
    pub registration: Option<Registration>,
    /// Tell systemd how it goes, where it wants to know.
    pub notify: bool,
}

impl Config {
    /// 127.0.0.1:9090, enforcer `auto`, bans of the call of 2016 for a day.
    #[must_use]
    pub fn new(mkey: Key) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            mkey,
            enforcer: Choice::Auto,
            cut_established: false,
            legacy_max: Seconds(86_400),
            limits: Limits::default(),
            observer: None,
            clock: clock::machine(),
            warnings: Vec::new(),
            tls: None,
            registration: None,
            notify: false,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("enforcer", &self.enforcer)
            .field("legacy_max", &self.legacy_max)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Why an agent can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its key isn't good enough.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It can't listen there.
    #[error("can't listen on {address}: {cause} (does another agent run already?)")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Its enforcer doesn't work.
    #[error(transparent)]
    Enforcer(#[from] EnforcerError),
    /// Its certificate can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Where it should register can't be right.
    #[error(transparent)]
    ZooKeeper(#[from] zk_config::Error),
    /// It would be listed at an address where nobody reaches it.
    #[error("{0} is the address of no host: say with --advertise where owners reach this agent")]
    Advertise(SocketAddr),
    /// The system refuses something that every process needs.
    #[error("the system refuses: {0}")]
    System(String),
}

/// An agent that runs. Dropping it stops it; its bans stay where they are, until their time is over.
pub struct Running {
    /// Goes first, so that nobody is sent here any more.
    registered: Option<Registered>,
    tls: Option<Arc<ServerTls>>,
    server: Server,
    address: SocketAddr,
    enforcer: &'static str,
    service: Arc<Service>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What drops packets: `nftables`, `ipset`, `iptables`, `dry_run`.
    #[must_use]
    pub fn enforcer_name(&self) -> &'static str {
        self.enforcer
    }

    /// What a person should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.service.warnings
    }

    /// Whether an owner's full state is in force since the start.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.service.ready.is()
    }

    /// Reads the certificates now where they have changed, instead of with the next connection.
    pub fn look_at_certificates(&self) {
        self.tls.iter().for_each(|tls| tls.look());
    }

    /// Stops it: closes connections, and leaves the bans where they are. Calls under way are done to their end, for
    /// up to 5 s.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.registered.take());
        self.server.stop();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, enforcer, .. } = self;
        f.debug_struct("Running")
            .field("address", address)
            .field("enforcer", enforcer)
            .finish_non_exhaustive()
    }
}

/// Starts an agent.
///
/// # Errors
/// Where the key is too weak for where it listens, where it can't listen, or where the enforcer that was asked for
/// doesn't work. See [`StartError`].
pub fn start(config: Config) -> Result<Running, StartError> {
    let Config {
        listen,
        mkey,
        enforcer,
        cut_established,
        legacy_max,
        limits,
        observer,
        clock,
        mut warnings,
        ..
    } = config;
    let Config { tls, registration, notify: to_systemd, .. } = config;
    mkey.suits(listen.ip())?;
    let tls = tls.map(ServerTls::new).transpose()?.map(Arc::new);
    if let Some(why) = mkey.weakness() {
        warnings.push(format!(
            "the mkey {why}: every program on this machine can ban and unban (give one with --mkey-file)"
        ));
    }
    let listener =
        TcpListener::bind(listen).map_err(|cause| StartError::Listen { address: listen, cause })?;
    let system = |error: &dyn std::fmt::Display| StartError::System(error.to_string());
    let address = listener.local_addr().map_err(|error| system(&error))?;

    let mut enforcer: Box<dyn Enforcer> = match enforcer {
        Choice::Own(enforcer) => enforcer,
        Choice::Nftables => Box::new(Nftables::open()?),
        Choice::Ipset => Box::new(Ipset::open()?),
        Choice::Iptables => Box::new(Iptables::open()?),
        Choice::DryRun => {
            warnings.push("a dry run, as asked for: nobody is blocked".to_owned());
            Box::new(DryRun::new(clock.clone()))
        }
        Choice::Auto => match enforcer::best() {
            Ok((enforcer, why)) => {
                warnings.extend(why);
                enforcer
            }
            Err(error) => {
                warnings.push(format!("only a dry run, NOBODY IS BLOCKED: {error}"));
                Box::new(DryRun::new(clock.clone()))
            }
        },
    };
    // In a dry run nobody is blocked, and nobody's connections end.
    if cut_established && enforcer.name() != DryRun::NAME {
        let (cutting, doubts) = Cutting::new(enforcer)?;
        warnings.extend(doubts);
        enforcer = Box::new(cutting);
    }
    let name = enforcer.name();
    let keeper = Keeper::new(enforcer, observer, clock)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let mut instance = [0u8; 8];
    getrandom::fill(&mut instance).map_err(|error| system(&error))?;
    let service = Arc::new(Service {
        keeper,
        key: mkey,
        legacy_max,
        instance: format!("{:016x}", u64::from_be_bytes(instance)),
        warnings,
        wrong_keys: 0.into(),
        ready: Arc::default(),
        unlisted: Arc::default(),
    });
    let server =
        Server::start(listener, Arc::clone(&service), tls.clone(), limits).map_err(|error| system(&error))?;
    let (_, _, held) = service.keeper.status();
    tracing::info!(%address, enforcer = name, held, tls = tls.is_some(), "the agent listens");
    if to_systemd {
        tell_systemd(&service.ready, registration.is_some(), address, held);
    }
    let registered = registration.map(|registration| register(registration, address, name, &tls, &service));
    Ok(Running { registered: registered.transpose()?, tls, server, address, enforcer: name, service })
}

/// An agent that registers is ready for systemd when it is. One that doesn't may have an owner that sends no full
/// state (those of 2016), and systemd would wait in vain: it is ready when it listens.
fn tell_systemd(ready: &Ready, registers: bool, address: SocketAddr, held: usize) {
    let first = if registers { "" } else { "READY=1\n" };
    notify(&format!(
        "{first}STATUS=listens on {address} with {held} bans, and waits for an owner's full state"
    ));
    ready.then(move || {
        notify(&format!("READY=1\nSTATUS=listens on {address}; an owner's full state is in force"));
    });
}

fn register(
    registration: Registration,
    listens: SocketAddr,
    enforcer: &str,
    tls: &Option<Arc<ServerTls>>,
    service: &Service,
) -> Result<Registered, StartError> {
    let address = registration.advertise.unwrap_or(listens);
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(StartError::Advertise(address));
    }
    let agent = zk_config::AgentNode {
        address,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        enforcer: enforcer.to_owned(),
        tls: tls.is_some(),
        ready: false,
    };
    Registered::start(registration.ensemble, agent, &service.ready, &service.unlisted)
}

/// Removes from the kernel whatever agents have put there, bans and all.
///
/// # Errors
/// Where we may not, or the kernel refuses.
pub fn remove() -> Result<(), EnforcerError> {
    enforcer::remove_all()
}
