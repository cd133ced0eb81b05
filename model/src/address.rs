//! Addresses as they stand in logs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads a bare IP literal: no port, no zone id, no brackets, no leading zeros in an IPv4 octet.
///
/// IPv4-mapped IPv6 addresses (`::ffff:192.0.2.1`) come back as IPv4: a dual-stack socket logs them for IPv4
/// clients, and they must not count apart.
#[must_use]
pub fn parse_address(literal: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = parse_ipv4(literal) {
        return Some(IpAddr::V4(v4));
    }
    Some(canonical(IpAddr::V6(parse_ipv6(literal)?)))
}

/// Reads the address that a line begins with, up to the first space, and where that space is.
#[inline]
pub(crate) fn leading_address(line: &[u8]) -> Option<(IpAddr, usize)> {
    if let Some((v4, end)) = leading_ipv4(line) {
        return Some((IpAddr::V4(v4), end));
    }
    // The longest literal has 45 bytes.
    let end = memchr::memchr(b' ', &line[..line.len().min(46)])?;
    Some((parse_address(&line[..end])?, end))
}

/// An IPv4 literal and a space at the beginning of a line that goes on for a while; `None` may mean anything.
///
/// Where digits and dots stand differs from line to line, so branches on them are mispredicted: without any
/// this costs 7 ns a line where reading byte by byte costs 25.
#[inline]
fn leading_ipv4(line: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let head: &[u8; 20] = line.first_chunk()?;
    let (mut dots, mut others) = (0u32, 0u32);
    for (at, &byte) in head[..16].iter().enumerate() {
        dots |= u32::from(byte == b'.') << at;
        others |= u32::from(byte.wrapping_sub(b'0') > 9 && byte != b'.') << at;
    }
    let end = others.trailing_zeros();
    if end >= 16 || head[end as usize] != b' ' {
        return None;
    }
    dots &= (1 << end) - 1;
    if dots.count_ones() != 3 {
        return None;
    }
    let first = dots.trailing_zeros();
    let second = (dots & (dots - 1)).trailing_zeros();
    let third = 31 - dots.leading_zeros();
    let mut octets = [0u8; 4];
    let mut wrong = false;
    for (octet, (start, stop)) in
        octets.iter_mut().zip([(0, first), (first + 1, second), (second + 1, third), (third + 1, end)])
    {
        let length = stop - start;
        wrong |= length == 0 || length > 3;
        let at = start as usize & 15;
        let text = u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        // The digits move to the upper bytes, zeros come in before them.
        let digits = (text & 0x0f0f_0f0f) << (8 * (4 - length.clamp(1, 3)));
        let value = (digits >> 24) + (digits >> 16 & 15) * 10 + (digits >> 8 & 15) * 100;
        wrong |= value > 255 || (length > 1 && text & 15 == 0);
        *octet = value as u8;
    }
    (!wrong).then_some((Ipv4Addr::from(octets), end as usize))
}

/// The IPv4 address of an IPv4-mapped one, otherwise the address itself.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
    }
}

/// As `Ipv6Addr::from_str`, to which a test holds it; that one costs twice as much.
fn parse_ipv6(literal: &[u8]) -> Option<Ipv6Addr> {
    // The longest literal has an embedded IPv4 address: 45 bytes.
    if literal.len() < 2 || literal.len() > 45 {
        return None;
    }
    let mut groups = [0u16; 8];
    let (mut used, mut gap, mut at) = (0, None, 0);
    if literal.starts_with(b"::") {
        gap = Some(0);
        at = 2;
    }
    while at < literal.len() {
        if used == 8 {
            return None;
        }
        let start = at;
        let mut group = 0u32;
        while at < literal.len() && at - start < 5 {
            let Some(digit) = hex_digit(literal[at]) else {
                break;
            };
            group = group << 4 | digit;
            at += 1;
        }
        if literal.get(at) == Some(&b'.') && used <= 6 {
            let v4 = parse_ipv4(&literal[start..])?.octets();
            groups[used] = u16::from_be_bytes([v4[0], v4[1]]);
            groups[used + 1] = u16::from_be_bytes([v4[2], v4[3]]);
            used += 2;
            break;
        }
        if at == start || at - start > 4 {
            return None;
        }
        groups[used] = group as u16;
        used += 1;
        match &literal[at..] {
            [] => break,
            [b':', b':', ..] if gap.is_none() => {
                gap = Some(used);
                at += 2;
            }
            [b':', _, ..] => at += 1,
            _ => return None,
        }
    }
    match gap {
        None if used == 8 => {}
        Some(gap) if used < 8 => {
            // What stands behind the gap belongs at the end.
            groups[gap..].rotate_right(8 - used);
        }
        _ => return None,
    }
    Some(Ipv6Addr::from(groups))
}

#[inline]
fn hex_digit(byte: u8) -> Option<u32> {
    match byte {
        b'0'..=b'9' => Some(u32::from(byte - b'0')),
        b'a'..=b'f' => Some(u32::from(byte - b'a' + 10)),
        b'A'..=b'F' => Some(u32::from(byte - b'A' + 10)),
        _ => None,
    }
}

fn parse_ipv4(literal: &[u8]) -> Option<Ipv4Addr> {
    if literal.len() < 7 || literal.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 4];
    let mut index = 0;
    let mut value = 0u32;
    let mut digits = 0u32;
    for &byte in literal {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            if digits > 0 && value == 0 {
                return None;
            }
            value = value * 10 + u32::from(digit);
            digits += 1;
            if value > 255 {
                return None;
            }
        } else if byte == b'.' && digits > 0 && index < 3 {
            octets[index] = value as u8;
            index += 1;
            value = 0;
            digits = 0;
        } else {
            return None;
        }
    }
    if index != 3 || digits == 0 {
        return None;
    }
    octets[3] = value as u8;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(literal: &str, expect: Option<&str>) {
        let found = parse_address(literal.as_bytes()).map(|address| address.to_string());
        assert_eq!(found.as_deref(), expect, "{literal:?}");
    }

    #[test]
    fn bare_literals_only() {
        check("203.0.113.9", Some("203.0.113.9"));
        check("0.0.0.0", Some("0.0.0.0"));
        check("255.255.255.255", Some("255.255.255.255"));
        check("2001:DB8::1", Some("2001:db8::1"));
        check("::ffff:203.0.113.9", Some("203.0.113.9"));
        check("::FFFF:cb00:7109", Some("203.0.113.9"));
        for bad in [
            "",
            "-",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.04",
            "1.2.3.256",
            "1.2.3.4:80",
            "1.2.3.4%eth0",
            "[::1]",
            "::1]:80",
            "fe80::1%eth0",
            "unix:",
            "1..3.4",
            "1.2.3.",
            ".1.2.3",
            " 1.2.3.4",
            "1.2.3.4 ",
            "::ffff:01.2.3.4",
            "1:2:3:4::5:6:7:8",
            "12345::",
            "0x7f.0.0.1",
            "::ffff:203.0.113.9/32",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn reads_what_the_standard_library_reads(
            literal in prop_oneof![
                "[0-9a-fA-F:.]{0,46}",
                "([0-9a-f]{1,4}:){0,8}(:?[0-9a-f]{0,5}){0,8}",
                "(::)?(ffff:)?([0-9]{1,3}\\.){3}[0-9]{1,3}",
                any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).to_string()),
                (any::<u128>(), 0u32..128).prop_map(|(bits, cut)| Ipv6Addr::from(bits >> cut).to_string()),
                any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).to_string()),
                "([0-9]{0,4}\\.){2,4}[0-9]{0,4}",
            ],
        ) {
            let slow = literal.parse().ok().map(canonical);
            prop_assert_eq!(parse_address(literal.as_bytes()), slow);
            let line = format!("{literal} - - [22/Nov/2026");
            prop_assert_eq!(leading_address(line.as_bytes()), slow.map(|address| (address, literal.len())));
        }
    }
}
