//! Devices: a real kubelet allocates them and tells of them on its pod-resources socket, where the plugin on the node asks.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::install::{EXAMPLE_VALUES, OUR_IMAGE};
use e2e::{Archive, Pod, World};
use serde_json::{Value, json};
use testbed::cluster::{Helm, NodeSpec};
use testbed::device_plugin::DevicePlugin;

const RESOURCE: &str = "example.com/nic";

/// Two networks of one resource: N-116, each gets another device.
fn network(name: &str, subnet: u8) -> Value {
    let config = json!({
        "cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": format!("br-{name}"),
        "ipam": {"type": "host-local", "subnet": format!("10.{subnet}.0.0/24")},
    });
    json!({
        "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "annotations": {"k8s.v1.cni.cncf.io/resourceName": RESOURCE}},
        "spec": {"config": config.to_string()},
    })
}

#[test]
fn allocated_devices_reach_the_networks_that_name_their_resource() {
    let world = World::up("devices", |spec| spec.node(NodeSpec::new("node1")));
    world.load(&[Archive::Ours]).unwrap();
    world.install(Helm::V4, &["-f", EXAMPLE_VALUES, "--set", OUR_IMAGE, "--set", "mode=thin"]).unwrap();
    let machine = world.node("node1").machine();
    let folder = machine.path("/var/lib/kubelet/device-plugins");
    let plugin = DevicePlugin::start(&folder, RESOURCE, &["nic-1", "nic-2", "nic-3"]).unwrap();
    let offered = "--for=jsonpath={.status.allocatable.example\\.com/nic}=3";
    world.kubectl(&["wait", "--timeout=60s", offered, "node/node1"]).unwrap();

    world.apply(&network("left", 61).to_string()).unwrap();
    world.apply(&network("right", 62).to_string()).unwrap();
    let mut pod = Pod::new("fast", "node1").networks("left,right").manifest();
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {RESOURCE: "2"}});
    world.apply(&pod.to_string()).unwrap();
    world.wait_ready("fast").unwrap();

    let mut allocated = plugin.allocated();
    allocated.sort();
    assert_eq!(allocated.len(), 2, "{allocated:?}");
    assert_eq!(world.interfaces("fast").unwrap()["net2"], ["10.62.0.2/24"]);
    let mut used = devices_in_journals(&world).into_values().collect::<Vec<_>>();
    used.sort();
    assert_eq!(used, allocated, "each network has a device of its own");

    world.kubectl(&["delete", "pod", "fast", "--timeout=120s"]).unwrap();
    // A pod is deleted in Kubernetes before its sandbox is taken down.
    let gone = || devices_in_journals(&world).is_empty().then_some(());
    testbed::wait::until("the journal to go", Duration::from_secs(60), gone).unwrap();
}

/// Network → device, of all pods on the node.
fn devices_in_journals(world: &World) -> BTreeMap<String, String> {
    let script = "cd /var/lib/cni/multus 2>/dev/null && for file in *; do [ -f \"$file\" ] && cat \"$file\" && echo; done; true";
    let journals = world.node("node1").machine().run("sh", &["-c", script]).unwrap();
    let mut found = BTreeMap::new();
    for journal in journals.lines().filter(|line| !line.is_empty()) {
        for element in serde_json::from_str::<Vec<Value>>(journal).unwrap() {
            if let Some(device) = element["deviceID"].as_str() {
                found.insert(element["Name"].as_str().unwrap_or_default().to_owned(), device.to_owned());
            }
        }
    }
    found
}
