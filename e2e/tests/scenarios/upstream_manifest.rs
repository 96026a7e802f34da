//! Upstream's own manifest with our image: nothing but the image's name is another.

use std::fs;

use e2e::install::DAEMON_SET;
use e2e::{Archive, Pair, World};
use testbed::cluster::{Containerd, NodeSpec};
use testbed::{images, parts};

const OURS: &str = "ghcr.io/multus-rs/multus-rs:v4.0.0";

#[test]
fn the_thin_manifest_gives_pods_their_networks() {
    follow("manifest-thin", "multus-daemonset.yml", "snapshot");
}

#[test]
fn the_thick_manifest_gives_pods_their_networks() {
    follow("manifest-thick", "multus-daemonset-thick.yml", "snapshot-thick");
}

fn follow(name: &str, manifest: &str, tag: &str) {
    let world = World::up(name, |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours]).unwrap();
    world.apply(&with_our_image(manifest, tag)).unwrap();
    world.rollout(DAEMON_SET).unwrap();

    let pair = Pair::start(&world, "pair");
    world.plain_pods_start().unwrap();
    pair.end(&world);
}

fn with_our_image(name: &str, tag: &str) -> String {
    let source = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap();
    let text = fs::read_to_string(source.join("deployments").join(name)).unwrap();
    let upstream = format!("image: {}:{tag}\n", images::UPSTREAM);
    assert!(text.contains(&upstream), "{name} names another image than {upstream}");
    text.replace(&upstream, &format!("image: {OURS}\n"))
}
