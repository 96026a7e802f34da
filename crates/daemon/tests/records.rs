//! Records: written at once, or from the spool; in order, and without events in anybody's way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::time::{Duration, Instant};

use bed::{Bed, pod, ready, record, soon, start, until, until_some};
use daemon::{Backend, EventMode};
use engine::{ClusterError, PodRef, Record, Recorded, spool};
use plan::PlanEvent;
use testbed::apiserver::{FakeApi, Fault, FaultKind};

fn api() -> FakeApi {
    let api = FakeApi::tls().unwrap();
    for name in ["p", "q", "r"] {
        api.add_pod(serde_json::json!({
            "metadata": {"namespace": "a", "name": name, "uid": "u1"}, "spec": {"nodeName": "n1"},
        }));
    }
    api
}

fn write(bed: &Bed, record: Record, seconds: u64) -> Result<Recorded, ClusterError> {
    bed.runtime.block_on(bed.kube.record(record, soon(seconds)))
}

fn leave(bed: &Bed, container: &str, record: &Record) {
    spool::leave(&bed.spool, container, record).unwrap();
}

fn waiting(bed: &Bed) -> usize {
    std::fs::read_dir(&bed.spool).map_or(0, Iterator::count)
}

fn fault(method: &str, path: &str, times: usize, code: u16) -> Fault {
    let kind = FaultKind::Status(code, "Reason".to_owned(), "the server says no".to_owned());
    Fault { method: method.to_owned(), path: path.to_owned(), times, kind }
}

#[test]
fn a_record_is_one_patch_and_its_events_come_after_it() {
    let bed = ready(api());
    assert_eq!(write(&bed, record(pod("p", "u1"), "[1]"), 3).unwrap(), Recorded::Written);
    assert_eq!(bed.status("p").as_deref(), Some("[1]"));
    until("the event", || bed.api.events().len() == 1);
    assert_eq!(bed.asked(), ["PATCH /api/v1/namespaces/a/pods/p/status", "POST /api/v1/namespaces/a/events"]);
    assert_eq!(bed.metric("multus_records_total{ending=\"written\"}"), 1.0);
}

#[test]
fn events_that_are_slow_or_refused_fail_no_record() {
    let bed = ready(api());
    bed.api.add_fault(fault("POST", "/events", 1, 403));
    bed.api.add_fault(Fault {
        method: "POST".to_owned(),
        path: "/events".to_owned(),
        times: 1,
        kind: FaultKind::Delay(Duration::from_secs(20)),
    });
    // Each has 3 seconds, far fewer than the event is held up.
    for name in ["p", "q"] {
        assert_eq!(write(&bed, record(pod(name, "u1"), "[1]"), 3).unwrap(), Recorded::Written);
    }
    until("the loss", || bed.metric("multus_events_total{ending=\"dropped\"}") == 1.0);
    until("the word", || bed.log.has("events are lost: post event AddedInterface on pod a/"));
}

#[test]
fn events_can_be_told_together_or_not_at_all() {
    let two = || Record {
        events: vec![record(pod("p", "u1"), "x").events.remove(0); 2],
        ..record(pod("p", "u1"), "[1]")
    };
    for (mode, events) in [(EventMode::Each, 2), (EventMode::Batched, 1)] {
        let bed = start(api(), |options| options.events = mode);
        write(&bed, two(), 3).unwrap();
        until("the events", || bed.metric("multus_events_total{ending=\"posted\"}") == f64::from(events));
    }
    let bed = start(api(), |options| options.events = EventMode::Off);
    write(&bed, two(), 3).unwrap();
    assert_eq!(bed.metric("multus_events_waiting"), 0.0);
}

#[test]
fn a_record_that_cannot_be_written_in_time_is_the_callers_to_keep_and_made_when_it_can_be() {
    let mut bed = ready(api());
    bed.api.refuse();
    let started = Instant::now();
    let error = write(&bed, record(pod("p", "u1"), "[1]"), 1).unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    leave(&bed, "c1", &record(pod("p", "u1"), "[1]"));
    until("the attempt", || bed.log.has("a/p: network status waits: "));
    bed.api.resume().unwrap();
    until("the record", || bed.status("p").as_deref() == Some("[1]"));
    until("the spool", || waiting(&bed) == 0);
    until("the event", || bed.api.events().len() == 1);
}

#[test]
fn what_lies_in_the_spool_is_made_without_being_asked_for_also_what_was_there_before() {
    let api = api();
    let dir = tempfile::tempdir().unwrap();
    spool::leave(dir.path(), "c0", &record(pod("q", "u1"), "[0]")).unwrap();
    let bed = start(api, |options| options.spool = dir.path().to_owned());
    until("the first record", || bed.status("q").as_deref() == Some("[0]"));
    spool::leave(dir.path(), "c1", &record(pod("p", "u1"), "[1]")).unwrap();
    until("the second record", || bed.status("p").as_deref() == Some("[1]"));
    until("the spool", || std::fs::read_dir(dir.path()).unwrap().count() == 0);
    assert_eq!(bed.metric("multus_records_total{ending=\"drained\"}"), 2.0);
    assert!(!bed.asked().iter().any(|request| request.starts_with("GET")), "{:?}", bed.asked());
}

#[test]
fn a_spool_that_was_taken_away_is_made_and_watched_again() {
    let bed = ready(api());
    until("the spool", || bed.spool.is_dir());
    std::fs::remove_dir(&bed.spool).unwrap();
    until("the spool", || bed.spool.is_dir());
    leave(&bed, "c1", &record(pod("p", "u1"), "[1]"));
    until("the record", || bed.status("p").as_deref() == Some("[1]"));
}

/// The statuses that were sent for a pod, in their order.
fn sent(bed: &Bed) -> Vec<String> {
    let patches = bed.api.requests().into_iter().filter(|request| request.method == "PATCH");
    let status = |body: Vec<u8>| {
        let patch: serde_json::Value = serde_json::from_slice(&body).unwrap();
        patch["metadata"]["annotations"][plan::STATUS_ANNOTATION].as_str().unwrap().to_owned()
    };
    patches.map(|request| status(request.body)).collect()
}

#[test]
fn only_the_newest_sandbox_speaks_for_a_pod() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    spool::leave(&path, "new", &record(pod("p", "u1"), "[new]")).unwrap();
    spool::leave(&path, "old", &record(pod("p", "u1"), "[old]")).unwrap();
    // As if it had been left long before the other one.
    let old = std::fs::read_to_string(path.join("old")).unwrap();
    std::fs::write(path.join("old"), old.replacen("\"written\":", "\"written\":1,\"was\":", 1)).unwrap();
    let bed = start(api(), |options| options.spool = path.clone());
    until("the spool", || std::fs::read_dir(&path).unwrap().count() == 0);
    assert_eq!(sent(&bed), ["[new]"]);
}

#[test]
fn a_newer_record_that_arrives_while_an_older_one_is_being_written_is_written_after_it() {
    let bed = ready(api());
    let slow = FaultKind::Delay(Duration::from_secs(1));
    bed.api.add_fault(Fault {
        method: "PATCH".to_owned(),
        path: "/pods/p/".to_owned(),
        times: 1,
        kind: slow,
    });
    leave(&bed, "old", &record(pod("p", "u1"), "[old]"));
    until("the older one's request", || sent(&bed).len() == 1);
    leave(&bed, "new", &record(pod("p", "u1"), "[new]"));
    until("the spool", || waiting(&bed) == 0);
    assert_eq!(sent(&bed), ["[old]", "[new]"]);
    assert_eq!(bed.status("p").as_deref(), Some("[new]"));
}

#[test]
fn a_record_that_is_written_at_once_makes_an_older_sandboxs_go() {
    let mut bed = ready(api());
    bed.api.refuse();
    leave(&bed, "old", &record(pod("p", "u1"), "[old]"));
    until("the attempt", || bed.log.has("a/p: network status waits: "));
    bed.api.resume().unwrap();
    until("the write", || write(&bed, record(pod("p", "u1"), "[new]"), 3).is_ok());
    until("the spool", || waiting(&bed) == 0);
    until("the news", || bed.status("p").as_deref() == Some("[new]"));
}

#[test]
fn one_record_that_is_refused_holds_up_no_other() {
    let bed = ready(api());
    bed.api.add_fault(fault("PATCH", "/pods/p/", 2, 400));
    leave(&bed, "c1", &record(pod("p", "u1"), "[1]"));
    until("the refusal", || bed.log.has("a/p: network status is refused, and tried again: "));
    leave(&bed, "c2", &record(pod("q", "u1"), "[2]"));
    until("the other", || bed.status("q").as_deref() == Some("[2]"));
    until("the first", || bed.status("p").as_deref() == Some("[1]"));
}

/// What admission says for one namespace is said with the same codes as what the API server says for all.
#[test]
fn what_is_not_taken_in_one_namespace_holds_up_no_other() {
    for code in [403, 500] {
        let bed = ready(api());
        bed.api.add_fault(fault("", "/namespaces/bad/pods/", usize::MAX, code));
        for number in 0..6 {
            let pod = PodRef { namespace: "bad".to_owned(), name: format!("p{number}"), uid: None };
            leave(&bed, &format!("bad{number}"), &record(pod, "[1]"));
        }
        until("the word", || bed.log.has("network status waits: "));
        leave(&bed, "c1", &record(pod("q", "u1"), "[2]"));
        until("the other", || bed.status("q").as_deref() == Some("[2]"));
        until("only the others to wait", || waiting(&bed) == 6);
    }
}

#[test]
fn what_is_not_taken_in_two_namespaces_holds_up_nothing_that_arrives() {
    let bed = ready(api());
    bed.api.add_fault(fault("", "/namespaces/bad", usize::MAX, 403));
    for namespace in ["bad1", "bad2"] {
        let pod = PodRef { namespace: namespace.to_owned(), name: "p".to_owned(), uid: None };
        leave(&bed, namespace, &record(pod, "[1]"));
    }
    until("both words", || {
        ["bad1", "bad2"].iter().all(|name| bed.log.has(&format!("{name}/p: network status waits: ")))
    });
    leave(&bed, "c1", &record(pod("q", "u1"), "[2]"));
    until("the other", || bed.status("q").as_deref() == Some("[2]"));
}

/// Two processes would write an older status after a newer one.
#[test]
fn while_another_daemon_makes_the_records_none_is_made() {
    let bed = ready(api());
    until("the spool", || bed.spool.is_dir());
    let other = until_some("the right to make records", || spool::alone(&bed.spool).unwrap());
    leave(&bed, "c1", &record(pod("p", "u1"), "[1]"));
    let direct = write(&bed, record(pod("q", "u1"), "[2]"), 3).unwrap();
    assert_eq!((direct, bed.status("p")), (Recorded::Written, None));
    drop(other);
    until("the record", || bed.status("p").as_deref() == Some("[1]"));
}

#[test]
fn a_record_of_no_possible_pod_holds_up_no_other() {
    let bed = ready(api());
    leave(&bed, "c1", &record(pod("../x", "u1"), "[1]"));
    until("the refusal", || bed.log.has("network status is refused, and tried again"));
    leave(&bed, "c2", &record(pod("q", "u1"), "[2]"));
    until("the other", || bed.status("q").as_deref() == Some("[2]"));
}

#[test]
fn a_pod_that_is_gone_or_another_one_is_not_written_to_and_has_no_events() {
    let bed = ready(api());
    leave(&bed, "c1", &record(pod("p", "other"), "[1]"));
    leave(&bed, "c2", &record(pod("none", "u1"), "[1]"));
    until("the spool", || waiting(&bed) == 0);
    assert_eq!(write(&bed, record(pod("q", "other"), "[1]"), 3).unwrap(), Recorded::PodReplaced);
    assert_eq!((bed.status("p"), bed.status("q")), (None, None));
    assert_eq!(bed.metric("multus_events_waiting"), 0.0);
    assert!(bed.api.events().is_empty());
}

#[test]
fn many_pods_at_once_are_all_recorded() {
    let api = FakeApi::tls().unwrap();
    let names: Vec<_> = (0..100).map(|number| format!("p{number}")).collect();
    for name in &names {
        api.add_pod(serde_json::json!({"metadata": {"namespace": "a", "name": name, "uid": "u1"}}));
    }
    let bed = ready(api);
    for name in &names {
        leave(&bed, name, &record(pod(name, "u1"), name));
    }
    until("the spool", || waiting(&bed) == 0);
    for name in &names {
        assert_eq!(bed.status(name).as_ref(), Some(name));
    }
    let patches = bed.asked().into_iter().filter(|request| request.starts_with("PATCH")).count();
    assert_eq!(patches, 100, "each once");
}

#[test]
fn a_role_without_patch_is_served_by_get_and_put() {
    let bed = ready(api());
    bed.api.forbid_patch(true);
    leave(&bed, "c1", &record(pod("p", "u1"), "[1]"));
    until("the record", || bed.status("p").as_deref() == Some("[1]"));
}

#[test]
fn a_record_without_a_status_posts_its_events() {
    let bed = ready(api());
    let warning = PlanEvent::warning("NoNetworkFound", "cannot find it");
    write(&bed, Record { pod: pod("p", "u1"), status: None, events: vec![warning] }, 3).unwrap();
    until("the event", || bed.api.events().iter().any(|event| event.reason == "NoNetworkFound"));
    assert_eq!(bed.status("p"), None);
}

#[test]
fn a_file_that_is_no_record_is_told_and_goes() {
    let bed = ready(api());
    std::fs::create_dir_all(&bed.spool).unwrap();
    std::fs::write(bed.spool.join(".x"), "{half a rec").unwrap();
    std::fs::rename(bed.spool.join(".x"), bed.spool.join("x")).unwrap();
    until("the word", || bed.log.has("spool: removed "));
    assert_eq!(waiting(&bed), 0);
}
