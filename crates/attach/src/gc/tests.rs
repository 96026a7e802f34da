use std::time::{Duration, Instant};

use libcni::{Entry, GcAttachment, Object};
use plan::Sandbox;
use serde_json::{Value, json};

use crate::lock::{NodeLock, SandboxLock};
use crate::testing::{Node, network, parsed, run, soon};
use crate::{Error, gc};

/// A network whose plugins know GC.
fn modern(plugin_type: &str, more: Value) -> Value {
    let mut network = network(plugin_type, more);
    network["cniVersion"] = json!("1.1.0");
    network
}

fn listed(container_id: &str) -> GcAttachment {
    GcAttachment { container_id: container_id.to_owned(), if_name: "eth0".to_owned() }
}

fn cached(node: &Node, container_id: &str, network: &Value) {
    let entry = Entry {
        container_id: container_id.to_owned(),
        network_name: network["name"].as_str().unwrap().to_owned(),
        if_name: "eth0".to_owned(),
        netns: "/run/netns/gone".to_owned(),
        config: network.to_string().into_bytes(),
        cni_args: Vec::new(),
        capability_args: Object::default(),
        result: serde_json::from_str(r#"{"cniVersion":"1.1.0"}"#).ok(),
    };
    node.host.cache().write(&entry).unwrap();
}

/// What the plugin's GC was told is valid, as `container/interface`.
fn told(node: &Node, plugin_type: &str) -> Vec<String> {
    let calls = node.calls();
    let call = calls.iter().find(|call| call.verb == "GC" && call.plugin_type == plugin_type).unwrap();
    let config = call.config();
    assert_eq!(config["cni.dev/valid-attachments"], config["cni.dev/attachments"]);
    let list = config["cni.dev/valid-attachments"].as_array().unwrap().clone();
    let text =
        |one: &Value| format!("{}/{}", one["containerID"].as_str().unwrap(), one["ifname"].as_str().unwrap());
    list.iter().map(text).collect()
}

#[test]
fn c48_c53_each_network_hears_of_the_runtimes_list_and_of_every_journaled_attachment() {
    let node = Node::new(&["a", "b"]);
    let a = modern("a", json!({}));
    node.add(&node.plan(&[a.clone(), modern("b", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    let valid = [listed("pod1"), listed("elsewhere")];
    gc(&node.host, Some(&parsed(&a)), Some(&valid), soon()).unwrap();
    assert_eq!(node.sequence(), ["GC a/", "GC b/"]);
    assert_eq!(told(&node, "a"), ["elsewhere/eth0", "pod1/eth0"]);
    // The runtime's own entry of a sandbox that the journal knows is about the default network.
    assert_eq!(told(&node, "b"), ["elsewhere/eth0", "pod1/net1"]);
}

#[test]
fn c50_a_sandbox_that_the_runtime_does_not_list_yet_is_spared_while_its_namespace_lives() {
    let node = Node::new(&["a"]);
    let a = modern("a", json!({}));
    node.add(&node.plan(std::slice::from_ref(&a))).unwrap();
    node.recorder.clear().unwrap();
    gc(&node.host, Some(&parsed(&a)), Some(&[]), soon()).unwrap();
    assert_eq!(node.sequence(), ["GC a/"]);
    assert_eq!(told(&node, "a"), ["pod1/eth0"]);
    // Gone: undone, and then nothing of it is valid.
    run("ip", &["netns", "delete", node.netns.name()]);
    node.recorder.clear().unwrap();
    let report = gc(&node.host, Some(&parsed(&a)), Some(&[]), soon()).unwrap();
    assert_eq!(node.sequence(), ["DEL a/eth0", "GC a/"]);
    assert_eq!(told(&node, "a"), Vec::<String>::new());
    assert_eq!(report.done.len(), 1);
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn c54_stale_results_are_undone_before_the_plugins_gc() {
    let node = Node::new(&["a"]);
    let a = modern("a", json!({"kept": 1}));
    cached(&node, "stale", &a);
    cached(&node, "valid", &a);
    gc(&node.host, Some(&parsed(&a)), Some(&[listed("valid")]), soon()).unwrap();
    assert_eq!(node.sequence(), ["DEL a/eth0", "GC a/"]);
    assert_eq!(node.calls()[0].env("CNI_CONTAINERID"), "stale");
    assert_eq!(node.calls()[0].config()["kept"], 1);
    assert_eq!(node.files(), ["results/conf-a-valid-eth0"]);
}

#[test]
fn c4_a_network_that_disables_gc_is_left_alone() {
    let node = Node::new(&["a"]);
    let mut a = modern("a", json!({}));
    a["disableGC"] = json!(true);
    cached(&node, "stale", &a);
    gc(&node.host, Some(&parsed(&a)), Some(&[]), soon()).unwrap();
    assert_eq!(node.sequence(), Vec::<String>::new());
    assert_eq!(node.files(), ["results/conf-a-stale-eth0"]);
}

#[test]
fn q19_without_knowing_what_is_valid_nothing_is_freed() {
    let node = Node::new(&["a"]);
    let a = modern("a", json!({}));
    cached(&node, "stale", &a);
    let primary = parsed(&a);
    assert!(matches!(gc(&node.host, Some(&primary), None, soon()), Err(Error::GcUnsafe(_))));
    node.write_journal("[{");
    let error = gc(&node.host, Some(&primary), Some(&[]), soon()).unwrap_err();
    assert!(error.to_string().contains("pod1"), "{error}");
    assert_eq!(node.sequence(), Vec::<String>::new());
}

#[test]
fn c51_one_plugins_error_keeps_no_other_from_its_gc() {
    let node = Node::new(&["a", "b"]);
    let a = modern("a", json!({"x-error": {"code": 5, "msg": "cannot", "on": ["GC"]}}));
    node.add(&node.plan(&[a.clone(), modern("b", json!({}))])).unwrap();
    node.recorder.clear().unwrap();
    let error = gc(&node.host, Some(&parsed(&a)), Some(&[listed("pod1")]), soon()).unwrap_err();
    assert!(error.to_string().contains("failed to GC plugin a: cannot"), "{error}");
    assert_eq!(node.sequence(), ["GC a/", "GC b/"]);
}

#[test]
fn c49_gc_and_other_calls_exclude_each_other() {
    let node = Node::new(&["a"]);
    let a = modern("a", json!({}));
    let plan = node.plan(std::slice::from_ref(&a));
    let moment = || Instant::now() + Duration::from_millis(100);
    let adding = NodeLock::shared(&node.host.cni_dir, moment()).unwrap();
    let busy = gc(&node.host, Some(&parsed(&a)), Some(&[]), moment()).unwrap_err();
    assert_eq!(busy.to_cni().code, 11);
    drop(adding);
    let collecting = NodeLock::exclusive(&node.host.cni_dir, moment()).unwrap();
    let busy =
        crate::add(&node.host, &plan, &node.sandbox, &crate::testing::identity(), moment()).unwrap_err();
    assert_eq!(busy.to_cni().code, 11);
    assert_eq!(node.sequence(), Vec::<String>::new());
    drop(collecting);
    node.add(&plan).unwrap();
}

#[test]
fn a_dead_sandbox_on_which_somebody_works_is_left_to_him() {
    let node = Node::new(&["a"]);
    let a = modern("a", json!({}));
    node.add(&node.plan(std::slice::from_ref(&a))).unwrap();
    run("ip", &["netns", "delete", node.netns.name()]);
    node.recorder.clear().unwrap();
    let _held = SandboxLock::try_acquire(&node.host.cni_dir, "pod1").unwrap();
    gc(&node.host, Some(&parsed(&a)), Some(&[]), soon()).unwrap();
    assert_eq!(node.sequence(), ["GC a/"]);
    assert_eq!(told(&node, "a"), ["pod1/eth0"]);
}

/// A network whose plugin hangs in these verbs until it is killed.
fn hanging(plugin_type: &str, on: &[&str]) -> Value {
    modern(plugin_type, json!({"x-hang": true, "x-on": on}))
}

#[test]
fn c51_a_sandbox_whose_plugin_hangs_leaves_time_for_the_others_and_comes_last_the_next_time() {
    let node = Node::new(&["good", "hangs"]);
    for (id, network) in [("pod0", hanging("hangs", &["DEL"])), ("pod1", modern("good", json!({})))] {
        let sandbox = Sandbox { container_id: id.to_owned(), ..node.sandbox.clone() };
        let plan = node.plan(&[network]);
        crate::add(&node.host, &plan, &sandbox, &crate::testing::identity(), soon()).unwrap();
    }
    run("ip", &["netns", "delete", node.netns.name()]);
    node.recorder.clear().unwrap();
    let good = parsed(&modern("good", json!({})));
    let error = gc(&node.host, Some(&good), Some(&[]), soon()).unwrap_err();
    assert!(error.to_string().contains("conf-hangs"), "{error}");
    assert_eq!(node.sequence(), ["DEL hangs/eth0", "DEL good/eth0", "GC good/", "GC hangs/"]);
    // Another sandbox of the good one dies; it need not wait for the one that hangs.
    let netns = testbed::Netns::unique("at").unwrap();
    let sandbox = Sandbox {
        container_id: "pod2".to_owned(),
        netns: netns.path().display().to_string(),
        ..node.sandbox.clone()
    };
    let plan = node.plan(&[modern("good", json!({}))]);
    crate::add(&node.host, &plan, &sandbox, &crate::testing::identity(), soon()).unwrap();
    drop(netns);
    node.recorder.clear().unwrap();
    gc(&node.host, None, Some(&[]), soon()).unwrap_err();
    assert_eq!(node.sequence()[..2], ["DEL good/eth0", "DEL hangs/eth0"]);
}

#[test]
fn c51_only_turns_that_are_used_up_cost_the_others_theirs() {
    let node = Node::new(&[]);
    let mut sweep = super::Sweep::new(&node.host, &[], soon());
    sweep.begin_phase(1);
    // As many as a node may have after a reboot; each ends before its turn does.
    assert!((1..=1000).rev().all(|left| sweep.turn(left, "sandboxes").is_some()));
    let used_up =
        |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).zip(Some(Instant::now()));
    sweep.turn = used_up(3);
    assert!(sweep.turn(2, "sandboxes").is_some());
    sweep.turn = used_up(2);
    assert_eq!(sweep.turn(2, "sandboxes"), None);
    assert_eq!(sweep.errors, ["2 sandboxes are left to the next GC: plugins took too long"]);
    sweep.begin_phase(1);
    assert!(sweep.turn(1, "networks").is_some(), "each phase has its own");
}

#[test]
fn c54_results_whose_plugins_hang_keep_no_other_from_its_turn_for_ever() {
    let node = Node::new(&["a", "good"]);
    let good = modern("good", json!({}));
    // In the order of the files' names two that hang come before it, which is all the time that there is.
    cached(&node, "one", &hanging("a", &["DEL"]));
    cached(&node, "two", &hanging("a", &["DEL"]));
    cached(&node, "three", &good);
    let mut rounds = 0;
    while node.host.cache().list().unwrap().entries.iter().any(|entry| entry.container_id == "three") {
        let deadline = Instant::now() + Duration::from_secs(3);
        gc(&node.host, Some(&parsed(&good)), Some(&[]), deadline).unwrap_err();
        rounds += 1;
        assert!(rounds <= 3, "{:?}", node.sequence());
    }
}
