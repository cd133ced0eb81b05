//! Which addresses of the machine's surroundings are never banned, by trees of files as a system has them.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod zookeeper;

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use model::network::Network;
use proptest::prelude::*;
use tempfile::TempDir;
use topology::adapters::host::{Guard, HostGuards, LINGER, RegisteredAgents};
use topology::config::Protect;
use zk_config::AgentNode;

const NOTHING: Protect = Protect { ssh_peers: false, gateway: false, resolvers: false, own_addresses: false };

/// Files below a folder.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn guards(&self, protect: Protect) -> HostGuards {
        HostGuards::new(self.0.path().to_owned(), protect, &[])
            .with_own_addresses(Box::new(|| Ok(Vec::new())))
    }
}

const LOOPBACK: [&str; 2] = ["127.0.0.0/8 the machine's own address", "::1/128 the machine's own address"];

fn shown(found: Vec<(Network, Guard)>) -> Vec<String> {
    found.into_iter().map(|(network, guard)| format!("{network} {guard}")).collect()
}

/// What is found besides loopback.
fn check(guards: &mut HostGuards, now: Instant, expect: &[&str]) {
    let found = shown(guards.scan(now));
    for loopback in LOOPBACK {
        assert!(found.iter().any(|found| found == loopback), "{found:?}");
    }
    let others: Vec<&String> = found.iter().filter(|found| !LOOPBACK.contains(&found.as_str())).collect();
    assert_eq!(others, expect);
}

/// An address as the tables of the kernel print it: each word as a number of this machine.
fn kernel_hex(address: &str) -> String {
    let octets = match address.parse().unwrap() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.chunks(4).map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap()))).collect()
}

fn route(destination: &str, gateway: &str) -> String {
    let (destination, gateway) = (kernel_hex(destination), kernel_hex(gateway));
    format!("eth0\t{destination}\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
}

fn connection(local: &str, peer: &str, state: &str, inode: u64) -> String {
    let end = |text: &str| {
        let (address, port) = text.rsplit_once(' ').unwrap();
        format!("{}:{:04X}", kernel_hex(address), port.parse::<u16>().unwrap())
    };
    format!(
        "   0: {} {} {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0000 20 4 30 10 -1\n",
        end(local),
        end(peer)
    )
}

/// A record of utmp, as this machine has them.
fn logged_in(process: i32, peer: &str) -> Vec<u8> {
    let short = !cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"));
    let (length, at) = if short { (384, 348) } else { (400, 360) };
    let mut record = vec![0; length];
    record[..2].copy_from_slice(&7i16.to_ne_bytes());
    record[4..8].copy_from_slice(&process.to_ne_bytes());
    match peer.parse().unwrap() {
        IpAddr::V4(v4) => record[at..at + 4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => record[at..at + 16].copy_from_slice(&v6.octets()),
    }
    record
}

/// Something of every kind.
fn furnished() -> Tree {
    let tree = Tree::new();
    let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
    tree.put("proc/net/route", format!("{head}{}", route("0.0.0.0", "192.0.2.1")));
    let none = "0".repeat(32);
    let hop = "fe8000000000000000000000000000fe";
    tree.put(
        "proc/net/ipv6_route",
        format!("{none} 00 {none} 00 {hop} 00000400 00000002 00000000 00000003     eth0\n"),
    );
    tree.put("etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\n");
    tree.put("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\nnameserver fe80::53%2\n");
    tree.put("run/utmp", [logged_in(100, "198.51.100.1"), logged_in(101, "198.51.100.2")].concat());
    tree.put("proc/1/stat", "");
    tree.put("proc/100/stat", "");
    tree.put("run/systemd/sessions/4", "STATE=active\nREMOTE=1\nREMOTE_HOST=2001:db8::4\n");
    tree.put("run/systemd/sessions/5", "STATE=closing\nREMOTE=1\nREMOTE_HOST=2001:db8::5\n");
    tree
}

#[test]
fn each_kind_with_its_reason() {
    let tree = furnished();
    let own =
        || Ok(vec!["192.0.2.9".parse().unwrap(), "fe80::9".parse().unwrap(), "0.0.0.0".parse().unwrap()]);
    let agents: [IpAddr; 2] = ["10.0.0.2".parse().unwrap(), "::ffff:10.0.0.3".parse().unwrap()];
    let mut guards = HostGuards::new(tree.0.path().to_owned(), Protect::default(), &agents)
        .with_own_addresses(Box::new(own))
        .with_ssh_environment(|name| {
            (name == "SSH_CONNECTION").then(|| "203.0.113.7 50000 192.0.2.9 2222".to_owned())
        });
    check(
        &mut guards,
        Instant::now(),
        &[
            "10.0.0.2 an agent",
            "10.0.0.3 an agent",
            "127.0.0.53 a resolver",
            "192.0.2.1 a gateway",
            "192.0.2.1 a resolver",
            "192.0.2.9 the machine's own address",
            "198.51.100.1 an SSH session",
            "203.0.113.7 an SSH session",
            "2001:db8::4/128 an SSH session",
            "fe80::9/128 the machine's own address",
            "fe80::53/128 a resolver",
            "fe80::fe/128 a gateway",
        ],
    );
}

#[test]
fn what_is_switched_off_is_not_looked_for() {
    let tree = furnished();
    let ssh = |_: &str| Some("203.0.113.7 50000 22".to_owned());
    let now = Instant::now();
    check(&mut tree.guards(NOTHING).with_ssh_environment(ssh), now, &[]);
    check(
        &mut tree.guards(Protect { gateway: true, ..NOTHING }),
        now,
        &["192.0.2.1 a gateway", "fe80::fe/128 a gateway"],
    );
    check(
        &mut tree.guards(Protect { ssh_peers: true, ..NOTHING }),
        now,
        &["198.51.100.1 an SSH session", "2001:db8::4/128 an SSH session"],
    );
}

#[test]
fn an_empty_system_gives_loopback() {
    check(&mut Tree::new().guards(Protect::default()), Instant::now(), &[]);
}

#[test]
fn a_connection_counts_once_sshd_would_have_cut_it() {
    let tree = Tree::new();
    let head =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let early = connection("192.0.2.9 22", "198.51.100.1 50000", "01", 11);
    let never = [
        // Another port, only half open, and not accepted by sshd.
        connection("192.0.2.9 443", "198.51.100.2 50000", "01", 12),
        connection("192.0.2.9 22", "198.51.100.3 50000", "03", 13),
        connection("192.0.2.9 22", "198.51.100.4 50000", "01", 0),
        "garbage\n".to_owned(),
    ];
    let v6 = connection("2001:db8::9 2222", "2001:db8::1 50000", "01", 14);
    let mapped = connection("::ffff:192.0.2.9 22", "::ffff:198.51.100.5 50000", "01", 15);
    tree.put("proc/net/tcp", format!("{head}{early}{}", never.concat()));
    tree.put("proc/net/tcp6", format!("{head}{v6}{mapped}"));
    let mut guards = tree
        .guards(Protect { ssh_peers: true, ..NOTHING })
        .with_ssh_environment(|name| (name == "SSH_CLIENT").then(|| "203.0.113.7 50000 2222".to_owned()));
    let began = Instant::now();
    let after = |seconds| began + Duration::from_secs(seconds);
    let ours = "203.0.113.7 an SSH session";
    for seconds in (0..=150).step_by(5) {
        check(&mut guards, after(seconds), &[ours]);
    }
    let late = connection("192.0.2.9 22", "198.51.100.1 50000", "01", 11)
        // The same ports, and another connection.
        .replace(" 11 ", " 99 ");
    let old = [
        "198.51.100.1 an SSH session",
        "198.51.100.5 an SSH session",
        ours,
        "2001:db8::1/128 an SSH session",
    ];
    check(&mut guards, after(165), &old);
    tree.put("proc/net/tcp", format!("{head}{late}"));
    // The old one is gone; it is held for a while, and the new one has to wait for its time.
    check(&mut guards, after(180), &old);
    for seconds in (185..300).step_by(5) {
        guards.scan(after(seconds));
    }
    let without: Vec<&str> = old.iter().skip(1).copied().collect();
    check(&mut guards, after(300), &without);
    for seconds in (305..350).step_by(5) {
        guards.scan(after(seconds));
    }
    check(&mut guards, after(350), &old);
}

#[test]
fn reconnecting_all_the_time_protects_nobody() {
    let tree = Tree::new();
    let mut guards = tree.guards(Protect { ssh_peers: true, ..NOTHING });
    let began = Instant::now();
    for round in 0..100u64 {
        let attack =
            connection("192.0.2.9 22", &format!("198.51.100.1 {}", 50_000 + round), "01", 11 + round);
        tree.put("proc/net/tcp", attack);
        check(&mut guards, began + Duration::from_secs(15 * round), &[]);
    }
}

#[test]
fn a_crowd_of_connections_is_bounded_and_drives_out_no_old_one() {
    let tree = Tree::new();
    let mut guards = tree.guards(Protect { ssh_peers: true, ..NOTHING });
    let began = Instant::now();
    let ours = connection("192.0.2.9 22", "203.0.113.7 50000", "01", 1);
    tree.put("proc/net/tcp", &ours);
    check(&mut guards, began, &[]);
    let crowd: String =
        (2..20_000).map(|n| connection("192.0.2.9 22", &format!("198.51.100.1 {n}"), "01", n)).collect();
    tree.put("proc/net/tcp", crowd + &ours);
    check(&mut guards, began + Duration::from_secs(20), &[]);
    check(&mut guards, began + Duration::from_secs(155), &["203.0.113.7 an SSH session"]);
}

#[test]
fn an_address_stays_for_a_while_after_it_is_gone() {
    let tree = furnished();
    let mut guards = tree.guards(Protect { resolvers: true, ..NOTHING });
    let began = Instant::now();
    let resolvers = ["127.0.0.53 a resolver", "192.0.2.1 a resolver", "fe80::53/128 a resolver"];
    check(&mut guards, began, &resolvers);
    tree.put("etc/resolv.conf", "");
    tree.put("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.2\n");
    let both = [resolvers[0], resolvers[1], "192.0.2.2 a resolver", resolvers[2]];
    check(&mut guards, began + LINGER, &both);
    check(&mut guards, began + LINGER + Duration::from_secs(1), &["192.0.2.2 a resolver"]);
}

#[test]
fn pipes_and_folders_in_place_of_files_hold_nothing_up() {
    let tree = furnished();
    for path in ["run/systemd/sessions/4.ref", "run/systemd/sessions/9"] {
        let made = std::process::Command::new("mkfifo").arg(tree.0.path().join(path)).status().unwrap();
        assert!(made.success());
    }
    fs::remove_file(tree.0.path().join("etc/resolv.conf")).unwrap();
    fs::create_dir(tree.0.path().join("etc/resolv.conf")).unwrap();
    let mut guards = tree.guards(Protect { resolvers: true, ssh_peers: true, ..NOTHING });
    let expect = [
        "192.0.2.1 a resolver",
        "198.51.100.1 an SSH session",
        "2001:db8::4/128 an SSH session",
        "fe80::53/128 a resolver",
    ];
    check(&mut guards, Instant::now(), &expect);
}

#[test]
fn where_processes_are_hidden_utmp_is_believed() {
    let tree = Tree::new();
    tree.put("run/utmp", logged_in(4711, "198.51.100.1"));
    check(
        &mut tree.guards(Protect { ssh_peers: true, ..NOTHING }),
        Instant::now(),
        &["198.51.100.1 an SSH session"],
    );
}

/// The real machine: whatever it has, its own addresses are found, and nothing but single ones.
#[test]
fn this_machine() {
    let mut guards = HostGuards::new(Path::new("/").to_owned(), Protect::default(), &[]);
    let found = guards.scan(Instant::now());
    for interface in if_addrs::get_if_addrs().unwrap() {
        let own = Network::host(interface.ip());
        assert!(found.contains(&(own, Guard::Own)), "{own} {found:?}");
    }
    let loopback: Network = "127.0.0.0/8".parse().unwrap();
    for (network, _) in found.iter().filter(|(network, _)| *network != loopback) {
        assert_eq!(*network, Network::host(network.first()));
    }
    assert!(found.contains(&(Network::host(Ipv6Addr::LOCALHOST.into()), Guard::Own)));
}

const PATHS: [&str; 8] = [
    "proc/net/route",
    "proc/net/ipv6_route",
    "proc/net/tcp",
    "proc/net/tcp6",
    "etc/resolv.conf",
    "run/utmp",
    "run/systemd/sessions/1",
    "run/systemd/resolve/resolv.conf",
];

/// Random bytes, and real files with some bytes changed.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let tcp = connection("192.0.2.9 22", "198.51.100.1 50000", "01", 11);
    let real = prop::sample::select(vec![
        route("0.0.0.0", "192.0.2.1").into_bytes(),
        tcp.repeat(2).into_bytes(),
        logged_in(1, "198.51.100.1"),
        b"STATE=active\nREMOTE_HOST=192.0.2.1\nnameserver 192.0.2.1\n".to_vec(),
    ]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let changed = (real, changes, any::<prop::sample::Index>()).prop_map(|(mut bytes, changes, cut)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        bytes
    });
    prop_oneof![changed, prop::collection::vec(any::<u8>(), 0..600)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever stands in the files, only single addresses come of it.
    #[test]
    fn malformed_files_stop_nothing(contents in prop::collection::vec(content(), PATHS.len())) {
        let tree = Tree::new();
        for (path, content) in PATHS.iter().zip(contents) {
            tree.put(path, content);
        }
        let mut guards = tree.guards(Protect::default());
        let began = Instant::now();
        for seconds in [0, 20, 200] {
            let found = guards.scan(began + Duration::from_secs(seconds));
            let single = |network: &Network| *network == Network::host(network.first());
            prop_assert!(found.iter().filter(|(network, _)| !single(network)).count() == 1, "{:?}", found);
        }
    }
}

#[test]
fn agents_that_register_and_for_a_while_those_that_left() {
    let Some((_servers, place)) = zookeeper::place() else { return };
    let zookeeper = zookeeper::connect(&place);
    let agent = |address: &str| AgentNode {
        address: address.parse().unwrap(),
        version: String::new(),
        enforcer: String::new(),
        tls: false,
        ready: true,
    };
    let first = zookeeper.register_agent("10.0.0.7", &agent("198.51.100.7:9090")).unwrap();
    first.wait_held(zookeeper::PATIENCE).unwrap();
    let tree = Tree::new();
    let mut guards =
        tree.guards(NOTHING).with_registered_agents(RegisteredAgents::follow(&zookeeper).unwrap());
    let mut now = Instant::now();
    let both = ["10.0.0.7 an agent", "198.51.100.7 an agent"];
    check(&mut guards, now, &both);

    first.remove().unwrap();
    let _second = zookeeper.register_agent("10.0.0.8", &agent("10.0.0.8:9090")).unwrap();
    let until = now + zookeeper::PATIENCE;
    while !shown(guards.scan(now)).contains(&"10.0.0.8 an agent".to_owned()) {
        assert!(Instant::now() < until, "the list doesn't come");
        std::thread::sleep(Duration::from_millis(5));
    }
    // An agent is called for a while after it has vanished.
    let leave_after = topology::adapters::fleet::Options::default().leave_after;
    assert!(leave_after < LINGER);
    now += leave_after;
    check(&mut guards, now, &["10.0.0.7 an agent", "10.0.0.8 an agent", "198.51.100.7 an agent"]);
    now += LINGER;
    check(&mut guards, now, &["10.0.0.8 an agent"]);
}
