//! Packets of banned clients, with real servers and clients in namespaces: what every enforcer promises.

use std::time::{Duration, Instant};

use agent::enforcer::Enforcer;
use agent::enforcer::cut::Cutting;

use crate::help::{HOUR, Kind, eventually, for_each_enforcer, isolated, net, run};
use crate::namespace::{Helper, Namespace, serve_here};

const V4: [&str; 6] = ["10.9.1.2", "10.9.1.0/24", "10.9.1.0/25", "10.0.0.0/8", "8.0.0.0/5", "0.0.0.0/0"];
const V6: [&str; 6] = ["fd09:1::2/128", "fd09:1::/64", "fd09:1::2/127", "fd00::/8", "fc00::/6", "::/0"];

for_each_enforcer!(
    packets_to_this_host_are_dropped,
    forwarded_packets_are_dropped,
    bans_end_in_the_kernel_on_time_and_not_early,
    established_connections_get_nothing_through,
    established_connections_are_cut_where_that_is_asked_for,
    forwarded_connections_are_cut_where_that_is_asked_for,
);

/// Bans and lifts each target, and looks whether the client gets through.
fn check_blocks(enforcer: &mut dyn Enforcer, client: &mut Helper, targets: &[&str]) {
    eventually("the way is open at first", || client.ask("?") == "yes");
    for target in targets {
        enforcer.apply(&[(net(target), HOUR)], &[]).unwrap();
        assert_eq!(client.ask("?"), "no", "{target}");
        enforcer.apply(&[], &[net(target)]).unwrap();
        eventually("the way is open again", || client.ask("?") == "yes");
    }
    // A neighbour's ban doesn't hurt, and while one ban of two that overlap holds, nothing gets through.
    let neighbours = ["10.9.1.3", "10.9.0.0/24", "10.8.0.0/16", "fd09:1::3/128", "fd09:0::/64", "fd08::/16"];
    enforcer.apply(&neighbours.map(|target| (net(target), HOUR)), &[]).unwrap();
    assert_eq!(client.ask("?"), "yes");
    enforcer.apply(&[(net(targets[0]), HOUR), (net(targets[1]), HOUR)], &[]).unwrap();
    for (lifted, answer) in [(targets[1], "no"), (targets[0], "yes")] {
        enforcer.apply(&[], &[net(lifted)]).unwrap();
        eventually("the last ban counts", || client.ask("?") == answer);
    }
    enforcer.apply(&[], &neighbours.map(net)).unwrap();
}

fn packets_to_this_host_are_dropped(kind: Kind) {
    isolated(kind, || {
        let client = Namespace::new();
        client.link("client", 1);
        serve_here();
        let mut enforcer = kind.open();
        check_blocks(&mut *enforcer, &mut client.client("10.9.1.1"), &V4);
        check_blocks(&mut *enforcer, &mut client.client("fd09:1::1"), &V6);
        // Nothing is left that would drop anything.
        enforcer.apply(&[(net("::/0"), HOUR), (net("0.0.0.0/0"), HOUR)], &[]).unwrap();
        enforcer.remove().unwrap();
        let mut client = client.client("fd09:1::1");
        eventually("the way is open in the end", || client.ask("?") == "yes");
    });
}

fn forwarded_packets_are_dropped(kind: Kind) {
    isolated(kind, || {
        let (client, container) = (Namespace::new(), Namespace::new());
        client.link("client", 1);
        container.link("container", 2);
        forward();
        let _server = container.server();
        let mut enforcer = kind.open();
        check_blocks(&mut *enforcer, &mut client.client("10.9.2.2"), &V4);
        check_blocks(&mut *enforcer, &mut client.client("fd09:2::2"), &V6);
    });
}

fn forward() {
    run("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
}

fn bans_end_in_the_kernel_on_time_and_not_early(kind: Kind) {
    isolated(kind, || {
        let client = Namespace::new();
        client.link("client", 1);
        serve_here();
        let mut enforcer = kind.open();
        for (server, target) in [("10.9.1.1", "10.9.1.2"), ("fd09:1::1", "fd09:1::/64")] {
            let mut client = client.client(server);
            eventually("the way is open at first", || client.ask("?") == "yes");
            // A ban that is shortened, then one that is lengthened.
            for before in [HOUR, Duration::from_secs(1)] {
                let time = Duration::from_millis(2_300);
                enforcer.apply(&[(net(target), before)], &[]).unwrap();
                let start = Instant::now();
                enforcer.apply(&[(net(target), time)], &[]).unwrap();
                eventually("it ends", || client.ask("?") == "yes");
                let took = start.elapsed();
                assert!(took >= time, "{target} ended early, after {took:?}");
                // The kernel's second, and what a client waits for an answer.
                assert!(took < time + Duration::from_millis(2_000), "{target} ended late, after {took:?}");
            }
        }
    });
}

/// Whoever accepts established connections early must not come first.
fn accept_established() {
    run("nft add table inet filter
         nft add chain inet filter early '{ type filter hook prerouting priority -150; }'
         nft add rule inet filter early ct state established accept");
}

fn established_connections_get_nothing_through(kind: Kind) {
    isolated(kind, || {
        accept_established();
        let client = Namespace::new();
        client.link("client", 1);
        serve_here();
        let mut enforcer = kind.open();
        for (server, target) in [("10.9.1.1", "10.9.1.2"), ("fd09:1::1", "fd09:1::/64")] {
            let mut connection = client.lasting_client(server);
            assert_eq!(connection.ask("?"), "yes");
            enforcer.apply(&[(net(target), HOUR)], &[]).unwrap();
            assert_eq!(connection.ask("?"), "no");
            assert_eq!(sockets(), 1, "nobody asked for more");
            enforcer.apply(&[], &[net(target)]).unwrap();
            // TCP sends again what was dropped.
            eventually("the connection lives on", || connection.ask("?") == "yes");
            drop(connection);
            eventually("the server has closed it, too", || sockets() == 0);
        }
    });
}

/// How many connections the server here has.
fn sockets() -> usize {
    run("ss -tnH state established '( sport = :80 )'").lines().count()
}

/// How many connections are followed that come from a client.
fn followed() -> usize {
    run("cat /proc/net/nf_conntrack 2>/dev/null || { conntrack -L -f ipv4; conntrack -L -f ipv6; } 2>/dev/null")
        .lines()
        .filter(|line| line.contains("ESTABLISHED"))
        .count()
}

fn established_connections_are_cut_where_that_is_asked_for(kind: Kind) {
    isolated(kind, || {
        let (client, other) = (Namespace::new(), Namespace::new());
        client.link("client", 1);
        other.link("other", 3);
        serve_here();
        let mut staying = [other.lasting_client("10.9.3.1"), other.lasting_client("fd09:3::1")];
        staying.iter_mut().for_each(|connection| assert_eq!(connection.ask("?"), "yes"));
        let (mut enforcer, warnings) = Cutting::new(kind.open()).unwrap();
        assert_eq!(warnings, [] as [String; 0]);
        assert_eq!(enforcer.name(), kind.name());
        let targets = [("10.9.1.1", "10.9.1.2"), ("10.9.1.1", "10.9.1.0/24"), ("fd09:1::1", "fd09:1::/64")];
        for (server, target) in targets {
            let mut connection = client.lasting_client(server);
            assert_eq!(connection.ask("?"), "yes");
            assert_eq!(sockets(), 3);
            // With others in the same run, and one of the other family.
            let bans = ["192.0.2.1", target, "2001:db8::/32", "203.0.113.0/24"];
            enforcer.apply(&bans.map(|target| (net(target), HOUR)), &[]).unwrap();
            eventually("the server's socket is closed", || sockets() == 2);
            enforcer.apply(&[], &bans.map(net)).unwrap();
            assert_eq!(connection.ask("?"), "no", "it is over and not only held up");
        }
        staying.iter_mut().for_each(|connection| assert_eq!(connection.ask("?"), "yes"));
    });
}

fn forwarded_connections_are_cut_where_that_is_asked_for(kind: Kind) {
    isolated(kind, || {
        accept_established();
        let (client, container) = (Namespace::new(), Namespace::new());
        client.link("client", 1);
        container.link("container", 2);
        forward();
        let _server = container.server();
        // Kept to the end: a connection that is closed says so, and is followed again for that.
        let mut connections = Vec::new();
        // This namespace's own loopback is up, so that the kernel can be tried.
        run("ip link set lo up");
        let (mut enforcer, warnings) = Cutting::new(kind.open()).unwrap();
        assert_eq!(warnings, [] as [String; 0]);
        for (server, target) in
            [("10.9.2.2", "10.9.1.0/24"), ("fd09:2::2", "fd09:1::/64"), ("10.9.2.2", "0.0.0.0/0")]
        {
            let before = followed();
            let mut connection = client.lasting_client(server);
            assert_eq!(connection.ask("?"), "yes");
            assert_eq!(followed(), before + 1);
            enforcer.apply(&[(net("198.51.100.1"), HOUR), (net(target), HOUR)], &[]).unwrap();
            eventually("nobody follows it any more", || followed() <= before);
            enforcer.apply(&[], &[net(target)]).unwrap();
            connections.push(connection);
        }
    });
}
