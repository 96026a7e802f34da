//! The shim with the reference plugins in real namespaces: what is there after ADD, and that nothing is left after DEL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses a part of it")]
mod node;

use std::path::Path;

use node::{Knowing, Node, annotated};
use serde_json::{Value, json};

fn bridge(name: &str, subnet: &str, leases: &Path) -> Value {
    json!({"cniVersion": "1.0.0", "name": name, "plugins": [{
        "type": "bridge", "bridge": format!("br-{name}"),
        "ipam": {"type": "host-local", "dataDir": leases, "ranges": [[{"subnet": subnet}]]},
    }]})
}

fn leases(dir: &Path) -> usize {
    let networks = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let files = networks.flat_map(|network| std::fs::read_dir(network).unwrap());
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).count()
}

#[test]
fn a_pod_gets_its_networks_and_its_del_without_a_daemon_leaves_nothing() {
    let node = Node::new();
    let dir = node.path("leases");
    let daemon = Knowing::default().nad("lan", bridge("lan", "10.77.2.0/24", &dir));
    let peer = node.peer(daemon.answer());
    let mut netconf = node.netconf(annotated("lan@lan0"));
    netconf["binDir"] = json!(testbed::parts::reference_plugins().unwrap());
    netconf["delegates"] = json!([bridge("cluster", "10.77.1.0/24", &dir)]);

    let result = node.call("ADD", &netconf).result();
    assert_eq!(result["ips"][0]["address"], "10.77.1.2/24");
    let addresses = node.netns.addresses().unwrap();
    assert!(addresses["eth0"].iter().any(|address| address.starts_with("10.77.1.2/")), "{addresses:?}");
    assert!(addresses["lan0"].iter().any(|address| address.starts_with("10.77.2.2/")), "{addresses:?}");
    assert_eq!(leases(&dir), 2);
    let status: Value = serde_json::from_str(daemon.records()[0].network_status.as_ref().unwrap()).unwrap();
    assert_eq!((&status[1]["interface"], &status[1]["ips"][0]), (&json!("lan0"), &json!("10.77.2.2")));

    drop(peer);
    assert_eq!(node.call("DEL", &netconf).code, Some(0));
    assert!(node.netns.link_names().unwrap().is_empty());
    assert_eq!(leases(&dir), 0);
}
