//! Upstream's own manifest with our image: nothing but the image's name is another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use e2e::install::DAEMON_SET;
use e2e::{Archive, Pair, World};
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
    world.rollout(DAEMON_SET).unwrap();

    let pair = Pair::start(&world, "pair");
    world.plain_pods_start().unwrap();
    pair.end(&world);
}

fn manifest(name: &str) -> String {
    let source = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap();
    let text = fs::read_to_string(source.join("deployments").join(name)).unwrap();
    let upstream = format!("{}:snapshot", images::UPSTREAM);
    assert!(text.contains(&upstream), "{name} names another image than {upstream}");
    text.replace(&upstream, OURS)
}
