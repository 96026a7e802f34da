//! The result cache, shared in form and place with Go's libcni (C-86), but written atomically.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;
use crate::json::{Object, de_lenient};
use crate::load::read_bounded;
use crate::result::{CniResult, ResultError};

const KIND: &str = "cniCacheV1";

/// A configuration and a result, each bounded elsewhere, with base64 around the first.
const LARGEST: u64 = 8 << 20;

/// The result cache below one directory, `/var/lib/cni` for most runtimes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    dir: PathBuf,
}

/// One cached attachment: what a DEL needs to undo it.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The container.
    pub container_id: String,
    /// The network's own name.
    pub network_name: String,
    /// `CNI_IFNAME`.
    pub if_name: String,
    /// The path of the network namespace.
    pub netns: String,
    /// The exact bytes of the configuration.
    pub config: Vec<u8>,
    /// `CNI_ARGS`.
    pub cni_args: Vec<(String, String)>,
    /// The capability arguments, before any plugin's share was taken out of them.
    pub capability_args: Object,
    /// The result of the ADD.
    pub result: Option<Box<RawValue>>,
}

/// What the cache holds.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The readable entries, by file name.
    pub entries: Vec<Entry>,
    /// How many files could not be read as an entry.
    pub unreadable: usize,
}

/// The file's own shape, keys in libcni's order.
#[derive(Serialize, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct File {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cni_args: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Object::is_empty")]
    capability_args: Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
}

impl Entry {
    /// Reads the content of a cache file. Files of old libcni versions hold the bare result; then `result` is
    /// all there is, and who it belongs to only the file's name can tell.
    pub fn parse(bytes: &[u8]) -> Result<Entry, serde_json::Error> {
        let file: File = de_lenient(bytes)?;
        if file.kind != KIND {
            let result: Box<RawValue> = serde_json::from_slice(bytes)?;
            CniResult::parse(bytes, "").map_err(serde::de::Error::custom)?;
            return Ok(Entry { result: Some(result), ..Entry::default() });
        }
        Ok(Entry {
            config: STANDARD.decode(file.config.as_bytes()).map_err(serde::de::Error::custom)?,
            container_id: file.container_id,
            network_name: file.network_name,
            if_name: file.if_name,
            netns: file.netns,
            cni_args: file.cni_args,
            capability_args: file.capability_args,
            result: file.result,
        })
    }

    /// The content of the cache file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let file = File {
            kind: KIND.to_owned(),
            container_id: self.container_id.clone(),
            config: STANDARD.encode(&self.config),
            if_name: self.if_name.clone(),
            network_name: self.network_name.clone(),
            netns: self.netns.clone(),
            cni_args: self.cni_args.clone(),
            capability_args: self.capability_args.clone(),
            result: self.result.clone(),
        };
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// The result of the ADD, decoded; none when the entry holds none.
    pub fn cni_result(&self) -> Result<Option<CniResult>, ResultError> {
        let raw = self.result.as_deref().map(RawValue::get).filter(|raw| *raw != "null");
        raw.map(|raw| CniResult::parse(raw.as_bytes(), "")).transpose()
    }
}

impl Cache {
    /// The cache below this directory; nothing is created yet.
    pub fn new(dir: impl Into<PathBuf>) -> Cache {
        Cache { dir: dir.into() }
    }

    /// The folder that holds the files.
    pub fn results_dir(&self) -> PathBuf {
        self.dir.join("results")
    }

    /// The file of one attachment. None of the names may lead out of the folder.
    pub fn path_of(&self, network_name: &str, container_id: &str, if_name: &str) -> Result<PathBuf, Error> {
        let name = format!("{network_name}-{container_id}-{if_name}");
        let parts = [network_name, container_id, if_name];
        if parts.iter().all(|part| !part.is_empty() && !part.contains(['/', '\0'])) && name.len() <= 250 {
            return Ok(self.results_dir().join(name));
        }
        let shown: String = name.chars().take(300).collect::<String>().replace('\0', "\\x00");
        let reason =
            "network name, container ID and interface name have to be file names, together 250 bytes at most";
        Err(Error::Cache {
            action: "name",
            path: self.results_dir().join(shown),
            source: io::Error::new(io::ErrorKind::InvalidInput, reason),
        })
    }

    fn path_of_entry(&self, entry: &Entry) -> Result<PathBuf, Error> {
        self.path_of(&entry.network_name, &entry.container_id, &entry.if_name)
    }

    /// Writes an entry: to a temporary file beside it, onto stable storage, then by rename. A crash leaves
    /// the old content or the new, never a part.
    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.path_of_entry(entry)?;
        let written = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(self.results_dir())?;
            let temporary = temporary(&path);
            let outcome =
                write_new(&temporary, &entry.to_bytes()).and_then(|()| fs::rename(&temporary, &path));
            if outcome.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            outcome
        };
        written().map_err(|source| Error::Cache { action: "write", path: path.clone(), source })
    }

    /// The entry of one attachment; none when there is no file.
    pub fn read(
        &self,
        network_name: &str,
        container_id: &str,
        if_name: &str,
    ) -> Result<Option<Entry>, Error> {
        let path = self.path_of(network_name, container_id, if_name)?;
        let failed = |source| Error::Cache { action: "read", path: path.clone(), source };
        let bytes = match read_bounded(&path, LARGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut entry = Entry::parse(&bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        // A file of an old libcni says nothing about whom it belongs to.
        for (field, value) in [
            (&mut entry.network_name, network_name),
            (&mut entry.container_id, container_id),
            (&mut entry.if_name, if_name),
        ] {
            if field.is_empty() {
                value.clone_into(field);
            }
        }
        Ok(Some(entry))
    }

    /// Removes the entry of one attachment, and what an interrupted write left of it. No file is no error.
    pub fn remove(&self, network_name: &str, container_id: &str, if_name: &str) -> Result<(), Error> {
        let path = self.path_of(network_name, container_id, if_name)?;
        let _ = fs::remove_file(temporary(&path));
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Cache { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Every entry that says whom it belongs to; files that are no such entry are counted. A missing folder
    /// holds none.
    pub fn list(&self) -> Result<Listing, Error> {
        let dir = self.results_dir();
        let failed = |source| Error::Cache { action: "list", path: dir.clone(), source };
        let files = match fs::read_dir(&dir) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut paths = Vec::new();
        for file in files {
            let file = file.map_err(failed)?;
            if !file.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(file.path());
            }
        }
        paths.sort();
        let mut listing = Listing::default();
        for path in paths {
            let entry = read_bounded(&path, LARGEST).ok().and_then(|bytes| Entry::parse(&bytes).ok());
            match entry {
                Some(entry) if !entry.container_id.is_empty() && !entry.network_name.is_empty() => {
                    listing.entries.push(entry);
                }
                // Removed since the folder was read.
                None if !path.exists() => {}
                _ => listing.unreadable += 1,
            }
        }
        Ok(listing)
    }
}

/// The temporary file of an entry. Its name is fixed, so that an interrupted write is overwritten by the next
/// and removed with the entry; one attachment has one writer at a time.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.t"))
}

/// Not synced: what a power cut could damage here belongs to sandboxes that it has ended, and a damaged entry is read as none
/// (C-87). The rename alone keeps a killed process from leaving half an entry.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests;
