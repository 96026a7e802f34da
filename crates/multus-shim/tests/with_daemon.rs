//! The shim as a program with the daemon's real server, caches and queue behind the socket, and an API server that has faults.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use std::sync::Arc;
use std::time::Duration;

use daemon::{EventMode, Options, Running, STALENESS_BOUND, Settings};
use kube_cluster::{Kubelet, Source};
use node::{Node, annotated, second};
use plan::STATUS_ANNOTATION;
use serde_json::{Value, json};
use testbed::apiserver::FakeApi;
use testbed::wait::until;

const LONG: Duration = Duration::from_secs(30);

struct Bed {
    node: Node,
    api: FakeApi,
}

impl Bed {
    fn new() -> Self {
        let (node, api) = (Node::new(), FakeApi::plain().unwrap());
        api.write_kubeconfig(&node.path("kubeconfig")).unwrap();
        api.add_nad_with("test", "lan", &second().to_string());
        api.add_pod(json!({
            "metadata": {"name": "pod", "namespace": "test", "uid": "uid1", "annotations": {plan::NETWORKS_ANNOTATION: "lan"}},
            "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
        }));
        Self { node, api }
    }

    /// A daemon that answers lookups.
    fn daemon(&self) -> Running {
        let settings = Settings {
            source: Source::Kubeconfig(self.node.path("kubeconfig")),
            kube: Options {
                node: Some("node1".to_owned()),
                spool: self.node.path("run/spool"),
                events: EventMode::Each,
                staleness_bound: STALENESS_BOUND,
                kubelet: Kubelet::default(),
            },
            socket_dir: self.node.path("run"),
            cni_dir: self.node.path("cni"),
            calls_at_once: None,
            metrics: None,
        };
        let running = Running::start(settings, Arc::new(engine::Silent)).unwrap();
        until("the daemon", LONG, || (running.is_serving() && running.was_ready()).then_some(())).unwrap();
        running
    }

    fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.api.annotation("test", "pod", STATUS_ANNOTATION)?).ok()
    }

    fn add(&self, networks: &str) -> node::Ended {
        self.node.call("ADD", &self.node.netconf(annotated(networks)))
    }

    fn del(&self) {
        assert_eq!(self.node.call("DEL", &self.node.netconf(json!({}))).code, Some(0));
    }
}

#[test]
fn a_pod_s_networks_status_and_events_reach_the_api_server() {
    let bed = Bed::new();
    let daemon = bed.daemon();
    bed.add("lan").result();
    let status = bed.status().unwrap();
    assert_eq!((&status[0]["default"], &status[1]["name"]), (&json!(true), &json!("test/lan")));
    until("the events", LONG, || (bed.api.events().len() == 2).then_some(())).unwrap();
    let gets = bed
        .api
        .requests()
        .into_iter()
        .filter(|request| request.method == "GET" && request.path.ends_with("/pods/pod"));
    assert_eq!(gets.count(), 0, "no pod is asked for");
    bed.del();
    daemon.stop().unwrap();
}

#[test]
fn a_plain_pod_is_recorded_after_it_has_started_and_also_by_a_later_daemon() {
    let bed = Bed::new();
    bed.add("").result();
    assert_eq!((bed.status(), bed.node.spooled().len()), (None, 1));
    let daemon = bed.daemon();
    until("the status", LONG, || bed.status()).unwrap();
    until("the spool to be empty", LONG, || bed.node.spooled().is_empty().then_some(())).unwrap();
    bed.del();
    daemon.stop().unwrap();
}

#[test]
fn while_the_api_server_is_away_networks_come_from_the_cache_and_the_status_later() {
    let mut bed = Bed::new();
    let daemon = bed.daemon();
    bed.api.refuse();
    bed.add("lan").result();
    assert_eq!(bed.node.calls(), ["ADD primary eth0", "ADD second net1"]);
    assert_eq!(bed.node.spooled(), ["sandbox1"]);
    bed.api.resume().unwrap();
    let status = until("the status", LONG, || bed.status()).unwrap();
    assert_eq!(status[1]["name"], "test/lan");
    bed.del();
    daemon.stop().unwrap();
}

#[test]
fn a_daemon_that_is_restarted_during_an_add_is_waited_for() {
    let bed = Bed::new();
    bed.daemon().stop().unwrap();
    std::thread::scope(|scope| {
        let add = scope.spawn(|| bed.add("lan"));
        let daemon = bed.daemon();
        add.join().unwrap().result();
        daemon.stop().unwrap();
    });
    assert_eq!(bed.status().unwrap()[1]["name"], "test/lan");
}

#[test]
fn a_network_made_a_moment_ago_and_one_that_does_not_exist() {
    let bed = Bed::new();
    let daemon = bed.daemon();
    bed.api.add_nad_with("test", "new", &second().to_string());
    bed.add("new").result();
    bed.del();
    let (_, text) = bed.add("none").error();
    assert!(
        text.contains("cannot find a network-attachment-definition (none) in namespace (test)"),
        "{text}"
    );
    until("the event", LONG, || {
        bed.api.events().iter().any(|event| event.reason == "NoNetworkFound").then_some(())
    })
    .unwrap();
    daemon.stop().unwrap();
}
