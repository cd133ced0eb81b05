//! What only ipset does.

use std::time::Duration;

use agent::enforcer::Enforcer as _;
use agent::enforcer::ipset::Ipset;
use model::network::Network;

use crate::help::{HOUR, Kind, MIXED, assert_left, held, isolated, mixed, net, run, targets};

#[test]
fn ipset_and_iptables_read_what_we_have_written() {
    isolated(Kind::Ipset, || {
        let mut ipset = Ipset::open().unwrap();
        ipset.apply(&mixed(), &[]).unwrap();
        for (set, target) in
            [("ccfirewall4", "10.1.2.3"), ("ccfirewall6", "2001:db8::1"), ("ccfirewall6", "2001:db8::7")]
        {
            run(&format!("ipset test {set} {target}"));
        }
        for (save, sets) in [
            ("iptables-save", ["ccfirewall4", "ccfirewall4_all"]),
            ("ip6tables-save", ["ccfirewall6", "ccfirewall6_all"]),
        ] {
            let rules = run(&format!("{save} -t raw | grep ^-A"));
            let expect: String = sets
                .iter()
                .map(|set| format!("-A ccfirewall -m set --match-set {set} src -j DROP\n"))
                .collect();
            assert_eq!(rules, format!("-A PREROUTING -j ccfirewall\n{expect}"));
        }
    });
}

/// 24.8 days are all that the kernel takes.
#[test]
fn bans_longer_than_the_kernel_counts_dont_end_early() {
    isolated(Kind::Ipset, || {
        let days = |days: u32| days * 24 * HOUR;
        let mut ipset = Ipset::open().unwrap();
        let [a, b, all] = ["203.0.113.9", "2001:db8::/64", "0.0.0.0/0"].map(net);
        ipset.apply(&[(a, days(60)), (b, days(20)), (all, days(400))], &[]).unwrap();
        drop(ipset);
        // As if no agent had run for the longest time.
        let save = run("ipset save");
        let aged = save.replace("timeout 214748", "timeout 4748");
        assert_ne!(save, aged);
        run(&format!(
            "ipset restore -exist <<'END'\n{}\nEND",
            aged.lines().filter(|l| l.starts_with("add")).collect::<Vec<_>>().join("\n")
        ));
        let mut ipset = Ipset::open().unwrap();
        let now = held(&mut ipset);
        assert_left(now["203.0.113.9"], days(60));
        assert_left(now["2001:db8::/64"], days(20));
        assert_left(now["0.0.0.0/0"], days(400));
        let save = run("ipset save");
        let left = |member: &str| -> u64 {
            let line = save.lines().find(|line| line.contains(&format!(" {member} "))).unwrap();
            line.split(' ').nth(4).unwrap().parse().unwrap()
        };
        for member in ["203.0.113.9", "0.0.0.0/1", "128.0.0.0/1"] {
            assert!((2_147_400..=2_147_483).contains(&left(member)), "{save}");
        }
        assert!((1_727_900..=1_728_001).contains(&left("2001:db8::/64")), "{save}");
    });
}

#[test]
fn what_somebody_changes_is_seen_or_mended() {
    isolated(Kind::Ipset, || {
        let mut ipset = Ipset::open().unwrap();
        ipset.apply(&mixed(), &[]).unwrap();
        let rules = run("iptables-save -t raw | grep ^-A; ip6tables-save -t raw | grep ^-A");
        for harm in [
            "iptables -t raw -F",
            "ip6tables -t raw -F; ip6tables -t raw -X",
            "iptables -t raw -I PREROUTING -j ACCEPT; iptables -t raw -D PREROUTING -j ccfirewall; iptables -t raw -D PREROUTING -j ACCEPT",
            "iptables -t raw -I ccfirewall -j ACCEPT",
            "iptables -t raw -A PREROUTING -j ccfirewall",
            "ip6tables -t raw -F; ipset destroy ccfirewall6",
            "iptables -t raw -F; ipset destroy ccfirewall4; ipset create ccfirewall4 hash:ip",
        ] {
            run(harm);
            let now = held(&mut ipset);
            assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>(), "{harm}");
            now.into_values().for_each(|left| assert_left(left, HOUR));
            let after = run("iptables-save -t raw | grep ^-A; ip6tables-save -t raw | grep ^-A");
            assert_eq!(after, rules, "{harm}");
        }
        // What others did with members counts.
        run(
            "ipset del ccfirewall4 10.1.2.3; ipset add ccfirewall4 192.0.2.9 timeout 60; ipset add ccfirewall4 192.0.2.8",
        );
        run("ipset -exist add ccfirewall4 10.0.0.0/8 timeout 100");
        let now = held(&mut ipset);
        assert!(!now.contains_key("10.1.2.3"));
        assert_left(now["192.0.2.9"], Duration::from_secs(60));
        assert_left(now["192.0.2.8"], 24 * HOUR);
        assert_left(now["10.0.0.0/8"], Duration::from_secs(100));
    });
}

/// The thread looks, also where nobody asks for anything.
#[test]
fn rules_that_are_gone_come_back_by_themselves() {
    isolated(Kind::Ipset, || {
        let mut ipset = Ipset::open().unwrap();
        ipset.apply(&mixed(), &[]).unwrap();
        run("iptables -t raw -F");
        let start = std::time::Instant::now();
        while run("iptables-save -t raw").matches("match-set").count() < 2 {
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(targets(&mut ipset), MIXED);
    });
}

#[test]
fn a_hundred_thousand_bans_find_room() {
    isolated(Kind::Ipset, || {
        let bans: Vec<_> =
            (0u32..120_000).map(|n| (Network::host((0x0a00_0000 + n).to_be_bytes().into()), HOUR)).collect();
        let mut ipset = Ipset::open().unwrap();
        let start = std::time::Instant::now();
        ipset.apply(&bans, &[]).unwrap();
        println!("120,000 new bans: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        assert_eq!(ipset.held().unwrap().len(), bans.len());
        println!("listing them: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        ipset.apply(&[(net("192.0.2.1"), HOUR)], &[]).unwrap();
        println!("one more: {:?}", start.elapsed());
    });
}
