//! Who is logged in from elsewhere: by utmp, by systemd-logind, and by our own environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::files::Files;

/// The peers of all sessions.
pub(super) fn logged_in(files: &mut Files) -> Vec<IpAddr> {
    let utmp = files.read("run/utmp");
    // Where others' processes are hidden from us, nothing can be said about whose process is gone.
    let processes_visible = files.exists("proc/1");
    let mut found: Vec<IpAddr> = Utmp::OURS
        .users(&utmp)
        .filter(|user| !processes_visible || files.exists(&format!("proc/{}", user.process)))
        .filter_map(|user| user.peer)
        .collect();
    for name in files.names("run/systemd/sessions") {
        found.extend(logind_peer(&files.text(&format!("run/systemd/sessions/{name}"))));
    }
    found
}

/// Whether the machine keeps account of sessions at all.
pub(super) fn are_known(files: &mut Files) -> bool {
    files.exists("run/utmp") || files.exists("run/systemd/sessions")
}

/// Where the fields of glibc's `struct utmp` are. It has no header; records of a fixed length follow each other.
struct Utmp {
    record: usize,
    address: usize,
}

/// A user who is logged in.
struct User {
    process: u32,
    /// `None` at the machine itself.
    peer: Option<IpAddr>,
}

impl Utmp {
    /// Times of 32 bits, for old programs' sake: x86, and most others.
    const SHORT: Self = Self { record: 384, address: 348 };
    /// Times of 64 bits: architectures that began with them.
    const LONG: Self = Self { record: 400, address: 360 };
    const OURS: Self =
        if cfg!(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64")) {
            Self::LONG
        } else {
            Self::SHORT
        };

    const PROCESS: usize = 4;
    const HOST: std::ops::Range<usize> = 76..332;
    /// The `ut_type` of somebody who is logged in.
    const USER: i16 = 7;

    fn users<'u>(&self, utmp: &'u [u8]) -> impl Iterator<Item = User> + use<'u> {
        let Self { record, address } = *self;
        utmp.chunks_exact(record).filter_map(move |record| {
            let kind = i16::from_ne_bytes(bytes(record, 0)?);
            let process = i32::from_ne_bytes(bytes(record, Self::PROCESS)?);
            let process = u32::try_from(process).ok().filter(|process| *process > 0 && kind == Self::USER)?;
            Some(User {
                process,
                peer: stored(bytes(record, address)?).or_else(|| named(&record[Self::HOST])),
            })
        })
    }
}

fn bytes<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..at + N)?.try_into().ok()
}

/// The address in network order: an IPv4 one has only the first four bytes.
fn stored(bytes: [u8; 16]) -> Option<IpAddr> {
    let (v4, rest) = bytes.split_first_chunk::<4>()?;
    let address: IpAddr =
        if rest.iter().all(|b| *b == 0) { Ipv4Addr::from(*v4).into() } else { Ipv6Addr::from(bytes).into() };
    Some(address).filter(|address| !address.is_unspecified())
}

/// An address in `ut_host`. Names aren't looked up.
fn named(host: &[u8]) -> Option<IpAddr> {
    let host = host.split(|b| *b == 0).next()?;
    std::str::from_utf8(host).ok()?.split('%').next()?.parse().ok()
}

/// A session's file of systemd-logind: `KEY=VALUE` lines.
fn logind_peer(session: &str) -> Option<IpAddr> {
    let value = |key: &str| {
        let mut lines = session.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(|value| value.trim_matches('"'))
    };
    let is_open = matches!(value("STATE"), Some("active" | "online" | "opening"));
    let host = value("REMOTE_HOST").filter(|_| is_open && value("REMOTE") != Some("0"))?;
    host.split('%').next()?.parse().ok()
}

/// The peer and the local port in `SSH_CONNECTION` (`peer port own port`) or `SSH_CLIENT` (`peer port own-port`).
pub(super) fn ssh_environment(value: &str) -> (Option<IpAddr>, Option<u16>) {
    let mut words = value.split_ascii_whitespace();
    let peer = words.next().and_then(|peer| peer.split('%').next()?.parse().ok());
    (peer, words.last().and_then(|port| port.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(layout: &Utmp, kind: i16, process: i32, host: &str, address: &[u8]) -> Vec<u8> {
        let mut record = vec![0; layout.record];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[4..8].copy_from_slice(&process.to_ne_bytes());
        record[76..76 + host.len()].copy_from_slice(host.as_bytes());
        record[layout.address..layout.address + address.len()].copy_from_slice(address);
        record
    }

    #[test]
    fn records_of_both_lengths() {
        let v6: Ipv6Addr = "2001:db8::7".parse().unwrap();
        for layout in [Utmp::SHORT, Utmp::LONG] {
            let mut utmp = record(&layout, 7, 10, "somewhere", &[192, 0, 2, 7]);
            utmp.extend(record(&layout, 8, 11, "gone", &[192, 0, 2, 8]));
            utmp.extend(record(&layout, 7, 12, "v6", &v6.octets()));
            utmp.extend(record(&layout, 7, 13, "198.51.100.9", &[]));
            utmp.extend(record(&layout, 7, 14, ":0", &[]));
            utmp.extend(record(&layout, 7, -1, "", &[192, 0, 2, 9]));
            utmp.extend(&record(&layout, 7, 15, "", &[192, 0, 2, 10])[..300]);
            let users: Vec<_> =
                layout.users(&utmp).map(|u| (u.process, u.peer.map(|p| p.to_string()))).collect();
            let some = |text: &str| Some(text.to_owned());
            let expect =
                [(10, some("192.0.2.7")), (12, some("2001:db8::7")), (13, some("198.51.100.9")), (14, None)];
            assert_eq!(users, expect);
        }
    }

    #[test]
    fn sessions_of_logind() {
        let check = |text, expect: Option<&str>| {
            assert_eq!(logind_peer(text).map(|a| a.to_string()).as_deref(), expect, "{text}");
        };
        check("UID=0\nACTIVE=1\nSTATE=active\nREMOTE=1\nREMOTE_HOST=192.0.2.7\n", Some("192.0.2.7"));
        check("STATE=online\nREMOTE_HOST=\"fe80::7%eth0\"", Some("fe80::7"));
        check("STATE=closing\nREMOTE=1\nREMOTE_HOST=192.0.2.7", None);
        check("STATE=active\nREMOTE=0\nREMOTE_HOST=192.0.2.7", None);
        check("STATE=active\nREMOTE=1\nREMOTE_HOST=host.example.com", None);
        check("REMOTE_HOST=192.0.2.7", None);
        check("", None);
    }

    #[test]
    fn our_own_session() {
        let check = |value, peer: Option<&str>, port| {
            let found = ssh_environment(value);
            assert_eq!((found.0.map(|p| p.to_string()).as_deref(), found.1), (peer, port), "{value}");
        };
        check("192.0.2.7 50000 192.0.2.1 2222", Some("192.0.2.7"), Some(2222));
        check("fe80::7%eth0 50000 22", Some("fe80::7"), Some(22));
        check("192.0.2.7", Some("192.0.2.7"), None);
        check("UNKNOWN 65535 UNKNOWN 65535", None, Some(65535));
        check("", None, None);
    }
}
