//! What can be wrong with a cluster or with values: a clear message where a person looks first, and plain pods go on.

use std::time::Duration;

use e2e::install::{CHART, DAEMON_SET, EXAMPLE_VALUES, OUR_IMAGE};
use e2e::networks::{BRIDGE, SECOND_BRIDGE};
use e2e::{Archive, NAMESPACE, Pair, Pod, World};
use testbed::cluster::{Containerd, Helm, NodeSpec};
use testbed::wait;

#[test]
fn a_conf_dir_that_cannot_be_written() {
    let world = one_node("fault-conf-dir");
    make_read_only(&world, world.node("node1").conf_dir());
    install(&world, &["--set", OUR_IMAGE]);
    wait_for_words(&world, &["cni.configDir", "/etc/cni/net.d"]);
    world.plain_pods_start().unwrap();
}

#[test]
fn a_bin_dir_that_cannot_be_written() {
    let world = one_node("fault-bin-dir");
    make_read_only(&world, world.node("node1").bin_dir());
    install(&world, &["--set", OUR_IMAGE]);
    wait_for_words(&world, &["cni.binDir", "/opt/cni/bin"]);
    world.plain_pods_start().unwrap();
}

/// `examples/values-multus.yaml` names the generic folders; this cluster is k3s.
#[test]
fn folders_of_another_platform() {
    let world = World::up("fault-platform", |spec| spec.suffix("+k3s1").node(NodeSpec::k3s("node1")));
    world.load(&[Archive::Ours, Archive::Plugins]).unwrap();
    let notes = install(&world, &["-f", EXAMPLE_VALUES, "--set", OUR_IMAGE]);
    for words in ["This is k3s", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "cni.configDir"] {
        assert!(notes.contains(words), "{notes}");
    }
    wait_for_words(&world, &["no CNI configuration", "the cluster's own network", "cni.configDir"]);
    world.plain_pods_start().unwrap();
}

#[test]
fn an_image_that_cannot_be_pulled() {
    let world = World::up("fault-image", |spec| {
        spec.node(NodeSpec::new("node1")).node(NodeSpec::new("node2").containerd(Containerd::V2))
    });
    world.load(&[Archive::Ours]).unwrap();
    let missing = ["--set", OUR_IMAGE, "--set", "image.tag=v4.9.9"];
    install(&world, &missing);
    wait_for_words(&world, &["ErrImagePull", "v4.9.9"]);
    world.plain_pods_start().unwrap();
    world.helm(Helm::V4, &["uninstall", "multus", "--namespace", NAMESPACE]).unwrap();

    // And as an upgrade: what runs stays in charge on every node.
    world.install(Helm::V4, &["--set", OUR_IMAGE]).unwrap();
    world
        .helm(
            Helm::V4,
            &[&["upgrade", "multus", CHART, "--namespace", NAMESPACE], missing.as_slice()].concat(),
        )
        .unwrap();
    wait_for_words(&world, &["ErrImagePull", "v4.9.9"]);
    world.plain_pods_start().unwrap();
    Pair::start(&world, "pair").end(&world);
    world.helm(Helm::V4, &["rollback", "multus", "1", "--namespace", NAMESPACE]).unwrap();
    world.rollout(DAEMON_SET).unwrap();
}

#[test]
fn a_primary_network_that_is_missing() {
    let world = one_node("fault-primary");
    let node = world.node("node1");
    let primary = format!("{}/{}", node.conf_dir(), node.spec().primary.file());
    node.machine().run("mv", &[primary.as_str(), "/root/primary"]).unwrap();
    install(&world, &["--set", OUR_IMAGE]);
    wait_for_words(&world, &["no CNI configuration", "the cluster's own network", "cni.configDir"]);
    node.machine().run("mv", &["/root/primary", primary.as_str()]).unwrap();
    world.rollout(DAEMON_SET).unwrap();
    world.plain_pods_start().unwrap();
    Pair::start(&world, "pair").end(&world);
}

/// As a package's upgrade, or an administrator who tidies up, may do it.
#[test]
fn a_shim_that_is_deleted_and_a_plugins_folder_that_is_replaced() {
    let world = one_node("fault-shim");
    world.install(Helm::V4, &["--set", OUR_IMAGE]).unwrap();
    let node = world.node("node1");
    let bin = node.bin_dir();
    for damage in [
        "rm \"$0/multus-shim\"",
        ": >\"$0/multus-shim\"",
        "cp -a \"$0\" \"$0.new\"; rm \"$0.new/multus-shim\"; mv \"$0\" \"$0.old\"; mv \"$0.new\" \"$0\"",
    ] {
        node.machine().run("sh", &["-ec", damage, bin]).unwrap();
        let shim = format!("{bin}/multus-shim");
        let works = "CNI_COMMAND=VERSION \"$0\" </dev/null && ls \"$1/00-multus.conf\"*";
        let back = wait::until("the shim and the configuration", Duration::from_secs(30), || {
            node.machine().run("sh", &["-c", works, &shim, node.conf_dir()]).ok()
        });
        assert!(back.is_ok(), "after {damage}");
        world.plain_pods_start().unwrap();
    }
    Pair::start(&world, "pair").end(&world);
}

/// As one that starts in the moment in which another program has taken the configuration away; here the moment is made longer.
#[test]
fn a_pod_that_started_without_its_networks_is_reported() {
    let world = one_node("fault-bare");
    world.install(Helm::V4, &["--set", OUR_IMAGE]).unwrap();
    world.apply(BRIDGE).unwrap();
    let node = world.node("node1");
    let daemon = |signal: &str| {
        // By the beginning of its command line: what is sent is in this shell's own, too.
        let send = "for process in /proc/[0-9]*; do \
                    case \"$(tr '\\0' ' ' <$process/cmdline)\" in \
                    /usr/src/multus-cni/bin/multus-daemon*) kill -$0 ${process#/proc/};; esac; done";
        node.machine().run("sh", &["-c", send, signal]).unwrap();
    };
    daemon("STOP");
    node.machine().run("sh", &["-ec", "mv \"$0\"/00-multus.conf* /root/", node.conf_dir()]).unwrap();
    let bare = Pod::new("bare", "node1").networks("bridge");
    world.start(std::slice::from_ref(&bare)).unwrap();
    assert!(!world.interfaces("bare").unwrap().contains_key("net1"), "the configuration was away");
    daemon("CONT");
    let reported = wait::until("the event", Duration::from_secs(120), || {
        let events = world.events("bare").unwrap_or_default();
        events.into_iter().find(|event| event.starts_with("NetworksMissing"))
    });
    assert!(reported.unwrap().contains("default/bridge"));

    world.delete(&[bare]).unwrap();
    Pair::start(&world, "pair").end(&world);
}

#[test]
fn a_crd_that_somebody_else_brought() {
    let world = one_node("fault-crd");
    let crd = std::fs::read_to_string(
        e2e::workspace().join("charts/multus/files/network-attachment-definitions.yaml"),
    )
    .unwrap();
    world.apply(&crd).unwrap();
    let notes = world.install(Helm::V3, &["--set", OUR_IMAGE]).unwrap();
    assert!(notes.contains("CRD"), "{notes}");
    Pair::start(&world, "pair").end(&world);
    world.uninstall(Helm::V3).unwrap();
    world.kubectl(&["get", "crd", "network-attachment-definitions.k8s.cni.cncf.io"]).unwrap();
}

#[test]
fn a_second_install_in_another_namespace() {
    let world = one_node("fault-second");
    world.install(Helm::V4, &["--set", OUR_IMAGE]).unwrap();
    world.kubectl(&["create", "namespace", "other"]).unwrap();
    for helm in [Helm::V3, Helm::V4] {
        let second = world.helm(
            helm,
            &["install", "second", CHART, "--namespace", "other", "--set", "network.namespace=other"],
        );
        let refused = format!("{:#}", second.unwrap_err());
        for words in ["already", "\"multus\"", NAMESPACE, "helm -n kube-system uninstall multus"] {
            assert!(refused.contains(words), "{words:?} is missing: {refused}");
        }
    }
    world.apply(&format!("{BRIDGE}---{SECOND_BRIDGE}")).unwrap();
    let pod = Pod::new("pod", "node1").networks("bridge,second");
    world.start(&[pod]).unwrap();
}

fn one_node(name: &str) -> World {
    let world = World::up(name, |spec| spec.node(NodeSpec::new("node1").containerd(Containerd::V2)));
    world.load(&[Archive::Ours]).unwrap();
    world
}

fn install(world: &World, options: &[&str]) -> String {
    let install = ["install", "multus", CHART, "--namespace", NAMESPACE];
    world.helm(Helm::V4, &[install.as_slice(), options].concat()).unwrap()
}

fn make_read_only(world: &World, folder: &str) {
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    world.node("node1").machine().run("sh", &["-c", script, folder]).unwrap();
}

/// What `kubectl describe` shows of the pods beyond their specification: states and events.
fn what_is_said(world: &World) -> String {
    let states = "jsonpath={range .items[*]}{.status.conditions}{.status.initContainerStatuses}{.status.containerStatuses}{end}";
    let pods = world.kubectl(&["-n", NAMESPACE, "get", "pods", "--selector=app=multus", "--output", states]);
    let message = "jsonpath={range .items[*]}{.involvedObject.name}: {.reason}: {.message}{\"\\n\"}{end}";
    let events = world.kubectl(&["-n", NAMESPACE, "get", "events", "--output", message]);
    format!("{}\n{}", pods.unwrap_or_default(), events.unwrap_or_default())
}

/// Where a person looks first.
fn wait_for_words(world: &World, words: &[&str]) {
    let mut seen = String::new();
    let waited = wait::until("a message", Duration::from_secs(90), || {
        seen = what_is_said(world);
        words.iter().all(|word| seen.contains(word)).then_some(())
    });
    assert!(waited.is_ok(), "{words:?} are in neither status nor events:\n{seen}");
}
