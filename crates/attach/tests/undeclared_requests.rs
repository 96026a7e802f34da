//! What a pod asks for and no plugin declares goes by `CNI_ARGS` alone: honoured there it is as good as declared, and never dropped
//! without a word.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod node;

use node::{Node, fails, single};
use serde_json::{Value, json};

const MAC: &str = "02:00:00:00:00:aa";

fn selects(request: &Value) -> Value {
    let mut item = json!({"name": "lan", "namespace": "test"});
    item.as_object_mut().unwrap().extend(request.as_object().unwrap().clone());
    json!([item])
}

#[test]
fn n33_n36_the_reference_plugins_honour_what_they_do_not_declare() {
    let node = Node::new();
    let address = node.v4(1, 9);
    let mut lan = node.bridge("lan", 1);
    // host-local takes one address from CNI_ARGS.
    lan["plugins"][0]["ipam"]["ranges"].as_array_mut().unwrap().pop();
    let pod =
        node.pod().nad("lan", lan).selects(selects(&json!({"mac": MAC, "ips": [format!("{address}/24")]})));
    let attached = pod.add().unwrap();
    assert_eq!(attached.attachments[1].warnings, []);
    let link = pod.netns.run("ip", &["link", "show", "net1"]).unwrap();
    assert!(link.contains(&format!("link/ether {MAC}")), "{link}");
    let addresses = pod.netns.addresses().unwrap();
    assert!(addresses["net1"].contains(&format!("{address}/24")), "{addresses:?}");
    pod.del().unwrap();
    assert_eq!((node.leases(), node.files()), (Vec::new(), Vec::new()));
}

#[test]
fn n36_a_plugin_that_ignores_the_mac_fails_the_pod_and_all_is_detached() {
    let node = Node::new();
    let result = json!({"cniVersion": "1.0.0", "interfaces": [
        {"name": "$IFNAME", "sandbox": "$NETNS", "mac": "02:00:00:00:00:bb"},
    ]});
    let pod = node
        .pod()
        .nad("lan", single("one", json!({"x-result": result})))
        .selects(selects(&json!({"mac": MAC})));
    let error = pod.add().unwrap_err().to_cni();
    let prefix = "[test/p1/u1:one-net]: error adding container to network \"one-net\": item 1 (\"test/lan\")";
    assert!(error.msg.starts_with(prefix), "{error}");
    assert!(
        error.msg.contains("the result has 02:00:00:00:00:bb in place of 02:00:00:00:00:aa: add"),
        "{error}"
    );
    assert_eq!(error.code, 7);
    assert_eq!(node.called("ADD"), ["main eth0", "one net1"]);
    assert_eq!(node.called("DEL"), ["one net1", "main eth0"]);
    assert_eq!(pod.netns.link_names().unwrap(), Vec::<String>::new());
    assert_eq!(node.files(), Vec::<String>::new());
}

#[test]
fn n33_n36_what_cannot_be_detached_then_stays_recorded() {
    let node = Node::new();
    let mut keys = fails(100, "busy", &["DEL"]);
    keys["x-result"] = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
    let pod = node.pod().nad("lan", single("one", keys)).selects(selects(&json!({"ips": ["10.0.0.9"]})));
    let error = pod.add().unwrap_err().to_string();
    assert!(
        error.contains("not undone yet, to be tried again: error deleting network \"one-net\""),
        "{error}"
    );
    assert_eq!(node.journal_json("pod1").as_array().unwrap().len(), 1);
}

#[test]
fn n36_what_the_result_does_not_tell_is_a_warning() {
    let node = Node::new();
    let pod = node.pod().nad("lan", single("one", json!({}))).selects(selects(&json!({"mac": MAC})));
    let attached = pod.add().unwrap();
    let [warning] = attached.attachments[1].warnings.as_slice() else { panic!("{attached:?}") };
    assert_eq!(warning.reason, "UnconfirmedRequest");
}
