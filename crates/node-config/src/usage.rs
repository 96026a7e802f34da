//! Whether pods on the node may still need the plugin: their DEL runs it.

use std::fs;
use std::path::Path;

use libcni::Cache;

use crate::{Error, Origin, Primary};

/// What is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usage {
    /// Nothing on the node names it.
    Unused,
    /// Something does: this.
    Used(String),
    /// It cannot be seen from here, for this reason.
    Unseen(String),
}

impl Usage {
    /// Looks at the journals in `journals` and at the runtime's cache below `cache`, as far as this process sees them.
    #[must_use]
    pub fn of(journals: &Path, cache: &Path) -> Self {
        let results = Cache::new(cache);
        for dir in [journals, &results.results_dir()] {
            // A directory that this process does not see is not one that is empty.
            if !dir.is_dir() {
                return Self::Unseen(format!("{} of the node is not mounted here", dir.display()));
            }
        }
        match count(journals) {
            Ok(0) => {}
            Ok(count) => return Self::Used(format!("{count} pods have a journal in {}", journals.display())),
            Err(error) => return Self::Unseen(format!("cannot read {}: {error}", journals.display())),
        }
        let listed = match results.list() {
            Ok(listed) => listed,
            Err(error) => return Self::Unseen(error.to_string()),
        };
        let calls = |config: &[u8]| {
            let origin = Origin::File(results.results_dir());
            matches!(Primary::parse(origin, config.to_vec()), Err(Error::Circular(_)))
        };
        match listed.entries.iter().filter(|entry| calls(&entry.config)).count() {
            0 if listed.unreadable > 0 => Self::Unseen(format!(
                "{} files in {} cannot be read",
                listed.unreadable,
                results.results_dir().display()
            )),
            0 => Self::Unused,
            count => Self::Used(format!("{count} entries in {} call it", results.results_dir().display())),
        }
    }
}

/// Journals are the regular files; locks and results are in folders.
fn count(dir: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_journal =
            entry.file_type()?.is_file() && !entry.file_name().as_encoded_bytes().starts_with(b".");
        count += usize::from(is_journal);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(container: &str, config: &str) -> libcni::Entry {
        libcni::Entry {
            container_id: container.to_owned(),
            network_name: "n".to_owned(),
            if_name: "eth0".to_owned(),
            config: config.as_bytes().to_vec(),
            ..libcni::Entry::default()
        }
    }

    #[test]
    fn journals_and_the_runtimes_cache_tell_whether_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let (journals, cache) = (dir.path().join("multus"), Cache::new(dir.path()));
        let usage = || Usage::of(&journals, dir.path());
        assert!(matches!(usage(), Usage::Unseen(reason) if reason.contains("not mounted")));
        fs::create_dir_all(journals.join(".locks")).unwrap();
        assert!(matches!(usage(), Usage::Unseen(_)), "the cache is not seen");
        cache.write(&entry("a", r#"{"name":"n","plugins":[{"type":"bridge"}]}"#)).unwrap();
        assert_eq!(usage(), Usage::Unused);
        fs::write(journals.join("container1"), "[]").unwrap();
        assert!(matches!(usage(), Usage::Used(what) if what.contains("1 pods have a journal")));
        fs::remove_file(journals.join("container1")).unwrap();
        fs::write(cache.results_dir().join("damaged"), "{").unwrap();
        assert!(matches!(usage(), Usage::Unseen(reason) if reason.contains("1 files")));
        cache.write(&entry("b", r#"{"name":"n","plugins":[{"type":"multus"}]}"#)).unwrap();
        assert!(matches!(usage(), Usage::Used(what) if what.contains("1 entries")));
    }
}
