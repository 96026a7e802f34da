//! Whose a configuration is, and whether it still is as it was written: one member, [`KEY`], that no runtime and no plugin reads.

use libcni::Object;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The member's key, beside `type`.
const KEY: &str = "multus-rs";

/// What the member holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The install: `<namespace>/<name>` of a Helm release or a DaemonSet.
    pub owner: String,
    /// The primary network's file, or `namespace/name`.
    pub primary: String,
    /// The digest of the whole text, with this one left empty.
    sha256: String,
}

/// Whose a text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// It is no configuration: empty, cut off, damaged.
    Damaged,
    /// Upstream's, or somebody's own.
    Unmarked,
    /// Of this install.
    Marked {
        /// Who wrote it.
        mark: Mark,
        /// Whether it is byte for byte what was written.
        intact: bool,
    },
}

impl Owner {
    /// Reads the mark of a configuration.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let Ok(object) = Object::parse(text) else { return Self::Damaged };
        let plugins: Vec<Object> = object.get_as("plugins").ok().flatten().unwrap_or_default();
        let mark = std::iter::once(&object)
            .chain(&plugins)
            .find_map(|object| object.get_as::<Mark>(KEY).ok().flatten());
        match mark {
            Some(mark) => Self::Marked { intact: mark.is_intact(text), mark },
            None => Self::Unmarked,
        }
    }
}

impl Mark {
    /// A mark for a text that is not made yet.
    pub(crate) fn new(owner: &str, primary: &str) -> Self {
        Self { owner: owner.to_owned(), primary: primary.to_owned(), sha256: String::new() }
    }

    /// The member as it stands in the text. The space in it keeps it apart from anything that was compacted.
    pub(crate) fn member(&self) -> String {
        // A struct of strings has no way to fail.
        let value = serde_json::to_string(self).unwrap_or_default();
        format!("\"{KEY}\": {value}")
    }

    /// `text`, which holds this mark's member, with the digest filled in.
    pub(crate) fn seal(&self, text: &str) -> String {
        let sealed = Self { sha256: digest(text), ..self.clone() };
        text.replacen(&self.member(), &sealed.member(), 1)
    }

    fn is_intact(&self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        let empty = Self { sha256: String::new(), ..self.clone() };
        digest(&text.replacen(&self.member(), &empty.member(), 1)) == self.sha256
    }
}

/// SHA-256 in hexadecimal.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"type\": \"multus\",\n  <mark>,\n  \"delegates\": []\n}\n";

    fn marked_in(text: &str) -> String {
        let mark = Mark::new("kube-system/multus", "10-flannel.conflist");
        mark.seal(&text.replace("<mark>", &mark.member()))
    }

    fn marked() -> String {
        marked_in(TEXT)
    }

    #[test]
    fn a_mark_is_read_back_and_the_text_is_intact() {
        let Owner::Marked { mark, intact } = Owner::of(marked().as_bytes()) else { panic!() };
        assert_eq!(
            (mark.owner.as_str(), mark.primary.as_str()),
            ("kube-system/multus", "10-flannel.conflist")
        );
        assert!(intact);
        let list = format!("{{\"name\": \"x\", \"plugins\": [{TEXT}]}}");
        let list = marked_in(&list);
        assert!(matches!(Owner::of(list.as_bytes()), Owner::Marked { intact: true, .. }));
    }

    #[test]
    fn any_change_is_seen() {
        let text = marked();
        for changed in [
            text.replace("multus\",", "multus-shim\","),
            text.replace("kube-system/multus", "kube-system/other"),
            text.replace("10-flannel", "11-flannel"),
            text.replace('\n', "\n "),
            text.replace("\": {\"owner", "\":{\"owner"),
        ] {
            assert_ne!(changed, text);
            assert!(
                matches!(Owner::of(changed.as_bytes()), Owner::Marked { intact: false, .. }),
                "{changed}"
            );
        }
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        for (text, owner) in [
            ("", Owner::Damaged),
            ("{\"type\": \"mult", Owner::Damaged),
            ("[]", Owner::Damaged),
            ("{\"type\": \"multus\"}", Owner::Unmarked),
            ("{\"type\": \"multus\", \"multus-rs\": {\"owner\": 7}}", Owner::Unmarked),
            ("{\"plugins\": [{\"type\": \"multus\"}]}", Owner::Unmarked),
        ] {
            assert_eq!(Owner::of(text.as_bytes()), owner, "{text}");
        }
        let cut = &marked()[..40];
        assert_eq!(Owner::of(cut.as_bytes()), Owner::Damaged);
    }
}
