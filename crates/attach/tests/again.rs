//! A sandbox that is attached already, or that a killed ADD left half attached; attachments beside each other.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod node;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use attach::Error;
use node::{Node, Pod, fails, single};
use serde_json::json;

const NOTHING: [&str; 0] = [];

fn bridged(node: &Node) -> Pod<'_> {
    node.pod()
        .default_network(node.bridge("cluster", 1))
        .nad("net1", node.bridge("net1", 2))
        .selects(json!([{"name": "net1", "namespace": "test"}]))
}

#[test]
fn c20_a_sandbox_that_is_attached_stays_as_it_is() {
    let node = Node::new();
    let pod = bridged(&node);
    pod.add().unwrap();
    let (links, leases, files) = (pod.netns.links().unwrap(), node.leases(), node.files());
    assert!(matches!(pod.add(), Err(Error::Attached(id)) if id == "pod1"));
    assert_eq!((pod.netns.links().unwrap(), node.leases(), node.files()), (links, leases, files));
    pod.del().unwrap();
    assert_eq!((pod.netns.link_names().unwrap(), node.leases()), (vec![], vec![]));
}

/// Upstream's journal does not say that it is complete, nor for which namespace it is; its results do.
#[test]
fn c20_a_sandbox_that_upstream_attached_too() {
    let node = Node::new();
    let pod = bridged(&node);
    pod.add().unwrap();
    node.edit_journal("pod1", |elements| {
        for element in elements {
            element.as_object_mut().unwrap().remove("multus-rs");
        }
    });
    let links = pod.netns.links().unwrap();
    assert!(matches!(pod.add(), Err(Error::Attached(_))));
    assert_eq!(pod.netns.links().unwrap(), links);
    pod.del().unwrap();
    assert_eq!((pod.netns.link_names().unwrap(), node.leases()), (vec![], vec![]));
}

#[test]
fn c26_what_a_killed_add_left_is_undone_before_the_next_add() {
    let node = Node::new();
    let pod = bridged(&node);
    pod.add().unwrap();
    let leases = node.leases();
    // Killed between the second network's ADD and the journal's mark.
    node.edit_journal("pod1", |elements| elements[1]["multus-rs"]["state"] = json!("adding"));
    pod.add().unwrap();
    assert_eq!(pod.netns.link_names().unwrap(), ["eth0", "net1"]);
    assert_eq!(node.leases().len(), leases.len());
    assert_ne!(node.leases(), leases, "the old addresses were kept");
    pod.del().unwrap();
    assert_eq!((pod.netns.link_names().unwrap(), node.leases()), (vec![], vec![]));
}

#[test]
fn c26_a_leftover_that_cannot_be_undone_fails_the_add_and_stays_recorded() {
    let node = Node::new();
    let stuck = single("one", fails(5, "stuck", &["DEL"]));
    let pod = node.pod().nad("one", stuck).selects(json!([{"name": "one", "namespace": "test"}]));
    pod.add().unwrap();
    node.edit_journal("pod1", |elements| elements[0]["multus-rs"]["state"] = json!("adding"));
    let error = pod.add().unwrap_err();
    assert!(matches!(&error, Error::Del(failures) if failures.len() == 1), "{error}");
    assert_eq!(node.journal_json("pod1").as_array().unwrap().len(), 1);
    assert_eq!(node.called("ADD").len(), 2, "an ADD ran beside the leftover");
}

#[test]
fn c59_an_add_beside_another_call_of_the_sandbox_is_told_to_come_again() {
    let node = Node::new();
    let pod = node.pod();
    let held = node.hold_lock("pod1");
    let error = pod.add_until(Instant::now() + Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.to_cni().code, 11);
    assert_eq!(node.called("ADD"), NOTHING);
    drop(held);
    pod.add().unwrap();
}

/// Each of them goes on only when the other one has come as far: one after the other they would wait for ever.
#[test]
fn n100_networks_that_may_run_side_by_side_do() {
    let node = Node::new();
    let pipe = |name: &str| {
        let path = node.dir.path().join(name).display().to_string();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let (there, back) = (pipe("there"), pipe("back"));
    let script = |line: String| json!({"x-run": [["sh", "-c", line]]});
    let one = single("one", script(format!("echo > {there}; read -r _ < {back}")));
    let two = single("two", script(format!("read -r _ < {there}; echo > {back}")));
    let parallel = [(plan::PARALLEL_ANNOTATION, "true")];
    let pod = node.pod().nad_with("one", one, &parallel).nad_with("two", two, &parallel).selects(json!([
        {"name": "one", "namespace": "test"},
        {"name": "two", "namespace": "test"},
    ]));
    let attached = pod.add().unwrap();
    let places: Vec<_> = attached.attachments.iter().map(|done| done.index).collect();
    assert_eq!(places, [0, 1, 2], "the results are in the plan's order");
    assert_eq!(node.called("ADD")[0], "main eth0", "the default network does not wait to be first");
    for element in node.journal_json("pod1").as_array().unwrap() {
        assert_eq!(element["multus-rs"]["state"], "added");
    }
    pod.del().unwrap();
    assert_eq!(node.called("DEL"), ["two net2", "one net1", "main eth0"]);
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn n97_when_one_of_several_side_by_side_fails_all_are_undone() {
    let node = Node::new();
    let parallel = [(plan::PARALLEL_ANNOTATION, "true")];
    let pod = node
        .pod()
        .nad_with("one", single("one", fails(11, "later", &["ADD"])), &parallel)
        .nad_with("two", single("two", json!({})), &parallel)
        .nad("three", single("three", json!({})))
        .selects(json!([
            {"name": "one", "namespace": "test"},
            {"name": "two", "namespace": "test"},
            {"name": "three", "namespace": "test"},
        ]));
    let error = pod.add().unwrap_err().to_cni();
    assert_eq!((error.code, error.msg.contains("later")), (11, true), "{error}");
    assert_eq!(node.called("DEL"), ["two net2", "one net1", "main eth0"]);
    assert_eq!(pod.netns.link_names().unwrap(), NOTHING);
    assert_eq!(node.files(), NOTHING);
}

#[test]
fn n114_n115_n118_the_device_plugins_file_is_copied_updated_reported_and_removed() {
    let node = Node::new();
    let source = std::path::Path::new(plan::DEVINFO_DP).join("vendor.example-nic-0000:01:02.3-device.json");
    fs::create_dir_all(plan::DEVINFO_DP).unwrap();
    fs::write(&source, r#"{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:01:02.3"}}"#).unwrap();
    let copy = std::path::Path::new(plan::DEVINFO_CNI).join("test-nic-pod1_net1");
    let update = format!(
        "grep -q pci-address {0} && echo '{{\"type\":\"memif\",\"version\":\"1.1.0\"}}' > {0}",
        copy.display()
    );
    let config = single(
        "one",
        json!({"capabilities": {"deviceID": true, "CNIDeviceInfoFile": true},
        "x-run": [["sh", "-c", update]]}),
    );
    let pod = node
        .pod()
        .nad_with("nic", config, &[(plan::RESOURCE_NAME_ANNOTATION, "vendor.example/nic")])
        .device("vendor.example/nic", "0000:01:02.3")
        .selects(json!([{"name": "nic", "namespace": "test"}]));
    let attached = pod.add().unwrap();
    let info = attached.attachments[1].device_info.as_ref().unwrap();
    assert_eq!(info.get(), r#"{"type":"memif","version":"1.1.0"}"#);
    let given = node.calls("ADD")[1].config();
    assert_eq!(given["runtimeConfig"]["CNIDeviceInfoFile"], json!(copy));
    assert_eq!(given["runtimeConfig"]["deviceID"], "0000:01:02.3");
    pod.del().unwrap();
    assert_eq!(node.calls("DEL")[0].config()["runtimeConfig"], given["runtimeConfig"]);
    assert!(!copy.exists() && source.exists());
}

#[test]
fn c59_many_sandboxes_at_once_and_each_of_them_one_call_at_a_time() {
    let node = Node::new();
    let pods: Vec<_> = (0..6)
        .map(|number| {
            node.pod()
                .id(&format!("pod{number}"))
                .default_network(node.bridge("cluster", 1))
                .nad("net1", node.bridge("net1", 2))
                .selects(json!([{"name": "net1", "namespace": "test"}]))
        })
        .collect();
    // Two ADDs of each: one of them attaches, the other one finds it attached.
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            pods.iter().map(|pod| [scope.spawn(|| pod.add()), scope.spawn(|| pod.add())]).collect();
        for call in calls {
            let [one, two] = call.map(|thread| thread.join().unwrap());
            let refused = match (one, two) {
                (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
                other => panic!("{other:?}"),
            };
            assert!(matches!(refused, Error::Attached(_)), "{refused}");
        }
    });
    assert_eq!(node.leases().len(), 24);
    std::thread::scope(|scope| {
        let calls: Vec<_> =
            pods.iter().flat_map(|pod| [scope.spawn(|| pod.del()), scope.spawn(|| pod.del())]).collect();
        calls.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
    });
    assert!(pods.iter().all(|pod| pod.netns.link_names().unwrap().is_empty()));
    assert_eq!((node.leases(), node.files()), (vec![], vec![]));
}
