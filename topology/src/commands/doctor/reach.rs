//! Would a drop on this machine reach the clients? The kernel sees who made the TCP connection; behind a proxy on
//! another machine that is the proxy.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::client::attribute;
use model::network::NetworkSet;

use super::finding::Finding;
use super::lines::Peer;

const CHECK: &str = "reach";

/// Addresses that are on no public network: private, shared (CGNAT), link-local, unique local.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
];

/// Of Cloudflare (<https://www.cloudflare.com/ips/>) and Fastly (<https://api.fastly.com/public-ip-list>). They
/// change now and then; here they only make a hint better.
const CDNS: [&str; 39] = [
    "173.245.48.0/20",
    "103.21.244.0/22",
    "103.22.200.0/22",
    "103.31.4.0/22",
    "141.101.64.0/18",
    "108.162.192.0/18",
    "190.93.240.0/20",
    "188.114.96.0/20",
    "197.234.240.0/22",
    "198.41.128.0/17",
    "162.158.0.0/15",
    "104.16.0.0/13",
    "104.24.0.0/14",
    "172.64.0.0/13",
    "131.0.72.0/22",
    "2400:cb00::/32",
    "2606:4700::/32",
    "2803:f800::/32",
    "2405:b500::/32",
    "2405:8100::/32",
    "2a06:98c0::/29",
    "2c0f:f248::/32",
    "23.235.32.0/20",
    "43.249.72.0/22",
    "103.244.50.0/24",
    "103.245.222.0/23",
    "104.156.80.0/20",
    "140.248.64.0/18",
    "146.75.0.0/17",
    "151.101.0.0/16",
    "157.52.64.0/18",
    "167.82.0.0/17",
    "172.111.64.0/18",
    "185.31.16.0/22",
    "199.27.72.0/21",
    "199.232.0.0/16",
    "2a04:4e40::/32",
    "2a04:4e42::/32",
    "140.248.128.0/17",
];

fn set(networks: &[&str]) -> NetworkSet {
    networks.iter().map(|text| text.parse().expect("the table is fixed, a test reads it")).collect()
}

/// Peers in one class.
#[derive(Default)]
struct Class {
    lines: usize,
    forwarding: usize,
    peers: BTreeSet<IpAddr>,
}

impl Class {
    fn add(&mut self, peer: &Peer) {
        self.lines += 1;
        self.forwarding += usize::from(forwards(peer));
        self.peers.insert(peer.address);
    }

    fn named(&self) -> String {
        let named: Vec<String> = self.peers.iter().take(3).map(ToString::to_string).collect();
        let more =
            if self.peers.len() > 3 { format!(" and {} more", self.peers.len() - 3) } else { String::new() };
        format!("{}{more}", named.join(", "))
    }
}

/// Whether a line names somebody else than its peer.
fn forwards(peer: &Peer) -> bool {
    let text = peer.forwarded_for.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let mut hops = text.split(',').filter_map(|hop| hop.trim().parse::<IpAddr>().ok());
    hops.any(|hop| hop != peer.address)
}

/// With fewer lines a share of them says nothing.
const ENOUGH: usize = 20;
/// No more proxies stand before one server, as a rule.
const FEW: usize = 16;

const RUN_AGENTS: &str =
    "run ccfirewall-agent on the proxies ([[agents]]); where they are a CDN's, block there";
const TRUST: &str = "list the proxies in trusted_proxies of the settings, and log X-Forwarded-For \
                     ($http_x_forwarded_for in log_format; name that format here, too)";

/// Where the lines were logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    Elsewhere,
}

impl Place {
    fn on(self) -> &'static str {
        match self {
            Self::Here => "on this machine",
            Self::Elsewhere => "on the hosts that log",
        }
    }
}

/// Judges by who made the connections of the last lines.
pub(super) fn judge(peers: &[Peer], trusted: &NetworkSet, place: Place) -> Finding {
    let on = place.on();
    let all = peers.len();
    if all < ENOUGH {
        return Finding::skipped(CHECK, format!("{all} lines are too few to tell"));
    }
    let (private, cdns) = (set(&PRIVATE), set(&CDNS));
    let [mut known, mut here, mut inside, mut cdn, mut public] = <[Class; 5]>::default();
    let mut unproven = 0;
    for peer in peers {
        if peer.address.is_loopback() {
            here.add(peer);
        } else if trusted.contains(peer.address) {
            known.add(peer);
        } else if private.contains(peer.address) {
            inside.add(peer);
        } else if cdns.contains(peer.address) {
            cdn.add(peer);
        } else {
            public.add(peer);
        }
        unproven += usize::from(attribute(peer.address, peer.forwarded_for.as_deref(), trusted).is_err());
    }
    let most = |class: &Class| class.lines * 2 > all;
    if most(&here) {
        return behind_this_machine(&here, all, trusted, place);
    }
    if unproven * 2 > all {
        return Finding::bad(
            CHECK,
            format!(
                "{unproven} of {all} requests came through trusted proxies without a proven client: they count for nobody"
            ),
            TRUST,
        );
    }
    if most(&known) {
        return Finding::warn(
            CHECK,
            format!(
                "clients come through proxies ({}): decisions are right, but a drop {on} can't reach them",
                known.named()
            ),
            RUN_AGENTS,
        );
    }
    if most(&cdn) {
        return unknown_proxies("Cloudflare's or Fastly's proxies", &cdn, all, place);
    }
    let few = inside.peers.len() <= FEW;
    if most(&inside) && (few || inside.forwarding * 2 > inside.lines) {
        return unknown_proxies("addresses of an internal network", &inside, all, place);
    }
    if most(&public) && public.peers.len() <= FEW && public.forwarding * 10 > public.lines * 9 {
        return unknown_proxies("few addresses, which all speak for others", &public, all, place);
    }
    let clients: usize = [&known, &here, &inside, &cdn, &public].iter().map(|class| class.peers.len()).sum();
    let addresses = if clients == 1 { "address" } else { "addresses" };
    Finding::ok(
        CHECK,
        format!("the last {all} requests came directly from {clients} {addresses}: a drop {on} reaches them"),
    )
}

/// The proxy runs here, so the clients' connections end here, too.
fn behind_this_machine(here: &Class, all: usize, trusted: &NetworkSet, place: Place) -> Finding {
    let on = place.on();
    let lines = here.lines;
    if here.peers.iter().all(|peer| trusted.contains(*peer)) && here.forwarding * 2 > lines {
        return Finding::ok(CHECK, format!("clients come through a proxy {on}: a drop there reaches them"));
    }
    Finding::bad(
        CHECK,
        format!(
            "{lines} of {all} requests came from loopback ({}): a proxy {on}, and no client is seen",
            here.named()
        ),
        TRUST,
    )
}

fn unknown_proxies(who: &str, class: &Class, all: usize, place: Place) -> Finding {
    Finding::bad(
        CHECK,
        format!(
            "behind a proxy, it seems: {} of {all} requests came from {who} ({}). All clients behind one count as \
             one; and a drop {} can't reach them",
            class.lines,
            class.named(),
            place.on(),
        ),
        format!("{TRUST}; {RUN_AGENTS}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn peers(peers: impl IntoIterator<Item = (String, Option<&'static str>)>) -> Vec<Peer> {
        let peer = |(address, forwarded): (String, Option<&str>)| Peer {
            address: address.parse().unwrap(),
            forwarded_for: forwarded.map(|text| text.as_bytes().to_vec()),
        };
        peers.into_iter().map(peer).collect()
    }

    #[track_caller]
    fn check(from: &[Peer], trusted: &[&str], level: Level, part: &str) {
        let finding = judge(from, &set(trusted), Place::Here);
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
    }

    #[test]
    fn clients_that_connect_themselves() {
        let public = peers((0..200).map(|n| (format!("198.51.100.{n}"), None)));
        check(&public, &[], Level::Ok, "200 addresses");
        check(&public[..5], &[], Level::Skipped, "too few");
        let intranet = peers((0..200).map(|n| (format!("10.1.2.{n}"), None)));
        check(&intranet, &[], Level::Ok, "directly");
        let one_attacker = peers((0..200).map(|_| ("198.51.100.7".to_owned(), None)));
        check(&one_attacker, &[], Level::Ok, "1 address:");
        // Clients may write what they like.
        let forging = peers((0..200).map(|n| (format!("198.51.100.{n}"), Some("203.0.113.1"))));
        check(&forging, &[], Level::Ok, "directly");
    }

    #[test]
    fn proxies() {
        let proxied = |from: &str, client| peers((0..100).map(|_| (from.to_owned(), client)));
        let client = Some("203.0.113.9");
        check(&proxied("10.0.0.5", client), &[], Level::Bad, "internal network (10.0.0.5)");
        check(&proxied("10.0.0.5", None), &[], Level::Bad, "internal network");
        check(&proxied("10.0.0.5", client), &["10.0.0.0/8"], Level::Warn, "can't reach");
        check(&proxied("10.0.0.5", None), &["10.0.0.0/8"], Level::Bad, "without a proven client");
        check(&proxied("172.70.1.2", client), &[], Level::Bad, "Cloudflare");
        check(&proxied("198.51.100.7", client), &[], Level::Bad, "speak for others");
        check(&proxied("127.0.0.1", client), &[], Level::Bad, "from loopback");
        check(&proxied("127.0.0.1", None), &["127.0.0.1"], Level::Bad, "from loopback");
        check(&proxied("127.0.0.1", client), &["127.0.0.0/8"], Level::Ok, "on this machine");
        check(&proxied("::1", client), &["::1"], Level::Ok, "on this machine");
    }
}
