//! Gateways and name servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::files::Files;

/// The next hops of the default routes.
pub(super) fn gateways(files: &mut Files) -> Vec<IpAddr> {
    let mut found = Vec::new();
    files.lines("proc/net/route", |line| found.extend(gateway_v4(line).map(IpAddr::V4)));
    files.lines("proc/net/ipv6_route", |line| found.extend(gateway_v6(line).map(IpAddr::V6)));
    found
}

/// The route goes by a gateway (`RTF_GATEWAY` in Linux's `route.h`).
const GATEWAY: u32 = 0x2;
/// The route refuses (`RTF_REJECT`).
const REJECT: u32 = 0x200;

/// A line of `/proc/net/route`: `Iface Destination Gateway Flags RefCnt Use Metric Mask …`.
fn gateway_v4(line: &str) -> Option<Ipv4Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(8).collect();
    let [_, destination, gateway, flags, _, _, _, mask] = fields[..] else { return None };
    let to_all = destination == "00000000" && mask == "00000000";
    goes_by_gateway(flags).filter(|goes| *goes && to_all)?;
    address_v4(gateway)
}

/// A line of `/proc/net/ipv6_route`: `destination length source length next-hop metric references uses flags …`.
fn gateway_v6(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_ascii_whitespace().take(9).collect();
    let [destination, length, _, _, hop, _, _, _, flags] = fields[..] else { return None };
    let to_all = length == "00" && destination.bytes().all(|b| b == b'0');
    goes_by_gateway(flags).filter(|goes| *goes && to_all)?;
    // Addresses stand there byte for byte, unlike those of /proc/net/tcp6.
    Some(hop)
        .filter(|hop| hop.len() == 32)
        .and_then(|hop| u128::from_str_radix(hop, 16).ok())
        .map(Ipv6Addr::from)
}

fn goes_by_gateway(flags: &str) -> Option<bool> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    Some(flags & GATEWAY != 0 && flags & REJECT == 0)
}

/// Eight hex digits: the address's bytes in network order, printed as a number of this machine.
pub(super) fn address_v4(hex: &str) -> Option<Ipv4Addr> {
    let number = Some(hex).filter(|hex| hex.len() == 8).and_then(|hex| u32::from_str_radix(hex, 16).ok())?;
    Some(Ipv4Addr::from(number.to_ne_bytes()))
}

/// The name servers. Where systemd-resolved stands between, `resolv.conf` names it, and its own file those that
/// it asks.
pub(super) fn resolvers(files: &mut Files) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for path in ["etc/resolv.conf", "run/systemd/resolve/resolv.conf"] {
        found.extend(files.text(path).lines().filter_map(name_server));
    }
    found
}

/// `nameserver ADDRESS`; a link-local one has its interface behind a `%`.
fn name_server(line: &str) -> Option<IpAddr> {
    let mut words = line.split_ascii_whitespace();
    let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
    address.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn default_routes() {
        let check = |line, expect: Option<&str>| {
            assert_eq!(gateway_v4(line).map(|a| a.to_string()).as_deref(), expect, "{line}");
        };
        check("eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0", Some("192.0.2.1"));
        check("eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", None);
        check("eth0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0", None);
        check("eth0\t00000000\t010200C0\t0203\t0\t0\t0\t00000000", None);
        check("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask", None);
        check("eth0\t00000000\t+10200C0\t0003\t0\t0\t0\t0000000", None);
        check("eth0\t00000000\t010200C\t0003\t0\t0\t0\t00000000", None);
        check("", None);
    }

    #[test]
    fn default_routes_v6() {
        let none = "0".repeat(32);
        let check = |line: String, expect: Option<&str>| {
            assert_eq!(gateway_v6(&line).map(|a| a.to_string()).as_deref(), expect, "{line}");
        };
        let hop = "fe8000000000000000000000000000fe";
        let tail = "00000400 00000002 00000000";
        check(format!("{none} 00 {none} 00 {hop} {tail} 00000003     eth0"), Some("fe80::fe"));
        check(format!("{none} 00 {none} 00 {hop} {tail} 00200200     lo"), None);
        check(format!("{none} 40 {none} 00 {hop} {tail} 00000003     eth0"), None);
        check(format!("{none} 00 {none} 00 {none}0 {tail} 00000003     eth0"), None);
        check(format!("{none} 00 {none} 00 zz{hop} {tail}"), None);
    }

    #[test]
    fn name_servers() {
        let check = |line, expect: Option<&str>| {
            assert_eq!(name_server(line).map(|a| a.to_string()).as_deref(), expect, "{line}");
        };
        check("nameserver 192.0.2.53", Some("192.0.2.53"));
        check("  nameserver\t2001:db8::53 # home", Some("2001:db8::53"));
        check("nameserver fe80::1%eth0", Some("fe80::1"));
        check("#nameserver 192.0.2.53", None);
        check("nameserver dns.example.com", None);
        check("nameserver", None);
        check("search 192.0.2.53", None);
    }
}
