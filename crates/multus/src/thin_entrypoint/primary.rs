//! The primary network: the configuration that the runtime would use without us.

use std::fs;
use std::path::{Path, PathBuf};

use super::json::Object;
use super::options::Options;

/// More is no CNI configuration.
const LARGEST: u64 = 4 << 20;
/// Types of ours: a configuration that calls one is never a primary, whatever its file is called.
const OWN_TYPES: [&str; 2] = ["multus", "multus-shim"];
/// What other programs on the node leave in the directory, for containers of their own.
const FOREIGN: [&str; 4] = ["podman", "crio", "crio-bridge", "nerdctl"];

/// Why there is no primary.
#[derive(Debug)]
pub(crate) enum Error {
    /// It is not there yet; it may come.
    Missing(String),
    /// It is there and cannot be used, at this moment at least.
    Unusable(String),
}

/// A primary network's file.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) path: PathBuf,
    pub(crate) object: Object,
}

impl Primary {
    /// The named one, or the first in the directory.
    pub(crate) fn choose(options: &Options) -> Result<Self, Error> {
        if options.primary_file.is_empty() {
            return Self::first(&options.autoconfig_dir);
        }
        Self::read(&options.autoconfig_dir.join(&options.primary_file))
    }

    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let bytes = match fs::metadata(path) {
            Err(error) => {
                return Err(Error::Missing(format!(
                    "cannot find the primary network's file {shown}: {error}"
                )));
            }
            Ok(found) if found.len() > LARGEST => {
                return Err(Error::Unusable(format!(
                    "{shown}: {} bytes are too many for a CNI configuration",
                    found.len()
                )));
            }
            Ok(_) => {
                fs::read(path).map_err(|error| Error::Unusable(format!("cannot read {shown}: {error}")))?
            }
        };
        let object: Object = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Unusable(format!("failed to unmarshal {shown}: {error}")))?;
        if !object.contains_key("type") && !object.contains_key("plugins") {
            return Err(Error::Unusable(format!(
                "{shown} is no CNI configuration: it has neither type nor plugins"
            )));
        }
        if types(&object).iter().any(|plugin_type| OWN_TYPES.contains(&plugin_type.as_str())) {
            return Err(Error::Unusable(format!(
                "{shown} calls multus itself; name the primary network's own file with --multus-master-cni-file-name"
            )));
        }
        Ok(Self { path: path.to_owned(), object })
    }

    /// The first in byte order that is neither ours nor some other program's own.
    fn first(dir: &Path) -> Result<Self, Error> {
        let none = || format!("cannot find valid master CNI config in {:?}", dir.display().to_string());
        let entries = fs::read_dir(dir).map_err(|error| Error::Missing(format!("{}: {error}", none())))?;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_candidate(path)).collect();
        paths.sort();
        let mut unusable = None;
        for path in paths {
            match Self::read(&path) {
                Ok(primary) if primary.is_foreign() => {}
                Ok(primary) => return Ok(primary),
                // Ours by content: passed over. Anything else that sorts first may become the primary: it is waited for.
                Err(Error::Unusable(reason)) if reason.contains("calls multus itself") => {}
                Err(error) => {
                    unusable = Some(error);
                    break;
                }
            }
        }
        Err(unusable.unwrap_or_else(|| Error::Missing(none())))
    }

    /// A string member of the configuration.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| {
            Error::Unusable(format!(
                "{} is not a string in master CNI config file {}",
                key,
                self.path.display()
            ))
        })
    }

    fn is_foreign(&self) -> bool {
        let name = self.text("name").ok().flatten().unwrap_or_default();
        let types = types(&self.object);
        let loopback = !types.is_empty() && types.iter().all(|plugin_type| plugin_type == "loopback");
        loopback || FOREIGN.contains(&name.as_str())
    }
}

fn is_candidate(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let extension = path.extension().is_some_and(|extension| extension == "conf" || extension == "conflist");
    extension && !name.starts_with("00-multus.conf") && path.is_file()
}

/// The plugin types that a configuration calls.
fn types(object: &Object) -> Vec<String> {
    let read = |object: &Object| object.get("type").and_then(|value| serde_json::from_str(value.get()).ok());
    let plugins: Vec<Object> =
        object.get("plugins").and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default();
    read(object).into_iter().chain(plugins.iter().filter_map(read)).collect()
}
