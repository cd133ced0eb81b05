//! Agents: with another key, without rights, with another clock, of 2016, away, and registered.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::enforcer::dry_run::DryRun;
use agent::enforcer::{Enforcer, EnforcerError};
use agent::key::Key;
use agent::{Choice, Config, Running};
use ccfirewall_thrift::generated::{
    CCfirewallAgentSyncHandler, CCfirewallAgentSyncProcessor, CCfirewallSyncHandler, CCfirewallSyncProcessor,
};
use ccfirewall_thrift::{Answer, Ban, Held, Status, flag};
use model::network::Network;
use thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use thrift::server::TProcessor;
use thrift::transport::{TBufferedReadTransport, TBufferedWriteTransport};
use zk_config::AgentNode;

use crate::program::{file, program};
use crate::site::{KEY, Nobody, Site, silent, without_net_admin};
use crate::zookeeper_common::{connect, create, place};

/// An enforcer that is in order and touches no kernel.
struct Untroubled(DryRun);

impl Enforcer for Untroubled {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn apply(&mut self, block: &[(Network, Duration)], unblock: &[Network]) -> Result<(), EnforcerError> {
        self.0.apply(block, unblock)
    }

    fn held(&mut self) -> Result<Vec<(Network, Duration)>, EnforcerError> {
        self.0.held()
    }

    fn remove(&mut self) -> Result<(), EnforcerError> {
        self.0.remove()
    }
}

/// An agent that has nothing to complain of.
pub(crate) fn an_agent(key: &str) -> Running {
    let mut config = Config::new(Key::new(key).unwrap());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.enforcer = Choice::Own(Box::new(Untroubled(DryRun::new(agent::clock::machine()))));
    agent::start(config).unwrap()
}

fn config(address: SocketAddr) -> String {
    format!("[[source]]\nstdin = true\n[[agents]]\naddress = \"{address}\"\nmkey_file = \"mkey\"\n")
}

#[test]
fn one_that_is_in_order() {
    let agent = an_agent(KEY);
    let said = Site::new().doctor(&config(agent.address()));
    assert_eq!(said.code, Some(0), "{said:?}");
    said.has("agent", "ok", &format!("{} answers", agent.address()), "");
    assert_eq!(said.complaints(), Vec::<&str>::new(), "{said:?}");
}

#[test]
fn one_with_another_mkey() {
    let agent = an_agent("another key that is as long as it should be");
    let site = Site::new();
    let said = site.doctor(&config(agent.address()));
    assert_eq!(said.code, Some(1));
    said.has("agent", "bad", &format!("{} refuses our mkey", agent.address()), "--mkey-file");
    said.has("agent", "bad", site.path("mkey").to_str().unwrap(), site.path("mkey").to_str().unwrap());
    assert!(!format!("{said:?}").contains(KEY));
    // One that isn't there is named, too.
    let said = site.doctor(&config(agent.address()).replace("\"mkey\"", "\"no-such-file\""));
    said.has("agent", "bad", "no-such-file", "openssl rand");
}

/// A program that runs; killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent's program, which may do all but change the firewall; `None` where that can't be tested.
fn agent_without_net_admin(site: &Site) -> Option<Program> {
    let mkey = site.path("mkey");
    let args =
        ["agent", "--enforcer", "auto", "--listen", "127.0.0.1:0", "--mkey-file", mkey.to_str().unwrap()];
    let mut child = without_net_admin(&args)?.stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| {
        let (_, rest) = line.split_once("the agent listens")?;
        let address = rest.split_once("address=")?.1.split(' ').next()?;
        Some(address.parse().unwrap())
    });
    // Nobody holds it up by not reading on.
    std::thread::spawn(move || lines.for_each(drop));
    Some(Program { child, address: address.expect("it says where it listens") })
}

#[test]
fn one_without_cap_net_admin() {
    let site = Site::new();
    let Some(agent) = agent_without_net_admin(&site) else { return };
    let said = site.doctor(&config(agent.address));
    assert_eq!(said.code, Some(1));
    let found = format!("{} blocks nobody: it lacks CAP_NET_ADMIN", agent.address);
    said.has("agent", "bad", &found, "AmbientCapabilities=CAP_NET_ADMIN");
}

#[test]
fn one_that_ends_without_cap_net_admin() {
    let args = ["agent", "--enforcer", "nftables", "--listen", "127.0.0.1:0"];
    let Some(mut agent) = without_net_admin(&args) else { return };
    let output = agent.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("CAP_NET_ADMIN"), "{stderr}");
    // Then nobody is there, and that is a reason which is named.
    let nobody = Nobody::new();
    let said = Site::new().doctor(&config(nobody.address()));
    said.has("agent", "bad", &format!("{} can't be reached", nobody.address()), "CAP_NET_ADMIN");
    said.has("agent", "bad", "", "systemctl status ccfirewall-agent");
}

#[test]
fn an_own_agent_without_cap_net_admin() {
    let site = Site::new();
    for enforcer in ["auto", "nftables", "ipset", "iptables"] {
        let config = format!("[[source]]\nstdin = true\n[agent]\nenforcer = \"{enforcer}\"\n");
        let Some(said) = site.doctor_without_net_admin(&config) else { return };
        assert_eq!(said.code, Some(1), "{enforcer}");
        said.has("rights", "bad", "CAP_NET_ADMIN", "run as root");
    }
}

/// Answers as an agent whose clock is off.
#[derive(Clone, Copy)]
struct Shifted {
    millis: i64,
}

impl CCfirewallSyncHandler for Shifted {
    fn handle_blockipbyiptables(&self, _: String, _: String) -> thrift::Result<String> {
        panic!("the doctor bans nobody")
    }

    fn handle_unblockipbyiptables(&self, _: String, _: String) -> thrift::Result<String> {
        panic!("the doctor lifts nothing")
    }
}

impl CCfirewallAgentSyncHandler for Shifted {
    fn handle_apply(&self, _: String, _: i64, _: Vec<Ban>, _: Vec<String>) -> thrift::Result<Answer> {
        panic!("the doctor orders nothing")
    }

    fn handle_sync(&self, _: String, _: i64, _: Vec<Ban>, _: bool, _: bool) -> thrift::Result<Answer> {
        panic!("the doctor sends no state")
    }

    fn handle_held(&self, _: String, _: i64, _: i32) -> thrift::Result<Held> {
        panic!("the doctor needn't know")
    }

    fn handle_status(&self, _: String) -> thrift::Result<Status> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        Ok(Status {
            flag: Some(flag::DONE),
            enforcer: Some("nftables".to_owned()),
            clock_ms: Some(now + self.millis),
            ready: Some(true),
            ..Status::default()
        })
    }
}

/// Serves until the test's program ends.
fn serve<P: TProcessor + Send + 'static>(processor: impl Fn() -> P + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let processor = processor();
            std::thread::spawn(move || {
                let reading = TBufferedReadTransport::new(stream.try_clone().unwrap());
                let mut input = TBinaryInputProtocol::new(reading, false);
                let mut output = TBinaryOutputProtocol::new(TBufferedWriteTransport::new(stream), true);
                while processor.process(&mut input, &mut output).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn one_with_another_clock() {
    for (millis, found) in [(7_300, "7.3 s ahead of"), (-3_600_000, "3600.0 s behind")] {
        let address = serve(move || CCfirewallAgentSyncProcessor::new(Shifted { millis }));
        let said = Site::new().doctor(&config(address));
        assert_eq!(said.code, Some(1));
        let clock = |finding: &serde_json::Value| {
            let text = finding["found"].as_str().unwrap();
            text.starts_with(&format!("the clock of {address} is")) && text.ends_with("this machine's")
        };
        said.has("agent", "bad", "this machine's", "timedatectl");
        assert!(said.checks().iter().any(clock), "{said:?}");
        // The answer may take a while, of which a half counts for nothing.
        if millis < 0 {
            said.has("agent", "bad", found, "chrony");
        }
    }
    let address = serve(|| CCfirewallAgentSyncProcessor::new(Shifted { millis: 1_000 }));
    Site::new().doctor(&config(address)).has("agent", "ok", "answers", "");
}

#[test]
fn one_of_2016() {
    let address = serve(|| CCfirewallSyncProcessor::new(Shifted { millis: 0 }));
    let said = Site::new().doctor(&config(address));
    said.has("agent", "skipped", &format!("{address} is an agent of 2016"), "");
}

#[test]
fn one_that_hangs() {
    let silent = silent();
    let said = Site::new().doctor(&config(silent.local_addr().unwrap()));
    said.has("agent", "bad", "takes connections and doesn't answer", "restart");
}

#[test]
fn those_that_register() {
    let Some((_servers, ensemble)) = place() else { return };
    let zookeeper = connect(&ensemble);
    create(&ensemble, b"{}");
    let site = Site::new();
    let config = format!(
        "[[source]]\nstdin = true\n[registered_agents]\nmkey_file = \"mkey\"\n[zookeeper]\nservers = \"{}\"\nroot = \"{}\"\n",
        ensemble.servers, ensemble.root
    );
    site.doctor(&config).has("agent", "bad", "no agent is registered", "--zookeeper");
    let (one, other) = (an_agent(KEY), an_agent("a key that nobody else has, and that is long"));
    let node = |address, tls| AgentNode {
        address,
        version: "1".to_owned(),
        enforcer: "nftables".to_owned(),
        tls,
        ready: true,
    };
    let _nodes = [
        zookeeper.register_agent("10.0.0.1", &node(one.address(), false)).unwrap(),
        zookeeper.register_agent("10.0.0.2", &node(other.address(), false)).unwrap(),
        zookeeper.register_agent("10.0.0.3", &node(one.address(), true)).unwrap(),
        zookeeper.keep_ephemeral("agent_list/iptables/10.0.0.4", b"rubbish".to_vec()).unwrap(),
    ];
    let listed =
        || zk_config::look(&ensemble, "owner", crate::zookeeper_common::PATIENCE).unwrap().agents.unwrap();
    crate::kafka_common::until("all are listed", || listed().len() == 4);
    let said = site.doctor(&config);
    said.has("agent", "ok", &format!("{} answers", one.address()), "");
    said.has("agent", "bad", &format!("{} refuses our mkey", other.address()), "--mkey-file");
    said.has("agent", "bad", "10.0.0.3: it wants TLS, and `tls_ca` isn't", "agree on TLS");
    said.has("agent", "bad", "10.0.0.4", "delete it");
}

#[test]
fn text_names_part_and_mending() {
    let agent = an_agent("another key that is as long as it should be");
    let site = Site::new();
    let config = file(&site.folder, "c.toml", config(agent.address()));
    let output = program().args(["doctor", "--config"]).arg(config).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("bad   agent") && text.contains("→ put the same line into"), "{text}");
}
