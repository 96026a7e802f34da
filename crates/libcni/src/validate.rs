//! The names that CNI allows (C-2, C-12, C-92), with libcni's texts and codes.

use crate::error::CniError;

fn well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Foreign text goes into an error's details, but not megabytes of it.
fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

/// A container ID: starts with a letter or digit, then also `_`, `.`, `-`.
pub fn container_id(text: &str) -> Result<(), CniError> {
    if text.is_empty() {
        return Err(CniError::new(CniError::UNKNOWN_CONTAINER, "missing containerID", ""));
    }
    if !well_formed(text) {
        let msg = "invalid characters in containerID";
        return Err(CniError::new(CniError::BAD_ENVIRONMENT, msg, shortened(text)));
    }
    Ok(())
}

/// A network name: as a container ID.
pub fn network_name(text: &str) -> Result<(), CniError> {
    if text.is_empty() {
        return Err(CniError::new(CniError::BAD_CONFIG, "missing network name:", ""));
    }
    if !well_formed(text) {
        let msg = "invalid characters found in network name";
        return Err(CniError::new(CniError::BAD_CONFIG, msg, shortened(text)));
    }
    Ok(())
}

/// An interface name: 1 to 15 bytes, not `.` or `..`, no `/`, `:` or white space.
pub fn interface_name(text: &str) -> Result<(), CniError> {
    let refuse = |msg: &str, details: &str| Err(CniError::new(CniError::BAD_ENVIRONMENT, msg, details));
    if text.is_empty() {
        return refuse("interface name is empty", "");
    }
    if text.len() > 15 {
        return refuse("interface name is too long", "interface name should be less than 16 characters");
    }
    if text == "." || text == ".." {
        return refuse("interface name is . or ..", "");
    }
    if text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
        return refuse("interface name contains / or : or whitespace characters", "");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_network_names() {
        for good in ["a", "0", "net-1_2.3", "N"] {
            assert_eq!(network_name(good), Ok(()));
        }
        for bad in ["-a", ".", "a/b", "a b", "ä", "a\0", "a\n"] {
            let error = network_name(bad).unwrap_err();
            assert_eq!((error.code, error.details.as_str()), (7, bad));
        }
        assert_eq!(network_name("").unwrap_err().msg, "missing network name:");
        assert!(network_name(&"/".repeat(1 << 20)).unwrap_err().details.len() <= 256);
    }

    #[test]
    fn c12_container_ids() {
        assert_eq!(container_id("cid1"), Ok(()));
        assert_eq!(container_id("").unwrap_err().code, 3);
        let error = container_id("a:b").unwrap_err();
        assert_eq!(error.to_string(), "invalid characters in containerID; a:b");
        assert_eq!(error.code, 4);
    }

    #[test]
    fn c92_interface_names() {
        for good in ["e", "eth0", "a23456789012345", "é"] {
            assert_eq!(interface_name(good), Ok(()));
        }
        for bad in ["", "a234567890123456", ".", "..", "a/b", "a:b", "a b", "a\u{a0}b", "a\t"] {
            assert_eq!(interface_name(bad).unwrap_err().code, 4, "{bad:?}");
        }
    }
}
