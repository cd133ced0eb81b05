//! Values of the configuration that TOML has no type for.

use std::net::{IpAddr, SocketAddr};

/// `1G`, `512M`, `64K` or bytes.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let upper = text.trim().to_ascii_uppercase();
    let (digits, unit) = match upper.as_bytes().last() {
        Some(b'G') => (&upper[..upper.len() - 1], 1 << 30),
        Some(b'M') => (&upper[..upper.len() - 1], 1 << 20),
        Some(b'K') => (&upper[..upper.len() - 1], 1 << 10),
        _ => (upper.as_str(), 1),
    };
    let size: usize =
        digits.trim().parse().map_err(|_| format!("`{text}` is not a size like 1G, 512M or 1048576"))?;
    size.checked_mul(unit).filter(|&size| size > 0).ok_or_else(|| format!("`{text}` is out of range"))
}

/// An address, with the port where one is given.
pub(super) fn parse_address(text: &str, port: Option<u16>) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse().ok().or_else(|| Some(SocketAddr::new(bare().parse::<IpAddr>().ok()?, port?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size(" 3 M "), Ok(3 << 20));
        assert_eq!(parse_size("100"), Ok(100));
        for bad in ["", "G", "-1", "1T", "0", "ä", "99999999999999999999", "99999999999G"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        let check = |text: &str, port, expect: Option<&str>| {
            assert_eq!(parse_address(text, port).map(|a| a.to_string()).as_deref(), expect, "{text}");
        };
        check("10.0.0.2:9", None, Some("10.0.0.2:9"));
        check("10.0.0.2", None, None);
        check("10.0.0.2", Some(9090), Some("10.0.0.2:9090"));
        check("2001:db8::2", Some(9090), Some("[2001:db8::2]:9090"));
        check("[2001:db8::2]", Some(9090), Some("[2001:db8::2]:9090"));
        check("[2001:db8::2]:9", Some(9090), Some("[2001:db8::2]:9"));
        check("agent.example.com:9090", Some(9090), None);
        check("10.0.0.2:99999", Some(9090), None);
    }
}
