//! May this user change the kernel's firewall, and is there what the enforcer needs? Asked without changing anything.

use std::io;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::finding::Finding;
use crate::config::EnforcerChoice;

const CHECK: &str = "rights";

/// Asks the kernel, and looks for the programs that the enforcer calls.
pub(super) fn rights(enforcer: EnforcerChoice) -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capable = may_administer(&status);
    match enforcer {
        EnforcerChoice::DryRun => Finding::skipped(CHECK, "a dry run needs none"),
        EnforcerChoice::Nftables => judge(capable, &ask()),
        EnforcerChoice::Ipset => by_programs(capable, "ipset", &lacking(&IPSET)),
        EnforcerChoice::Iptables => by_programs(capable, "iptables", &lacking(&IPTABLES)),
        EnforcerChoice::Auto => of_auto(capable, &ask(), &lacking(&IPSET), &lacking(&IPTABLES)),
    }
}

const IPSET: [&str; 3] = ["ipset", "iptables", "ip6tables"];
const IPTABLES: [&str; 2] = ["iptables", "ip6tables"];

/// Those that aren't installed.
fn lacking(programs: &[&'static str]) -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    let is_there = |program: &&str| folders.iter().any(|folder| Path::join(folder, program).is_file());
    programs.iter().copied().filter(|program| !is_there(program)).collect()
}

fn no_rights() -> Finding {
    Finding::bad(
        CHECK,
        "this user may not change the firewall: it lacks CAP_NET_ADMIN",
        "run as root, or give the service CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN; containers: \
         --cap-add NET_ADMIN); to only try things out: dry_run",
    )
}

fn by_programs(capable: Option<bool>, enforcer: &str, lacking: &[&str]) -> Finding {
    if capable == Some(false) {
        return no_rights();
    }
    if !lacking.is_empty() {
        return Finding::bad(
            CHECK,
            format!("{enforcer} needs programs that aren't installed: {}", lacking.join(", ")),
            format!(
                "install them (`apt install ipset iptables`), or choose another enforcer than {enforcer}"
            ),
        );
    }
    Finding::ok(
        CHECK,
        format!("this user may change the firewall, and the programs for {enforcer} are installed"),
    )
}

/// The first that works is taken.
fn of_auto(capable: Option<bool>, asked: &io::Result<()>, ipset: &[&str], iptables: &[&str]) -> Finding {
    let nftables = judge(capable, asked);
    let Err(error) = asked else { return nftables };
    if capable == Some(false) || error.kind() == io::ErrorKind::PermissionDenied {
        return nftables;
    }
    let other = match (ipset, iptables) {
        ([], _) => "ipset",
        (_, []) => "iptables",
        _ => return nftables,
    };
    Finding::warn(
        CHECK,
        format!(
            "this kernel's nftables can't be used ({error}): {other} will hold the bans, which is slower"
        ),
        "load it (`modprobe nf_tables`; in a container, on the host)",
    )
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
    fn what_other_enforcers_need() {
        let check = |finding: Finding, level, part: &str| {
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(part), "{finding:?}");
        };
        check(by_programs(Some(true), "ipset", &[]), Level::Ok, "ipset");
        check(by_programs(Some(true), "ipset", &["ip6tables"]), Level::Bad, "installed: ip6tables");
        check(by_programs(Some(false), "iptables", &[]), Level::Bad, "CAP_NET_ADMIN");
        let no_nftables = || Err(io::Error::from_raw_os_error(93));
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        check(of_auto(Some(true), &Ok(()), &["ipset"], &["iptables"]), Level::Ok, "nftables answers");
        check(of_auto(Some(true), &no_nftables(), &[], &[]), Level::Warn, "ipset will hold");
        check(of_auto(Some(true), &no_nftables(), &["ipset"], &[]), Level::Warn, "iptables will hold");
        check(of_auto(Some(true), &no_nftables(), &["ipset"], &["iptables"]), Level::Bad, "can't be used");
        check(of_auto(Some(false), &denied, &[], &[]), Level::Bad, "CAP_NET_ADMIN");
        assert!(lacking(&["no-such-program"]) == ["no-such-program"] && lacking(&["sh"]).is_empty());
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
