//! Upgrade, rollback, uninstall and reinstall while pods come and go.

use std::time::Duration;

use e2e::install::{CHART, DAEMON_SET, OUR_IMAGE};
use e2e::networks::{BRIDGE, SECOND_BRIDGE};
use e2e::{Archive, Churn, Leftovers, NAMESPACE, Pod, Tally, World};
use testbed::cluster::{Containerd, Helm, NodeSpec};
use testbed::wait;

const NETWORKS: [&str; 2] = ["bridge", "second"];
const UPSTREAM: &str = "image.repository=ghcr.io/k8snetworkplumbingwg/multus-cni";
/// A second tag of our image stands for the next release.
const NEXT: &str = "v4.0.1";

#[test]
fn by_helm_4_no_pod_notices() {
    no_pod_notices("life-4", Helm::V4, ["thick", "thin"]);
}

#[test]
fn by_helm_3_no_pod_notices() {
    no_pod_notices("life-3", Helm::V3, ["thin", "thick"]);
}

/// With our image: values, tag, mode, rollback, restart, uninstall, reinstall.
fn no_pod_notices(name: &str, helm: Helm, modes: [&str; 2]) {
    let world = up(name, &[Archive::Ours]);
    tag_next(&world);
    let [mode, other] = modes.map(|mode| format!("mode={mode}"));
    let install = || world.install(helm, &["--set", OUR_IMAGE, "--set", &mode]).unwrap();
    install();
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();

    let (_, tally) = Churn::beside(&world, NETWORKS, |churn| {
        churn.pods(2)?;
        for options in [
            [&mode, "resources.requests.cpu=20m"],
            [&mode, "image.tag=v4.0.1"],
            [&other, "image.tag=v4.0.1"],
            [&mode, "config.log.level=debug"],
        ] {
            world.upgrade(helm, &["--set", options[0], "--set", options[1]])?;
            churn.pods(2)?;
        }
        world.helm(helm, &["rollback", "multus", "1", "--namespace", NAMESPACE])?;
        world.rollout(DAEMON_SET)?;
        churn.pods(2)?;
        world.kubectl(&["-n", NAMESPACE, "rollout", "restart", &format!("daemonset/{DAEMON_SET}")])?;
        world.rollout(DAEMON_SET)?;
        churn.pods(2)
    })
    .unwrap();
    assert!(tally.is_clean(), "{tally}");
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();

    let stays: Vec<_> = world
        .cluster()
        .nodes()
        .iter()
        .map(|node| Pod::new(&format!("stays-{}", node.name()), node.name()).networks(NETWORKS.join(",")))
        .collect();
    world.start(&stays).unwrap();
    world.uninstall(helm).unwrap();
    world.plain_pods_start().unwrap();
    for pod in &stays {
        assert!(world.interfaces(&pod.name).unwrap().contains_key("net2"), "{} lost its networks", pod.name);
    }

    install();
    world.delete(&stays).unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
    world.uninstall(helm).unwrap();
    world.plain_pods_start().unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
    nothing_of_ours_is_left(&world);
}

/// Once the configuration is gone no runtime calls us: pods that run on end, and what they had is freed by the next install.
#[test]
fn what_outlives_the_install_is_freed_by_the_next() {
    let world = up("life-outlive", &[Archive::Ours]);
    world.install(Helm::V3, &["--set", OUR_IMAGE]).unwrap();
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();
    let pod = Pod::new("outlives", "node1").networks(NETWORKS.join(","));
    world.start(std::slice::from_ref(&pod)).unwrap();
    world.uninstall(Helm::V3).unwrap();
    world.delete(&[pod]).unwrap();
    world.plain_pods_start().unwrap();

    world.install(Helm::V3, &["--set", OUR_IMAGE]).unwrap();
    world.plain_pods_start().unwrap();
    Leftovers::wait_until_none(world.cluster().nodes()).unwrap();
}

#[test]
fn the_deletion_of_its_namespace_is_an_uninstall() {
    let world = World::up("life-namespace", |spec| spec.node(NodeSpec::new("node1")));
    world.load(&[Archive::Ours]).unwrap();
    let (namespace, daemon_set) = ("networks", format!("daemonset/{DAEMON_SET}"));
    world.kubectl(&["create", "namespace", namespace]).unwrap();
    let install = ["install", "multus", CHART, "--namespace", namespace];
    world.helm(Helm::V4, &[&install[..], &["--set", "network.namespace=networks"]].concat()).unwrap();
    world.kubectl(&["-n", namespace, "rollout", "status", "--timeout=120s", &daemon_set]).unwrap();
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();
    let pod = Pod::new("pod", "node1").networks(NETWORKS.join(","));
    world.start(std::slice::from_ref(&pod)).unwrap();
    world.delete(&[pod]).unwrap();

    world.kubectl(&["delete", "namespace", namespace, "--timeout=120s"]).unwrap();
    world.plain_pods_start().unwrap();
    nothing_of_ours_is_left(&world);
}

/// What upstream's images do in the same course is shown; that they do their work after each step is asserted.
#[test]
fn between_upstreams_images_and_ours_by_helm_4() {
    between_images(
        "life-images-4",
        Helm::V4,
        &[("v4.2.4", ""), ("v4.3.0", ""), ("v4.3.0-thick", ""), ("", "thick"), ("v4.3.0", "")],
    );
}

#[test]
fn between_upstreams_images_and_ours_by_helm_3() {
    between_images(
        "life-images-3",
        Helm::V3,
        &[("v4.3.0-thick", ""), ("", "thick"), ("v4.3.0-thick", ""), ("", "thin")],
    );
}

/// From each of `images` to the next: upstream's by its tag, ours by its mode.
fn between_images(name: &str, helm: Helm, images: &[(&str, &str)]) {
    let world = up(name, &[Archive::Ours, Archive::Upstream("v4.2.4"), Archive::Upstream("v4.3.0")]);
    let options = |(tag, mode): &(&str, &str)| match *tag {
        "" => [OUR_IMAGE.to_owned(), format!("mode={mode}")],
        tag => [UPSTREAM.to_owned(), format!("image.tag={tag}")],
    };
    let release = |install: bool, image| {
        let [repository, which] = options(image);
        let options = ["--set", &repository, "--set", &which];
        if install { world.install(helm, &options) } else { world.upgrade(helm, &options) }
    };
    release(true, &images[0]).unwrap();
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();
    for pair in images.windows(2) {
        let step = format!("{:?} to {:?}", pair[0], pair[1]);
        let (_, tally) = Churn::beside(&world, NETWORKS, |churn| {
            churn.pods(2)?;
            release(false, &pair[1])?;
            churn.pods(4)
        })
        .unwrap();
        show(&step, &tally);
        let after = Pod::new("after", "node1").networks(NETWORKS.join(","));
        world.start(std::slice::from_ref(&after)).unwrap();
        assert!(world.interfaces("after").unwrap().contains_key("net2"), "{step}: no networks afterwards");
        world.delete(&[after]).unwrap();
    }
    world.uninstall(helm).unwrap();
    world.plain_pods_start().unwrap();
}

fn up(name: &str, archives: &[Archive]) -> World {
    let world = World::up(name, |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(archives).unwrap();
    world
}

fn tag_next(world: &World) {
    for node in world.cluster().nodes() {
        let name = "ghcr.io/multus-rs/multus-rs";
        let tagged =
            node.ctr().args(["images", "tag", &format!("{name}:v4.0.0"), &format!("{name}:{NEXT}")]).output();
        assert!(tagged.unwrap().status.success());
    }
}

/// Files of ours go a moment after the DaemonSet has; the CRD stays by its keep policy.
fn nothing_of_ours_is_left(world: &World) {
    for node in world.cluster().nodes() {
        let list = format!(
            "ls {} | grep -v ^10-; ls {} | grep -i multus; ls -d /run/multus/* 2>/dev/null",
            node.conf_dir(),
            node.bin_dir()
        );
        let mut left = String::new();
        let waited = wait::until("no file of ours", Duration::from_secs(30), || {
            left = node.machine().run("sh", &["-c", &format!("{{ {list}; }} || :")]).unwrap_or_default();
            left.trim().is_empty().then_some(())
        });
        assert!(waited.is_ok(), "left on {}: {left}", node.name());
    }
    let crd = "network-attachment-definitions.k8s.cni.cncf.io";
    world.kubectl(&["get", "crd", crd]).unwrap();
}

fn show(step: &str, tally: &Tally) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{step}: {tally}");
}
