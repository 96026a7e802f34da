//! Lookups and records against an API server with real TLS, delays and faults.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Cluster, ClusterError, PodLookup, PodRef, Query, Record, Recorded};
use kube_cluster::{KubeCluster, Source};
use plan::{EventKind, NadLookup, NadRef, PlanEvent, STATUS_ANNOTATION};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

const UID: &str = "uid-1";

struct Bed {
    api: FakeApi,
    dir: tempfile::TempDir,
    cluster: KubeCluster,
}

fn bed(api: FakeApi) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    api.add_pod_with("ns", "a", UID, &[("k8s.v1.cni.cncf.io/networks", "net1"), ("other.io/x", "y")]);
    api.add_nad_with("ns", "net1", r#"{"type":"bridge"}"#);
    let kubeconfig = api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap();
    let cluster = KubeCluster::connect(kubeconfig.to_str().unwrap()).unwrap().unwrap();
    Bed { api, dir, cluster }
}

fn tls() -> Bed {
    bed(FakeApi::tls().unwrap())
}

fn pod() -> PodRef {
    PodRef { namespace: "ns".to_owned(), name: "a".to_owned(), uid: Some(UID.to_owned()) }
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn query(nads: &[&str], seconds: u64) -> Query {
    let nads = nads.iter().map(|name| NadRef::new("ns", *name)).collect();
    Query { pod: Some(pod()), nads, deadline: soon(seconds) }
}

fn status_record() -> Record {
    let event = PlanEvent {
        kind: EventKind::Normal,
        reason: "AddedInterface".to_owned(),
        message: "Add net1 [10.1.1.2/24] from ns/net1".to_owned(),
    };
    Record { pod: pod(), status: Some("[{\"name\": \"ns/net1\"}]".to_owned()), events: vec![event] }
}

fn fault(method: &str, path: &str, times: usize, kind: FaultKind) -> Fault {
    Fault { method: method.to_owned(), path: path.to_owned(), times, kind }
}

fn status(code: u16) -> FaultKind {
    FaultKind::Status(code, "Reason".to_owned(), "the server says no".to_owned())
}

#[test]
fn a_lookup_finds_pod_and_nad_over_tls() {
    let bed = tls();
    let answer = bed.cluster.lookup(&query(&["net1"], 10)).unwrap();
    let PodLookup::Found(found) = answer.pod else { panic!("{answer:?}") };
    assert_eq!(found.uid.as_deref(), Some(UID));
    assert_eq!(found.annotations.len(), 1, "only what a plan can depend on: {:?}", found.annotations);
    let NadLookup::Found(nad) = &answer.nads[&NadRef::new("ns", "net1")] else { panic!("{:?}", answer.nads) };
    assert_eq!(nad.config, r#"{"type":"bridge"}"#);
    let requests = bed.api.requests();
    assert!(requests.iter().all(|request| request.headers["authorization"] == "Bearer testbed-token"));
    assert!(requests.iter().all(|request| request.headers["user-agent"].starts_with("multus-rs/")));
}

#[test]
fn a_lookup_works_over_plain_http() {
    let bed = bed(FakeApi::plain().unwrap());
    let answer = bed.cluster.lookup(&query(&["net1"], 10)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
}

#[test]
fn gets_run_in_parallel() {
    for api in [FakeApi::tls().unwrap(), FakeApi::tls_http1().unwrap()] {
        let bed = bed(api);
        bed.api.add_nad_with("ns", "net2", "");
        // No answer comes before all of them have been asked for, so that none waits for another's.
        bed.api.set_delay(Duration::from_secs(3600));
        let cluster = bed.cluster;
        std::thread::spawn(move || drop(cluster.lookup(&query(&["net1", "net2"], 60))));
        testbed::wait::until("the pod and both networks", Duration::from_secs(30), || {
            (bed.api.requests().len() == 3).then_some(())
        })
        .unwrap();
    }
}

#[test]
fn q7_five_second_api_delay_succeeds() {
    let bed = tls();
    bed.api.set_delay(Duration::from_secs(5));
    let answer = bed.cluster.lookup(&query(&["net1"], 30)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
    assert_eq!(bed.api.requests().len(), 2, "nothing was sent twice");
}

#[test]
fn the_deadline_ends_a_lookup() {
    let bed = tls();
    bed.api.set_delay(Duration::from_secs(20));
    let started = Instant::now();
    let error = bed.cluster.lookup(&query(&["net1"], 1)).unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn passing_faults_are_retried() {
    let bed = tls();
    for kind in [status(429), status(500), status(503), FaultKind::Close, FaultKind::Truncate] {
        bed.api.add_fault(fault("GET", "/pods/a", 1, kind));
    }
    let answer = bed.cluster.lookup(&query(&[], 20)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
    assert_eq!(bed.api.requests().len(), 6);
}

#[test]
fn a_server_that_refuses_connections_is_waited_for() {
    let mut bed = tls();
    bed.api.refuse();
    let cluster = bed.cluster;
    let waiting = std::thread::spawn(move || cluster.lookup(&query(&["net1"], 20)));
    // Long enough for attempts to have been refused; the outcome does not depend on it.
    let _ = testbed::wait::until("nothing", Duration::from_millis(300), || None::<()>);
    bed.api.resume().unwrap();
    assert!(matches!(waiting.join().unwrap().unwrap().pod, PodLookup::Found(_)));
}

#[test]
fn a_refusing_server_is_named_when_time_is_up() {
    let mut bed = tls();
    bed.api.refuse();
    let error = bed.cluster.lookup(&query(&[], 1)).unwrap_err().to_string();
    assert!(error.contains("get pod ns/a") && error.contains("refused"), "{error}");
}

#[test]
fn a_missing_nad_has_the_apis_text() {
    let bed = tls();
    let answer = bed.cluster.lookup(&query(&["nope"], 10)).unwrap();
    let NadLookup::Missing(text) = &answer.nads[&NadRef::new("ns", "nope")] else {
        panic!("{:?}", answer.nads)
    };
    assert_eq!(text, "network-attachment-definitions.k8s.cni.cncf.io \"nope\" not found");
}

#[test]
fn a_missing_definition_of_the_kind_has_client_gos_text() {
    let bed = tls();
    let text = "the server could not find the requested resource".to_owned();
    bed.api.add_fault(fault(
        "GET",
        "network-attachment",
        1,
        FaultKind::Status(404, "NotFound".to_owned(), text),
    ));
    let answer = bed.cluster.lookup(&query(&["net1"], 10)).unwrap();
    let NadLookup::Missing(text) = &answer.nads[&NadRef::new("ns", "net1")] else {
        panic!("{:?}", answer.nads)
    };
    assert_eq!(
        text,
        "the server could not find the requested resource (get network-attachment-definitions.k8s.cni.cncf.io net1)"
    );
}

#[test]
fn a_nad_name_that_would_change_the_path_is_never_sent() {
    let bed = tls();
    for name in ["..", "../../pods/a", "a%2fb", ""] {
        let nads = vec![NadRef::new("ns", name)];
        let answer = bed.cluster.lookup(&Query { pod: None, nads, deadline: soon(5) }).unwrap();
        assert!(matches!(answer.nads[&NadRef::new("ns", name)], NadLookup::Failed(_)), "{name:?}");
    }
    assert!(bed.api.requests().is_empty());
}

#[test]
fn a_missing_pod_is_waited_for_and_then_missing() {
    let bed = tls();
    bed.api.delete_pod("ns", "a");
    let started = Instant::now();
    assert!(matches!(bed.cluster.lookup(&query(&[], 10)).unwrap().pod, PodLookup::Missing));
    assert!(started.elapsed() < Duration::from_secs(4));
    assert!(bed.api.requests().len() > 2);
}

#[test]
fn a_pod_that_appears_late_is_found() {
    let bed = tls();
    bed.api.delete_pod("ns", "a");
    let cluster = bed.cluster;
    let waiting = std::thread::spawn(move || cluster.lookup(&query(&[], 10)));
    testbed::wait::until("two GETs", Duration::from_secs(5), || {
        (bed.api.requests().len() >= 2).then_some(())
    })
    .unwrap();
    bed.api.add_pod_with("ns", "a", UID, &[]);
    assert!(matches!(waiting.join().unwrap().unwrap().pod, PodLookup::Found(_)));
}

#[test]
fn another_uid_is_a_replaced_pod() {
    let bed = tls();
    bed.api.add_pod_with("ns", "a", "uid-2", &[]);
    let PodLookup::Replaced { found_uid } = bed.cluster.lookup(&query(&[], 10)).unwrap().pod else {
        panic!()
    };
    assert_eq!(found_uid, "uid-2");
}

#[test]
fn a_static_pod_may_have_another_uid() {
    let bed = tls();
    bed.api.add_pod_with("ns", "a", "uid-2", &[("kubernetes.io/config.source", "file")]);
    let PodLookup::Found(found) = bed.cluster.lookup(&query(&[], 10)).unwrap().pod else { panic!() };
    assert!(found.is_static);
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
}

#[test]
fn a_refused_token_is_final_and_says_what_to_do() {
    let bed = tls();
    bed.api.require_token(Some("another"));
    let error = bed.cluster.lookup(&query(&["net1"], 10)).unwrap_err();
    assert!(matches!(error, ClusterError::Denied { .. }));
    assert!(error.to_string().contains("credentials"), "{error}");
}

#[test]
fn a_token_that_was_rotated_is_read_again() {
    let bed = tls();
    bed.cluster.lookup(&query(&[], 10)).unwrap();
    bed.api.require_token(Some("fresh"));
    let path = bed.dir.path().join("kubeconfig");
    let text = std::fs::read_to_string(&path).unwrap().replace("testbed-token", "fresh");
    std::fs::write(&path, text).unwrap();
    assert!(matches!(bed.cluster.lookup(&query(&[], 10)).unwrap().pod, PodLookup::Found(_)));
}

#[test]
fn a_token_file_is_read_for_each_request() {
    let bed = tls();
    let token = bed.dir.path().join("token");
    std::fs::write(&token, "one\n").unwrap();
    let path = bed.dir.path().join("kubeconfig");
    let text =
        std::fs::read_to_string(&path).unwrap().replace("token: \"testbed-token\"", "tokenFile: token");
    std::fs::write(&path, text).unwrap();
    let cluster = KubeCluster::new(Source::Kubeconfig(path)).unwrap();
    bed.api.require_token(Some("one"));
    cluster.lookup(&query(&[], 10)).unwrap();
    std::fs::write(&token, "two\n").unwrap();
    bed.api.require_token(Some("two"));
    cluster.lookup(&query(&[], 10)).unwrap();
}

#[test]
fn a_server_of_another_authority_is_not_trusted() {
    let bed = tls();
    let other = FakeApi::tls().unwrap();
    let path = other.write_kubeconfig(&bed.dir.path().join("other")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap().replace(&other.url(), &bed.api.url());
    std::fs::write(&path, text).unwrap();
    let cluster = KubeCluster::new(Source::Kubeconfig(path)).unwrap();
    let error = cluster.lookup(&query(&[], 10)).unwrap_err();
    assert!(matches!(error, ClusterError::Config { .. }), "{error}");
    assert!(bed.api.requests().is_empty(), "no token went to a stranger");
}

#[test]
fn verification_can_be_skipped() {
    let bed = tls();
    let path = bed.dir.path().join("kubeconfig");
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.contains("authority-data")).unwrap();
    std::fs::write(&path, text.replace(line, "    insecure-skip-tls-verify: true")).unwrap();
    let cluster = KubeCluster::new(Source::Kubeconfig(path)).unwrap();
    assert!(matches!(cluster.lookup(&query(&[], 10)).unwrap().pod, PodLookup::Found(_)));
}

#[test]
fn a_status_is_one_patch_with_the_uid() {
    let bed = tls();
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
    assert_eq!(bed.api.annotation("ns", "a", STATUS_ANNOTATION), status_record().status);
    assert_eq!(bed.api.annotation("ns", "a", "other.io/x").as_deref(), Some("y"));
    let requests = bed.api.requests();
    let patches: Vec<_> = requests.iter().filter(|request| request.method != "POST").collect();
    assert_eq!(patches.len(), 1);
    assert_eq!(patches[0].path, "/api/v1/namespaces/ns/pods/a/status");
    let body: serde_json::Value = serde_json::from_slice(&patches[0].body).unwrap();
    assert_eq!(body["metadata"]["uid"], UID);
}

#[test]
fn events_have_upstreams_shape_and_are_there_when_the_record_returns() {
    let bed = tls();
    bed.api.add_fault(fault("POST", "/events", 1, FaultKind::Delay(Duration::from_millis(300))));
    bed.cluster.record(&status_record(), soon(5)).unwrap();
    let events = bed.api.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].component, "multus");
    assert_eq!(events[0].reason, "AddedInterface");
    assert_eq!(events[0].event_type, "Normal");
    assert_eq!(events[0].about, "Pod ns/a");
    assert_eq!(events[0].about_uid, UID);
}

#[test]
fn events_without_a_status_are_delivered() {
    let bed = tls();
    bed.cluster.record(&Record { status: None, ..status_record() }, soon(5)).unwrap();
    assert_eq!(bed.api.events().len(), 1);
    assert!(bed.api.annotation("ns", "a", STATUS_ANNOTATION).is_none());
}

#[test]
fn an_event_that_fails_does_not_fail_the_record() {
    let bed = tls();
    bed.api.add_fault(fault("POST", "/events", 99, status(403)));
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
}

#[test]
fn without_the_right_to_patch_the_whole_object_is_put() {
    let bed = tls();
    bed.api.add_pod(serde_json::json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": UID},
        "spec": {"newer": {"field": [1, 2.5, null]}}, "unknown": true,
    }));
    bed.api.forbid_patch(true);
    let before = bed.api.pod("ns", "a").unwrap();
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
    assert_eq!(bed.api.annotation("ns", "a", STATUS_ANNOTATION), status_record().status);
    let put = bed.api.requests().into_iter().find(|request| request.method == "PUT").unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&put.body).unwrap();
    assert_eq!(sent["spec"], before["spec"]);
    assert_eq!(sent["unknown"], true);
    bed.api.clear_requests();
    bed.cluster.record(&Record { events: Vec::new(), ..status_record() }, soon(5)).unwrap();
    assert!(bed.api.requests().iter().all(|request| request.method != "PATCH"), "not asked a second time");

    // A role that allows the other one alone.
    bed.api.forbid_patch(false);
    bed.api.add_fault(fault("PUT", "/status", usize::MAX, status(403)));
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
}

/// Admission may refuse any write to one pod's status, by whatever verb.
#[test]
fn what_is_refused_by_patch_and_by_put_says_nothing_about_the_role() {
    let bed = tls();
    for method in ["PATCH", "PUT"] {
        bed.api.add_fault(fault(method, "/status", 1, status(403)));
    }
    let error = bed.cluster.record(&status_record(), soon(5)).unwrap_err().to_string();
    assert!(error.contains("the server says no"), "{error}");
    bed.api.clear_requests();
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
    assert!(bed.api.requests().iter().all(|request| request.method != "PUT"), "the next is patched");
}

#[test]
fn a_conflict_on_the_put_is_tried_on_a_fresh_get() {
    let bed = tls();
    bed.api.forbid_patch(true);
    bed.api.add_fault(fault("PUT", "/status", 2, status(409)));
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::Written);
    let puts = bed.api.requests().iter().filter(|request| request.method == "PUT").count();
    assert_eq!(puts, 3);
}

#[test]
fn a_record_for_a_pod_that_is_gone_or_replaced_writes_nothing() {
    for forbid in [false, true] {
        let bed = tls();
        bed.api.forbid_patch(forbid);
        bed.api.add_pod_with("ns", "a", "uid-2", &[]);
        assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::PodReplaced);
        assert!(bed.api.annotation("ns", "a", STATUS_ANNOTATION).is_none());
        bed.api.delete_pod("ns", "a");
        assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::PodGone);
    }
}

#[test]
fn a_uid_that_is_refused_as_immutable_is_a_replaced_pod() {
    let bed = tls();
    bed.api.add_pod_with("ns", "a", "uid-2", &[]);
    bed.api.add_fault(fault("PATCH", "/status", 1, status(422)));
    assert_eq!(bed.cluster.record(&status_record(), soon(5)).unwrap(), Recorded::PodReplaced);
}

#[test]
fn a_patch_that_is_invalid_for_another_reason_is_an_error() {
    let bed = tls();
    bed.api.add_fault(fault("PATCH", "/status", 9, status(422)));
    let error = bed.cluster.record(&status_record(), soon(5)).unwrap_err().to_string();
    assert!(error.contains("the server says no"), "{error}");
}

#[test]
fn a_record_ends_at_its_deadline() {
    let bed = tls();
    bed.api.set_delay(Duration::from_secs(20));
    let started = Instant::now();
    assert!(matches!(bed.cluster.record(&status_record(), soon(1)), Err(ClusterError::Unavailable { .. })));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_garbage_answer_is_an_error_and_a_garbage_nad_is_that_nads() {
    let bed = tls();
    for body in ["", "[]", "{\"metadata\":7}", "{\"spec\":{\"config\":[1]}}", "\u{0}"] {
        bed.api.add_fault(fault("GET", "network-attachment", 1, FaultKind::Garbage(body.to_owned())));
        let nads = vec![NadRef::new("ns", "net1")];
        let answer = bed.cluster.lookup(&Query { pod: None, nads, deadline: soon(5) }).unwrap();
        assert!(
            matches!(answer.nads[&NadRef::new("ns", "net1")], NadLookup::Failed(_)),
            "{body:?}: {answer:?}"
        );
    }
    bed.api.add_fault(fault("GET", "/pods/a", 1, FaultKind::Garbage("{\"metadata\":[[[[".to_owned())));
    assert!(bed.cluster.lookup(&query(&[], 5)).is_err());
}

#[test]
fn no_kubeconfig_outside_a_cluster_is_no_cluster() {
    assert!(std::env::var_os("KUBERNETES_SERVICE_HOST").is_none(), "these tests do not run in a pod");
    assert!(KubeCluster::connect("").unwrap().is_none());
    let error = KubeCluster::connect("/does/not/exist").unwrap_err().to_string();
    assert!(error.contains("/does/not/exist"), "{error}");
    assert!(!Path::new("/does/not/exist").exists());
}
