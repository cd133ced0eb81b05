//! What the tests share.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use agent::enforcer::ipset::Ipset;
use agent::enforcer::iptables::Iptables;
use agent::enforcer::nftables::Nftables;
use agent::enforcer::{Enforcer, EnforcerError};
use model::network::Network;

const INSIDE: &str = "CCFIREWALL_TEST_NAMESPACE";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Makes a test of each function for each enforcer.
macro_rules! for_each_enforcer {
    ($($test:ident),* $(,)?) => {
        for_each_enforcer!(@ nftables Nftables $($test)*);
        for_each_enforcer!(@ ipset Ipset $($test)*);
        for_each_enforcer!(@ iptables Iptables $($test)*);
        for_each_enforcer!(@ ipset_legacy IpsetLegacy $($test)*);
        for_each_enforcer!(@ iptables_legacy IptablesLegacy $($test)*);
    };
    (@ $module:ident $kind:ident $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(crate::help::Kind::$kind);
                }
            )*
        }
    };
}
pub(crate) use for_each_enforcer;

/// An enforcer under test, with the variant of iptables where it uses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nftables,
    Ipset,
    Iptables,
    /// With the iptables of before nftables.
    IpsetLegacy,
    IptablesLegacy,
}

impl Kind {
    pub(crate) fn open(self) -> Box<dyn Enforcer> {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(self) -> Result<Box<dyn Enforcer>, EnforcerError> {
        Ok(match self {
            Self::Nftables => Box::new(Nftables::open()?),
            Self::Ipset | Self::IpsetLegacy => Box::new(Ipset::open()?),
            Self::Iptables | Self::IptablesLegacy => Box::new(Iptables::open()?),
        })
    }

    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ipset | Self::IpsetLegacy => "ipset",
            Self::Iptables | Self::IptablesLegacy => "iptables",
        }
    }

    /// What must work here in a new namespace.
    fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Nftables => &["nft list ruleset"],
            Self::Ipset => &["ipset list -n", "iptables -t raw -S", "ip6tables -t raw -S"],
            Self::Iptables => &["iptables -t raw -S", "ip6tables -t raw -S"],
            Self::IpsetLegacy => {
                &["ipset list -n", "iptables-legacy -t raw -S", "ip6tables-legacy -t raw -S"]
            }
            Self::IptablesLegacy => &["iptables-legacy -t raw -S", "ip6tables-legacy -t raw -S"],
        }
    }

    fn legacy(self) -> bool {
        matches!(self, Self::IpsetLegacy | Self::IptablesLegacy)
    }
}

/// Runs `body` in a new network namespace: this test's process starts itself again there.
pub(crate) fn isolated(kind: Kind, body: impl FnOnce()) {
    isolated_by(kind, &["unshare", "--net"], body);
}

pub(crate) fn isolated_by(kind: Kind, wrapper: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let thread = std::thread::current();
    let test = thread.name().unwrap();
    let usable = |command: &[&str]| {
        Command::new(command[0]).args(&command[1..]).output().is_ok_and(|output| output.status.success())
    };
    // Nobody can be required to be root.
    if run("id -u").trim() != "0" {
        println!("skipped {test}: it needs root");
        return;
    }
    for need in kind.needs().iter().chain(&["ip -V", "python3 -V", "nsenter -V"]) {
        if !usable(&["unshare", "--net", "sh", "-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {need}")]) {
            return real_servers::skip(&format!(
                "{test} needs `{need}`, which doesn't work in a new namespace"
            ));
        }
    }
    if !usable(&[wrapper, &["true"]].concat()) {
        return real_servers::skip(&format!("{test} needs `{}`, which doesn't work here", wrapper.join(" ")));
    }
    // Links by which `iptables` is the old one.
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut path = format!("{path}:/usr/sbin:/sbin");
    if kind.legacy() {
        for family in ["iptables", "ip6tables"] {
            for what in ["", "-save", "-restore"] {
                let old = run(&format!("PATH={path}; readlink -f $(command -v {family}-legacy{what})"));
                std::os::unix::fs::symlink(old.trim(), folder.path().join(format!("{family}{what}")))
                    .unwrap();
            }
        }
        path = format!("{}:{path}", folder.path().display());
    }
    let myself = std::env::current_exe().unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(myself)
        .args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("PATH", path)
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

pub(crate) fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn net(text: &str) -> Network {
    text.parse().unwrap()
}

pub(crate) fn held(enforcer: &mut dyn Enforcer) -> BTreeMap<String, Duration> {
    enforcer.held().unwrap().into_iter().map(|(target, left)| (target.to_string(), left)).collect()
}

pub(crate) fn targets(enforcer: &mut dyn Enforcer) -> Vec<String> {
    held(enforcer).into_keys().collect()
}

/// What is held has this much left, give or take what a slow machine takes.
pub(crate) fn assert_left(left: Duration, expect: Duration) {
    assert!(
        left <= expect + Duration::from_millis(50) && left + Duration::from_secs(10) > expect,
        "{left:?}"
    );
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "{what} within ten seconds");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) const MIXED: [&str; 9] = [
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

pub(crate) fn mixed() -> Vec<(Network, Duration)> {
    MIXED.iter().map(|target| (net(target), HOUR)).collect()
}

/// So many bans, half of them of IPv4 addresses and half of IPv6 prefixes.
pub(crate) fn many(count: u32) -> Vec<(Network, Duration)> {
    let target = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        let v6 = [0x20, 1, 0xd, 0xb8, a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        if n.is_multiple_of(2) { Network::host([10, a, b, c].into()) } else { Network::new(v6.into(), 64) }
    };
    (0..count).map(|n| (target(n), HOUR)).collect()
}
