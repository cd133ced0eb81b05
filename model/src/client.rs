//! Whose request a line is: the TCP peer, or the hop of `X-Forwarded-For` that the trusted proxies vouch for.

use std::fmt;
use std::net::IpAddr;

use crate::address::parse_address;
use crate::network::NetworkSet;

/// Why no client can be told for a parsed line. It counts for nobody then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unattributed {
    /// The peer is a trusted proxy and the line has no `X-Forwarded-For`.
    NoForwardedFor,
    /// Every hop is a trusted proxy.
    OnlyProxies,
    /// A hop, counted from the right from 1, isn't a bare address; what stands left of it is never used.
    BadHop {
        /// Which hop.
        hop: usize,
    },
}

impl fmt::Display for Unattributed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoForwardedFor => {
                f.write_str("the peer is a trusted proxy, and the line has no X-Forwarded-For")
            }
            Self::OnlyProxies => f.write_str("every hop of X-Forwarded-For is a trusted proxy"),
            Self::BadHop { hop } => {
                write!(f, "hop {hop} from the right of X-Forwarded-For isn't a bare IP address")
            }
        }
    }
}

/// Where the client's address came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The client's address.
    pub address: IpAddr,
    /// 0 where it is the TCP peer; else the hop of `X-Forwarded-For`, counted from the right from 1.
    pub hop: usize,
}

/// Finds a line's client.
///
/// Clients choose what `X-Forwarded-For` says, each proxy only appends; so it is read from the right, as far as
/// trusted proxies wrote it.
///
/// # Errors
/// Where no address is proven.
pub fn attribute(
    remote: IpAddr,
    forwarded_for: Option<&[u8]>,
    trusted: &NetworkSet,
) -> Result<Client, Unattributed> {
    if trusted.is_empty() || !trusted.contains(remote) {
        return Ok(Client { address: remote, hop: 0 });
    }
    let forwarded_for = forwarded_for.ok_or(Unattributed::NoForwardedFor)?;
    for (at, hop) in forwarded_for.rsplit(|&byte| byte == b',').enumerate() {
        let address = parse_address(trim_spaces(hop)).ok_or(Unattributed::BadHop { hop: at + 1 })?;
        if !trusted.contains(address) {
            return Ok(Client { address, hop: at + 1 });
        }
    }
    Err(Unattributed::OnlyProxies)
}

fn trim_spaces(mut hop: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = hop {
        hop = rest;
    }
    hop
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Network;
    use proptest::prelude::*;

    fn trusted() -> NetworkSet {
        ["10.0.0.0/24", "2001:db8:cdcd::/48"].iter().map(|n| n.parse::<Network>().unwrap()).collect()
    }

    fn check(remote: &str, forwarded_for: Option<&str>, expect: Result<(&str, usize), Unattributed>) {
        let found = attribute(remote.parse().unwrap(), forwarded_for.map(str::as_bytes), &trusted());
        let expect = expect.map(|(address, hop)| Client { address: address.parse().unwrap(), hop });
        assert_eq!(found, expect, "{remote} {forwarded_for:?}");
    }

    #[test]
    fn hops_from_the_right() {
        check("192.0.2.1", Some("198.51.100.7"), Ok(("192.0.2.1", 0)));
        check("10.0.0.1", Some("198.51.100.7"), Ok(("198.51.100.7", 1)));
        check("10.0.0.1", Some("1.1.1.1, 198.51.100.7 ,  10.0.0.9"), Ok(("198.51.100.7", 2)));
        check("10.0.0.1", Some("::ffff:198.51.100.7"), Ok(("198.51.100.7", 1)));
        check("2001:db8:cdcd::1", Some("2001:db8::7,::ffff:10.0.0.9"), Ok(("2001:db8::7", 2)));
        check("10.0.0.1", Some("\\x22, 198.51.100.7"), Ok(("198.51.100.7", 1)));
        check("10.0.0.1", None, Err(Unattributed::NoForwardedFor));
        check("10.0.0.1", Some(""), Err(Unattributed::BadHop { hop: 1 }));
        check("10.0.0.1", Some("10.0.0.2, 10.0.0.3"), Err(Unattributed::OnlyProxies));
        check("10.0.0.1", Some("198.51.100.7, , 10.0.0.3"), Err(Unattributed::BadHop { hop: 2 }));
        check("10.0.0.1", Some("198.51.100.7:80"), Err(Unattributed::BadHop { hop: 1 }));
        check("10.0.0.1", Some("198.51.100.7,"), Err(Unattributed::BadHop { hop: 1 }));
        check("10.0.0.1", Some("fe80::1%eth0, 10.0.0.2"), Err(Unattributed::BadHop { hop: 2 }));
        check("10.0.0.1", Some("198.51.100.7\t"), Err(Unattributed::BadHop { hop: 1 }));
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_left_of_the_proxies_changes_nothing(
            forged in "[ -~]{0,80}", proxies in 0usize..4,
        ) {
            let appended = "198.51.100.7".to_owned() + &", 10.0.0.3".repeat(proxies);
            let honest = attribute("10.0.0.1".parse().unwrap(), Some(appended.as_bytes()), &trusted());
            let header = format!("{forged}, {appended}");
            let found = attribute("10.0.0.1".parse().unwrap(), Some(header.as_bytes()), &trusted());
            prop_assert_eq!(found, honest);
        }

        #[test]
        fn equals_a_slow_reading(header in "(10\\.0\\.0\\.[1-3]|192\\.0\\.2\\.1|x|,| ){0,12}") {
            let header = header.into_bytes();
            let mut slow = Err(());
            for hop in String::from_utf8(header.clone()).unwrap().split(',').rev() {
                match hop.trim_matches(' ').parse::<IpAddr>() {
                    Err(_) => break,
                    Ok(address) if trusted().contains(address) => {}
                    Ok(address) => { slow = Ok(address); break }
                }
            }
            let found = attribute("10.0.0.1".parse().unwrap(), Some(&header), &trusted());
            prop_assert_eq!(found.map(|client| client.address).map_err(|_| ()), slow);
        }
    }
}
