//! The nftables enforcer against the kernel. Each test runs in a network namespace of its own, so it needs root
//! and `unshare`, and says so where it is skipped.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::enforcer::nftables::Nftables;
use agent::enforcer::{Enforcer, EnforcerError};
use model::network::Network;

const INSIDE: &str = "CCFIREWALL_TEST_NAMESPACE";
const HOUR: Duration = Duration::from_secs(3600);

/// Runs `body` in a new network namespace: this test's process starts itself again there.
fn isolated(test: &str, body: impl FnOnce()) {
    isolated_by(&["unshare", "--net"], test, body);
}

fn isolated_by(wrapper: &[&str], test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let usable = |command: &[&str]| {
        Command::new(command[0]).args(&command[1..]).output().is_ok_and(|output| output.status.success())
    };
    if !usable(&["unshare", "--net", "nft", "list", "ruleset"]) || !usable(&[wrapper, &["true"]].concat()) {
        println!("skipped {test}: needs root, nft, and what `{} nft` needs", wrapper.join(" "));
        return;
    }
    let myself = std::env::current_exe().unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(myself)
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    print!("{report}");
    assert!(
        output.status.success() && report.contains("1 passed"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn net(text: &str) -> Network {
    text.parse().unwrap()
}

fn held(nftables: &mut Nftables) -> BTreeMap<String, Duration> {
    nftables.held().unwrap().into_iter().map(|(target, left)| (target.to_string(), left)).collect()
}

fn targets(nftables: &mut Nftables) -> Vec<String> {
    held(nftables).into_keys().collect()
}

/// What is held has this much left, give or take what a slow machine takes.
fn assert_left(left: Duration, expect: Duration) {
    assert!(
        left <= expect + Duration::from_millis(50) && left + Duration::from_secs(10) > expect,
        "{left:?}"
    );
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what} within ten seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const MIXED: [&str; 9] = [
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8::1/128",
    "8000::/1",
];

fn mixed() -> Vec<(Network, Duration)> {
    MIXED.iter().map(|target| (net(target), HOUR)).collect()
}

#[test]
fn bans_and_lifts_addresses_and_overlapping_prefixes() {
    isolated("bans_and_lifts_addresses_and_overlapping_prefixes", || {
        let mut nftables = Nftables::open().unwrap();
        assert_eq!(nftables.name(), "nftables");
        nftables.apply(&[], &[]).unwrap();
        nftables.apply(&mixed(), &[]).unwrap();
        let now = held(&mut nftables);
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>());
        now.into_values().for_each(|left| assert_left(left, HOUR));

        // What isn't held may be lifted, in a set that there is or isn't.
        let lift = [net("10.1.0.0/16"), net("192.0.2.1"), net("192.0.0.0/3"), net("2001:db8::/64")];
        nftables.apply(&[], &lift).unwrap();
        let left: Vec<_> =
            MIXED.into_iter().filter(|t| !["10.1.0.0/16", "2001:db8::/64"].contains(t)).collect();
        assert_eq!(targets(&mut nftables), left);

        // The last word counts; lifting comes after blocking.
        let (a, b) = (net("198.51.100.1"), net("198.51.100.2"));
        nftables.apply(&[(a, HOUR), (b, HOUR), (a, 2 * HOUR)], &[b, b]).unwrap();
        let now = held(&mut nftables);
        assert_left(now["198.51.100.1"], 2 * HOUR);
        assert!(!now.contains_key("198.51.100.2"));

        // nft reads what we have written.
        let listing = run("nft --numeric-priority list table inet ccfirewall | sed 's/ == @/ @/'");
        for line in [
            "type filter hook prerouting priority -310; policy accept;",
            "ip saddr @ipv4_32 counter packets 0 bytes 0 drop",
            "ip saddr & 255.0.0.0 @ipv4_8 counter packets 0 bytes 0 drop",
            "ip6 saddr & ffff:ffff:ffff:ffff:: @ipv6_64 counter packets 0 bytes 0 drop",
        ] {
            assert!(listing.contains(line), "{line} in\n{listing}");
        }
    });
}

#[test]
fn every_prefix_length_has_its_set() {
    isolated("every_prefix_length_has_its_set", || {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = (0..=32).map(|prefix| Network::new(address("203.0.113.255"), prefix));
        let v6 =
            (0..=128).map(|prefix| Network::new(address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), prefix));
        let bans: Vec<_> = v4.chain(v6).map(|target| (target, HOUR)).collect();
        let mut nftables = Nftables::open_table(&"t".repeat(64)).unwrap();
        nftables.apply(&bans, &[]).unwrap();
        let all = targets(&mut nftables);
        assert_eq!(all.len(), 33 + 129);
        run("nft flush ruleset");
        assert_eq!(targets(&mut nftables), all);
        assert_eq!(targets(&mut Nftables::open_table(&"t".repeat(64)).unwrap()), all);
    });
}

#[test]
fn a_new_time_replaces_the_old_one() {
    isolated("a_new_time_replaces_the_old_one", || {
        let mut nftables = Nftables::open().unwrap();
        for target in ["203.0.113.9", "203.0.112.0/23", "2001:db8::1/128", "2001:db8::/48"] {
            for time in [HOUR, 5 * HOUR, HOUR / 2, HOUR / 2] {
                nftables.apply(&[(net(target), time)], &[]).unwrap();
                assert_left(held(&mut nftables)[target], time);
            }
        }
        // A time that is over is no ban, and one without end is long.
        nftables
            .apply(&[(net("203.0.113.9"), Duration::ZERO), (net("192.0.2.1"), Duration::MAX)], &[])
            .unwrap();
        let now = held(&mut nftables);
        assert!(!now.contains_key("203.0.113.9"));
        assert!(now["192.0.2.1"] > 24 * 365 * 50 * HOUR);
    });
}

#[test]
fn bans_end_by_the_kernels_clock_and_not_early() {
    isolated("bans_end_by_the_kernels_clock_and_not_early", || {
        let mut nftables = Nftables::open().unwrap();
        let short = Duration::from_millis(300);
        let start = Instant::now();
        let bans = [(net("203.0.113.1"), short), (net("2001:db8::/64"), short), (net("203.0.113.2"), HOUR)];
        nftables.apply(&bans, &[]).unwrap();
        eventually("the short ones end", || targets(&mut nftables).len() == 1);
        assert!(start.elapsed() >= short);
        // Lifting and banning again around the end is no error, whoever is first.
        let brief = net("203.0.113.3");
        let end = Instant::now() + Duration::from_millis(200);
        let mut rounds = 0;
        while Instant::now() < end {
            nftables.apply(&[(brief, Duration::from_nanos(1 + rounds))], &[]).unwrap();
            nftables.apply(&[(brief, Duration::from_millis(rounds % 30))], &[net("203.0.113.1")]).unwrap();
            std::thread::sleep(Duration::from_millis(rounds % 17));
            nftables.apply(&[], &[brief]).unwrap();
            rounds += 1;
        }
        assert_eq!(targets(&mut nftables), ["203.0.113.2"]);
    });
}

#[test]
fn a_new_agent_adopts_what_is_held() {
    isolated("a_new_agent_adopts_what_is_held", || {
        Nftables::open().unwrap().apply(&mixed(), &[]).unwrap();
        // The same table and not one like it.
        let before = run("nft --handle list tables");
        let mut second = Nftables::open().unwrap();
        assert_eq!(run("nft --handle list tables"), before);
        assert_eq!(targets(&mut second), MIXED);
        second.apply(&[(net("10.1.2.3"), 2 * HOUR)], &[net("0.0.0.0/1")]).unwrap();
        let now = held(&mut second);
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED[1..].iter().collect::<Vec<_>>());
        assert_left(now["10.1.2.3"], 2 * HOUR);
    });
}

#[test]
fn a_table_that_nft_saved_and_restored_is_adopted() {
    isolated("a_table_that_nft_saved_and_restored_is_adopted", || {
        Nftables::open().unwrap().apply(&mixed(), &[]).unwrap();
        run("saved=$(nft list ruleset); nft flush ruleset; echo \"$saved\" | nft -f -");
        let before = run("nft --handle list tables");
        let now = held(&mut Nftables::open().unwrap());
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>());
        now.into_values().for_each(|left| assert_left(left, HOUR));
        assert_eq!(run("nft --handle list tables"), before);
    });
}

#[test]
fn two_that_write_the_same_table_get_along() {
    isolated("two_that_write_the_same_table_get_along", || {
        let mut first = Nftables::open().unwrap();
        let mut second = Nftables::open().unwrap();
        let targets = [net("203.0.113.9"), net("203.0.113.0/24"), net("2001:db8::/64")];
        for target in targets {
            first.apply(&[(target, HOUR)], &[]).unwrap();
            second.apply(&[(target, 3 * HOUR)], &[]).unwrap();
            assert_left(held(&mut first)[&target.to_string()], 3 * HOUR);
            second.apply(&[], &[target]).unwrap();
            first.apply(&[(target, 2 * HOUR)], &[]).unwrap();
            assert_left(held(&mut second)[&target.to_string()], 2 * HOUR);
        }
    });
}

#[test]
fn a_flushed_or_changed_table_is_mended_with_its_bans() {
    isolated("a_flushed_or_changed_table_is_mended_with_its_bans", || {
        let mut nftables = Nftables::open().unwrap();
        nftables.apply(&mixed(), &[]).unwrap();
        let whole = run("nft --stateless list table inet ccfirewall | grep -v -e expires -e elements | sort");
        for harm in [
            "nft flush ruleset",
            "nft delete table inet ccfirewall",
            "nft flush table inet ccfirewall",
            "nft insert rule inet ccfirewall prerouting accept",
            "nft add rule inet ccfirewall prerouting ip saddr @ipv4_32 accept",
            "nft add set inet ccfirewall other '{ type ipv4_addr; }'",
            "nft add chain inet ccfirewall other",
            "nft add chain inet ccfirewall other '{ type filter hook input priority 0; policy drop; }'",
            "nft flush table inet ccfirewall; nft delete set inet ccfirewall ipv4_8",
            "nft flush table inet ccfirewall; nft delete set inet ccfirewall ipv4_8;
             nft add set inet ccfirewall ipv4_8 '{ type ipv6_addr; flags timeout; }'",
            "nft flush table inet ccfirewall; nft delete chain inet ccfirewall prerouting;
             nft add chain inet ccfirewall prerouting '{ type filter hook prerouting priority 10; }'",
        ] {
            run(harm);
            let now = held(&mut nftables);
            assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>(), "{harm}");
            now.into_values().for_each(|left| assert_left(left, HOUR));
            let after =
                run("nft --stateless list table inet ccfirewall | grep -v -e expires -e elements | sort");
            assert_eq!(after, whole, "{harm}");
        }

        // A change notices too, and so does an agent that starts.
        let (new, old) = (net("192.0.2.7"), net("10.1.2.3"));
        for (block, unblock) in
            [(vec![(new, HOUR)], vec![]), (vec![], vec![old]), (vec![(old, HOUR)], vec![new])]
        {
            run("nft flush ruleset");
            nftables.apply(&block, &unblock).unwrap();
            let listing = run("nft list table inet ccfirewall");
            block.iter().for_each(|(target, _)| assert!(listing.contains(&target.to_string()), "{listing}"));
            unblock.iter().for_each(|target| assert!(!listing.contains(&format!("{target} timeout"))));
            assert!(listing.contains("10.1.2.0 timeout"), "{listing}");
        }
        run("nft insert rule inet ccfirewall prerouting accept");
        assert_eq!(targets(&mut Nftables::open().unwrap()), MIXED);
    });
}

#[test]
fn what_somebody_takes_from_a_set_is_seen() {
    isolated("what_somebody_takes_from_a_set_is_seen", || {
        let mut nftables = Nftables::open().unwrap();
        let (a, b) = (net("203.0.113.1"), net("203.0.113.2"));
        nftables.apply(&[(a, HOUR), (b, HOUR)], &[]).unwrap();
        run("nft delete element inet ccfirewall ipv4_32 '{ 203.0.113.1 }'");
        run("nft add element inet ccfirewall ipv4_32 '{ 203.0.113.3 }'");
        let now = held(&mut nftables);
        assert_eq!(now.keys().collect::<Vec<_>>(), ["203.0.113.2", "203.0.113.3"]);
        assert!(now["203.0.113.3"] > 1000 * HOUR, "it has no end");
        run("nft delete element inet ccfirewall ipv4_32 '{ 203.0.113.2 }'");
        run("nft add element inet ccfirewall ipv4_32 '{ 203.0.113.4 timeout 1m }'");
        // Not listed since, so we know wrong things about each of them.
        nftables.apply(&[(b, HOUR), (net("203.0.113.4"), HOUR)], &[net("203.0.113.3"), a]).unwrap();
        let now = held(&mut nftables);
        assert_eq!(now.keys().collect::<Vec<_>>(), ["203.0.113.2", "203.0.113.4"]);
        now.into_values().for_each(|left| assert_left(left, HOUR));
    });
}

#[test]
fn others_tables_are_not_touched_and_nothing_is_left_behind() {
    isolated("others_tables_are_not_touched_and_nothing_is_left_behind", || {
        run("nft add table inet filter
             nft add chain inet filter input '{ type filter hook input priority 0; policy accept; }'
             nft add rule inet filter input tcp dport 22 accept
             nft add table ip ccfirewall
             nft add set ip ccfirewall ipv4_32 '{ type ipv4_addr; flags timeout; }'
             nft add element ip ccfirewall ipv4_32 '{ 192.0.2.1 }'
             nft add table inet ccfirewall_more");
        let before = run("nft list ruleset");
        let mut nftables = Nftables::open().unwrap();
        let mut other = Nftables::open_table("ccfirewall_b").unwrap();
        nftables.apply(&mixed(), &[]).unwrap();
        other.apply(&[(net("203.0.113.1"), HOUR)], &[]).unwrap();
        assert_eq!(targets(&mut nftables), MIXED);
        assert_eq!(targets(&mut other), ["203.0.113.1"]);
        assert!(run("nft list ruleset").starts_with(&before));
        nftables.remove().unwrap();
        nftables.remove().unwrap();
        assert_eq!(targets(&mut other), ["203.0.113.1"]);
        other.remove().unwrap();
        assert_eq!(run("nft list ruleset"), before);
        assert_eq!(targets(&mut Nftables::open().unwrap()), [] as [String; 0]);
        for name in ["", "a b", "1a", "a\0", "a;b", &"a".repeat(65)] {
            assert!(matches!(Nftables::open_table(name), Err(EnforcerError::Failed(_))), "{name}");
        }
    });
}

#[test]
fn without_rights_it_says_so() {
    let wrapper = ["unshare", "--net", "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    isolated_by(&wrapper, "without_rights_it_says_so", || {
        let error = Nftables::open().map(drop).unwrap_err();
        assert!(matches!(error, EnforcerError::Rights(_)), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    });
}

/// In a user namespace we may change our firewall, but not raise the socket's buffers as we like.
#[test]
fn small_buffers_do() {
    isolated_by(&["unshare", "--user", "--map-root-user", "--net"], "small_buffers_do", || {
        let mut nftables = Nftables::open().unwrap();
        let bans: Vec<_> =
            (0u32..20_000).map(|n| (Network::host(IpAddr::from(n.to_be_bytes())), HOUR)).collect();
        nftables.apply(&bans, &[]).unwrap();
        nftables.apply(&bans, &[]).unwrap();
        run("nft flush ruleset");
        assert_eq!(targets(&mut nftables).len(), bans.len());
        let mut second = Nftables::open().unwrap();
        assert_eq!(targets(&mut second).len(), bans.len());
        // Everything that it does is refused at first, for it knows nothing of what came after it.
        nftables.apply(&[], &bans.iter().map(|(target, _)| *target).collect::<Vec<_>>()).unwrap();
        second.apply(&bans, &[]).unwrap();
        nftables.apply(&bans, &[]).unwrap();
        assert_eq!(targets(&mut nftables).len(), bans.len());
    });
}

#[test]
fn a_hundred_thousand_bans() {
    isolated("a_hundred_thousand_bans", || {
        let start = Instant::now();
        let timed = |what: &str, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            println!("{what}: {:?}", start.elapsed());
        };
        let bans: Vec<_> = (0u32..100_000)
            .map(|n| {
                let [_, a, b, c] = n.to_be_bytes();
                let v6 = [0x20, 1, 0xd, 0xb8, a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                let target =
                    if n % 2 == 0 { net(&format!("10.{a}.{b}.{c}")) } else { Network::new(v6.into(), 64) };
                (target, HOUR)
            })
            .collect();
        let mut nftables = Nftables::open().unwrap();
        timed("100,000 new bans", &mut || nftables.apply(&bans, &[]).unwrap());
        timed("100,000 refreshed", &mut || nftables.apply(&bans, &[]).unwrap());
        timed("listing them", &mut || assert_eq!(nftables.held().unwrap().len(), bans.len()));
        run("nft flush ruleset");
        timed("made anew and listed", &mut || assert_eq!(nftables.held().unwrap().len(), bans.len()));
        run("nft insert rule inet ccfirewall prerouting accept");
        timed("adopted and mended", &mut || nftables = Nftables::open().unwrap());
        assert_eq!(nftables.held().unwrap().len(), bans.len());
        let all: Vec<_> = bans.iter().map(|(target, _)| *target).collect();
        timed("100,000 lifted", &mut || nftables.apply(&[], &all).unwrap());
        assert_eq!(targets(&mut nftables), [] as [String; 0]);
        timed("removed", &mut || nftables.remove().unwrap());
        assert!(start.elapsed() < Duration::from_secs(60), "far too slow");
    });
}

/// Prints how long a single ban takes, with many held. Run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed_of_single_bans() {
    isolated("speed_of_single_bans", || {
        let mut nftables = Nftables::open().unwrap();
        let bans: Vec<_> =
            (0u32..100_000).map(|n| (Network::host(IpAddr::from(n.to_be_bytes())), HOUR)).collect();
        nftables.apply(&bans, &[]).unwrap();
        let target = net("203.0.113.9");
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..2000 {
            let steps: [&mut dyn FnMut(&mut Nftables); 3] = [
                &mut |n| n.apply(&[(target, HOUR)], &[]).unwrap(),
                &mut |n| n.apply(&[(target, HOUR)], &[]).unwrap(),
                &mut |n| n.apply(&[], &[target]).unwrap(),
            ];
            for (step, times) in steps.into_iter().zip(&mut times) {
                let start = Instant::now();
                step(&mut nftables);
                times.push(start.elapsed());
            }
        }
        for (what, times) in ["add", "refresh", "lift"].iter().zip(&mut times) {
            times.sort_unstable();
            println!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
        }
    });
}

/// A program that ends when this does.
struct Helper {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Helper {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    /// Sends a line and gives the one that comes back.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.says.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another network namespace, which is there as long as its process.
struct Namespace(Helper);

impl Namespace {
    fn new() -> Self {
        let mut helper = Helper::start(Command::new("unshare").args(["--net", "cat"]));
        assert_eq!(helper.ask("there"), "there");
        let namespace = Self(helper);
        namespace.run("ip link set lo up");
        namespace
    }

    fn pid(&self) -> u32 {
        self.0.child.id()
    }

    fn run(&self, command: &str) -> String {
        run(&format!("nsenter --net --target {} sh -ec '{command}'", self.pid()))
    }

    /// A link from here to there, with an address of each family at both ends.
    fn link(&self, name: &str, subnet: u8) {
        run(&format!(
            "ip link add {name} type veth peer name peer netns {}
             ip addr add 10.9.{subnet}.1/24 dev {name}
             ip addr add fd09:{subnet}::1/64 dev {name} nodad
             ip link set {name} up",
            self.pid()
        ));
        self.run(&format!(
            "ip addr add 10.9.{subnet}.2/24 dev peer; ip addr add fd09:{subnet}::2/64 dev peer nodad; ip link set peer up
             ip route add default via 10.9.{subnet}.1; ip route add default via fd09:{subnet}::1"
        ));
    }

    fn python(&self, program: &str, arguments: &[&str]) -> Helper {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.pid().to_string(), "python3", "-c", program])
            .args(arguments);
        Helper::start(&mut command)
    }

    /// A client: connects for each line on its input, and says `yes` or `no`.
    fn client(&self, address: &str) -> Helper {
        self.python(
            "import socket, sys
for line in sys.stdin:
    try:
        with socket.create_connection((sys.argv[1], 80), timeout=0.4) as s:
            s.sendall(b'x')
            print('yes' if s.recv(1) == b'x' else 'no', flush=True)
    except OSError:
        print('no', flush=True)",
            &[address],
        )
    }

    /// A client with one connection, on which it sends a byte for each line.
    fn lasting_client(&self, address: &str) -> Helper {
        self.python(
            "import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=5)
s.settimeout(0.4)
for line in sys.stdin:
    try:
        s.sendall(b'x')
        print('yes' if s.recv(1) == b'x' else 'no', flush=True)
    except OSError:
        print('no', flush=True)",
            &[address],
        )
    }

    /// A server on port 80 that sends back what it gets, for both families.
    fn server(&self) -> Helper {
        let mut server = self.python(
            "import socket, sys, threading
def talk(c):
    with c:
        while data := c.recv(100):
            c.sendall(data)
s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)
def serve():
    while True:
        threading.Thread(target=talk, args=(s.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
for line in sys.stdin:
    print('ready', flush=True)",
            &[],
        );
        assert_eq!(server.ask("?"), "ready");
        server
    }
}

fn serve_here() {
    let listener = TcpListener::bind("[::]:80").unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// Bans and lifts each target, and looks whether the client gets through.
fn check_blocks(client: &mut Helper, targets: &[&str]) {
    let mut nftables = Nftables::open().unwrap();
    eventually("the way is open at first", || client.ask("?") == "yes");
    for target in targets {
        nftables.apply(&[(net(target), HOUR)], &[]).unwrap();
        assert_eq!(client.ask("?"), "no", "{target}");
        nftables.apply(&[], &[net(target)]).unwrap();
        eventually("the way is open again", || client.ask("?") == "yes");
    }
    // A neighbour's ban doesn't hurt, and one that ends by itself opens the way.
    let neighbours = ["10.9.1.3", "10.9.0.0/24", "10.8.0.0/16", "fd09:1::3/128", "fd09:0::/64", "fd08::/16"];
    nftables.apply(&neighbours.map(|target| (net(target), HOUR)), &[]).unwrap();
    assert_eq!(client.ask("?"), "yes");
    nftables.apply(&[(net(targets[0]), Duration::from_secs(1))], &[]).unwrap();
    assert_eq!(client.ask("?"), "no");
    eventually("the way is open after the ban's time", || client.ask("?") == "yes");
    nftables.remove().unwrap();
}

const V4: [&str; 6] = ["10.9.1.2", "10.9.1.0/24", "10.9.1.0/25", "10.0.0.0/8", "8.0.0.0/5", "0.0.0.0/0"];
const V6: [&str; 6] = ["fd09:1::2/128", "fd09:1::/64", "fd09:1::2/127", "fd00::/8", "fc00::/6", "::/0"];

#[test]
fn packets_to_this_host_are_dropped() {
    isolated("packets_to_this_host_are_dropped", || {
        let client = Namespace::new();
        client.link("client", 1);
        serve_here();
        check_blocks(&mut client.client("10.9.1.1"), &V4);
        check_blocks(&mut client.client("fd09:1::1"), &V6);
    });
}

#[test]
fn forwarded_packets_are_dropped() {
    isolated("forwarded_packets_are_dropped", || {
        let (client, container) = (Namespace::new(), Namespace::new());
        client.link("client", 1);
        container.link("container", 2);
        run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        let _server = container.server();
        check_blocks(&mut client.client("10.9.2.2"), &V4);
        check_blocks(&mut client.client("fd09:2::2"), &V6);
    });
}

#[test]
fn established_connections_are_cut() {
    isolated("established_connections_are_cut", || {
        // What accepts established connections early must not come first.
        run("nft add table inet filter
             nft add chain inet filter early '{ type filter hook prerouting priority -150; }'
             nft add rule inet filter early ct state established accept");
        let client = Namespace::new();
        client.link("client", 1);
        serve_here();
        let mut nftables = Nftables::open().unwrap();
        for (server, target) in [("10.9.1.1", "10.9.1.2"), ("fd09:1::1", "fd09:1::/64")] {
            let mut connection = client.lasting_client(server);
            assert_eq!(connection.ask("?"), "yes");
            nftables.apply(&[(net(target), HOUR)], &[]).unwrap();
            assert_eq!(connection.ask("?"), "no");
            nftables.apply(&[], &[net(target)]).unwrap();
            // TCP sends again what was dropped.
            eventually("the connection lives on", || connection.ask("?") == "yes");
        }
    });
}
