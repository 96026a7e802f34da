//! List and watch against a real API server: what the caches of the daemon, and its look at its own DaemonSet, stand on.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use e2e::World;
use kube_cluster::kubeconfig::{Access, Credentials};
use kube_cluster::watch::{Event, Watch, Watched};
use kube_cluster::{Error, Source};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

const NADS: &str = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions";
/// A server that stops without a word is noticed by pings.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster without nodes, from within its network.
fn world() -> World {
    let world = World::up("watch", |spec| spec);
    let network = File::open(format!("/proc/{}/ns/net", world.cluster().control_plane().pid())).unwrap();
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    let crd = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../charts/multus-crds/crds/network-attachment-definitions.yaml"
    );
    world.kubectl(&["apply", "-f", crd]).unwrap();
    world
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/network-attachment-definitions.k8s.cni.cncf.io",
        ])
        .unwrap();
    world
}

fn nad(world: &World, name: &str, config: &str) {
    let nad = json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": "default", "name": name}, "spec": {"config": config},
    });
    world.apply(&nad.to_string()).unwrap();
}

fn delete(world: &World, name: &str) {
    world.kubectl(&["delete", "network-attachment-definitions.k8s.cni.cncf.io", name]).unwrap();
}

fn daemon_set(world: &World, name: &str) {
    let daemon_set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"namespace": "default", "name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    world.apply(&daemon_set.to_string()).unwrap();
}

fn admin(world: &World) -> PathBuf {
    world.cluster().dir().join("kubeconfig")
}

/// The admin's way to the API server, with a service account's token in place of the admin's certificate.
fn as_service_account(world: &World, name: &str) -> Source {
    let token = world.kubectl(&["create", "token", name]).unwrap();
    let credentials = Credentials::Token(token.trim().to_owned());
    Source::Fixed(Access { credentials, certificate: None, ..Access::read(&admin(world)).unwrap() })
}

fn next(watch: &Watch<Value>) -> String {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    match watch.next_within(PATIENCE).expect("an event") {
        Event::Listing => "listing".to_owned(),
        Event::Found(object) => format!("found {}", name(&object)),
        Event::Gone(object) => format!("gone {}", name(&object)),
        Event::Complete => "complete".to_owned(),
        Event::Current => "current".to_owned(),
        Event::PassedOver(reason) => format!("passed over: {reason}"),
        Event::Lost(error) => format!("lost: {error}"),
    }
}

/// Bookmarks come when the server likes.
fn expect(watch: &Watch<Value>, events: &[&str]) {
    for event in events {
        let mut told = next(watch);
        while told == "current" && *event != "current" {
            told = next(watch);
        }
        assert_eq!(told, *event);
    }
}

#[test]
fn a_real_api_server_is_listed_and_watched_through_its_silence_and_within_a_role() {
    let world = world();
    nad(&world, "one", "{}");
    nad(&world, "two", "{}");
    let watched = Watched::all(NADS, "network-attachment-definitions");
    let nads: Watch<Value> = Watch::start(Source::Kubeconfig(admin(&world)), watched.clone()).unwrap();
    expect(&nads, &["listing", "found one", "found two", "complete", "current"]);
    nad(&world, "three", "{}");
    nad(&world, "one", "{\"changed\":true}");
    delete(&world, "two");
    expect(&nads, &["found three", "found one", "gone two"]);

    let metadata: Watch<Value> =
        Watch::start(Source::Kubeconfig(admin(&world)), watched.clone().metadata_only()).unwrap();
    assert_eq!(next(&metadata), "listing");
    let Some(Event::Found(object)) = metadata.next_within(PATIENCE) else { panic!("an object") };
    assert_eq!((&object["metadata"]["name"], &object["spec"]), (&json!("one"), &Value::Null));

    // A role that knows one name is enough to watch one object, and for nothing else.
    daemon_set(&world, "own");
    daemon_set(&world, "other");
    world.kubectl(&["create", "serviceaccount", "limited"]).unwrap();
    let verbs = "--verb=get,list,watch";
    world
        .kubectl(&["create", "role", "own", verbs, "--resource=daemonsets.apps", "--resource-name=own"])
        .unwrap();
    world
        .kubectl(&["create", "rolebinding", "own", "--role=own", "--serviceaccount=default:limited"])
        .unwrap();
    let limited = || as_service_account(&world, "limited");
    let path = "/apis/apps/v1/namespaces/default/daemonsets";
    let own: Watch<Value> = Watch::start(limited(), Watched::object(path, "DaemonSet own", "own")).unwrap();
    expect(&own, &["listing", "found own", "complete", "current"]);
    let all: Watch<Value> = Watch::start(limited(), Watched::all(path, "daemonsets")).unwrap();
    assert_eq!(next(&all), "listing");
    assert!(matches!(all.next_within(PATIENCE), Some(Event::Lost(Error::Denied { code: 403, .. }))));
    world.kubectl(&["delete", "daemonset", "own", "other", "--cascade=orphan"]).unwrap();
    loop {
        let told = next(&own);
        // It is told that it is being deleted before it is told that it is gone.
        assert!(matches!(told.as_str(), "found own" | "current" | "gone own"), "{told}");
        if told == "gone own" {
            break;
        }
    }

    // The server stops without a word, its connections open: only pings tell.
    world.cluster().control_plane().signal("kube-apiserver", "STOP").unwrap();
    let mut told = next(&nads);
    while told == "current" {
        told = next(&nads);
    }
    assert!(told.starts_with("lost: "), "{told}");
    world.cluster().control_plane().signal("kube-apiserver", "CONT").unwrap();
    nad(&world, "after", "{}");
    loop {
        let told = next(&nads);
        assert!(!told.starts_with("found") || told == "found after", "nothing is listed again: {told}");
        if told == "found after" {
            break;
        }
    }
}
