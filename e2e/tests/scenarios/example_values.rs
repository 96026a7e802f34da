//! Install with `examples/values-multus.yaml` as it is, then the three commands of docs/install.md that verify it.

use e2e::install::{EXAMPLE_VALUES, OUR_IMAGE};
use e2e::{Archive, Pair, World};
use testbed::cluster::{Containerd, Helm, NodeSpec};

#[test]
fn its_values_with_our_image_and_helm_4() {
    let world = up("document-ours");
    world.load(&[Archive::Ours]).unwrap();
    follow(&world, Helm::V4, &["--set", OUR_IMAGE]);
}

/// The tag is another than in the document: v4.0.0 of upstream's cannot be built.
#[test]
fn its_values_with_upstreams_image_and_helm_3() {
    let world = up("document-v4-3-0");
    world.load(&[Archive::Upstream("v4.3.0")]).unwrap();
    follow(&world, Helm::V3, &["--set", "image.tag=v4.3.0"]);
}

#[test]
fn its_values_with_an_older_image_of_upstreams() {
    let world = up("document-v4-2-4");
    world.load(&[Archive::Upstream("v4.2.4")]).unwrap();
    follow(&world, Helm::V4, &["--set", "image.tag=v4.2.4"]);
}

fn up(name: &str) -> World {
    World::up(name, |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    })
}

fn follow(world: &World, helm: Helm, options: &[&str]) {
    let options = [&["-f", EXAMPLE_VALUES], options].concat();
    world.install(helm, &options).unwrap();

    // Ours is thick, where the pod has two containers.
    let ready = if options.contains(&OUR_IMAGE) { "2/2" } else { "1/1" };
    let daemon_sets = world.shell("kubectl get daemonset -n kube-system | grep multus").unwrap();
    let columns: Vec<_> = daemon_sets.split_whitespace().collect();
    assert_eq!(columns[..6], ["kube-multus-ds", "2", "2", "2", "2", "2"], "{daemon_sets}");
    let pods = world.shell("kubectl get pods -n kube-system | grep multus").unwrap();
    assert_eq!(
        pods.lines().filter(|line| line.contains(ready) && line.contains("Running")).count(),
        2,
        "{pods}"
    );
    let config_maps = world.shell("kubectl get configmap -n kube-system | grep multus").unwrap();
    assert!(config_maps.contains("multus-daemon-config"), "{config_maps}");

    let pair = Pair::start(world, "pair");
    world.plain_pods_start().unwrap();
    pair.end(world);
}
