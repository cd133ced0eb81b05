//! Connections to the SSH port: whoever is still connected after sshd's time to log in has logged in.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::files::Files;
use super::network::address_v4;

/// Established connections to the SSH ports.
pub(super) struct Connections {
    ports: BTreeSet<u16>,
    seen: HashMap<Connection, Seen>,
    /// The tables are long where a server is busy, and a kernel takes a while to print them: so they are read
    /// less often than other files.
    due: Option<Instant>,
}

/// One connection, and no later one between the same ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Connection {
    peer: IpAddr,
    peer_port: u16,
    local_port: u16,
    inode: u64,
}

/// When a connection was seen.
#[derive(Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

/// sshd cuts who hasn't logged in after 120 seconds (`LoginGraceTime`); somewhat more, so that nobody who merely
/// opens connections is ever taken for somebody who is logged in.
const LOGGED_IN_AFTER: Duration = Duration::from_secs(150);
/// How often the tables are read.
const EVERY: Duration = Duration::from_secs(15);
/// So many connections are remembered; sshd serves far fewer at a time.
const MOST: usize = 4096;

impl Default for Connections {
    fn default() -> Self {
        Self { ports: BTreeSet::from([22]), seen: HashMap::new(), due: None }
    }
}

impl Connections {
    pub(super) fn add_port(&mut self, port: u16) {
        self.ports.insert(port);
    }

    /// Looks at the tables where it is time to, and gives the peers that have been connected for long enough.
    pub(super) fn poll(&mut self, files: &mut Files, now: Instant) -> Vec<IpAddr> {
        if self.due.is_none_or(|due| now >= due) {
            self.due = Some(now + EVERY);
            for table in ["proc/net/tcp", "proc/net/tcp6"] {
                files.lines(table, |line| {
                    let ours = connection(line).filter(|found| self.ports.contains(&found.local_port));
                    let Some(found) = ours else { return };
                    let full = self.seen.len() >= MOST;
                    match self.seen.entry(found) {
                        Entry::Occupied(mut known) => known.get_mut().last = now,
                        // Newcomers never crowd out old ones.
                        Entry::Vacant(_) if full => {}
                        Entry::Vacant(new) => {
                            new.insert(Seen { first: now, last: now });
                        }
                    }
                });
            }
            // A table that changes while it is printed may lack a line that is in it.
            self.seen.retain(|_, seen| now.saturating_duration_since(seen.last) <= EVERY * 2);
        }
        let old = |seen: &Seen| seen.last.saturating_duration_since(seen.first) > LOGGED_IN_AFTER;
        self.seen.iter().filter(|(_, seen)| old(seen)).map(|(found, _)| found.peer).collect()
    }
}

/// An established connection in a line of `/proc/net/tcp` or `tcp6`:
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn connection(line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(10).collect();
    let [_, local, peer, state, _, _, _, _, _, inode] = fields[..] else { return None };
    // A connection that sshd hasn't accepted has no inode, and could wait for ever.
    let inode = inode.parse().ok().filter(|inode| *inode != 0 && state == "01")?;
    let (_, local_port) = endpoint(local)?;
    let (peer, peer_port) = endpoint(peer)?;
    Some(Connection { peer, peer_port, local_port, inode })
}

fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.len() {
        8 => address_v4(address)?.into(),
        // Four words, each printed like an IPv4 address.
        32 if address.is_ascii() => {
            let mut octets = [0; 16];
            for (at, word) in octets.chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(&address_v4(&address[at * 8..at * 8 + 8])?.octets());
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables() {
        let check = |line: &str, expect: Option<(&str, u16)>| {
            let found = connection(line).map(|c| (c.peer.to_string(), c.local_port));
            assert_eq!(found.as_ref().map(|(peer, port)| (peer.as_str(), *port)), expect, "{line}");
        };
        let tail = "00000000:00000000 02:000A7214 00000000     0        0";
        check(&format!("   1: 010200C0:0016 070200C0:C350 01 {tail} 4711 4 0"), Some(("192.0.2.7", 22)));
        check(&format!("   1: 010200C0:0016 070200C0:C350 0A {tail} 4711"), None);
        check(&format!("   1: 010200C0:0016 070200C0:C350 01 {tail} 0"), None);
        let v6 = "B80D0120000000000000000007000000";
        check(&format!("   1: {v6}:08AE {v6}:C350 01 {tail} 4711"), Some(("2001:db8::7", 2222)));
        let mapped = "0000000000000000FFFF0000070200C0";
        check(&format!("   1: {v6}:0016 {mapped}:C350 01 {tail} 4711"), Some(("::ffff:192.0.2.7", 22)));
        check(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout",
            None,
        );
        check(&format!("1: ä:0016 {}:1 01 {tail} 1", "ä".repeat(16)), None);
        check("", None);
    }
}
