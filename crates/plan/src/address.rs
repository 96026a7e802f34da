//! Addresses as the annotations write them, read as Go's `net` package reads them.

use std::net::IpAddr;

/// The octets of a hardware address: groups of two hexadecimal digits separated by `:` or by `-`, or groups of
/// four separated by `.`. The number of octets is up to the caller.
pub(crate) fn hardware(text: &str) -> Option<Vec<u8>> {
    // 20 octets, the longest that there are, and their separators.
    if text.len() > 59 {
        return None;
    }
    let separator = text.chars().find(|c| !c.is_ascii_hexdigit())?;
    let digits = match separator {
        ':' | '-' => 2,
        '.' => 4,
        _ => return None,
    };
    let mut octets = Vec::new();
    for group in text.split(separator) {
        if group.len() != digits || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for at in (0..digits).step_by(2) {
            octets.push(u8::from_str_radix(&group[at..at + 2], 16).ok()?);
        }
    }
    Some(octets)
}

/// An address. IPv4 written as IPv6 (`::ffff:10.0.0.1`) counts as IPv4, as it does for Go.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Whether this is an address with a prefix length.
pub(crate) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (1..=3).contains(&length.len())
        && length.bytes().all(|b| b.is_ascii_digit())
        && length.parse::<u16>().is_ok_and(|length| length <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n34_n64_notations_of_hardware_addresses() {
        for (text, octets) in [
            ("02:00:00:00:00:01", Some(6)),
            ("02-00-00-00-00-aB", Some(6)),
            ("0000.5e00.5301", Some(6)),
            ("24:8a:07:03:00:8d:ae:2e", Some(8)),
            ("02:00:00:00:00", Some(5)),
            ("02:00:00-00:00:01", None),
            ("02:0:00:00:00:01", None),
            ("020000000001", None),
            ("02:00:00:00:00:0g", None),
            ("", None),
            ("ü2:00", None),
        ] {
            assert_eq!(hardware(text).map(|o| o.len()), octets, "{text}");
        }
    }

    #[test]
    fn n28_notations_of_addresses() {
        for good in ["10.0.0.1/24", "fd00::1/64", "0.0.0.0/0", "::ffff:10.0.0.1/120"] {
            assert!(is_cidr(good), "{good}");
        }
        for bad in ["10.0.0.1/33", "10.0.0.01/24", "10.0.0.1/", "10.0.0.1/+4", "fe80::1%eth0/64", "10.0.0.1"]
        {
            assert!(!is_cidr(bad), "{bad}");
        }
        assert_eq!(ip("::ffff:10.0.0.1"), "10.0.0.1".parse().ok());
        for bad in ["", "10.0.0", "10.0.0.01", "fe80::1%eth0", "a"] {
            assert_eq!(ip(bad), None, "{bad}");
        }
    }
}
