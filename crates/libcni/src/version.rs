//! CNI specification versions, ordered.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The versions whose configurations and results this crate understands, oldest first.
pub const SUPPORTED: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// What a document that states no version is written in.
pub(crate) const OLDEST: &str = "0.1.0";

/// A CNI version as libcni reads it: one to three decimal parts, missing ones are 0, no text at all is 0.1.0.
#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u32; 3],
    text: Cow<'static, str>,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// More than three parts.
    #[error("invalid version {0:?}: too many parts")]
    TooManyParts(String),
    /// A part that is not a decimal number.
    #[error("failed to convert {which} version part {part:?} of {text:?}: not a decimal number")]
    Part {
        /// Which of the parts: major, minor or micro.
        which: &'static str,
        /// The part.
        part: String,
        /// The whole text.
        text: String,
    },
}

const fn known(numbers: [u32; 3], text: &'static str) -> Version {
    Version { numbers, text: Cow::Borrowed(text) }
}

#[allow(missing_docs)] // The names say all there is to say.
impl Version {
    pub const V0_1_0: Version = known([0, 1, 0], "0.1.0");
    pub const V0_2_0: Version = known([0, 2, 0], "0.2.0");
    pub const V0_3_0: Version = known([0, 3, 0], "0.3.0");
    pub const V0_3_1: Version = known([0, 3, 1], "0.3.1");
    pub const V0_4_0: Version = known([0, 4, 0], "0.4.0");
    pub const V1_0_0: Version = known([1, 0, 0], "1.0.0");
    pub const V1_1_0: Version = known([1, 1, 0], "1.1.0");
}

impl Version {
    /// Reads a version. The empty text is 0.1.0, as in every CNI document that states none.
    pub fn parse(text: &str) -> Result<Version, VersionError> {
        if text.is_empty() {
            return Ok(Version::V0_1_0);
        }
        let mut numbers = [0; 3];
        for (index, part) in text.split('.').enumerate() {
            let Some(number) = numbers.get_mut(index) else {
                return Err(VersionError::TooManyParts(shortened(text)));
            };
            // `u32::from_str` would accept a leading plus sign.
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            *number = part.parse().ok().filter(|_| digits).ok_or_else(|| VersionError::Part {
                which: ["major", "minor", "micro"][index],
                part: shortened(part),
                text: shortened(text),
            })?;
        }
        Ok(Version { numbers, text: Cow::Owned(text.to_owned()) })
    }

    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether results and configurations of exactly this version are understood. CNI compares versions as
    /// text here (C-81): `1.0` is not `1.0.0`.
    pub fn is_supported(&self) -> bool {
        SUPPORTED.contains(&self.as_str())
    }
}

/// Foreign text in an error message must not make the message megabytes long.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c76_versions_are_ordered_by_number() {
        let parsed: Vec<Version> = SUPPORTED.iter().map(|v| Version::parse(v).unwrap()).collect();
        assert!(parsed.is_sorted());
        assert!(parsed.iter().all(Version::is_supported));
        assert!(Version::parse("0.10.0").unwrap() > Version::V0_4_0);
        assert_eq!(Version::parse("1").unwrap(), Version::V1_0_0);
        assert_eq!(Version::parse("").unwrap(), Version::V0_1_0);
        assert_eq!(Version::parse("1.1").unwrap().as_str(), "1.1");
        assert!(!Version::parse("1.1").unwrap().is_supported());
    }

    #[test]
    fn c76_texts_that_are_no_version() {
        for text in ["v1.0.0", "1.0.0.0", "1..0", "1.0.0-rc", "+1.0", " 1.0", "1.0.", "99999999999", "\0"] {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
        let long = "9".repeat(1 << 20);
        assert!(Version::parse(&long).unwrap_err().to_string().len() < 300);
    }
}
