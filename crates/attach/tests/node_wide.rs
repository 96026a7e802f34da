//! GC, CHECK and housekeeping on a node with several sandboxes, some of them dead (C-37, C-48 to C-54, Q19).
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod node;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use attach::Error;
use libcni::{GcAttachment, Network};
use node::{Node, Pod, fails, single, soon};
use serde_json::{Value, json};

const NOTHING: [&str; 0] = [];

fn delete_namespace(pod: &Pod<'_>) {
    assert!(Command::new("ip").args(["netns", "delete", pod.netns.name()]).status().unwrap().success());
}

fn listed(ids: &[&str]) -> Vec<GcAttachment> {
    ids.iter().map(|id| GcAttachment { container_id: (*id).to_owned(), if_name: "eth0".to_owned() }).collect()
}

/// Pods share both networks of the node: bridge and host-local.
fn bridged<'n>(node: &'n Node, id: &str) -> Pod<'n> {
    let mut networks = [node.bridge("cluster", 1), node.bridge("net1", 2)];
    for network in &mut networks {
        network["cniVersion"] = json!("1.0.0");
    }
    let [cluster, net1] = networks;
    node.pod()
        .id(id)
        .default_network(cluster)
        .nad("net1", net1)
        .selects(json!([{"name": "net1", "namespace": "test"}]))
}

/// What a network's plugin hears in GC, as `container/interface`.
fn told(node: &Node, plugin_type: &str) -> Vec<String> {
    let calls = node.calls("GC");
    let mut mine = calls.iter().filter(|call| call.plugin_type == plugin_type);
    let config = mine.next().unwrap().config();
    assert!(mine.next().is_none(), "{plugin_type} was asked twice");
    let shown =
        |one: &Value| format!("{}/{}", one["containerID"].as_str().unwrap(), one["ifname"].as_str().unwrap());
    let mut told: Vec<_> =
        config["cni.dev/valid-attachments"].as_array().unwrap().iter().map(shown).collect();
    told.sort();
    told
}

fn modern(plugin_type: &str) -> Value {
    single(plugin_type, json!({"cniVersion": "1.1.0"}))
}

#[test]
fn c52_c54_gc_frees_what_is_dead_and_nothing_else() {
    let node = Node::new();
    let (listed_pod, unlisted, upstreams) =
        (bridged(&node, "listed"), bridged(&node, "unlisted"), bridged(&node, "upstreams"));
    let (dead, stale, dead_upstreams) =
        (bridged(&node, "dead"), bridged(&node, "stale"), bridged(&node, "deadup"));
    let all = [&listed_pod, &unlisted, &upstreams, &dead, &stale, &dead_upstreams];
    all.iter().for_each(|pod| drop(pod.add().unwrap()));
    for id in ["upstreams", "deadup"] {
        node.edit_journal(id, |elements| {
            for element in elements {
                element.as_object_mut().unwrap().remove("multus-rs");
            }
        });
    }
    [&dead, &stale, &dead_upstreams].into_iter().for_each(delete_namespace);
    fs::remove_file(node.journal("stale")).unwrap();
    assert_eq!(node.leases().len(), 24);

    let cluster = Network::parse(node.bridge("cluster", 1).to_string().as_bytes()).unwrap();
    let report = attach::gc(&node.host, Some(&cluster), Some(&listed(&["listed"])), soon()).unwrap();
    assert_eq!(report.done.len(), 4, "{report:?}");
    for id in ["dead", "stale", "deadup"] {
        assert!(report.done.iter().any(|line| line.contains(id)), "{id}: {report:?}");
        assert!(!node.journal(id).exists());
    }
    assert_eq!(node.leases().len(), 12, "leases of three live pods, two networks, two families");
    for pod in [&listed_pod, &unlisted, &upstreams] {
        assert_eq!(pod.netns.link_names().unwrap(), ["eth0", "net1"]);
        pod.check().unwrap();
        pod.del().unwrap();
        assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    }
    assert_eq!((node.leases(), node.files()), (vec![], vec![]));
}

#[test]
fn c48_c53_every_network_hears_of_all_that_is_valid_and_never_of_nothing() {
    let node = Node::new();
    let pod = node
        .pod()
        .default_network(modern("main"))
        .nad("one", modern("one"))
        .selects(json!([{"name": "one", "namespace": "test"}, {"name": "one", "namespace": "test"}]));
    pod.add().unwrap();
    let primary = Network::parse(modern("main").to_string().as_bytes()).unwrap();
    attach::gc(&node.host, Some(&primary), Some(&listed(&["pod1", "other"])), soon()).unwrap();
    assert_eq!(told(&node, "main"), ["other/eth0", "pod1/eth0"]);
    assert_eq!(told(&node, "one"), ["other/eth0", "pod1/net1", "pod1/net2"]);
    assert_eq!(node.called("DEL"), NOTHING);
}

/// What is set aside is still there as far as its plugin's GC is concerned, until its DEL succeeds.
#[test]
fn c50_what_is_set_aside_is_freed_by_its_del_and_not_by_gc() {
    let node = Node::new();
    let stuck = single(
        "one",
        json!({"cniVersion": "1.1.0", "x-error": {"code": 5, "msg": "stuck", "on": ["DEL"], "times": 5}}),
    );
    let pod = node.pod().nad("one", stuck).selects(json!([{"name": "one", "namespace": "test"}]));
    pod.add().unwrap();
    for _ in 0..4 {
        pod.del().unwrap_err();
    }
    pod.del().unwrap();
    attach::gc(&node.host, None, Some(&[]), soon()).unwrap();
    assert_eq!(told(&node, "one"), ["pod1/net1"]);
    delete_namespace(&pod);
    attach::gc(&node.host, None, Some(&[]), soon()).unwrap();
    assert_eq!(node.called("DEL").last().unwrap(), "one net1");
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn q19_gc_without_a_list_or_without_a_results_folder() {
    let node = Node::new();
    assert!(matches!(attach::gc(&node.host, None, None, soon()), Err(Error::GcUnsafe(_))));
    let primary = Network::parse(modern("main").to_string().as_bytes()).unwrap();
    attach::gc(&node.host, Some(&primary), Some(&listed(&["other"])), soon()).unwrap();
    assert_eq!(told(&node, "main"), ["other/eth0"]);
}

#[test]
fn q19_a_journal_that_cannot_be_read_stops_gc_before_it_frees_anything() {
    let node = Node::new();
    let (pod, dead) = (bridged(&node, "pod1"), bridged(&node, "dead"));
    pod.add().unwrap();
    dead.add().unwrap();
    delete_namespace(&dead);
    fs::write(node.journal("pod1"), "[{").unwrap();
    let leases = node.leases();
    let error = attach::gc(&node.host, None, Some(&[]), soon()).unwrap_err();
    assert!(matches!(&error, Error::GcUnsafe(why) if why.contains("pod1")), "{error}");
    assert_eq!(node.leases(), leases);
    assert_eq!(pod.netns.link_names().unwrap(), ["eth0", "net1"]);
    assert!(node.journal("dead").exists());
}

#[test]
fn c49_gc_waits_for_nobody_longer_than_it_may_and_frees_nothing_meanwhile() {
    let node = Node::new();
    let dead = bridged(&node, "dead");
    dead.add().unwrap();
    delete_namespace(&dead);
    let working = node.hold_lock(".node");
    let moment = Instant::now() + Duration::from_millis(100);
    let error = attach::gc(&node.host, None, Some(&[]), moment).unwrap_err();
    assert_eq!(error.to_cni().code, 11, "{error}");
    assert_eq!(node.housekeeping(), NOTHING);
    assert_eq!(node.leases().len(), 4);
    drop(working);
    attach::gc(&node.host, None, Some(&[]), soon()).unwrap();
    assert_eq!((node.leases(), node.files()), (vec![], vec![]));
}

#[test]
fn c59_a_dead_sandbox_on_which_somebody_works_is_left_to_them() {
    let node = Node::new();
    let (dead, stale) = (bridged(&node, "dead"), bridged(&node, "stale"));
    for pod in [&dead, &stale] {
        pod.add().unwrap();
        delete_namespace(pod);
    }
    fs::remove_file(node.journal("stale")).unwrap();
    let held = [node.hold_lock("dead"), node.hold_lock("stale")];
    assert_eq!(node.housekeeping(), NOTHING);
    attach::gc(&node.host, None, Some(&[]), soon()).unwrap();
    assert_eq!(node.leases().len(), 8);
    drop(held);
    assert!(node.housekeeping().len() >= 2);
    assert_eq!((node.leases(), node.files()), (vec![], vec![]));
}

#[test]
fn housekeeping_frees_sandboxes_of_another_boot_and_nothing_of_a_live_one() {
    let node = Node::new();
    let (live, dead, rebooted) = (bridged(&node, "live"), bridged(&node, "dead"), bridged(&node, "rebooted"));
    for pod in [&live, &dead, &rebooted] {
        pod.add().unwrap();
    }
    delete_namespace(&dead);
    node.edit_journal("rebooted", |elements| {
        for element in elements {
            element["multus-rs"]["bootId"] = json!("another boot");
        }
    });
    let lines = node.housekeeping();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(node.leases().len(), 4);
    assert_eq!(live.netns.link_names().unwrap(), ["eth0", "net1"]);
    // The namespace at the path may be anybody's after a reboot.
    assert_eq!(rebooted.netns.link_names().unwrap(), ["eth0", "net1"]);
    assert_eq!(node.housekeeping(), NOTHING);
    live.check().unwrap();
}

/// Not every network of a sandbox was added in the boot that its journal names, but the sandbox lives.
#[test]
fn a_sandbox_lives_as_long_as_one_of_its_networks_may() {
    let node = Node::new();
    let pod = bridged(&node, "pod1");
    pod.add().unwrap();
    node.edit_journal("pod1", |elements| elements[1]["multus-rs"]["bootId"] = json!("another boot"));
    assert_eq!(node.housekeeping(), NOTHING);
    attach::gc(&node.host, None, Some(&[]), soon()).unwrap();
    assert_eq!(node.leases().len(), 4);
}

#[test]
fn c37_c39_check_sees_what_the_reference_plugins_see() {
    let node = Node::new();
    let pod = bridged(&node, "pod1");
    assert!(matches!(pod.check(), Err(Error::Unknown(_))));
    pod.add().unwrap();
    assert!(pod.check().unwrap().differences.is_empty());
    pod.netns.run("ip", &["link", "delete", "net1"]).unwrap();
    let differences = pod.check().unwrap().differences;
    assert_eq!(differences.len(), 1);
    assert!(differences[0].message.contains("test/net1"), "{differences:?}");
    let strict = bridged(&node, "strict").strict();
    strict.add().unwrap();
    strict.check().unwrap();
    strict.netns.run("ip", &["link", "delete", "net1"]).unwrap();
    assert!(matches!(strict.check(), Err(Error::Check(_))));
    pod.netns.run("ip", &["address", "flush", "dev", "eth0"]).unwrap();
    assert!(matches!(pod.check(), Err(Error::Check(_))));
    pod.del().unwrap();
    assert!(matches!(pod.check(), Err(Error::Unknown(_))));
}

#[test]
fn c51_gc_goes_on_after_an_error_and_returns_it() {
    let node = Node::new();
    let dead = node
        .pod()
        .id("dead")
        .default_network(modern("main"))
        .nad("one", single("one", fails(5, "stuck", &["DEL"])))
        .selects(json!([{"name": "one", "namespace": "test"}]));
    dead.add().unwrap();
    delete_namespace(&dead);
    let other = bridged(&node, "other");
    other.add().unwrap();
    delete_namespace(&other);
    let primary = Network::parse(modern("main").to_string().as_bytes()).unwrap();
    let error = attach::gc(&node.host, Some(&primary), Some(&[]), soon()).unwrap_err();
    assert!(matches!(&error, Error::Gc(errors) if errors.len() == 1), "{error}");
    assert!(error.to_string().contains("stuck"), "{error}");
    assert_eq!(node.leases(), NOTHING);
    // Only what could not be freed is valid any more.
    assert_eq!(told(&node, "main"), NOTHING);
    assert_eq!(node.journal_json("dead").as_array().unwrap().len(), 1);
}
