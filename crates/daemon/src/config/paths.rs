//! Upstream's configurations hold paths as its daemon's container sees them; the shim runs on the host.

use std::path::{Path, PathBuf};

use libcni::json::kind;
use serde_json::value::{RawValue, to_raw_value};

use super::ConfigError;

/// Keys whose value is a path that the shim uses.
const PATHS: [&str; 6] = ["binDir", "confDir", "cniDir", "logFile", "daemonSocketDir", "manifests"];
/// Where the host's directories are mounted in upstream's manifests.
const HOST: &str = "/host";

/// From a container's paths to the host's.
#[derive(Debug, Clone)]
pub(super) struct HostPaths {
    /// Prefixes under which the container sees the host's root.
    prefixes: Vec<String>,
}

impl HostPaths {
    /// `chroot_dir` is where the container sees the host's root, besides below `/host`; empty for nowhere.
    pub(super) fn new(chroot_dir: &str) -> Self {
        let given = chroot_dir.trim_end_matches('/');
        let given = Some(given.to_owned()).filter(|prefix| !prefix.is_empty());
        Self { prefixes: given.into_iter().chain([HOST.to_owned()]).collect() }
    }

    /// The path as the host has it. What is below none of the prefixes is taken to be the same on both sides, as upstream's own
    /// manifest has `/opt/cni/bin`.
    pub(super) fn path(&self, key: &str, path: &str) -> Result<String, ConfigError> {
        for prefix in &self.prefixes {
            match path.strip_prefix(prefix.as_str()) {
                Some(rest) if rest.starts_with('/') => return Ok(rest.to_owned()),
                Some("") => return Ok("/".to_owned()),
                _ => {}
            }
        }
        // `/hostroot` without chrootDir, and the like: it looks like the host's and is not known to be.
        let odd = path.starts_with(HOST) || !Path::new(path).is_absolute();
        if odd && !path.is_empty() {
            return Err(ConfigError::key(
                key,
                format!(
                    "{path:?} cannot be told to be a path on the host: it has to be absolute, and below one of {} where it is \
                     the container's",
                    self.prefixes.join(", ")
                ),
            ));
        }
        Ok(path.to_owned())
    }

    /// Where this process may see the host's `path`.
    pub(super) fn seen_here(&self, path: &str) -> Vec<PathBuf> {
        let below = self.prefixes.iter().map(|prefix| format!("{prefix}{path}"));
        below.chain([path.to_owned()]).map(PathBuf::from).collect()
    }

    /// The value of a key, with the path in it as the host has it.
    pub(super) fn map(&self, key: &str, value: &RawValue) -> Result<Box<RawValue>, ConfigError> {
        if !PATHS.iter().any(|path| path.eq_ignore_ascii_case(key)) || kind(value) != "string" {
            return Ok(value.to_owned());
        }
        let text: String = serde_json::from_str(value.get()).map_err(|error| ConfigError::key(key, error))?;
        to_raw_value(&self.path(key, &text)?).map_err(|error| ConfigError::key(key, error))
    }
}
