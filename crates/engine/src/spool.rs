//! Records that could not be made at once, one file a sandbox.
//!
//! An ADD must not fail because the API server is slow to take its status: what is not written within the ADD's patience lies
//! here until somebody with time drains it (the daemon, or `thin_entrypoint`). A pod whose sandbox was replaced may have
//! several files; only the newest speaks for the pod.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cluster::{Cluster, ClusterError, PodRef, Record};

/// Where records wait on a node.
pub const DEFAULT_DIR: &str = "/run/multus/spool";

/// A status annotation is a few kilobytes; anything larger than this was not written by us.
const LARGEST: u64 = 1 << 20;

/// Who makes the records that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainedBy {
    /// Nobody but calls that reach the cluster: each goes on with what others left, for a moment.
    Calls,
    /// A daemon of the node that looks at the spool all the time. So a pod that needs nothing of the cluster does not go to it with
    /// its record either: it would wait for a daemon that does not answer.
    Daemon,
}

#[derive(Debug, Serialize, Deserialize)]
struct Spooled {
    /// Milliseconds since the Unix epoch, to tell which sandbox of a pod is the newest.
    written: u64,
    record: Record,
}

/// What a drain did.
#[derive(Debug, Default)]
pub struct Drained {
    /// Records that were made, or whose pod is gone.
    pub done: usize,
    /// Records that an older sandbox left behind; dropped.
    pub outdated: usize,
    /// Files that could not be read as records, with the reason; removed.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Records that stay, with the reason.
    pub waiting: Vec<(PathBuf, ClusterError)>,
}

/// What lies in a spool.
#[derive(Debug, Default)]
pub struct Listed {
    /// The newest record of each pod, oldest first.
    pub waiting: Vec<Waiting>,
    /// Records that an older sandbox left behind; removed.
    pub outdated: usize,
    /// Files that could not be read as records, with the reason; removed.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// A record that waits. Only its name is held; what it says is read when it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The file.
    pub path: PathBuf,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// When it was left, in milliseconds since the Unix epoch.
    pub written: u64,
    inode: u64,
}

impl Waiting {
    /// The record; nothing when the sandbox's DEL has removed it, or another one has taken its place.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn record(&self) -> io::Result<Option<Record>> {
        let found = read(&self.path)?.filter(|(inode, _)| *inode == self.inode);
        Ok(found.map(|(_, spooled)| spooled.record))
    }

    /// Removes it, unless another record of the sandbox has taken its place.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn done(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() == self.inode => gone(fs::remove_file(&self.path)),
            Ok(_) => Ok(()),
            Err(error) => gone(Err(error)),
        }
    }
}

/// A file that somebody else removed is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Leaves `record` of sandbox `container_id` in `dir` for a later [`drain`]. A record that already waits for this sandbox gives
/// the new one, which replaces it, its events, and its status of interfaces that the new one does not name.
///
/// # Errors
/// When the file cannot be written.
pub fn leave(dir: &Path, container_id: &str, record: &Record) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(container_id);
    let mut record = record.clone();
    if let Ok(Some((_, Spooled { record: mut earlier, .. }))) = read(&path) {
        earlier.events.append(&mut record.events);
        record.events = earlier.events;
        record.status = merged(earlier.status, record.status);
    }
    let spooled = Spooled { written: now(), record };
    let temporary = dir.join(format!(".{container_id}"));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(&spooled)?)?;
    fs::rename(&temporary, &path)
}

/// Forgets what sandbox `container_id` left; called by its DEL, after which nobody wants the record any more.
pub fn forget(dir: &Path, container_id: &str) {
    // A file that cannot be removed is dropped by the next drain: its pod is gone or replaced.
    let _ = fs::remove_file(dir.join(container_id));
}

/// Makes the records that wait in `dir`, oldest first, until `deadline`.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn drain(dir: &Path, cluster: &dyn Cluster, deadline: Instant) -> io::Result<Drained> {
    let Listed { waiting, outdated, unreadable } = list(dir)?;
    let mut drained = Drained { outdated, unreadable, ..Drained::default() };
    for found in waiting {
        if Instant::now() >= deadline {
            break;
        }
        let Some(record) = found.record()? else { continue };
        match cluster.record(&record, deadline) {
            Ok(_) => {
                found.done()?;
                drained.done += 1;
            }
            Err(error) => drained.waiting.push((found.path, error)),
        }
    }
    Ok(drained)
}

/// Looks what lies in `dir`. Of a pod with several sandboxes only the newest one's record stays.
///
/// # Errors
/// When the directory exists and cannot be read, or a file that is to go cannot be removed.
pub fn list(dir: &Path) -> io::Result<Listed> {
    let mut listed = Listed::default();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listed),
        Err(error) => return Err(error),
    };
    let mut newest: BTreeMap<(String, String), Waiting> = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        match read(&path) {
            Ok(None) => {}
            Ok(Some((inode, Spooled { written, record }))) => {
                let PodRef { namespace, name, .. } = record.pod;
                let key = (namespace.clone(), name.clone());
                let found = Waiting { path, namespace, name, written, inode };
                let older = match newest.get(&key) {
                    Some(kept) if kept.written > written => Some(found),
                    _ => newest.insert(key, found),
                };
                if let Some(older) = older {
                    older.done()?;
                    listed.outdated += 1;
                }
            }
            Err(reason) => {
                gone(fs::remove_file(&path))?;
                listed.unreadable.push((path, reason.to_string()));
            }
        }
    }
    listed.waiting = newest.into_values().collect();
    listed.waiting.sort_by_key(|waiting| waiting.written);
    Ok(listed)
}

/// The file's inode and what it says.
fn read(path: &Path) -> io::Result<Option<(u64, Spooled)>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let inode = file.metadata()?.ino();
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("larger than {LARGEST} bytes")));
    }
    Ok(Some((inode, serde_json::from_slice(&text)?)))
}

/// The later status with the entries of the earlier one whose interfaces it does not name. Their bytes stay as they are; a status
/// that cannot be read adds nothing.
fn merged(earlier: Option<String>, later: Option<String>) -> Option<String> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        interface: String,
    }
    let (Some(earlier), Some(later)) = (&earlier, &later) else { return later.or(earlier) };
    let entries = |text| -> Option<Vec<(String, Box<RawValue>)>> {
        let raw: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
        raw.into_iter()
            .map(|raw| Some((serde_json::from_str::<Entry>(raw.get()).ok()?.interface, raw)))
            .collect()
    };
    let (Some(mut all), Some(new)) = (entries(earlier), entries(later)) else { return Some(later.clone()) };
    all.retain(|(interface, _)| !new.iter().any(|(named, _)| named == interface));
    if all.is_empty() {
        return Some(later.clone());
    }
    // The pod's own network stays the first.
    let raw: Vec<_> = new.into_iter().chain(all).map(|(_, raw)| raw).collect();
    serde_json::to_string(&raw).ok()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
