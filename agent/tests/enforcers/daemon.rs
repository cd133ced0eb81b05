//! The daemon with each enforcer: killed, stopped, and removed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ccfirewall_thrift::{Ban, Client, Timeouts};
use rustix::process::{Pid, Signal, kill_process};

use crate::help::{HOUR, Kind, eventually, for_each_enforcer, held, isolated, net, run};
use crate::namespace::{Namespace, serve_here};

const DAEMON: &str = env!("CARGO_BIN_EXE_ccfirewall-agent");
const MKEY: &str = "a key for tests";

for_each_enforcer!(bans_outlive_the_agent, remove_takes_everything_away);

struct Daemon(Child);

impl Daemon {
    fn start(kind: Kind) -> (Self, Client) {
        let arguments = ["--enforcer", kind.name(), "--cut-established"];
        let child =
            Command::new(DAEMON).args(arguments).env("CCFIREWALL_MKEY", MKEY).stderr(Stdio::null()).spawn();
        let daemon = Self(child.unwrap());
        let address = "127.0.0.1:9090".parse().unwrap();
        let mut client = None;
        eventually("the daemon answers", || {
            client = Client::connect(address, Timeouts::default()).ok();
            client.is_some()
        });
        (daemon, client.unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bans_outlive_the_agent(kind: Kind) {
    isolated(kind, || {
        run("ip link set lo up");
        let namespace = Namespace::new();
        namespace.link("client", 1);
        serve_here();
        let mut client = namespace.client("10.9.1.1");
        eventually("the way is open at first", || client.ask("?") == "yes");
        let (mut daemon, mut calls) = Daemon::start(kind);
        let bans = ["10.9.1.0/24", "2001:db8::/64"]
            .map(|target| Ban::new(target.to_owned(), 3_600_000, String::new()));
        assert_eq!(calls.apply(MKEY, 1, bans.to_vec(), vec![]).unwrap().flag, Some(1));
        assert_eq!(calls.status(MKEY).unwrap().enforcer.as_deref(), Some(kind.name()));
        for signal in [Signal::KILL, Signal::TERM] {
            let pid = Pid::from_raw(i32::try_from(daemon.0.id()).unwrap()).unwrap();
            kill_process(pid, signal).unwrap();
            daemon.0.wait().unwrap();
            assert_eq!(client.ask("?"), "no", "nobody runs, and the ban is in force");
            (daemon, calls) = Daemon::start(kind);
            let mut left = calls.held(MKEY, 0, 10).unwrap().bans.unwrap();
            left.sort_by_key(|ban| ban.target.clone());
            let targets: Vec<_> = left.iter().map(|ban| ban.target.clone().unwrap()).collect();
            assert_eq!(targets, ["10.9.1.0/24", "2001:db8::/64"]);
            left.iter().for_each(|ban| assert!((3_500_000..=3_600_050).contains(&ban.left_ms.unwrap())));
        }
        assert_eq!(calls.apply(MKEY, 1, vec![], vec!["10.9.1.0/24".to_owned()]).unwrap().flag, Some(1));
        eventually("it is lifted", || client.ask("?") == "yes");
    });
}

fn remove_takes_everything_away(kind: Kind) {
    isolated(kind, || {
        let remove = || assert!(Command::new(DAEMON).arg("--remove").output().unwrap().status.success());
        remove();
        let bans = [(net("203.0.113.1"), HOUR), (net("2001:db8::/64"), Duration::from_secs(60))];
        let mut enforcer = kind.open();
        enforcer.apply(&bans, &[]).unwrap();
        assert_eq!(held(&mut *enforcer).len(), 2);
        drop(enforcer);
        remove();
        let left = run("nft list ruleset; ipset save; iptables-save; ip6tables-save");
        assert!(!left.contains("ccfirewall"), "{left}");
        remove();
    });
}
