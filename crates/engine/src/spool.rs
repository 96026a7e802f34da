//! Records that could not be made at once, one file a sandbox.
//!
//! An ADD must not fail because the API server is slow to take its status: what is not written within the ADD's patience lies
//! here until somebody with time drains it (the daemon, or `thin_entrypoint`). A pod whose sandbox was replaced may have
//! several files; only the newest speaks for the pod.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

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

/// Leaves `record` of sandbox `container_id` in `dir` for a later [`drain`]. A record that already waits for this sandbox gives
/// its events to the new one, which replaces it.
///
/// # Errors
/// When the file cannot be written.
pub fn leave(dir: &Path, container_id: &str, record: &Record) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(container_id);
    let mut record = record.clone();
    if let Ok(Some(mut earlier)) = read(&path).map(|spooled| spooled.map(|s| s.record)) {
        earlier.events.append(&mut record.events);
        record.events = earlier.events;
        record.status = record.status.or(earlier.status);
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
    let mut drained = Drained::default();
    for (path, spooled) in newest_of_each_pod(dir, &mut drained)? {
        if Instant::now() >= deadline {
            break;
        }
        match cluster.record(&spooled.record, deadline) {
            Ok(_) => {
                fs::remove_file(&path)?;
                drained.done += 1;
            }
            Err(error) => drained.waiting.push((path, error)),
        }
    }
    Ok(drained)
}

fn newest_of_each_pod(dir: &Path, drained: &mut Drained) -> io::Result<Vec<(PathBuf, Spooled)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut newest: BTreeMap<(String, String), (PathBuf, Spooled)> = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        match read(&path) {
            Ok(None) => {}
            Ok(Some(spooled)) => {
                let PodRef { namespace, name, .. } = &spooled.record.pod;
                let key = (namespace.clone(), name.clone());
                let older = match newest.get(&key) {
                    Some((_, kept)) if kept.written > spooled.written => Some(path.clone()),
                    _ => newest.insert(key, (path, spooled)).map(|(older, _)| older),
                };
                if let Some(older) = older {
                    fs::remove_file(older)?;
                    drained.outdated += 1;
                }
            }
            Err(reason) => {
                fs::remove_file(&path)?;
                drained.unreadable.push((path, reason.to_string()));
            }
        }
    }
    let mut records: Vec<_> = newest.into_values().collect();
    records.sort_by_key(|(_, spooled)| spooled.written);
    Ok(records)
}

fn read(path: &Path) -> io::Result<Option<Spooled>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("larger than {LARGEST} bytes")));
    }
    Ok(Some(serde_json::from_slice(&text)?))
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::cluster::{Answer, Query, Recorded};

    #[derive(Default)]
    struct Written {
        records: RefCell<Vec<Record>>,
        refuses: bool,
    }

    impl Cluster for Written {
        fn lookup(&self, _: &Query) -> Result<Answer, ClusterError> {
            unreachable!("a drain looks nothing up")
        }
        fn devices(&self, _: &PodRef, _: Instant) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
            unreachable!("a drain needs no devices")
        }
        fn record(&self, record: &Record, _: Instant) -> Result<Recorded, ClusterError> {
            if self.refuses {
                return Err(ClusterError::Unavailable {
                    attempt: "write".to_owned(),
                    reason: "down".to_owned(),
                });
            }
            self.records.borrow_mut().push(record.clone());
            Ok(Recorded::Written)
        }
    }

    fn record(pod: &str, status: &str) -> Record {
        let pod = PodRef { namespace: "test".to_owned(), name: pod.to_owned(), uid: None };
        Record { pod, status: Some(status.to_owned()), events: Vec::new() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    fn write(dir: &Path, container: &str, written: u64, record: Record) {
        fs::write(dir.join(container), serde_json::to_vec(&Spooled { written, record }).unwrap()).unwrap();
    }

    #[test]
    fn only_the_newest_sandbox_of_a_pod_is_recorded_and_the_oldest_pod_first() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "second", 20, record("a", "new"));
        write(dir.path(), "first", 10, record("a", "old"));
        write(dir.path(), "other", 15, record("b", "b"));
        let cluster = Written::default();
        let drained = drain(dir.path(), &cluster, soon()).unwrap();
        assert_eq!((drained.done, drained.outdated), (2, 1));
        let statuses: Vec<_> = cluster.records.borrow().iter().map(|r| r.status.clone().unwrap()).collect();
        assert_eq!(statuses, ["b", "new"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_that_cannot_be_made_waits() {
        let dir = tempfile::tempdir().unwrap();
        leave(dir.path(), "c1", &record("a", "s")).unwrap();
        let drained = drain(dir.path(), &Written { refuses: true, ..Written::default() }, soon()).unwrap();
        assert_eq!(drained.waiting.len(), 1);
        let cluster = Written::default();
        assert_eq!(drain(dir.path(), &cluster, soon()).unwrap().done, 1);
        assert_eq!(cluster.records.borrow().len(), 1);
    }

    #[test]
    fn an_unreadable_file_is_reported_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("empty", Vec::new()), ("half", b"{\"written\":".to_vec()), ("deep", vec![b'['; 4096])]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        fs::write(dir.path().join("large"), vec![b' '; 1 + usize::try_from(LARGEST).unwrap()]).unwrap();
        let drained = drain(dir.path(), &Written::default(), soon()).unwrap();
        assert_eq!(drained.unreadable.len(), 4);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_directory_is_an_empty_spool() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(drain(&dir.path().join("none"), &Written::default(), soon()).unwrap().done, 0);
    }

    #[test]
    fn del_forgets_the_record() {
        let dir = tempfile::tempdir().unwrap();
        leave(dir.path(), "c1", &record("a", "s")).unwrap();
        forget(dir.path(), "c1");
        forget(dir.path(), "c1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
