//! Namespaces that are gone, and paths at which another pod's namespace is by now: nothing of another pod is ever touched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;

use std::fs;
use std::process::Command;

use libcni::GcAttachment;
use node::{Node, Pod, single, soon};
use serde_json::json;

const NOTHING: [&str; 0] = [];

fn ip_netns(what: &str, name: &str) {
    assert!(Command::new("ip").args(["netns", what, name]).status().unwrap().success());
}

/// The namespace that each plugin's DEL was given.
fn given(node: &Node) -> Vec<String> {
    node.calls("DEL").iter().map(|call| call.env("CNI_NETNS").to_owned()).collect()
}

fn two_networks(node: &Node) -> Pod<'_> {
    node.pod().nad("one", single("one", json!({}))).selects(json!([{"name": "one", "namespace": "test"}]))
}

#[test]
fn c29_a_namespace_that_is_gone_is_an_empty_cni_netns() {
    let node = Node::new();
    let pod = two_networks(&node);
    pod.add().unwrap();
    ip_netns("delete", pod.netns.name());
    pod.del().unwrap();
    assert_eq!(given(&node), ["", ""]);
    assert_eq!(node.files(), NOTHING);
}

/// The kernel numbers namespaces with the lowest number that is free, so that a new one often has an old one's inode.
#[test]
fn c29_another_namespace_of_the_same_path_and_inode_is_not_the_pods() {
    let node = Node::new();
    let pod = two_networks(&node);
    pod.add().unwrap();
    node.edit_journal("pod1", |elements| {
        for element in elements {
            let id = element["multus-rs"]["netnsId"].as_str().unwrap();
            let (inode, time) = id.rsplit_once(':').unwrap();
            assert_eq!(id.matches(':').count(), 2, "{id} has no time");
            element["multus-rs"]["netnsId"] = json!(format!("{inode}:1{time}"));
        }
    });
    pod.del().unwrap();
    assert_eq!(given(&node), ["", ""]);
    assert_eq!(pod.netns.link_names().unwrap(), ["eth0", "net1", "peth0", "pnet1"]);
}

#[test]
fn a_namespace_keeps_its_identity_for_as_long_as_the_pod_lives() {
    let node = Node::new();
    let pod = two_networks(&node);
    pod.add().unwrap();
    // What a pod's life does to its namespace: links and addresses come, programs enter it.
    pod.netns.run("ip", &["link", "add", "extra", "type", "veth", "peer", "name", "extra2"]).unwrap();
    pod.netns.run("ip", &["address", "add", "10.50.0.1/24", "dev", "extra"]).unwrap();
    fs::metadata(pod.netns.path()).unwrap();
    pod.del().unwrap();
    assert_eq!(given(&node), [pod.sandbox.netns.clone(), pod.sandbox.netns.clone()]);
    assert_eq!(pod.netns.link_names().unwrap(), ["extra", "extra2"]);
}

/// Some runtimes name the namespace by a process. The kernel makes its inode anew whenever it likes.
#[test]
fn a_namespace_named_by_a_process_is_known_again() {
    let node = Node::new();
    let mut pod = two_networks(&node);
    let mut sleeper = pod.netns.command("sleep").arg("60").spawn().unwrap();
    testbed::wait::until("the process to enter the namespace", std::time::Duration::from_secs(5), || {
        let there = fs::read_link(format!("/proc/{}/ns/net", sleeper.id())).unwrap();
        let name = fs::read_to_string(format!("/proc/{}/comm", sleeper.id())).unwrap();
        (name == "sleep\n" && there != fs::read_link("/proc/self/ns/net").unwrap()).then_some(())
    })
    .unwrap();
    pod.sandbox.netns = format!("/proc/{}/ns/net", sleeper.id());
    ip_netns("delete", pod.netns.name());
    pod.add().unwrap();
    pod.del().unwrap();
    assert_eq!(given(&node), [pod.sandbox.netns.clone(), pod.sandbox.netns.clone()]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
}

/// A pod that is gone left a result behind, but no journal, and a new pod's namespace is at its path.
#[test]
fn c52_gc_of_a_stale_result_does_not_reach_into_the_namespace_that_has_its_path_now() {
    let node = Node::new();
    let mut old = node.pod().id("old");
    old.add().unwrap();
    fs::remove_file(node.journal("old")).unwrap();
    ip_netns("delete", old.netns.name());
    let pod = two_networks(&node);
    // As a runtime that names namespaces after pods would have it.
    old.sandbox.netns = pod.sandbox.netns.clone();
    let result = node.host.cni_dir.join("results/main-net-old-eth0");
    let text = fs::read_to_string(&result).unwrap();
    let path = format!("/run/netns/{}", old.netns.name());
    assert!(text.contains(&path), "{text}");
    fs::write(&result, text.replace(&path, &pod.sandbox.netns)).unwrap();
    pod.add().unwrap();
    let before = pod.netns.link_names().unwrap();

    let valid = [GcAttachment { container_id: "pod1".to_owned(), if_name: "eth0".to_owned() }];
    let report = attach::gc(&node.host, None, Some(&valid), soon()).unwrap();
    assert_eq!(report.done.len(), 1, "{report:?}");
    assert_eq!(given(&node), [""]);
    assert_eq!(pod.netns.link_names().unwrap(), before);
    assert!(!result.exists());
    assert!(node.cached("main-net", "eth0").is_some());
}

/// The same for a DEL that has nothing but the result cache.
#[test]
fn q10_a_del_from_the_result_cache_does_not_reach_into_another_pods_namespace() {
    let node = Node::new();
    let mut old = node.pod().id("old");
    old.add().unwrap();
    let pod = two_networks(&node);
    let result = node.host.cni_dir.join("results/main-net-old-eth0");
    let text = fs::read_to_string(&result).unwrap();
    fs::write(&result, text.replace(&old.sandbox.netns, &pod.sandbox.netns)).unwrap();
    pod.add().unwrap();
    let before = pod.netns.link_names().unwrap();
    fs::write(node.journal("old"), "").unwrap();
    old.sandbox.netns = String::new();

    old.del().unwrap();
    assert_eq!(given(&node), [""]);
    assert_eq!(pod.netns.link_names().unwrap(), before);
    assert!(!result.exists());
}
