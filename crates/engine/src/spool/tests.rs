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
            return Err(ClusterError::Unavailable { attempt: "write".to_owned(), reason: "down".to_owned() });
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

#[test]
fn a_record_that_was_replaced_while_it_was_made_stays() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path(), "c1", &record("a", "[1]")).unwrap();
    let waiting = list(dir.path()).unwrap().waiting.remove(0);
    leave(dir.path(), "c1", &record("a", "[2]")).unwrap();
    assert_eq!(waiting.record().unwrap(), None);
    waiting.done().unwrap();
    let newer = list(dir.path()).unwrap().waiting.remove(0);
    assert_eq!(newer.record().unwrap().unwrap().status.as_deref(), Some("[2]"));
    newer.done().unwrap();
    newer.done().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn two_records_of_a_sandbox_are_merged_by_interface() {
    let dir = tempfile::tempdir().unwrap();
    let first = r#"[{"name":"n","interface":"eth0","mtu":1},{"interface":"net1","x": 1.0}]"#;
    let second = r#"[{"name":"n","interface":"eth0","mtu":2}]"#;
    for status in [first, second] {
        leave(dir.path(), "c1", &record("a", status)).unwrap();
    }
    let read = list(dir.path()).unwrap().waiting.remove(0).record().unwrap().unwrap();
    let expected = r#"[{"name":"n","interface":"eth0","mtu":2},{"interface":"net1","x": 1.0}]"#;
    assert_eq!(read.status.as_deref(), Some(expected));
    leave(dir.path(), "c1", &record("a", "no status")).unwrap();
    let read = list(dir.path()).unwrap().waiting.remove(0).record().unwrap().unwrap();
    assert_eq!(read.status.as_deref(), Some("no status"));
}
