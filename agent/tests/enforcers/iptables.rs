//! What only iptables does.

use std::time::Duration;

use agent::enforcer::Enforcer as _;
use agent::enforcer::iptables::Iptables;

use crate::help::{HOUR, Kind, MIXED, assert_left, eventually, held, isolated, mixed, net, run, targets};

const RULES: &str = "iptables-save -t raw | grep ^-A; ip6tables-save -t raw | grep ^-A";

#[test]
fn each_ban_is_a_rule_with_its_end() {
    isolated(Kind::Iptables, || {
        let mut iptables = Iptables::open().unwrap();
        iptables.apply(&[(net("203.0.113.0/24"), HOUR)], &[]).unwrap();
        let rules = run("iptables-save -t raw | grep '^-A ccfirewall'");
        let comment = rules.split('"').nth(1).unwrap();
        assert_eq!(
            rules,
            format!("-A ccfirewall -s 203.0.113.0/24 -m comment --comment \"{comment}\" -j DROP\n")
        );
        let end: u64 = comment.split(' ').next().unwrap().parse().unwrap();
        let now: u64 = run("date +%s%3N").trim().parse().unwrap();
        assert!((now + 3_590_000..now + 3_600_100).contains(&end), "{end} at {now}");
    });
}

#[test]
fn rules_go_when_their_time_is_over_and_not_before() {
    isolated(Kind::Iptables, || {
        let mut iptables = Iptables::open().unwrap();
        let start = std::time::Instant::now();
        let time = Duration::from_millis(700);
        iptables
            .apply(&[(net("203.0.113.1"), time), (net("::/0"), 2 * time), (net("203.0.113.2"), HOUR)], &[])
            .unwrap();
        // In the kernel, and without anybody asking the enforcer.
        eventually("the first goes", || !run(RULES).contains("203.0.113.1/"));
        assert!(start.elapsed() >= time);
        assert!(run(RULES).contains("203.0.113.2/"));
        eventually("the second goes", || run("ip6tables-save -t raw").matches("DROP").count() == 0);
        assert!(
            (2 * time..2 * time + Duration::from_secs(1)).contains(&start.elapsed()),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_new_agent_takes_away_what_is_over() {
    isolated(Kind::Iptables, || {
        let mut first = Iptables::open().unwrap();
        let time = Duration::from_millis(400);
        first.apply(&[(net("203.0.113.1"), time), (net("203.0.113.2"), HOUR)], &[]).unwrap();
        drop(first);
        // Nobody runs now.
        std::thread::sleep(2 * time);
        assert!(run(RULES).contains("203.0.113.1/"));
        let mut second = Iptables::open().unwrap();
        assert!(!run(RULES).contains("203.0.113.1/"));
        assert_left(held(&mut second)["203.0.113.2"], HOUR);
    });
}

#[test]
fn what_somebody_changes_is_seen_or_mended() {
    isolated(Kind::Iptables, || {
        let mut iptables = Iptables::open().unwrap();
        iptables.apply(&mixed(), &[]).unwrap();
        for harm in [
            "iptables -t raw -F",
            "ip6tables -t raw -F; ip6tables -t raw -X",
            "iptables -t raw -D PREROUTING -j ccfirewall",
            "iptables -t raw -I PREROUTING -j ACCEPT; ip6tables -t raw -A PREROUTING -j ccfirewall",
            "iptables -t raw -I ccfirewall -j ACCEPT; iptables -t raw -A ccfirewall -s 192.0.2.1 -p tcp -j DROP",
            "saved=$(iptables-save -t raw); iptables -t raw -F; iptables -t raw -X; echo \"$saved\" | iptables-restore",
        ] {
            run(harm);
            let now = held(&mut iptables);
            assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>(), "{harm}");
            now.into_values().for_each(|left| assert_left(left, HOUR));
            assert!(
                run("iptables-save -t raw | grep PREROUTING").contains("\n-A PREROUTING -j ccfirewall\n"),
                "{harm}"
            );
            assert!(!run("iptables-save -t raw").contains("-A ccfirewall -j ACCEPT"), "{harm}");
            let chain = run("iptables-save -t raw | grep '^-A PREROUTING'");
            assert_eq!(chain.lines().next(), Some("-A PREROUTING -j ccfirewall"), "{harm}");
        }
        // What others did with bans counts, and what says no end gets one.
        let one = run("iptables-save -t raw | grep 'ccfirewall -s 10.1.2.3/32'");
        run(&format!("iptables -t raw {}", one.trim().replacen("-A", "-D", 1)));
        run("iptables -t raw -A ccfirewall -s 192.0.2.9 -j DROP; ip6tables -t raw -A ccfirewall -j DROP");
        let now = held(&mut iptables);
        assert!(!now.contains_key("10.1.2.3"));
        assert_left(now["192.0.2.9"], 24 * HOUR);
        assert_left(now["::/0"], 24 * HOUR);
        iptables.apply(&[], &[net("192.0.2.9"), net("::/0")]).unwrap();
        assert_eq!(
            targets(&mut iptables),
            MIXED.into_iter().filter(|t| *t != "10.1.2.3").collect::<Vec<_>>()
        );
    });
}
