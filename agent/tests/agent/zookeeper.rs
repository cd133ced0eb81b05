//! The agent's node in a real ZooKeeper, and what systemd is told.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::Registration;
use real_servers::Servers;
use rustix::process::{Pid, Signal, kill_process};
use zk_config::{AgentData, AgentNode, Ensemble, ListedAgent, Watch, ZooKeeper};

use crate::help::{Daemon, MKEY, ban, config, connect};

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A place of its own in the shared ZooKeeper, and who is listed there.
struct Place {
    _servers: Servers,
    ensemble: Ensemble,
    listed: Arc<Mutex<Vec<ListedAgent>>>,
    _watch: Watch,
    _zookeeper: ZooKeeper,
}

impl Place {
    /// `None` where there is no ZooKeeper to be had.
    fn new(name: &str) -> Option<Self> {
        let servers = Servers::shared()?;
        let mut ensemble = Ensemble::new(servers.up("zookeeper"));
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        ensemble.root = format!("/agent-tests/{name}-{}-{now:x}", std::process::id());
        ensemble.session_timeout = Duration::from_secs(2);
        let zookeeper = ZooKeeper::start(ensemble.clone()).unwrap();
        zookeeper.wait_connected(PATIENCE).unwrap();
        let listed = Arc::<Mutex<Vec<ListedAgent>>>::default();
        let told = Arc::clone(&listed);
        let watch = zookeeper.watch_agents(move |agents| *told.lock().unwrap() = agents).unwrap();
        Some(Self { _servers: servers, ensemble, listed, _watch: watch, _zookeeper: zookeeper })
    }

    fn node(&self) -> Option<(String, AgentNode)> {
        let listed = self.listed.lock().unwrap();
        match listed.first()? {
            ListedAgent { node, data: AgentData::Ours(agent) } => Some((node.clone(), agent.clone())),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_agent_registers_says_when_it_is_ready_and_goes() {
    let Some(place) = Place::new("registers") else { return };
    let mut config = config();
    config.registration = Some(Registration { ensemble: place.ensemble.clone(), advertise: None });
    let agent = agent::start(config).unwrap();
    until("listed", || place.node().is_some());
    let (name, node) = place.node().unwrap();
    assert_eq!((name.as_str(), node.address), ("127.0.0.1", agent.address()));
    assert_eq!((node.enforcer.as_str(), node.tls, node.ready), ("dry_run", false, false));
    assert_eq!(node.version, env!("CARGO_PKG_VERSION"));
    let mut owner = connect(agent.address());
    owner.apply(MKEY, 1, vec![ban("203.0.113.9", 60_000)], vec![]).unwrap();
    owner.sync(MKEY, 1, vec![ban("203.0.113.9", 60_000)], true, false).unwrap();
    assert!(!agent.is_ready(), "only with the last part");
    owner.sync(MKEY, 1, vec![ban("203.0.113.8", 60_000)], false, true).unwrap();
    assert_eq!(owner.status(MKEY).unwrap().ready, Some(true));
    until("said", || place.node().is_some_and(|(_, node)| node.ready));
    let start = Instant::now();
    agent.stop();
    until("gone", || place.node().is_none());
    assert!(start.elapsed() < Duration::from_secs(10), "not only with its session: {:?}", start.elapsed());
}

#[test]
fn it_is_listed_where_it_is_reached() {
    let Some(place) = Place::new("advertises") else { return };
    let mut elsewhere = config();
    let advertise = Some("203.0.113.77:19090".parse().unwrap());
    elsewhere.registration = Some(Registration { ensemble: place.ensemble.clone(), advertise });
    let agent = agent::start(elsewhere).unwrap();
    until("listed", || place.node().is_some());
    let (name, node) = place.node().unwrap();
    assert_eq!((name.as_str(), node.address.to_string().as_str()), ("203.0.113.77", "203.0.113.77:19090"));
    drop(agent);
    let mut nowhere = config();
    let advertise = Some("0.0.0.0:9090".parse().unwrap());
    nowhere.registration = Some(Registration { ensemble: place.ensemble.clone(), advertise });
    assert!(agent::start(nowhere).unwrap_err().to_string().contains("--advertise"));
}

#[test]
fn one_that_cant_be_listed_says_so_until_it_is() {
    let Some(place) = Place::new("twice") else { return };
    let start = |address: &str| {
        let mut config = config();
        let advertise = Some(address.parse().unwrap());
        config.registration = Some(Registration { ensemble: place.ensemble.clone(), advertise });
        agent::start(config).unwrap()
    };
    let first = start("203.0.113.77:9090");
    until("listed", || place.node().is_some());
    let second = start("203.0.113.77:9091");
    let warnings = || connect(second.address()).status(MKEY).unwrap().warnings.unwrap();
    let warned = || warnings().iter().any(|text| text.contains("NOT LISTED") && text.contains("--advertise"));
    assert!(!warned(), "only where it lasts");
    until("told", warned);
    first.stop();
    until("listed", || place.node().is_some_and(|(_, node)| node.address.port() == 9091));
    until("over", || !warned());
}

#[test]
fn without_zookeeper_it_serves_all_the_same() {
    let mut config = config();
    // Nobody listens there.
    let registration = Registration { ensemble: Ensemble::new("127.0.0.1:1"), advertise: None };
    config.registration = Some(registration);
    let start = Instant::now();
    let agent = agent::start(config).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(connect(agent.address()).status(MKEY).unwrap().flag, Some(1));
}

#[test]
fn a_daemon_that_is_killed_and_starts_again_is_listed_again_and_not_ready() {
    let Some(place) = Place::new("killed") else { return };
    let run = |listen: &str, notify: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall-agent"));
        command.args(["--enforcer", "dry-run", "--listen", listen]);
        command.args(["--zookeeper", &place.ensemble.servers, "--zookeeper-root", &place.ensemble.root]);
        Daemon::run(command.env("NOTIFY_SOCKET", notify))
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 1000];
        let count = systemd.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    let mut daemon = run("127.0.0.1:0", &path);
    assert!(!heard().contains("READY=1"), "an agent that registers isn't ready when it listens");
    until("listed", || place.node().is_some());
    connect(daemon.address).sync(MKEY, 1, vec![], true, true).unwrap();
    assert!(heard().starts_with("READY=1\n"));
    until("ready", || place.node().unwrap().1.ready);
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let mut again = run(&daemon.address.to_string(), &path);
    until("listed again", || place.node().is_some_and(|(_, node)| !node.ready));
    connect(again.address).sync(MKEY, 1, vec![], true, true).unwrap();
    until("ready again", || place.node().is_some_and(|(_, node)| node.ready));
    let pid = Pid::from_raw(i32::try_from(again.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(again.child.wait().unwrap().code(), Some(0));
    until("gone", || place.node().is_none());
}
