//! Addresses as Go's `net` package reads and writes them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Reads an address. An IPv4 address mapped into IPv6 is an IPv4 address, as in Go.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Reads `address/prefix` and keeps the host bits.
pub(crate) fn cidr(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let prefix: u8 = prefix.parse().ok()?;
    let ip: IpAddr = address.parse().ok()?;
    match ip.to_canonical() {
        IpAddr::V4(v4) if ip.is_ipv6() => IpNet::new(v4.into(), prefix.checked_sub(96)?).ok(),
        _ => IpNet::new(ip, prefix).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c72_cidrs_keep_host_bits_and_refuse_what_go_refuses() {
        for text in ["10.1.2.3/24", "0.0.0.0/0", "fd00::5/64", "::/0"] {
            assert_eq!(cidr(text).unwrap().to_string(), text);
        }
        assert_eq!(cidr("::ffff:10.0.0.1/120").unwrap().to_string(), "10.0.0.1/24");
        let bad = [
            "",
            "/",
            "10.1.2.3",
            "10.1.2.3/",
            "10.1.2.3/33",
            "10.01.2.3/24",
            "fe80::1%eth0/64",
            "1.2.3.4/+4",
        ];
        for text in bad.into_iter().chain(["::/129", "1.2.3.4/24/1", "::ffff:1.2.3.4/64", "a\0b/1"]) {
            assert_eq!(cidr(text), None, "{text:?}");
        }
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }
}
