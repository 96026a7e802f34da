//! Lookups: from the caches, and live where a cache cannot know.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bed;

use std::time::{Duration, Instant};

use bed::{pod, query, ready, start, until};
use daemon::{Backend, STALENESS_BOUND};
use engine::{ClusterError, PodLookup};
use plan::{NadLookup, NadRef};
use testbed::apiserver::{FakeApi, Fault, FaultKind};

const CACHED: &str = "multus_lookups_total{object=\"networkattachmentdefinition\",source=\"cache\"}";
const LIVE: &str = "multus_lookups_total{object=\"networkattachmentdefinition\",source=\"api\"}";
const HELD: &str = "multus_cache_objects{object=\"networkattachmentdefinition\"}";

fn api() -> FakeApi {
    let api = FakeApi::tls().unwrap();
    api.add_nad_with("a", "net", "{\"type\":\"bridge\"}");
    api
}

fn config(found: &NadLookup) -> &str {
    match found {
        NadLookup::Found(nad) => &nad.config,
        other => panic!("{other:?}"),
    }
}

fn lookup(bed: &bed::Bed, query: engine::Query) -> Result<engine::Answer, ClusterError> {
    bed.runtime.block_on(bed.kube.lookup(query))
}

fn networks(name: &str, uid: &str) -> serde_json::Value {
    serde_json::json!({
        "metadata": {"namespace": "a", "name": name, "uid": uid,
                     "annotations": {"k8s.v1.cni.cncf.io/networks": "net"}},
        "spec": {"nodeName": "n1"},
    })
}

#[test]
fn a_pod_that_the_runtime_described_costs_no_request() {
    let bed = ready(api());
    let answer = lookup(&bed, query(None, &["net"], 5)).unwrap();
    assert!(matches!(answer.pod, PodLookup::NotAsked));
    assert_eq!(config(&answer.nads[&NadRef::new("a", "net")]), "{\"type\":\"bridge\"}");
    assert_eq!(bed.asked(), Vec::<String>::new());
    assert_eq!((bed.metric(CACHED), bed.metric(LIVE)), (1.0, 0.0));
}

#[test]
fn a_change_of_a_nad_is_seen() {
    let bed = ready(api());
    bed.api.add_nad_with("a", "net", "changed");
    until("the change", || {
        config(&lookup(&bed, query(None, &["net"], 5)).unwrap().nads[&NadRef::new("a", "net")]) == "changed"
    });
    assert_eq!(bed.asked(), Vec::<String>::new());
}

#[test]
fn a_nad_that_the_cache_does_not_hold_is_asked_for_before_it_is_missing() {
    let bed = ready(api());
    let large = "x".repeat(100 << 10);
    bed.api.add_nad_with("a", "large", &large);
    let answer = lookup(&bed, query(None, &["large", "none", "net"], 5)).unwrap();
    assert_eq!(config(&answer.nads[&NadRef::new("a", "large")]), large);
    let NadLookup::Missing(text) = &answer.nads[&NadRef::new("a", "none")] else { panic!("{answer:?}") };
    assert_eq!(text, "network-attachment-definitions.k8s.cni.cncf.io \"none\" not found");
    assert_eq!(bed.asked().len(), 2, "{:?}", bed.asked());
    assert_eq!((bed.metric(CACHED), bed.metric(LIVE)), (1.0, 2.0));
}

#[test]
fn before_the_first_list_lookups_are_live_and_the_daemon_is_not_ready() {
    let api = api();
    let never = FaultKind::Status(500, "InternalError".to_owned(), "etcd is down".to_owned());
    let definitions = "v1/network-attachment-definitions".to_owned();
    api.add_fault(Fault { method: "GET".to_owned(), path: definitions, times: usize::MAX, kind: never });
    let bed = start(api, |_| {});
    until("the reason", || bed.kube.ready().is_err_and(|why| why.contains("etcd is down")));
    let answer = lookup(&bed, query(None, &["net"], 5)).unwrap();
    assert_eq!(config(&answer.nads[&NadRef::new("a", "net")]), "{\"type\":\"bridge\"}");
    bed.api.clear_faults();
    bed.until_ready();
    assert!(bed.log.has("list network-attachment-definitions: etcd is down; the cache may be outdated"));
    until("the news", || bed.log.has("network-attachment-definitions: up to date again"));
}

#[test]
fn while_the_api_server_is_away_the_cache_serves_and_what_it_does_not_hold_is_unknown_not_missing() {
    let mut bed = ready(api());
    bed.api.refuse();
    until("the loss", || {
        bed.metric("multus_cache_age_seconds{object=\"networkattachmentdefinition\"}") > 0.0
    });
    let answer = lookup(&bed, query(None, &["net"], 5)).unwrap();
    assert_eq!(config(&answer.nads[&NadRef::new("a", "net")]), "{\"type\":\"bridge\"}");
    assert!(bed.kube.ready().is_ok());
    let error = lookup(&bed, query(None, &["none"], 1)).unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("the daemon's cache does not hold it and is"), "{error}");
}

#[test]
fn a_cache_that_is_older_than_the_bound_does_not_serve() {
    let mut bed = start(api(), |options| options.staleness_bound = Duration::ZERO);
    bed.until_ready();
    assert!(lookup(&bed, query(None, &["net"], 5)).is_ok());
    bed.api.refuse();
    until("the loss", || bed.kube.ready().is_err());
    assert!(matches!(lookup(&bed, query(None, &["net"], 1)).unwrap_err(), ClusterError::Unavailable { .. }));
    assert!(STALENESS_BOUND >= Duration::from_secs(60));
    bed.api.resume().unwrap();
    bed.until_ready();
    assert!(lookup(&bed, query(None, &["net"], 5)).is_ok());
}

#[test]
fn a_slow_api_server_slows_no_lookup_of_what_is_known() {
    let bed = ready(api());
    bed.api.set_delay(Duration::from_secs(5));
    let started = Instant::now();
    lookup(&bed, query(None, &["net"], 5)).unwrap();
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_cluster_without_the_kind_is_ready_and_its_networks_are_missing() {
    let api = api();
    let none = FaultKind::Status(
        404,
        "NotFound".to_owned(),
        "the server could not find the requested resource".to_owned(),
    );
    let group = "/apis/k8s.cni.cncf.io".to_owned();
    api.add_fault(Fault { method: "GET".to_owned(), path: group, times: usize::MAX, kind: none });
    let bed = ready(api);
    let answer = lookup(&bed, query(None, &["net"], 5)).unwrap();
    assert!(
        matches!(&answer.nads[&NadRef::new("a", "net")], NadLookup::Missing(text) if text.contains("(get "))
    );
}

#[test]
fn a_pod_that_the_runtime_did_not_describe_is_found_by_its_uid() {
    let api = api();
    api.add_pod(networks("p", "u1"));
    let bed = ready(api);
    let answer = lookup(&bed, query(Some(pod("p", "u1")), &["net"], 5)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(found) if found.annotations.len() == 1));
    assert_eq!(answer.nads.len(), 1);
    assert_eq!(bed.asked(), Vec::<String>::new());
}

#[test]
fn a_pod_that_is_on_its_way_to_the_cache_is_waited_for() {
    let api = api();
    api.add_pod(networks("p", "old"));
    let bed = ready(api);
    std::thread::scope(|scope| {
        let looked = scope.spawn(|| lookup(&bed, query(Some(pod("p", "new")), &[], 5)).unwrap());
        bed.api.add_pod(networks("p", "new"));
        assert!(
            matches!(looked.join().unwrap().pod, PodLookup::Found(found) if found.uid.as_deref() == Some("new"))
        );
    });
    assert_eq!(bed.asked(), Vec::<String>::new(), "the cache itself brought it");
}

#[test]
fn an_absent_pod_and_another_uid_are_believed_after_the_lag_and_one_live_get() {
    let api = api();
    api.add_pod(networks("p", "u1"));
    let bed = ready(api);
    let answer = lookup(&bed, query(Some(pod("p", "u2")), &[], 10)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Replaced { found_uid } if found_uid == "u1"));
    assert_eq!(bed.asked(), ["GET /api/v1/namespaces/a/pods/p"]);
    let answer = lookup(&bed, query(Some(pod("q", "u2")), &[], 10)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Missing));
    assert_eq!(bed.asked().len(), 2);
}

#[test]
fn a_pod_that_only_the_api_server_knows_is_found_by_the_live_get() {
    let bed = ready(api());
    let mut elsewhere = networks("p", "u1");
    elsewhere["spec"]["nodeName"] = "n2".into();
    bed.api.add_pod(elsewhere);
    let answer = lookup(&bed, query(Some(pod("p", "u1")), &[], 10)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
}

#[test]
fn without_a_node_name_no_pods_are_followed_and_they_are_asked_for() {
    let api = api();
    api.add_pod(networks("p", "u1"));
    let bed = start(api, |options| options.node = None);
    until("the caches", || bed.kube.ready().is_ok());
    let answer = lookup(&bed, query(Some(pod("p", "u1")), &[], 5)).unwrap();
    assert!(matches!(answer.pod, PodLookup::Found(_)));
    assert!(!bed.api.requests().iter().any(|request| request.path == "/api/v1/pods"));
}

#[test]
fn a_flood_of_large_nads_takes_a_bounded_amount_of_memory_and_harms_no_other_network() {
    let api = api();
    let large = "x".repeat(60 << 10);
    for number in 0..320 {
        api.add_nad_with("a", &format!("x{number}"), &large);
    }
    let bed = ready(api);
    assert!(bed.metric(HELD) < 300.0);
    assert!(bed.metric("multus_cache_left_out") > 30.0);
    let answer = lookup(&bed, query(None, &["net", "x319"], 5)).unwrap();
    assert_eq!(config(&answer.nads[&NadRef::new("a", "net")]), "{\"type\":\"bridge\"}");
    assert_eq!(config(&answer.nads[&NadRef::new("a", "x319")]), large);
}

#[test]
fn devices_come_from_the_checkpoint_where_no_kubelet_listens() {
    let bed = ready(api());
    let checkpoint = serde_json::json!({"Data": {"PodDeviceEntries": [
        {"PodUID": "u1", "ResourceName": "r/x", "DeviceIDs": {"0": ["dev1"]}}
    ]}});
    std::fs::write(bed.dir.path().join("checkpoint"), checkpoint.to_string()).unwrap();
    // A socket whose kubelet is gone.
    drop(std::os::unix::net::UnixListener::bind(bed.dir.path().join("kubelet.sock")).unwrap());
    let devices = bed.runtime.block_on(bed.kube.devices(pod("p", "u1"), bed::soon(5))).unwrap();
    assert_eq!(devices["r/x"], ["dev1"]);
}
