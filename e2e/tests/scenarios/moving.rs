//! From upstream's manifest, applied with kubectl, to the chart and back, with pods running all the while.

use std::fs;

use e2e::install::{CHART, DAEMON_SET, OUR_IMAGE};
use e2e::networks::{BRIDGE, SECOND_BRIDGE};
use e2e::{Archive, NAMESPACE, Pod, World};
use testbed::cluster::{Containerd, Helm, NodeSpec};
use testbed::{images, parts};

const HELM_3: &[&str] = &["--take-ownership"];
const HELM_4: &[&str] = &["--take-ownership", "--force-conflicts"];

#[test]
fn from_the_thin_manifest_by_helm_3() {
    there_and_back("moving-thin-3", "multus-daemonset.yml", "snapshot", Helm::V3, HELM_3);
}

#[test]
fn from_the_thick_manifest_by_helm_4() {
    there_and_back("moving-thick-4", "multus-daemonset-thick.yml", "snapshot-thick", Helm::V4, HELM_4);
}

fn there_and_back(name: &str, file: &str, tag: &str, helm: Helm, take: &[&str]) {
    let world = World::up(name, |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours, Archive::Upstream(parts::UPSTREAM_VERSION)]).unwrap();
    let manifest = manifest(file, tag);
    world.apply(&manifest).unwrap();
    world.rollout(DAEMON_SET).unwrap();
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();
    let theirs = pods(&world, "theirs");
    world.start(&theirs).unwrap();

    // Without the hand-over the chart refuses, and names what is in the way and what to do.
    let refused =
        world.helm(helm, &["install", "multus", CHART, "--namespace", NAMESPACE, "--set", OUR_IMAGE]);
    let refused = format!("{:#}", refused.unwrap_err());
    for words in [DAEMON_SET, "--cascade=orphan", "--take-ownership", "rollout restart"] {
        assert!(refused.contains(words), "{refused}");
    }
    world.kubectl(&["-n", NAMESPACE, "delete", "daemonset", DAEMON_SET, "--cascade=orphan"]).unwrap();
    world.install(helm, &[&["--set", OUR_IMAGE], take].concat()).unwrap();
    // The DaemonSet takes adopted pods of the same generation for its own, and replaces none by itself.
    world.kubectl(&["-n", NAMESPACE, "rollout", "restart", &format!("daemonset/{DAEMON_SET}")]).unwrap();
    world.rollout(DAEMON_SET).unwrap();
    let ours = pods(&world, "ours");
    world.start(&ours).unwrap();

    // Ours ends what upstream's program attached.
    world.delete(&theirs).unwrap();
    assert_freed(&world, "theirs");

    world.uninstall(helm).unwrap();
    world.apply(&manifest).unwrap();
    world.rollout(DAEMON_SET).unwrap();
    world.delete(&ours).unwrap();
    assert_freed(&world, "ours");
    let again = pods(&world, "again");
    world.start(&again).unwrap();
    for pod in &again {
        assert!(world.interfaces(&pod.name).unwrap().contains_key("net2"), "{}", pod.name);
    }
}

fn pods(world: &World, name: &str) -> Vec<Pod> {
    let nodes = world.cluster().nodes().iter();
    nodes
        .map(|node| Pod::new(&format!("{name}-{}", node.name()), node.name()).networks("bridge,second"))
        .collect()
}

/// The addresses of the secondary networks are free: the next pod gets the first one.
fn assert_freed(world: &World, whose: &str) {
    let leases = || -> Vec<String> {
        let nodes = world.cluster().nodes().iter();
        nodes
            .flat_map(|node| {
                ["bridge", "second"]
                    .map(|network| node.machine().path(&format!("/var/lib/cni/networks/{network}")))
            })
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .map(|entry| entry.path().display().to_string())
            .filter(|path| {
                path.rsplit('/').next().is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok())
            })
            .collect()
    };
    let running = world.kubectl(&["get", "pods", "--output=name"]).unwrap().lines().count();
    let waited = testbed::wait::until("addresses to be freed", std::time::Duration::from_secs(60), || {
        (leases().len() == running * 2).then_some(())
    });
    assert!(
        waited.is_ok(),
        "{running} pods run, and after the end of {whose} these are taken: {:?}",
        leases()
    );
}

fn manifest(file: &str, tag: &str) -> String {
    let source = parts::upstream_source(parts::UPSTREAM_VERSION).unwrap();
    let text = fs::read_to_string(source.join("deployments").join(file)).unwrap();
    let released = tag.replace("snapshot", parts::UPSTREAM_VERSION);
    text.replace(
        &format!("image: {}:{tag}\n", images::UPSTREAM),
        &format!("image: {}:{released}\n", images::UPSTREAM),
    )
}
