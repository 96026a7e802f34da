//! Which configurations make the runtime call a program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use libcni::Object;

use crate::choice::candidates;
use crate::primary::calls;
use crate::{Error, Owner};

/// A configuration that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The file.
    pub path: PathBuf,
    /// The install whose mark it carries.
    pub owner: Option<String>,
}

/// The configurations in `dir` that call a plugin of this type. One that is damaged calls nobody: the runtime cannot read it either.
///
/// # Errors
/// When it cannot be known.
pub fn callers(dir: &Path, plugin_type: &str) -> Result<Vec<Caller>, Error> {
    let failed = |path: &Path| {
        let attempt = format!("read {}", path.display());
        |error| Error::io(attempt, error)
    };
    fs::read_dir(dir).map_err(failed(dir))?;
    let mut found = Vec::new();
    for name in candidates(dir) {
        let path = dir.join(name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&path)(error)),
        };
        if Object::parse(&text).is_ok_and(|object| calls(&object, &[plugin_type], 0)) {
            let owner = match Owner::of(&text) {
                Owner::Marked { mark, .. } => Some(mark.owner),
                Owner::Unmarked | Owner::Damaged => None,
            };
            found.push(Caller { path, owner });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_found_with_their_owners_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("10-flannel.conflist", r#"{"name":"n","plugins":[{"type":"flannel"}]}"#);
        write("20-thin.conf", r#"{"type":"multus"}"#);
        write("30-damaged.conf", r#"{"type":"multus-shim""#);
        write("40-not-read.json.bak", r#"{"type":"multus-shim"}"#);
        let found = || callers(dir.path(), "multus-shim").unwrap();
        assert_eq!(found(), []);
        let mark = r#""multus-rs":{"owner":"a/b","primary":"p","sha256":""}"#;
        write("00-multus.conf", &format!(r#"{{"type":"multus-shim",{mark}}}"#));
        write("50-meta.conflist", r#"{"plugins":[{"type":"genie","delegates":[{"type":"multus-shim"}]}]}"#);
        let caller = |name: &str, owner: Option<&str>| Caller {
            path: dir.path().join(name),
            owner: owner.map(str::to_owned),
        };
        assert_eq!(found(), [caller("00-multus.conf", Some("a/b")), caller("50-meta.conflist", None)]);
    }

    #[test]
    fn what_cannot_be_seen_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let error = callers(&dir.path().join("net.d"), "multus-shim").unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("net.d"), "{error}");
    }
}
