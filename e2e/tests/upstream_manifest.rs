//! Upstream's own manifest with our image: nothing but the image's name is another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use e2e::networks::{BRIDGE, MACVLAN, bridge_and_macvlan};
use e2e::{Archive, Leftovers, Pod, World};
use testbed::cluster::{Containerd, NodeSpec};
use testbed::{images, parts};

const OURS: &str = "ghcr.io/multus-rs/multus-rs:v4.0.0";

#[test]
fn the_thin_manifest_gives_pods_their_networks() {
    let world = World::up("manifest-thin", |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours]).unwrap();
    world.apply(&manifest("multus-daemonset.yml")).unwrap();
    world.rollout("kube-multus-ds").unwrap();
    world.apply(&format!("{BRIDGE}---{MACVLAN}")).unwrap();

    let one = Pod::new("one", "node1").networks(bridge_and_macvlan("10.56.0.1/24"));
    let two = Pod::new("two", "node2").networks(bridge_and_macvlan("10.56.0.2/24"));
    world.start(&[one.clone(), two.clone()]).unwrap();
    for (pod, address) in [("one", "10.56.0.1/24"), ("two", "10.56.0.2/24")] {
        let interfaces = world.interfaces(pod).unwrap();
        assert_eq!(interfaces.keys().map(String::as_str).collect::<Vec<_>>(), ["eth0", "net1", "net2"]);
        assert_eq!(interfaces["net2"], [address]);
        let status = world.network_status(pod).unwrap();
        let names: Vec<_> = status.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["cbr0", "default/bridge", "default/macvlan"]);
        assert_eq!(status[2]["interface"], "net2");
        assert_eq!(status[2]["ips"][0], address.split('/').next().unwrap());
    }
    world.exec("one", "ping -c 2 -W 2 10.56.0.2").unwrap();

    world.plain_pods_start().unwrap();
    world.delete(&[one, two]).unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
}

fn manifest(name: &str) -> String {
    let source = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap();
    let text = fs::read_to_string(source.join("deployments").join(name)).unwrap();
    let upstream = format!("{}:snapshot", images::UPSTREAM);
    assert!(text.contains(&upstream), "{name} names another image than {upstream}");
    text.replace(&upstream, OURS)
}
