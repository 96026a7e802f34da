use std::fmt::Write;

use engine::{PodLookup, PodRef};
use kube_cluster::Error;
use kube_cluster::watch::Event;
use kube_cluster::wire::{Definition, Object};
use plan::NadRef;
use serde_json::{Value, json};

use super::*;

fn nad(name: &str, config: &str) -> Definition {
    serde_json::from_value(json!({
        "metadata": {
            "namespace": "a", "name": name,
            "annotations": {"k8s.v1.cni.cncf.io/resourceName": "r/x", "kubectl.kubernetes.io/last-applied": "long"},
        },
        "spec": {"config": config},
    }))
    .unwrap()
}

fn config(nads: &Nads, name: &str) -> Option<String> {
    nads.get(&NadRef::new("a", name)).map(|nad| nad.config)
}

fn listed(nads: Vec<Definition>) -> Nads {
    let mut cache = Nads::default();
    cache.take(Event::Listing);
    nads.into_iter().for_each(|nad| cache.take(Event::Found(nad)));
    cache.take(Event::Complete);
    cache
}

fn away() -> Error {
    Error::Unavailable { attempt: "watch".to_owned(), reason: "connection refused".to_owned(), away: true }
}

fn refused(code: u16) -> Error {
    Error::Refused { attempt: "list".to_owned(), code, message: "no".to_owned() }
}

#[test]
fn a_nad_is_held_with_what_a_plan_needs_of_it() {
    let cache = listed(vec![nad("n", "{}")]);
    let found = cache.get(&NadRef::new("a", "n")).unwrap();
    assert_eq!((found.config.as_str(), found.resource_name.as_deref()), ("{}", Some("r/x")));
    assert_eq!(found.annotations.len(), 1);
    assert!(cache.get(&NadRef::new("b", "n")).is_none());
}

#[test]
fn changes_and_deletions_are_followed() {
    let mut cache = listed(vec![nad("n", "1"), nad("m", "1")]);
    cache.take(Event::Found(nad("n", "2")));
    cache.take(Event::Gone(nad("m", "1")));
    assert_eq!((config(&cache, "n").as_deref(), config(&cache, "m")), (Some("2"), None));
    assert_eq!(cache.len(), 1);
}

#[test]
fn what_a_new_list_does_not_name_goes_when_it_is_complete_and_not_before() {
    let mut cache = listed(vec![nad("old", "1"), nad("kept", "1")]);
    cache.take(Event::Lost(away()));
    cache.take(Event::Listing);
    cache.take(Event::Found(nad("kept", "1")));
    assert_eq!(cache.len(), 2, "a list that breaks off takes nothing away");
    cache.take(Event::Lost(away()));
    cache.take(Event::Listing);
    cache.take(Event::Found(nad("kept", "2")));
    cache.take(Event::Complete);
    assert_eq!((config(&cache, "kept").as_deref(), config(&cache, "old")), (Some("2"), None));
}

#[test]
fn a_cache_is_usable_from_its_first_complete_list_on_and_for_a_bounded_time_without_a_server() {
    let mut cache = Nads::default();
    let hour = Duration::from_secs(3600);
    assert!(!cache.freshness().usable(hour));
    cache.take(Event::Lost(away()));
    assert_eq!(cache.freshness().trouble(), Some("watch: connection refused"));
    cache.take(Event::Listing);
    assert!(!cache.freshness().usable(hour));
    cache.take(Event::Current);
    assert!(!cache.freshness().usable(hour), "a watch without a list says nothing");
    cache.take(Event::Complete);
    assert!(cache.freshness().usable(Duration::ZERO));
    cache.take(Event::Lost(away()));
    assert!(cache.freshness().usable(hour));
    assert!(!cache.freshness().usable(Duration::ZERO));
    cache.take(Event::Lost(away()));
    let age = cache.freshness().age();
    assert!(!age.is_zero(), "the first loss counts");
    cache.take(Event::Current);
    assert!(cache.freshness().usable(Duration::ZERO));
}

#[test]
fn a_cluster_without_the_kind_has_no_nads() {
    let mut cache = listed(vec![nad("n", "1")]);
    cache.take(Event::Lost(refused(404)));
    assert!(cache.len() == 0 && cache.freshness().usable(Duration::ZERO));
    cache.take(Event::Lost(refused(403)));
    assert!(!cache.freshness().usable(Duration::ZERO));
}

#[test]
fn large_ones_and_too_many_are_left_out_and_an_old_one_is_not_told_in_their_place() {
    let mut cache = listed(vec![nad("n", "small")]);
    cache.take(Event::Found(nad("n", &"x".repeat(100 << 10))));
    assert_eq!((config(&cache, "n"), cache.left_out()), (None, 1));
    let half = "x".repeat(32 << 10);
    let mut name = String::new();
    for number in 0..2000 {
        name.clear();
        write!(name, "m{number}").unwrap();
        cache.take(Event::Found(nad(&name, &half)));
    }
    assert!((400..520).contains(&cache.len()), "{}", cache.len());
    assert_eq!(cache.left_out() + cache.len(), 2001);
    for number in 0..2000 {
        cache.take(Event::Gone(nad(&format!("m{number}"), "")));
    }
    assert!(cache.len() == 0);
    cache.take(Event::Found(nad("again", &half)));
    assert_eq!(cache.len(), 1, "room that became free is used");
}

fn pod(name: &str, uid: &str, annotations: Value) -> Object {
    serde_json::from_value(
        json!({"metadata": {"namespace": "a", "name": name, "uid": uid, "annotations": annotations}}),
    )
    .unwrap()
}

fn pod_ref(name: &str, uid: &str) -> PodRef {
    PodRef { namespace: "a".to_owned(), name: name.to_owned(), uid: Some(uid.to_owned()) }
}

fn lacking(pods: &Pods) -> Vec<(String, Vec<String>)> {
    pods.lacking(Instant::now()).into_iter().map(|(pod, networks)| (pod.name, networks)).collect()
}

#[test]
fn a_pod_is_found_by_its_uid() {
    let mut pods = Pods::default();
    pods.take(Event::Found(pod("p", "u1", json!({"k8s.v1.cni.cncf.io/networks": "n"}))));
    assert!(matches!(pods.get(&pod_ref("p", "u1")), PodLookup::Found(found) if found.annotations.len() == 1));
    assert!(matches!(pods.get(&pod_ref("p", "u2")), PodLookup::Replaced { found_uid } if found_uid == "u1"));
    assert!(matches!(pods.get(&pod_ref("q", "u1")), PodLookup::Missing));
    assert!(matches!(pods.get(&PodRef { uid: None, ..pod_ref("p", "") }), PodLookup::Found(_)));
    let mirror = json!({"kubernetes.io/config.source": "file"});
    pods.take(Event::Found(pod("s", "mirror", mirror)));
    assert!(matches!(pods.get(&pod_ref("s", "hash")), PodLookup::Found(found) if found.is_static));
}

#[test]
fn a_pod_whose_status_names_its_networks_lacks_none() {
    let mut pods = Pods::default();
    let with = |status: &str| json!({"k8s.v1.cni.cncf.io/networks": "n, b/m", "k8s.v1.cni.cncf.io/network-status": status});
    pods.take(Event::Found(pod("whole", "1", with(r#"[{"name":"cbr0"},{"name":"a/n"},{"name":"b/m"}]"#))));
    pods.take(Event::Found(pod("plain", "2", json!({}))));
    pods.take(Event::Found(pod("broken", "3", json!({"k8s.v1.cni.cncf.io/networks": "[{"}))));
    assert!(lacking(&pods).is_empty());
    pods.take(Event::Found(pod("bare", "4", with(r#"[{"name":"cbr0"},{"name":"a/n"}]"#))));
    assert_eq!(lacking(&pods), [("bare".to_owned(), vec!["b/m".to_owned()])]);
    pods.take(Event::Found(pod("bare", "4", with("nonsense"))));
    assert_eq!(lacking(&pods), [("bare".to_owned(), vec!["a/n".to_owned(), "b/m".to_owned()])]);
    assert_eq!(pods.lacking_count(), 1);
}

#[test]
fn the_same_network_twice_is_lacking_when_it_was_attached_once() {
    let mut pods = Pods::default();
    let annotations = json!({"k8s.v1.cni.cncf.io/networks": "n,n", "k8s.v1.cni.cncf.io/network-status": r#"[{"name":"a/n"}]"#});
    pods.take(Event::Found(pod("p", "1", annotations)));
    assert_eq!(lacking(&pods), [("p".to_owned(), vec!["a/n".to_owned()])]);
}

#[test]
fn a_pods_owner_is_told_once_and_another_pod_of_its_name_has_its_own_time() {
    let mut pods = Pods::default();
    let wants = || json!({"k8s.v1.cni.cncf.io/networks": "n"});
    pods.take(Event::Found(pod("p", "1", wants())));
    let before = Instant::now();
    pods.told(&pod_ref("p", "other"));
    assert_eq!(lacking(&pods).len(), 1);
    pods.told(&pod_ref("p", "1"));
    pods.take(Event::Found(pod("p", "1", wants())));
    assert!(lacking(&pods).is_empty(), "an update of the pod does not make it untold");
    pods.take(Event::Found(pod("p", "2", wants())));
    assert_eq!(pods.lacking(before), []);
    assert_eq!(lacking(&pods).len(), 1);
    let mut leaving = pod("p", "2", wants());
    leaving.metadata.deletion = Some("2026-01-02T03:04:05Z".to_owned());
    pods.take(Event::Found(leaving));
    assert!(lacking(&pods).is_empty());
}

#[test]
fn memory_for_pods_is_bounded() {
    let mut pods = Pods::default();
    let large = json!({"k8s.v1.cni.cncf.io/x": "x".repeat(200 << 10)});
    for number in 0..100 {
        pods.take(Event::Found(pod(&format!("p{number}"), "1", large.clone())));
    }
    assert!(pods.len() <= 41, "{}", pods.len());
    pods.take(Event::Listing);
    pods.take(Event::Complete);
    for number in 0..5000 {
        pods.take(Event::Found(pod(&format!("p{number}"), "1", json!({}))));
    }
    assert_eq!(pods.len(), 4096);
    pods.take(Event::Gone(pod("p1", "1", json!({}))));
    assert_eq!(pods.len(), 4095);
}
