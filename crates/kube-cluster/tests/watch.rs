//! List and watch against an API server that ends, forgets, refuses and disappears.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use kube_cluster::watch::{Event, Watch, Watched};
use kube_cluster::{Error, Source};
use serde::Deserialize;
use serde_json::json;
use testbed::apiserver::{FakeApi, Fault, FaultKind};

const NADS: &str = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";

#[derive(Debug, Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

struct Bed {
    api: FakeApi,
    _dir: tempfile::TempDir,
    source: Source,
}

fn bed(api: FakeApi) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let source = Source::Kubeconfig(api.write_kubeconfig(&dir.path().join("kubeconfig")).unwrap());
    Bed { api, _dir: dir, source }
}

/// What was told, in words that can be compared.
fn next(watch: &Watch<Object>) -> String {
    match watch.next_within(Duration::from_secs(30)).expect("an event") {
        Event::Listing => "listing".to_owned(),
        Event::Found(object) => format!("found {}", object.metadata.name),
        Event::Gone(object) => format!("gone {}", object.metadata.name),
        Event::Complete => "complete".to_owned(),
        Event::Current => "current".to_owned(),
        Event::PassedOver(reason) => format!("passed over: {reason}"),
        Event::Lost(error) => format!("lost: {error}"),
    }
}

fn nads(bed: &Bed) -> Watch<Object> {
    Watch::start(bed.source.clone(), Watched::all(NADS, "network-attachment-definitions")).unwrap()
}

fn expect(watch: &Watch<Object>, events: &[&str]) {
    for event in events {
        assert_eq!(next(watch), *event);
    }
}

/// Passes over what a fault causes, until `event` comes.
fn until(watch: &Watch<Object>, event: &str) {
    for _ in 0..50 {
        if next(watch) == event {
            return;
        }
    }
    panic!("{event:?} did not come");
}

fn watches(bed: &Bed) -> usize {
    bed.api.requests().iter().filter(|request| request.query.starts_with("watch=true")).count()
}

fn lists(bed: &Bed) -> usize {
    bed.api.requests().iter().filter(|request| request.query.starts_with("limit=")).count()
}

fn fault(path: &str, times: usize, kind: FaultKind) -> Fault {
    Fault { method: "GET".to_owned(), path: path.to_owned(), times, kind }
}

#[test]
fn what_there_is_and_what_changes_is_told_over_tls_and_over_plain_http() {
    for api in [FakeApi::tls().unwrap(), FakeApi::plain().unwrap()] {
        let bed = bed(api);
        bed.api.add_nad_with("a", "one", "{}");
        let watch = nads(&bed);
        expect(&watch, &["listing", "found one", "complete", "current"]);
        bed.api.add_nad_with("b", "two", "{}");
        bed.api.add_nad_with("a", "one", "{\"changed\":true}");
        bed.api.delete_nad("b", "two");
        bed.api.bookmark();
        expect(&watch, &["found two", "found one", "gone two", "current"]);
    }
}

#[test]
fn a_list_of_many_pages_is_complete_only_after_the_last() {
    let bed = bed(FakeApi::tls().unwrap());
    for number in 0..1201 {
        bed.api.add_nad_with("a", &format!("n{number:04}"), "{}");
    }
    let watch = nads(&bed);
    assert_eq!(next(&watch), "listing");
    for number in 0..1201 {
        assert_eq!(next(&watch), format!("found n{number:04}"));
    }
    expect(&watch, &["complete", "current"]);
    assert_eq!(lists(&bed), 3);
    let first = &bed.api.requests()[0];
    assert!(
        first.query.contains("resourceVersion=0"),
        "the first list need not come from storage: {}",
        first.query
    );
}

#[test]
fn a_watch_that_the_server_ends_goes_on_where_it_was() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_nad_with("a", "one", "{}");
    let watch = nads(&bed);
    expect(&watch, &["listing", "found one", "complete", "current"]);
    bed.api.add_nad_with("a", "two", "{}");
    expect(&watch, &["found two"]);
    bed.api.end_watches();
    bed.api.delete_nad("a", "one");
    expect(&watch, &["current", "gone one"]);
    assert_eq!((lists(&bed), watches(&bed)), (1, 2));
    let again = bed.api.requests().pop().unwrap();
    assert_eq!(again.query_values()["resourceVersion"], "3", "{}", again.query);
}

#[test]
fn a_version_that_the_server_has_forgotten_means_listing_from_storage() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_nad_with("a", "one", "{}");
    let watch = nads(&bed);
    expect(&watch, &["listing", "found one", "complete", "current"]);
    bed.api.delete_nad("a", "one");
    bed.api.expire_watches();
    until(&watch, "listing");
    expect(&watch, &["complete", "current"]);
    let list = bed.api.requests().into_iter().rfind(|request| request.query.starts_with("limit=")).unwrap();
    assert!(!list.query.contains("resourceVersion"), "{}", list.query);
}

#[test]
fn an_api_server_that_is_away_is_told_and_waited_for() {
    let mut bed = bed(FakeApi::tls().unwrap());
    let watch = nads(&bed);
    expect(&watch, &["listing", "complete", "current"]);
    bed.api.refuse();
    let Some(Event::Lost(Error::Unavailable { .. })) = watch.next_within(Duration::from_secs(30)) else {
        panic!("a lost connection is unavailability")
    };
    bed.api.add_nad_with("a", "meanwhile", "{}");
    bed.api.resume().unwrap();
    until(&watch, "current");
    expect(&watch, &["found meanwhile"]);
    assert_eq!(lists(&bed), 1, "nothing was forgotten, so nothing is listed again");
}

#[test]
fn being_refused_is_told_apart_from_being_away() {
    let bed = bed(FakeApi::tls().unwrap());
    for (code, denied) in [(401, true), (403, true), (404, false), (503, false)] {
        let kind = FaultKind::Status(code, "Reason".to_owned(), "the server says no".to_owned());
        bed.api.add_fault(fault("definitions", 1, kind));
        let watch = nads(&bed);
        assert_eq!(next(&watch), "listing");
        let Some(Event::Lost(error)) = watch.next_within(Duration::from_secs(30)) else { panic!("{code}") };
        assert!(error.to_string().contains("list network-attachment-definitions"), "{error}");
        assert!(error.to_string().contains("the server says no"), "{error}");
        match code {
            503 => assert!(matches!(error, Error::Unavailable { .. }), "{error:?}"),
            _ => assert_eq!(error.code(), Some(code)),
        }
        assert_eq!(matches!(error, Error::Denied { .. }), denied, "{error:?}");
        until(&watch, "current");
    }
}

#[test]
fn a_new_token_in_the_kubeconfig_is_used() {
    let bed = bed(FakeApi::tls().unwrap());
    let watch = nads(&bed);
    expect(&watch, &["listing", "complete", "current"]);
    bed.api.require_token(Some("new-token"));
    bed.api.end_watches();
    until(&watch, "lost: watch network-attachment-definitions: Unauthorized");
    let Source::Kubeconfig(path) = &bed.source else { unreachable!() };
    let text = std::fs::read_to_string(path).unwrap().replace("testbed-token", "new-token");
    std::fs::write(path, text).unwrap();
    until(&watch, "current");
}

#[test]
fn one_object_is_watched_by_its_name_and_read_from_storage() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_daemon_set(json!({"metadata": {"namespace": "sys", "name": "other"}}));
    let watched = Watched::object("/apis/apps/v1/namespaces/sys/daemonsets", "DaemonSet sys/own", "own");
    let watch: Watch<Object> = Watch::start(bed.source.clone(), watched).unwrap();
    expect(&watch, &["listing", "complete", "current"]);
    bed.api.add_daemon_set(json!({"metadata": {"namespace": "sys", "name": "own"}}));
    bed.api.delete_daemon_set("sys", "other");
    bed.api.delete_daemon_set("sys", "own");
    expect(&watch, &["found own", "gone own"]);
    let requests = bed.api.requests();
    assert_eq!(requests[0].query, "limit=500&fieldSelector=metadata.name%3Down");
    assert!(requests[1].query.contains("fieldSelector=metadata.name%3Down"), "{}", requests[1].query);
}

#[test]
fn only_metadata_is_asked_for_where_that_is_enough() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_pod(json!({"metadata": {"namespace": "a", "name": "here"}, "spec": {"nodeName": "n1"}}));
    bed.api.add_pod(json!({"metadata": {"namespace": "a", "name": "there"}, "spec": {"nodeName": "n2"}}));
    let watched = Watched::all("/api/v1/pods", "pods").selected("spec.nodeName=n1").metadata_only();
    let watch: Watch<serde_json::Value> = Watch::start(bed.source.clone(), watched).unwrap();
    let mut found = Vec::new();
    loop {
        match watch.next_within(Duration::from_secs(30)).unwrap() {
            Event::Found(object) => found.push(object),
            Event::Current => break,
            _ => {}
        }
    }
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["metadata"]["name"], &found[0]["spec"]), (&json!("here"), &json!(null)));
}

#[test]
fn an_answer_that_is_no_list_does_not_empty_anything() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_nad_with("a", "one", "{}");
    for text in ["{}", "<html>captive portal</html>", r#"{"kind":"Status","metadata":{},"code":403}"#] {
        bed.api.add_fault(fault("definitions", 1, FaultKind::Garbage(text.to_owned())));
        let watch = nads(&bed);
        assert_eq!(next(&watch), "listing");
        assert!(
            next(&watch).starts_with("lost: list network-attachment-definitions: the answer cannot be read")
        );
        expect(&watch, &["listing", "found one", "complete", "current"]);
    }
    bed.api.add_fault(fault("definitions", 1, FaultKind::Truncate));
    let watch = nads(&bed);
    until(&watch, "complete");
}

#[test]
fn an_object_that_is_too_large_is_passed_over_and_all_listed_again() {
    let bed = bed(FakeApi::plain().unwrap());
    bed.api.add_nad_with("a", "one", "{}");
    let watch = nads(&bed);
    expect(&watch, &["listing", "found one", "complete", "current"]);
    bed.api.add_nad_with("a", "huge", &"x".repeat(4 << 20));
    bed.api.add_nad_with("a", "small", "{}");
    let told = next(&watch);
    assert!(told.starts_with("passed over: a change of 41"), "{told}");
    assert_eq!(next(&watch), "listing");
    let told = next(&watch);
    assert!(told.starts_with("passed over: an object of 41"), "{told}");
    expect(&watch, &["found one", "found small", "complete", "current"]);
}

#[test]
fn a_change_that_cannot_be_read_means_listing_again() {
    let bed = bed(FakeApi::tls().unwrap());
    bed.api.add_nad_with("a", "one", "{}");
    let watch = nads(&bed);
    expect(&watch, &["listing", "found one", "complete", "current"]);
    bed.api.tell_watches(
        "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":7,\"resourceVersion\":\"3\"}}}\n",
    );
    assert!(next(&watch).starts_with("passed over: an object cannot be read"));
    expect(&watch, &["listing", "found one", "complete", "current"]);
}

#[test]
fn an_error_in_the_middle_of_a_watch_is_told_as_what_it_is() {
    let bed = bed(FakeApi::tls().unwrap());
    let watch = nads(&bed);
    expect(&watch, &["listing", "complete", "current"]);
    let error =
        |code: u16| format!("{{\"type\":\"ERROR\",\"object\":{{\"code\":{code},\"message\":\"etcd\"}}}}\n");
    bed.api.tell_watches(&error(500));
    let Some(Event::Lost(Error::Unavailable { .. })) = watch.next_within(Duration::from_secs(30)) else {
        panic!("a server that cannot is unavailable")
    };
    bed.api.expire_watches();
    until(&watch, "complete");
    expect(&watch, &["current"]);
    bed.api.tell_watches(&error(403));
    until(&watch, "lost: watch network-attachment-definitions: etcd");
}

#[test]
fn a_line_that_is_no_event_means_listing_again() {
    let bed = bed(FakeApi::tls().unwrap());
    let watch = nads(&bed);
    expect(&watch, &["listing", "complete", "current"]);
    bed.api.tell_watches("nonsense\n");
    assert!(next(&watch).starts_with("passed over: expected"));
    expect(&watch, &["listing", "complete", "current"]);
    bed.api.add_nad_with("a", "one", "{}");
    until(&watch, "found one");
}

#[test]
fn a_watch_that_nobody_reads_ends_when_it_is_dropped() {
    let bed = bed(FakeApi::tls().unwrap());
    for number in 0..500 {
        bed.api.add_nad_with("a", &format!("n{number}"), "{}");
    }
    let watch = nads(&bed);
    expect(&watch, &["listing"]);
    drop(watch);
}
