//! Records that could not be made at once, one file a sandbox.
//!
//! An ADD must not fail because the API server is slow to take its status: what is not written within the ADD's patience lies
//! here until somebody with time drains it (the daemon, or `thin_entrypoint`). A pod whose sandbox was replaced may have
//! several files; only the newest speaks for the pod.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cluster::{Cluster, ClusterError, PodRef, Record};

/// Where records wait on a node.
pub const DEFAULT_DIR: &str = "/run/multus/spool";

/// A status annotation is a few kilobytes; anything larger than this was not written by us.
const LARGEST: u64 = 1 << 20;
/// A file that is being written is there for a moment; one this old is what a process left that was killed.
const ABANDONED: Duration = Duration::from_secs(600);

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
    /// Files that were no records, with the reason; removed.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Files that could not be read now, with the reason; they stay.
    pub unread: Vec<(PathBuf, io::Error)>,
    /// Records that stay, with the reason.
    pub waiting: Vec<(PathBuf, ClusterError)>,
}

/// What lies in a spool.
#[derive(Debug, Default)]
pub struct Listed {
    /// The newest record of each pod, oldest first; those that were [put off](Waiting::put_off) come last.
    pub waiting: Vec<Waiting>,
    /// Records that an older sandbox left behind; removed.
    pub outdated: usize,
    /// Files that were no records, with the reason; removed.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Files that could not be read now, with the reason; they stay.
    pub unread: Vec<(PathBuf, io::Error)>,
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
    /// When it was left, or put off last.
    since: SystemTime,
}

impl Waiting {
    /// The record; nothing when the sandbox's DEL has removed it, or another one has taken its place.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn record(&self) -> io::Result<Option<Record>> {
        let found = read(&self.path)?.filter(|found| found.inode == self.inode);
        Ok(found.map(|found| found.spooled.record))
    }

    /// Puts it behind all others that wait now, because it could not be made.
    pub fn put_off(&self) {
        // One that keeps its place is the first to be tried again, and nothing worse.
        let file = File::options().write(true).open(&self.path);
        let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
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
    if let Ok(Some(Found { spooled: Spooled { record: mut earlier, .. }, .. })) = read(&path) {
        earlier.events.append(&mut record.events);
        record.events = earlier.events;
        record.status = merged(earlier.status, record.status);
    }
    let text = serde_json::to_vec(&Spooled { written: now(), record })?;
    let temporary = temporary(dir, container_id);
    let written = write(&temporary, &text).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn temporary(dir: &Path, container_id: &str) -> PathBuf {
    dir.join(format!(".{container_id}"))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)
}

/// Forgets what sandbox `container_id` left; called by its DEL, after which nobody wants the record any more.
pub fn forget(dir: &Path, container_id: &str) {
    // A file that cannot be removed is dropped by the next drain: its pod is gone or replaced.
    let _ = fs::remove_file(dir.join(container_id));
    let _ = fs::remove_file(temporary(dir, container_id));
}

/// The right to make the records of a spool, until it is dropped.
#[derive(Debug)]
pub struct Alone(File);

impl Drop for Alone {
    fn drop(&mut self) {
        // Unlocking, not closing: a program that another thread starts just now has the descriptor until it runs.
        let _ = self.0.unlock();
    }
}

/// The right to make the records in `dir`, for as long as what is returned lives; nothing while another process has it. Two that made
/// them at once could write an older status after a newer one.
///
/// # Errors
/// When the directory cannot be opened.
pub fn alone(dir: &Path) -> io::Result<Option<Alone>> {
    let dir = File::open(dir)?;
    match dir.try_lock() {
        Ok(()) => Ok(Some(Alone(dir))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the records that wait in `dir`, oldest first, until `deadline`; none while another process does. Each may take half of the
/// time that is left, and one that cannot be made is put off, so that it keeps no other from being made, now or the next time.
///
/// # Errors
/// When the directory exists and cannot be read.
pub fn drain(dir: &Path, cluster: &dyn Cluster, deadline: Instant) -> io::Result<Drained> {
    let _alone = match alone(dir) {
        Ok(Some(alone)) => alone,
        Ok(None) => return Ok(Drained::default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Drained::default()),
        Err(error) => return Err(error),
    };
    let Listed { waiting, outdated, unreadable, unread } = list(dir)?;
    let mut drained = Drained { outdated, unreadable, unread, ..Drained::default() };
    for found in waiting {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let record = match found.record() {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(error) => {
                drained.unread.push((found.path, error));
                continue;
            }
        };
        match cluster.record(&record, Instant::now() + left / 2) {
            Ok(_) => {
                found.done()?;
                drained.done += 1;
            }
            Err(error) => {
                found.put_off();
                drained.waiting.push((found.path, error));
            }
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
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_file() {
            continue;
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            sweep(&path);
            continue;
        }
        match read(&path) {
            Ok(None) => {}
            Ok(Some(Found { inode, since, spooled: Spooled { written, record } })) => {
                let PodRef { namespace, name, .. } = record.pod;
                let key = (namespace.clone(), name.clone());
                let found = Waiting { path, namespace, name, written, inode, since };
                let older = match newest.get(&key) {
                    Some(kept) if kept.written > written => Some(found),
                    _ => newest.insert(key, found),
                };
                if let Some(older) = older {
                    older.done()?;
                    listed.outdated += 1;
                }
            }
            Err(Unusable::Unread(error)) => listed.unread.push((path, error)),
            Err(Unusable::NoRecord(reason)) => {
                gone(fs::remove_file(&path))?;
                listed.unreadable.push((path, reason));
            }
        }
    }
    listed.waiting = newest.into_values().collect();
    listed.waiting.sort_by_key(|waiting| waiting.since);
    Ok(listed)
}

/// Removes a file that was left half written.
fn sweep(path: &Path) {
    let since = fs::metadata(path).and_then(|metadata| metadata.modified());
    if since.is_ok_and(|since| since.elapsed().is_ok_and(|age| age > ABANDONED)) {
        let _ = fs::remove_file(path);
    }
}

/// A file, and what it says.
struct Found {
    inode: u64,
    since: SystemTime,
    spooled: Spooled,
}

/// Why a file tells nothing.
enum Unusable {
    /// It could not be read now.
    Unread(io::Error),
    /// It was, and is no record.
    NoRecord(String),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Unread(error)
    }
}

impl From<Unusable> for io::Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unread(error) => error,
            Unusable::NoRecord(reason) => Self::other(reason),
        }
    }
}

fn read(path: &Path) -> Result<Option<Found>, Unusable> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(Unusable::NoRecord(format!("larger than {LARGEST} bytes")));
    }
    let spooled = serde_json::from_slice(&text).map_err(|error| Unusable::NoRecord(error.to_string()))?;
    Ok(Some(Found { inode: metadata.ino(), since: metadata.modified()?, spooled }))
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
