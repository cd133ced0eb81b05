//! May this user change the kernel's firewall, and does this kernel have one? Asked without changing anything.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::finding::Finding;

const CHECK: &str = "rights";

/// Asks the kernel.
pub(super) fn rights() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge(may_administer(&status), &ask())
}

/// Whether CAP_NET_ADMIN (12) is among the effective capabilities of a `/proc/self/status`.
fn may_administer(status: &str) -> Option<bool> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(u64::from_str_radix(line.trim(), 16).ok()? >> 12 & 1 == 1)
}

/// What nf_tables answers to the question for its generation, which changes nothing.
fn ask() -> io::Result<()> {
    // include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h
    const NFT_MSG_GETGEN: u16 = 10 << 8 | 16;
    const NLMSG_ERROR: u16 = 2;
    const NLM_F_REQUEST: u16 = 1;
    // The kernel answers within the call that asks, so there is nothing to wait for.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    let mut message = Vec::with_capacity(20);
    message.extend(20u32.to_ne_bytes());
    message.extend(NFT_MSG_GETGEN.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend([0; 4]);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 8192];
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let answer = &answer[..length];
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(code)) if code != 0 => {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        (Some(_), _) => Ok(()),
        (None, _) => Err(io::Error::other("the kernel's answer is too short")),
    }
}

fn judge(capable: Option<bool>, asked: &io::Result<()>) -> Finding {
    let no_rights = || {
        Finding::bad(
            CHECK,
            "this user may not change the firewall",
            "run as root, or give the service CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN); to only try \
             things out: dry_run",
        )
    };
    match asked {
        Ok(()) => Finding::ok(CHECK, "nftables answers, and may be changed"),
        Err(_) if capable == Some(false) => no_rights(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => no_rights(),
        Err(error) => Finding::bad(
            CHECK,
            format!("this kernel's nftables can't be used: {error}"),
            "load it (`modprobe nf_tables`; in a container, on the host); to only try things out: dry_run",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn rights_and_none() {
        let check = |capable, asked: io::Result<()>, level, part: &str| {
            let finding = judge(capable, &asked);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(Some(true), Ok(()), Level::Ok, "answers");
        check(Some(false), Err(io::ErrorKind::PermissionDenied.into()), Level::Bad, "may not");
        check(Some(true), Err(io::ErrorKind::PermissionDenied.into()), Level::Bad, "may not");
        check(Some(true), Err(io::Error::from_raw_os_error(93)), Level::Bad, "can't be used");
        check(None, Err(io::ErrorKind::PermissionDenied.into()), Level::Bad, "may not");
    }

    #[test]
    fn capabilities() {
        assert_eq!(may_administer("Name:\tx\nCapEff:\t000001fffeffffff\n"), Some(true));
        assert_eq!(may_administer("CapEff:\t0000000000001000\n"), Some(true));
        assert_eq!(may_administer("CapEff:\t0000000000000000\n"), Some(false));
        assert_eq!(may_administer("CapEff:\tx\n"), None);
        assert_eq!(may_administer(""), None);
    }

    #[test]
    fn the_kernel_answers_something() {
        // Whoever may and can gets an answer; whoever can't is told why.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        match ask() {
            Ok(()) => assert_eq!(may_administer(&status), Some(true)),
            Err(error) => println!("no nftables here: {error}"),
        }
    }
}
