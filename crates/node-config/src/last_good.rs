//! The primary network as it was when it could last be read: what is used while its own file is missing or unreadable, by the
//! configuration that is made of it and by the plugin. A folder that no runtime reads, with one file in it: the exact bytes under
//! the primary's own file name, so that CNI's own code can read it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Origin, Primary, Setting, file};

/// Begins the name of a file that was made of a NetworkAttachmentDefinition. No name in Kubernetes holds an `@`.
const DEFINITION: &str = "nad@";

/// The folder.
#[derive(Debug, Clone)]
pub struct LastGood {
    dir: PathBuf,
}

impl LastGood {
    /// In `dir`, which is made when there is something to put into it.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps `primary` instead of any other.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, primary: &Primary) -> Result<(), Error> {
        let path = self.dir.join(file_name(primary));
        let failed = |source| Error::Write { path: path.clone(), setting: Setting::ConfDir, source };
        file::create_dir(&self.dir).map_err(failed)?;
        file::replace(&path, &primary.bytes, 0o600).map_err(failed)?;
        for other in self.files() {
            if other != path {
                file::remove(&other).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What is kept, as if it had been read from `dir` or the cluster. What cannot be read is as good as nothing.
    #[must_use]
    pub fn read(&self, dir: &Path) -> Option<Primary> {
        let [path] = self.files().try_into().ok()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        Primary::parse(origin(&name, dir), fs::read(&path).ok()?).ok()
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", self.dir.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Temporary files of a write that goes on or was killed begin with a dot.
    fn files(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let is_whole = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
        listed.filter(is_whole).map(|entry| entry.path()).collect()
    }
}

fn file_name(primary: &Primary) -> String {
    match &primary.origin {
        Origin::File(_) => primary.origin.name(),
        Origin::Definition(namespace, name) => {
            let extension = if primary.object.get("plugins").is_some() { "conflist" } else { "conf" };
            format!("{DEFINITION}{namespace}@{name}.{extension}")
        }
    }
}

fn origin(file_name: &str, dir: &Path) -> Origin {
    let definition = file_name.strip_prefix(DEFINITION).and_then(|rest| {
        let (namespace, name) = rest.split_once('@')?;
        let (name, _) = name.rsplit_once('.')?;
        Some(Origin::Definition(namespace.to_owned(), name.to_owned()))
    });
    definition.unwrap_or_else(|| Origin::File(dir.join(file_name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &str = "{ \"cniVersion\": \"0.3.1\",\n \"name\":\"p\", \"type\":\"bridge\"}";
    const LIST: &str = r#"{"cniVersion":"1.0.0","name":"p","plugins":[{"type":"bridge"}]}"#;

    fn primary(origin: Origin, text: &str) -> Primary {
        Primary::parse(origin, text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn exactly_one_primary_is_kept_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let last = LastGood::new(dir.path().join("multus.d/primary"));
        let net_d = Path::new("/net.d");
        assert_eq!(last.read(net_d), None);
        let definition = Origin::Definition("ns".to_owned(), "a.b".to_owned());
        for kept in [
            primary(Origin::File(net_d.join("10-a.conf")), SINGLE),
            primary(Origin::File(net_d.join("20-b.conflist")), LIST),
            primary(definition.clone(), LIST),
            primary(definition, SINGLE),
        ] {
            last.keep(&kept).unwrap();
            last.keep(&kept).unwrap();
            assert_eq!(last.read(net_d).as_ref(), Some(&kept));
            assert_eq!(last.files().len(), 1);
            // What the plugin reads it with.
            libcni::load::file(&last.files()[0]).unwrap();
        }
        last.forget().unwrap();
        last.forget().unwrap();
        assert_eq!(last.read(net_d), None);
    }

    #[test]
    fn what_is_damaged_is_as_good_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let last = LastGood::new(dir.path().to_owned());
        fs::write(dir.path().join("10-a.conf"), "{").unwrap();
        assert_eq!(last.read(Path::new("/n")), None);
        fs::write(dir.path().join("10-a.conf"), r#"{"type":"multus"}"#).unwrap();
        assert_eq!(last.read(Path::new("/n")), None);
    }
}
