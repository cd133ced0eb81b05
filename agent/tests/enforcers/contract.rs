//! What every enforcer promises of its bans.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use agent::enforcer::{EnforcerError, remove_all};
use model::network::Network;

use crate::help::{
    HOUR, Kind, MIXED, assert_left, eventually, for_each_enforcer, held, isolated, isolated_by, many, mixed,
    net, run, targets,
};

for_each_enforcer!(
    bans_and_lifts_addresses_and_overlapping_prefixes,
    every_prefix_length_is_held,
    a_new_time_replaces_the_old_one,
    bans_end_by_themselves,
    a_new_agent_adopts_what_is_held,
    two_that_write_the_same_get_along,
    what_is_flushed_is_made_anew,
    others_things_are_not_touched_and_nothing_is_left_behind,
    without_rights_it_says_so,
    twenty_thousand_bans,
);

fn bans_and_lifts_addresses_and_overlapping_prefixes(kind: Kind) {
    isolated(kind, || {
        let mut enforcer = kind.open();
        assert_eq!(enforcer.name(), kind.name());
        enforcer.apply(&[], &[]).unwrap();
        enforcer.apply(&mixed(), &[]).unwrap();
        let now = held(&mut *enforcer);
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>());
        now.into_values().for_each(|left| assert_left(left, HOUR));

        // What isn't held may be lifted.
        let lift = [net("10.1.0.0/16"), net("192.0.2.1"), net("192.0.0.0/3"), net("2001:db8::/64")];
        enforcer.apply(&[], &lift).unwrap();
        let left: Vec<_> =
            MIXED.into_iter().filter(|t| !["10.1.0.0/16", "2001:db8::/64"].contains(t)).collect();
        assert_eq!(targets(&mut *enforcer), left);

        // The last word counts; lifting comes after blocking.
        let (a, b) = (net("198.51.100.1"), net("198.51.100.2"));
        enforcer.apply(&[(a, HOUR), (b, HOUR), (a, 2 * HOUR)], &[b, b]).unwrap();
        let now = held(&mut *enforcer);
        assert_left(now["198.51.100.1"], 2 * HOUR);
        assert!(!now.contains_key("198.51.100.2"));
    });
}

fn every_prefix_length_is_held(kind: Kind) {
    isolated(kind, || {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = (0..=32).map(|prefix| Network::new(address("203.0.113.255"), prefix));
        let v6 =
            (0..=128).map(|prefix| Network::new(address("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"), prefix));
        let bans: Vec<_> = v4.chain(v6).map(|target| (target, HOUR)).collect();
        let mut enforcer = kind.open();
        enforcer.apply(&bans, &[]).unwrap();
        let all = targets(&mut *enforcer);
        assert_eq!(all.len(), 33 + 129);
        assert_eq!(targets(&mut *kind.open()), all);
        // Each is lifted for itself.
        for (lifted, _) in bans.iter().step_by(10) {
            enforcer.apply(&[], &[*lifted]).unwrap();
        }
        let rest = bans.iter().enumerate().filter(|(n, _)| n % 10 != 0).count();
        assert_eq!(targets(&mut *enforcer).len(), rest);
    });
}

fn a_new_time_replaces_the_old_one(kind: Kind) {
    isolated(kind, || {
        let mut enforcer = kind.open();
        for target in
            ["203.0.113.9", "203.0.112.0/23", "2001:db8::1/128", "2001:db8::/48", "0.0.0.0/0", "::/0"]
        {
            for time in [HOUR, 5 * HOUR, HOUR / 2, HOUR / 2] {
                enforcer.apply(&[(net(target), time)], &[]).unwrap();
                assert_left(held(&mut *enforcer)[target], time);
                assert_left(held(&mut *kind.open())[target], time);
            }
        }
        // A time that is over is no ban, and one without end is long.
        enforcer
            .apply(&[(net("203.0.113.9"), Duration::ZERO), (net("192.0.2.1"), Duration::MAX)], &[])
            .unwrap();
        for mut enforcer in [enforcer, kind.open()] {
            let now = held(&mut *enforcer);
            assert!(!now.contains_key("203.0.113.9"));
            assert!(now["192.0.2.1"] > 24 * 365 * 50 * HOUR);
        }
    });
}

fn bans_end_by_themselves(kind: Kind) {
    isolated(kind, || {
        let mut enforcer = kind.open();
        let short = Duration::from_millis(300);
        let start = Instant::now();
        let bans = [(net("203.0.113.1"), short), (net("2001:db8::/64"), short), (net("203.0.113.2"), HOUR)];
        enforcer.apply(&bans, &[]).unwrap();
        eventually("the short ones end", || targets(&mut *enforcer).len() == 1);
        assert!(start.elapsed() >= short);
        // Lifting and banning again around the end is no error, whoever is first.
        let brief = net("203.0.113.3");
        for round in 0..20 {
            enforcer.apply(&[(brief, Duration::from_nanos(1 + round))], &[]).unwrap();
            enforcer.apply(&[(brief, Duration::from_millis(round % 30))], &[net("203.0.113.1")]).unwrap();
            std::thread::sleep(Duration::from_millis(round % 17));
            enforcer.apply(&[], &[brief]).unwrap();
        }
        assert_eq!(targets(&mut *enforcer), ["203.0.113.2"]);
    });
}

fn a_new_agent_adopts_what_is_held(kind: Kind) {
    isolated(kind, || {
        kind.open().apply(&mixed(), &[]).unwrap();
        let mut second = kind.open();
        let now = held(&mut *second);
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED.iter().collect::<Vec<_>>());
        now.into_values().for_each(|left| assert_left(left, HOUR));
        second.apply(&[(net("10.1.2.3"), 2 * HOUR)], &[net("0.0.0.0/1")]).unwrap();
        let now = held(&mut *second);
        assert_eq!(now.keys().collect::<Vec<_>>(), MIXED[1..].iter().collect::<Vec<_>>());
        assert_left(now["10.1.2.3"], 2 * HOUR);
    });
}

fn two_that_write_the_same_get_along(kind: Kind) {
    isolated(kind, || {
        let mut first = kind.open();
        let mut second = kind.open();
        for target in ["203.0.113.9", "203.0.113.0/24", "2001:db8::/64"] {
            first.apply(&[(net(target), HOUR)], &[]).unwrap();
            second.apply(&[(net(target), 3 * HOUR)], &[]).unwrap();
            assert_left(held(&mut *first)[target], 3 * HOUR);
            second.apply(&[], &[net(target)]).unwrap();
            first.apply(&[(net(target), 2 * HOUR)], &[]).unwrap();
            assert_left(held(&mut *second)[target], 2 * HOUR);
        }
    });
}

fn what_is_flushed_is_made_anew(kind: Kind) {
    isolated(kind, || {
        let mut enforcer = kind.open();
        enforcer.apply(&mixed(), &[]).unwrap();
        // As it is when a firewall is reloaded.
        let flush = match kind {
            Kind::Nftables => "nft flush ruleset",
            Kind::Ipset | Kind::IpsetLegacy => {
                "for t in iptables ip6tables; do printf '*raw\\nCOMMIT\\n' | $t-restore; done; ipset destroy"
            }
            Kind::Iptables | Kind::IptablesLegacy => {
                "for t in iptables ip6tables; do printf '*raw\\nCOMMIT\\n' | $t-restore; done"
            }
        };
        for change in [false, true] {
            run(flush);
            if change {
                enforcer.apply(&[(net("192.0.2.7"), HOUR)], &[net("10.1.2.3")]).unwrap();
                enforcer.apply(&[(net("10.1.2.3"), HOUR)], &[net("192.0.2.7")]).unwrap();
            }
            // By somebody who only looks.
            eventually("it is made anew", || {
                let now = held(&mut *enforcer);
                let right = now.keys().eq(MIXED.iter());
                now.into_values().for_each(|left| assert_left(left, HOUR));
                right
            });
            assert_eq!(targets(&mut *kind.open()), MIXED);
        }
    });
}

/// What there is in this namespace, without what differs from look to look.
fn everything() -> String {
    // iptables leaves its empty table where there was none.
    run("nft list ruleset 2>/dev/null || true
         ipset save 2>/dev/null || true
         for t in iptables-save ip6tables-save; do $t -t raw; $t -t filter; done | grep -v '^#' | sed 's/ .[0-9]*:[0-9]*.$//'")
}

fn others_things_are_not_touched_and_nothing_is_left_behind(kind: Kind) {
    isolated(kind, || {
        run("for t in iptables ip6tables; do
               $t -t raw -N ccfirewall2; $t -t raw -A ccfirewall2 -j RETURN
               $t -t raw -A PREROUTING -j ccfirewall2; $t -A INPUT -p tcp --dport 22 -j ACCEPT
               $t -t raw -A OUTPUT -d ::1 -j ACCEPT 2>/dev/null || $t -t raw -A OUTPUT -d 127.0.0.1 -j ACCEPT
             done
             ipset create ccfirewall4x hash:net; ipset add ccfirewall4x 192.0.2.0/24
             nft add table ip ccfirewall
             nft add set ip ccfirewall ipv4_32 '{ type ipv4_addr; flags timeout; }'
             nft add element ip ccfirewall ipv4_32 '{ 192.0.2.1 }'");
        let before = everything();
        remove_all().unwrap();
        assert_eq!(everything(), before, "nothing is there, and nothing happens");
        let mut enforcer = kind.open();
        enforcer.apply(&mixed(), &[]).unwrap();
        assert_ne!(everything(), before);
        enforcer.remove().unwrap();
        enforcer.remove().unwrap();
        assert_eq!(everything(), before);
        // After that it can be used again.
        enforcer.apply(&mixed(), &[]).unwrap();
        assert_eq!(targets(&mut *enforcer), MIXED);
        drop(enforcer);
        remove_all().unwrap();
        assert_eq!(everything(), before);
        assert_eq!(targets(&mut *kind.open()), [] as [String; 0]);
    });
}

fn without_rights_it_says_so(kind: Kind) {
    let wrapper = ["unshare", "--net", "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    isolated_by(kind, &wrapper, || {
        for error in [kind.try_open().err().unwrap(), remove_all().unwrap_err()] {
            assert!(matches!(error, EnforcerError::Rights(_)), "{error}");
            assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        }
    });
}

fn twenty_thousand_bans(kind: Kind) {
    isolated(kind, || {
        let start = Instant::now();
        let timed = |what: &str, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            println!("{kind:?}, {what}: {:?}", start.elapsed());
        };
        let bans = many(20_000);
        let all: Vec<_> = bans.iter().map(|(target, _)| *target).collect();
        let mut enforcer = kind.open();
        timed("20,000 new bans", &mut || enforcer.apply(&bans, &[]).unwrap());
        timed("20,000 refreshed", &mut || enforcer.apply(&bans, &[]).unwrap());
        timed("one more", &mut || enforcer.apply(&[(net("192.0.2.1"), HOUR)], &[]).unwrap());
        timed("one less", &mut || enforcer.apply(&[], &[net("192.0.2.1")]).unwrap());
        timed("listing them", &mut || assert_eq!(enforcer.held().unwrap().len(), bans.len()));
        timed("adopting them", &mut || assert_eq!(kind.open().held().unwrap().len(), bans.len()));
        timed("all lifted", &mut || enforcer.apply(&[], &all).unwrap());
        assert_eq!(targets(&mut *enforcer), [] as [String; 0]);
        assert!(start.elapsed() < Duration::from_secs(60), "far too slow");
    });
}
