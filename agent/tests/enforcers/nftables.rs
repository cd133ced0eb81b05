//! What only nftables does.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use agent::enforcer::nftables::Nftables;
use agent::enforcer::{Enforcer, EnforcerError};
use model::network::Network;

use crate::help::{
    HOUR, Kind, MIXED, assert_left, held, isolated, isolated_by, many, mixed, net, run, targets,
};

#[test]
fn nft_reads_what_we_have_written() {
    isolated(Kind::Nftables, || {
        let mut nftables = Nftables::open().unwrap();
        nftables.apply(&mixed(), &[]).unwrap();
        nftables.apply(&[(net("198.51.100.1"), HOUR)], &[]).unwrap();
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

/// So it is written, listed and made anew in the longest messages that there are.
#[test]
fn a_table_with_the_longest_name_and_a_ban_in_each_set_is_mended_and_adopted() {
    isolated(Kind::Nftables, || {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = (0..=32).map(|prefix| Network::new(address("203.0.113.255"), prefix));
        let v6 =
            (0..=128).map(|prefix| Network::new(address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), prefix));
        let bans: Vec<_> = v4.chain(v6).map(|target| (target, HOUR)).collect();
        let name = "t".repeat(64);
        let mut nftables = Nftables::open_table(&name).unwrap();
        nftables.apply(&bans, &[]).unwrap();
        let all = targets(&mut nftables);
        assert_eq!(all.len(), 33 + 129);
        run("nft flush ruleset");
        assert_eq!(targets(&mut nftables), all);
        assert_eq!(targets(&mut Nftables::open_table(&name).unwrap()), all);
    });
}

#[test]
fn a_table_that_nft_saved_and_restored_is_adopted() {
    isolated(Kind::Nftables, || {
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
fn whatever_is_done_to_the_table_is_mended() {
    isolated(Kind::Nftables, || {
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
    isolated(Kind::Nftables, || {
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
fn tables_with_other_names_are_other_firewalls() {
    isolated(Kind::Nftables, || {
        run("nft add table inet ccfirewall_more");
        let before = run("nft list ruleset");
        let mut nftables = Nftables::open().unwrap();
        let mut other = Nftables::open_table("ccfirewall_b").unwrap();
        nftables.apply(&mixed(), &[]).unwrap();
        other.apply(&[(net("203.0.113.1"), HOUR)], &[]).unwrap();
        assert_eq!(targets(&mut nftables), MIXED);
        assert_eq!(targets(&mut other), ["203.0.113.1"]);
        nftables.remove().unwrap();
        assert_eq!(targets(&mut other), ["203.0.113.1"]);
        other.remove().unwrap();
        assert_eq!(run("nft list ruleset"), before);
    });
}

#[test]
fn what_is_no_name_for_a_table_is_refused() {
    isolated(Kind::Nftables, || {
        for name in ["", "a b", "1a", "a\0", "a;b", &"a".repeat(65)] {
            assert!(matches!(Nftables::open_table(name), Err(EnforcerError::Failed(_))), "{name}");
        }
    });
}

/// In a user namespace we may change our firewall, but not raise the socket's buffers as we like.
#[test]
fn small_buffers_do() {
    isolated_by(Kind::Nftables, &["unshare", "--user", "--map-root-user", "--net"], || {
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
    isolated(Kind::Nftables, || {
        let start = Instant::now();
        let timed = |what: &str, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            println!("{what}: {:?}", start.elapsed());
        };
        let bans = many(100_000);
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
    isolated(Kind::Nftables, || {
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
