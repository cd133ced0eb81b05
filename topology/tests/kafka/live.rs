//! The whole program before a real Kafka.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use real_servers::Servers;
use serde_json::Value;
use tempfile::TempDir;
use topology::control::client::Client;

use crate::common::*;

/// A firewall of its own state, which ends with the value.
struct Firewall {
    child: Child,
    client: Client,
}

impl Firewall {
    fn start(folder: &Path, topic: &Topic) -> Self {
        let mut child = command(folder, topic).stderr(Stdio::null()).spawn().unwrap();
        let client = Client::new(&folder.join("state"));
        until("it answers", || {
            assert_eq!(child.try_wait().unwrap(), None, "it ended");
            client.get::<Value>("/api/v1/status").is_ok()
        });
        Self { child, client }
    }

    fn get(&self, path: &str) -> Value {
        self.client.get_any_status(path).unwrap()
    }

    fn lines(&self) -> u64 {
        self.get("/api/v1/status")["lines"]["total"].as_u64().unwrap()
    }

    fn bans(&self) -> Vec<Value> {
        self.get("/api/v1/bans")["bans"].as_array().unwrap().clone()
    }

    /// How many partitions have nothing more to read.
    fn read_out(&self) -> usize {
        let status = self.get("/api/v1/status");
        status["sources"].as_array().unwrap().iter().filter(|source| source["behind_messages"] == 0).count()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        // It has ended already where the test is through.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, topic: &Topic) -> Command {
    let settings =
        r#"{"count": "20", "threshold_secound": "60", "block_second": "600", "max_banned_share": 1}"#;
    fs::write(folder.join("settings.json"), settings).unwrap();
    let Topic { brokers, name, .. } = topic;
    let text = format!(
        "state = 'state'\nsettings = 'settings.json'\n[[source]]\nkafka = '{name}'\nstart = 'beginning'\n\
         [kafka]\nbrokers = '{brokers}'\ngroup = '{name}'\nsession_timeout = 2\n[kafka.properties]\n\
         reconnect.backoff.max.ms = 500\n[agent]\nenforcer = 'dry-run'\n[http]\nlisten = '127.0.0.1:0'\n"
    );
    let config: PathBuf = folder.join("ccfirewall.toml");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccfirewall"));
    command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_flood_over_all_partitions_is_one_ban_whoever_is_killed() {
    let Some(topic) = Topic::shared("flood", 4) else { return };
    let folder = folder();
    let firewall = Firewall::start(folder.path(), &topic);
    topic.send_lines(0..12, 4);
    until("the lines are counted", || firewall.lines() >= 12 && firewall.read_out() == 4);
    assert!(firewall.bans().is_empty());
    // What nothing came of is kept once a second.
    until("it is committed", || topic.committed(4) == [Some(3); 4]);
    firewall.kill();
    topic.send_lines(12..20, 4);
    // Eight new lines make twenty only with those of before.
    let firewall = Firewall::start(folder.path(), &topic);
    until("there is a ban", || !firewall.bans().is_empty());
    let bans = firewall.bans();
    assert_eq!((bans.len(), &bans[0]["target"]), (1, &Value::from("198.51.100.7")));
    // A second firewall of the group is refused while this one runs.
    let other = self::folder();
    let refused = command(other.path(), &topic).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && text.contains("another member of group"), "{text}");
    firewall.stop();
    // Nothing is decided twice.
    let firewall = Firewall::start(folder.path(), &topic);
    topic.send_lines(20..21, 4);
    until("the new line is counted", || firewall.lines() >= 1);
    assert_eq!((firewall.bans().len(), firewall.lines()), (1, 1), "the others fill windows");
    let banned = &firewall.get("/api/v1/status")["bans"]["banned"];
    assert_eq!(banned, 0);
    firewall.stop();
}

#[test]
fn a_broker_that_is_away_is_told_and_bans_stay() {
    let Some(servers) = Servers::own("kafka-live") else { return };
    let topic = Topic::unmade("live-away", &servers.up("kafka"));
    topic.make(2);
    let folder = folder();
    let firewall = Firewall::start(folder.path(), &topic);
    topic.send_lines(0..20, 2);
    until("there is a ban", || !firewall.bans().is_empty());
    servers.kill("kafka");
    let problem = |health: &Value| {
        let problems = health["problems"].as_array().cloned().unwrap_or_default();
        problems
            .iter()
            .any(|p| p["kind"] == "source" && p["text"].as_str().unwrap().contains("can't be reached"))
    };
    until("it is told", || problem(&firewall.get("/healthz")));
    assert_eq!(firewall.bans().len(), 1);
    servers.up("kafka");
    topic.send_lines(20..30, 2);
    until("it goes on", || firewall.lines() >= 30 && firewall.get("/healthz")["ok"] == true);
    assert_eq!(firewall.lines(), 30, "each line once");
    firewall.stop();
}
