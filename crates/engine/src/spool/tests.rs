use std::cell::RefCell;
use std::time::Duration;

use super::*;
use crate::cluster::{Answer, Query, Recorded};

#[derive(Default)]
struct Written {
    records: RefCell<Vec<Record>>,
    refuses: bool,
    /// A pod whose records are refused.
    refused: Option<&'static str>,
    /// Until when each record was to be made.
    deadlines: RefCell<Vec<Instant>>,
}

impl Cluster for Written {
    fn lookup(&self, _: &Query) -> Result<Answer, ClusterError> {
        unreachable!("a drain looks nothing up")
    }
    fn devices(&self, _: &PodRef, _: Instant) -> Result<BTreeMap<String, Vec<String>>, ClusterError> {
        unreachable!("a drain needs no devices")
    }
    fn record(&self, record: &Record, deadline: Instant) -> Result<Recorded, ClusterError> {
        self.deadlines.borrow_mut().push(deadline);
        if self.refuses || self.refused == Some(&record.pod.name) {
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
    let path = dir.join(container);
    fs::write(&path, serde_json::to_vec(&Spooled { written, record }).unwrap()).unwrap();
    aged(&path, UNIX_EPOCH + Duration::from_millis(written));
}

fn aged(path: &Path, since: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(since).unwrap();
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

#[test]
fn a_record_that_cannot_be_made_keeps_no_other_from_being_made() {
    let dir = tempfile::tempdir().unwrap();
    for (pod, written) in [("bad", 10), ("good", 20), ("better", 30)] {
        write(dir.path(), pod, written, record(pod, pod));
    }
    let cluster = Written { refused: Some("bad"), ..Written::default() };
    let deadline = soon();
    let drained = drain(dir.path(), &cluster, deadline).unwrap();
    assert_eq!((drained.done, drained.waiting.len()), (2, 1));
    assert!(cluster.deadlines.borrow()[0] < deadline, "it must not take the time of the others");
    // And it has lost its place to those that came later.
    write(dir.path(), "late", 40, record("late", "late"));
    let names: Vec<_> = list(dir.path()).unwrap().waiting.into_iter().map(|waiting| waiting.name).collect();
    assert_eq!(names, ["late", "bad"]);
}

#[test]
fn one_process_at_a_time_makes_records() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path(), "c1", &record("a", "s")).unwrap();
    let other = alone(dir.path()).unwrap().unwrap();
    assert_eq!(drain(dir.path(), &Written::default(), soon()).unwrap().done, 0);
    drop(other);
    assert_eq!(drain(dir.path(), &Written::default(), soon()).unwrap().done, 1);
}

fn run(program: &str, arguments: &[&str]) {
    assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
}

#[test]
fn what_cannot_be_read_now_is_told_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path(), "c1", &record("a", "s")).unwrap();
    leave(dir.path(), "c2", &record("b", "s")).unwrap();
    // Nothing of a process lies at its address 0: reading fails with an error of the device.
    let (broken, path) = (format!("/proc/{}/mem", std::process::id()), dir.path().join("c1"));
    run("mount", &["--bind", &broken, path.to_str().unwrap()]);
    let drained = drain(dir.path(), &Written::default(), soon());
    run("umount", &["-l", path.to_str().unwrap()]);
    let drained = drained.unwrap();
    assert_eq!((drained.done, drained.unreadable.len(), drained.unread.len()), (1, 0, 1));
    assert_eq!(drain(dir.path(), &Written::default(), soon()).unwrap().done, 1);
}

#[test]
fn what_is_no_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path(), "c1", &record("a", "s")).unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", dir.path().join("link")).unwrap();
    let drained = drain(dir.path(), &Written::default(), soon()).unwrap();
    assert_eq!((drained.done, drained.unreadable.len(), drained.unread.len()), (1, 0, 0));
    assert!(dir.path().join("folder").is_dir() && dir.path().join("link").is_symlink());
}

#[test]
fn what_a_process_left_half_written_goes_when_it_is_old_or_its_sandbox_goes() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".old", ".new", ".ended"] {
        fs::write(dir.path().join(name), "{").unwrap();
    }
    aged(&dir.path().join(".old"), SystemTime::now() - 2 * ABANDONED);
    forget(dir.path(), "ended");
    list(dir.path()).unwrap();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".new"]);
}

#[test]
fn a_record_that_cannot_be_left_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("c1")).unwrap();
    leave(dir.path(), "c1", &record("a", "s")).unwrap_err();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["c1"]);
}
